//! Receipts of teardowns.
//!
//! Owns their keeping for 90 days. Refuses changes: a receipt is written once.
use serde::{Deserialize, Serialize};
use slipway_kit::{
    args,
    authz::Visible,
    db::{Exec, Tx, Value},
    error::{Error, Result},
};

use super::Store;
use crate::model::receipt::Receipt;

/// Where a page of receipts starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct After {
    /// When the last receipt's teardown was finished.
    pub deleted_us: i64,
    /// Its uid.
    pub uid: String,
}

impl Store {
    /// Writes a receipt; one that is there stays as it is.
    pub async fn insert_receipt(&self, tx: &mut Tx, receipt: &Receipt) -> Result<()> {
        let sql = "INSERT INTO receipts (uid, service, owner, deleted_us, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        let body = serde_json::to_string(receipt).map_err(Error::internal)?;
        tx.execute(sql, args![&receipt.uid, &receipt.service, &receipt.owner, receipt.deleted_us, body]).await.map(drop)
    }

    /// The receipt of a life.
    pub async fn receipt(&self, exec: impl Into<Exec<'_>>, uid: &str) -> Result<Option<Receipt>> {
        let row = exec.into().fetch_optional("SELECT body FROM receipts WHERE uid = $1", args![uid]).await?;
        row.map(|row| row.json("body")).transpose()
    }

    /// Receipts, newest first, one more than asked for if there is one.
    pub async fn receipts(
        &self,
        visible: &Visible,
        service: &str,
        after: Option<&After>,
        limit: usize,
    ) -> Result<Vec<Receipt>> {
        let (visible, mut binds) = visible.sql("owner", 1);
        let mut conditions = vec![visible];
        let bind = |binds: &mut Vec<Value>, value: Value| {
            binds.push(value);
            format!("${}", binds.len())
        };
        if !service.is_empty() {
            conditions.push(format!("service = {}", bind(&mut binds, service.into())));
        }
        if let Some(after) = after {
            let at = bind(&mut binds, after.deleted_us.into());
            let uid = bind(&mut binds, after.uid.as_str().into());
            conditions.push(format!("(deleted_us < {at} OR (deleted_us = {at} AND uid < {uid}))"));
        }
        let limit = bind(&mut binds, (limit + 1).into());
        let sql = format!(
            "SELECT body FROM receipts WHERE {} ORDER BY deleted_us DESC, uid DESC LIMIT {limit}",
            conditions.join(" AND ")
        );
        self.db.fetch_all(&sql, binds).await?.iter().map(|row| row.json("body")).collect()
    }

    /// Forgets receipts of teardowns before an instant.
    pub async fn purge_receipts(&self, before_us: i64) -> Result<u64> {
        self.db.execute("DELETE FROM receipts WHERE deleted_us < $1", args![before_us]).await
    }
}
