//! Rows of trust entries.
//!
//! Refuses to change one without raising the version that every cached decision is of (SAFE-40).

use slipway_kit::{
    args,
    db::{Exec, Row, Tx},
    error::{Error, Result},
    filter::{Field, Kind},
};

use super::{Condition, Page, Store};
use crate::model::trust::TrustEntry;

/// Fields a filter may name.
pub const TRUST_ENTRY_FIELDS: &[Field] = &[
    Field { name: "issuer", column: "issuer", kind: Kind::Text },
    Field { name: "repository_id", column: "repository_id", kind: Kind::Int },
    Field { name: "service", column: "service", kind: Kind::Text },
    Field { name: "create_time", column: "created_us", kind: Kind::Time },
];

const COLUMNS: &str = "id, uid, version, issuer, repository_id, service, terms, created_us, updated_us";

impl Store {
    /// Adds an entry.
    ///
    /// # Errors
    /// As the database.
    pub async fn add_trust_entry(&self, tx: &mut Tx, e: &TrustEntry) -> Result<()> {
        let sql = format!("INSERT INTO trust_entries ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
        let terms = serde_json::to_string(&e.terms).map_err(Error::internal)?;
        let (id, uid, issuer, service) = (&e.id, &e.uid, &e.issuer, &e.service);
        let args = args![id, uid, e.version, issuer, e.repository_id, service, terms, e.created_us, e.updated_us];
        tx.execute(&sql, args).await?;
        self.raise_version(tx).await
    }

    /// Replaces the terms of an entry.
    ///
    /// # Errors
    /// As the database.
    pub async fn change_trust_entry(&self, tx: &mut Tx, e: &TrustEntry) -> Result<()> {
        let terms = serde_json::to_string(&e.terms).map_err(Error::internal)?;
        let sql = "UPDATE trust_entries SET version = $2, terms = $3, updated_us = $4 WHERE id = $1";
        tx.execute(sql, args![&e.id, e.version, terms, e.updated_us]).await?;
        self.raise_version(tx).await
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// As the database.
    pub async fn remove_trust_entry(&self, tx: &mut Tx, id: &str) -> Result<()> {
        tx.execute("DELETE FROM trust_entries WHERE id = $1", args![id]).await?;
        self.raise_version(tx).await
    }

    /// One entry by id.
    ///
    /// # Errors
    /// As the database.
    pub async fn trust_entry(&self, exec: impl Into<Exec<'_>>, id: &str) -> Result<Option<TrustEntry>> {
        let sql = format!("SELECT {COLUMNS} FROM trust_entries WHERE id = $1");
        exec.into().fetch_optional(&sql, args![id]).await?.as_ref().map(read_trust_entry).transpose()
    }

    /// Every entry of a repository, in the order they were made.
    ///
    /// # Errors
    /// As the database.
    pub async fn trust_of(&self, issuer: &str, repository_id: i64) -> Result<Vec<TrustEntry>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM trust_entries WHERE issuer = $1 AND repository_id = $2 ORDER BY created_us, id"
        );
        let rows = self.db.fetch_all(&sql, args![issuer, repository_id]).await?;
        rows.iter().map(read_trust_entry).collect()
    }

    /// How many entries a repository has, counted behind the lock of a change of access.
    ///
    /// # Errors
    /// As the database.
    pub async fn count_trust_of(&self, tx: &mut Tx, issuer: &str, repository_id: i64) -> Result<i64> {
        self.raise_version(tx).await?;
        let sql = "SELECT COUNT(*) AS n FROM trust_entries WHERE issuer = $1 AND repository_id = $2";
        tx.fetch_one(sql, args![issuer, repository_id]).await?.int("n")
    }

    /// One page of entries.
    ///
    /// # Errors
    /// As the database.
    pub async fn trust_entries(&self, page: &Page) -> Result<Vec<Row>> {
        self.page("trust_entries", COLUMNS, page).await
    }

    /// How many entries match; stops one above `cap`.
    ///
    /// # Errors
    /// As the database.
    pub async fn count_trust_entries(&self, rows: &Condition, cap: usize) -> Result<i64> {
        self.count("trust_entries", rows, cap).await
    }
}

/// Reads a row of [`Store::trust_entries`].
pub fn read_trust_entry(row: &Row) -> Result<TrustEntry> {
    Ok(TrustEntry {
        id: row.text("id")?,
        uid: row.text("uid")?,
        version: row.int("version")?,
        issuer: row.text("issuer")?,
        repository_id: row.int("repository_id")?,
        service: row.text("service")?,
        terms: row.json("terms")?,
        created_us: row.int("created_us")?,
        updated_us: row.int("updated_us")?,
    })
}
