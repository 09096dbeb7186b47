//! Rows of orphans, and what our records say about namespaces.
//!
//! Owns that a namespace is one orphan however often it is found. Refuses to forget one that is there.
use slipway_kit::{
    args,
    db::{Exec, Tx, Value},
    error::{CONFLICT, Error, Result},
    filter::{Field, Filter, Kind},
    page::{Cursor, OrderBy},
};

use super::Store;
use crate::model::{environment::Environment, orphan::Orphan};

/// Fields of filters, as the contract names them.
pub const ORPHAN_FILTER: &[Field] = &[
    Field { name: "cluster", column: "cluster", kind: Kind::Text },
    Field { name: "namespace", column: "namespace", kind: Kind::Text },
    Field { name: "create_time", column: "found_us", kind: Kind::Time },
];

impl Store {
    /// The lives with these uids, living or not.
    pub async fn lives(&self, uids: &[&str]) -> Result<Vec<Environment>> {
        if uids.is_empty() {
            return Ok(Vec::new());
        }
        let binds: Vec<String> = (1..=uids.len()).map(|n| format!("${n}")).collect();
        let sql = format!("SELECT body FROM environments WHERE uid IN ({})", binds.join(", "));
        let rows = self.db.fetch_all(&sql, uids.iter().map(|uid| Value::from(*uid)).collect()).await?;
        rows.iter().map(|row| row.json("body")).collect()
    }

    /// Adds an orphan; false if its namespace is one already.
    pub async fn insert_orphan(&self, tx: &mut Tx, orphan: &Orphan) -> Result<bool> {
        let sql = "INSERT INTO orphans (uid, cluster, namespace, found_us, gone_us, version, body) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
        let body = serde_json::to_string(orphan).map_err(Error::internal)?;
        let binds = args![
            &orphan.uid,
            &orphan.cluster,
            &orphan.namespace,
            orphan.found_us,
            orphan.gone_us,
            orphan.version,
            body
        ];
        Ok(tx.execute(sql, binds).await? == 1)
    }

    /// Replaces an orphan of the version before.
    ///
    /// # Errors
    /// CONFLICT if it moved.
    pub async fn update_orphan(&self, tx: &mut Tx, orphan: &Orphan) -> Result<()> {
        let sql = "UPDATE orphans SET gone_us = $1, version = $2, body = $3 WHERE uid = $4 AND version = $5";
        let body = serde_json::to_string(orphan).map_err(Error::internal)?;
        let binds = args![orphan.gone_us, orphan.version, body, &orphan.uid, orphan.version - 1];
        if tx.execute(sql, binds).await? == 1 {
            return Ok(());
        }
        Err(Error::new(&CONFLICT, format!("{} changed meanwhile", orphan.name())))
    }

    /// An orphan.
    pub async fn orphan(&self, exec: impl Into<Exec<'_>>, uid: &str) -> Result<Option<Orphan>> {
        let row = exec.into().fetch_optional("SELECT body FROM orphans WHERE uid = $1", args![uid]).await?;
        row.map(|row| row.json("body")).transpose()
    }

    /// Orphans of a cluster that are there.
    pub async fn orphans_in(&self, cluster: &str) -> Result<Vec<Orphan>> {
        let sql = "SELECT body FROM orphans WHERE cluster = $1 AND gone_us = 0 ORDER BY uid";
        self.db.fetch_all(sql, args![cluster]).await?.iter().map(|row| row.json("body")).collect()
    }

    /// A page of orphans, one row more than asked for if there is one, and the rows' cursors.
    pub async fn orphans(
        &self,
        filter: &Filter,
        show_gone: bool,
        order: &OrderBy,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<(Orphan, Cursor)>> {
        let (filter, binds) = filter.sql(ORPHAN_FILTER, 1)?;
        let there = if show_gone { "1 = 1" } else { "gone_us = 0" };
        self.page("orphans", (format!("{filter} AND {there}"), binds), order, cursor, limit).await
    }

    /// Forgets orphans that went before an instant.
    pub async fn purge_orphans(&self, before_us: i64) -> Result<u64> {
        self.db.execute("DELETE FROM orphans WHERE gone_us > 0 AND gone_us < $1", args![before_us]).await
    }
}
