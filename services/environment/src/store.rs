//! All SQL of the environment service.
//!
//! Owns rows and their uniqueness. Refuses decisions: a lost race is told as ALREADY_EXISTS or CONFLICT.
mod budgets;
mod clusters;
mod deletions;
mod environments;
mod holds;
mod orphans;
mod policies;
mod receipts;
mod routes;
mod scm_connections;

use serde::de::DeserializeOwned;
use slipway_kit::{
    db::{Db, Value},
    error::Result,
    page::{Cursor, OrderBy},
};

pub use deletions::OpenDeletion;
pub use environments::{FILTER, ListQuery, new_uid};
pub use holds::{HOLD_FILTER, Living};
pub use orphans::ORPHAN_FILTER;
pub use receipts::After;

static MIGRATIONS: slipway_kit::db::Migrations = slipway_kit::migrations!("../../migrations/environment");

/// The service's migrations.
pub fn migrations() -> &'static slipway_kit::db::Migrations {
    &MIGRATIONS
}

/// The store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// The database.
    pub db: Db,
}

impl Store {
    /// A store on an open, migrated database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// A page of a table whose rows are bodies: one row more than asked for if there is one, and the rows' cursors.
    async fn page<T: DeserializeOwned>(
        &self,
        table: &str,
        (condition, mut binds): (String, Vec<Value>),
        order: &OrderBy,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<(T, Cursor)>> {
        let (after, values) = order.after(cursor, binds.len() + 1)?;
        binds.extend(values);
        binds.push(Value::from(limit + 1));
        let sql = format!(
            "SELECT body{} FROM {table} WHERE {condition} AND {after} ORDER BY {} LIMIT ${}",
            order.columns(),
            order.sql(),
            binds.len()
        );
        let rows = self.db.fetch_all(&sql, binds).await?;
        rows.iter().map(|row| Ok((row.json("body")?, order.cursor(row)?))).collect()
    }
}
