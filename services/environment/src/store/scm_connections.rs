//! Rows of stored SCM connections.
//!
//! Owns their one version. Refuses a second connection of the same id.
use slipway_kit::{
    args,
    db::{Exec, Tx},
    error::{CONFLICT, Error, Result},
};

use super::Store;
use crate::model::scm_connection::ScmConnection;

impl Store {
    /// Adds a connection.
    ///
    /// # Errors
    /// ALREADY_EXISTS if the id is taken.
    pub async fn insert_scm_connection(&self, tx: &mut Tx, connection: &ScmConnection) -> Result<()> {
        let sql = "INSERT INTO scm_connections (id, uid, version, body) VALUES ($1, $2, $3, $4)";
        let body = serde_json::to_string(connection).map_err(Error::internal)?;
        tx.execute(sql, args![&connection.id, &connection.uid, connection.version, body]).await.map(drop)
    }

    /// Replaces a connection if it still has the version it was read with.
    ///
    /// # Errors
    /// CONFLICT if it moved.
    pub async fn update_scm_connection(&self, tx: &mut Tx, connection: &ScmConnection, read: i64) -> Result<()> {
        let sql = "UPDATE scm_connections SET version = $1, body = $2 WHERE id = $3 AND version = $4";
        let body = serde_json::to_string(connection).map_err(Error::internal)?;
        if tx.execute(sql, args![connection.version, body, &connection.id, read]).await? == 1 {
            return Ok(());
        }
        Err(Error::new(&CONFLICT, format!("{} changed meanwhile", connection.name())))
    }

    /// Removes a connection.
    pub async fn delete_scm_connection(&self, tx: &mut Tx, id: &str) -> Result<()> {
        tx.execute("DELETE FROM scm_connections WHERE id = $1", args![id]).await.map(drop)
    }

    /// A stored connection.
    pub async fn scm_connection(&self, exec: impl Into<Exec<'_>>, id: &str) -> Result<Option<ScmConnection>> {
        let row = exec.into().fetch_optional("SELECT body FROM scm_connections WHERE id = $1", args![id]).await?;
        row.map(|row| row.json("body")).transpose()
    }

    /// Every stored connection, in order of id.
    pub async fn scm_connections(&self) -> Result<Vec<ScmConnection>> {
        let rows = self.db.fetch_all("SELECT body FROM scm_connections ORDER BY id", args![]).await?;
        rows.iter().map(|row| row.json("body")).collect()
    }

    /// How many living environments follow a connection.
    pub async fn living_on_scm(&self, tx: &mut Tx, scm: &str) -> Result<i64> {
        let sql = "SELECT COUNT(*) AS n FROM environments WHERE scm = $1 AND deleted_us = 0";
        tx.fetch_one(sql, args![scm]).await?.int("n")
    }
}
