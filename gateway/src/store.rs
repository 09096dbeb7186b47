//! All SQL of the gateway: tokens, role bindings, trust entries, and the version that every change of access raises.
//!
//! Refuses decisions: it answers rows. Every change raises the version in its own transaction (SAFE-40).

mod assertion_keys;
mod role_bindings;
mod sign_ins;
mod tokens;
mod trust_entries;

pub use role_bindings::{BINDING_FIELDS, read_binding};
pub use tokens::{TOKEN_FIELDS, read_token};
pub use trust_entries::{TRUST_ENTRY_FIELDS, read_trust_entry};

use slipway_kit::{
    args,
    db::{Db, Exec, Migrations, Row, Tx, Value},
    error::Result,
};

use crate::model::rights::Grant;

/// The schema of the gateway's database.
pub static MIGRATIONS: Migrations = slipway_kit::migrations!("../migrations/gateway");

/// The gateway's tables.
#[derive(Clone)]
pub struct Store {
    db: Db,
}

/// A condition over rows, and its values.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What stands after WHERE.
    pub sql: String,
    /// What is bound, from `$1`.
    pub args: Vec<Value>,
}

/// One page of rows.
#[derive(Clone, Debug)]
pub struct Page {
    /// Which rows, from where on.
    pub rows: Condition,
    /// Columns the order adds to the answer, beginning with a comma.
    pub columns: String,
    /// What stands after ORDER BY.
    pub order: String,
    /// Most rows.
    pub limit: usize,
}

/// Everything decisions need of this store, read at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Version of the data.
    pub version: i64,
    /// Every binding.
    pub grants: Vec<Grant>,
}

impl Store {
    /// A store over an open database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// The database, for mutations and the journal.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The present version of access.
    ///
    /// # Errors
    /// As the database.
    pub async fn version(&self) -> Result<i64> {
        self.db.fetch_one("SELECT version FROM access_state WHERE id = 1", args![]).await?.int("version")
    }

    /// All bindings, with a version that is not newer than they are.
    ///
    /// # Errors
    /// As the database.
    pub async fn access(&self) -> Result<Access> {
        let version = self.version().await?;
        Ok(Access { version, grants: self.grants().await? })
    }

    /// Raises the version; call it in the transaction of each change.
    ///
    /// # Errors
    /// As the database.
    pub async fn raise_version(&self, tx: &mut Tx) -> Result<()> {
        tx.execute("UPDATE access_state SET version = version + 1 WHERE id = 1", args![]).await.map(|_| ())
    }

    /// Whether the first administrator was made, and the id of the unused first token, if any.
    ///
    /// # Errors
    /// As the database.
    pub async fn start_state(&self, exec: impl Into<Exec<'_>>) -> Result<(bool, Option<String>)> {
        let sql = "SELECT started, first_token FROM access_state WHERE id = 1";
        let row = exec.into().fetch_one(sql, args![]).await?;
        let first = row.text("first_token")?;
        Ok((row.bool("started")?, (!first.is_empty()).then_some(first)))
    }

    /// Remembers that the first administrator was made, and which token is the unused first one; `""` when it was used.
    ///
    /// # Errors
    /// As the database.
    pub async fn set_start_state(&self, tx: &mut Tx, first_token: &str) -> Result<()> {
        let sql = "UPDATE access_state SET started = 1, first_token = $1 WHERE id = 1";
        tx.execute(sql, args![first_token]).await.map(|_| ())
    }

    /// One page of a table.
    async fn page(&self, table: &str, columns: &str, page: &Page) -> Result<Vec<Row>> {
        let (rows, more) = (&page.rows.sql, &page.columns);
        let sql =
            format!("SELECT {columns}{more} FROM {table} WHERE {rows} ORDER BY {} LIMIT {}", page.order, page.limit);
        self.db.fetch_all(&sql, page.rows.args.clone()).await
    }

    /// How many rows of a table match; stops one above `cap`.
    async fn count(&self, table: &str, rows: &Condition, cap: usize) -> Result<i64> {
        let (condition, stop) = (&rows.sql, cap + 1);
        let sql =
            format!("SELECT COUNT(*) AS n FROM (SELECT 1 AS one FROM {table} WHERE {condition} LIMIT {stop}) AS hits");
        self.db.fetch_one(&sql, rows.args.clone()).await?.int("n")
    }
}
