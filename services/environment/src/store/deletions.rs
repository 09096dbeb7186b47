//! Deletions that wait for confirmation.
//!
//! Owns the token and who confirmed. Refuses more than one open deletion per life.
use slipway_kit::{
    args,
    db::Tx,
    error::{Error, Result},
};

use super::Store;

/// A deletion that was asked for and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDeletion {
    /// Uid of the life.
    pub uid: String,
    /// Names the deletion.
    pub token: String,
    /// Who asked.
    pub requester: String,
    /// Who confirmed.
    pub confirmers: Vec<String>,
    /// Until when it may be confirmed, in microseconds.
    pub expire_us: i64,
}

impl Store {
    /// The deletion that waits at this instant.
    pub async fn open_deletion(&self, tx: &mut Tx, uid: &str, now_us: i64) -> Result<Option<OpenDeletion>> {
        let sql =
            "SELECT uid, token, requester, confirmers, expire_us FROM deletions WHERE uid = $1 AND expire_us > $2";
        let row = tx.fetch_optional(sql, args![uid, now_us]).await?;
        row.map(|row| {
            Ok(OpenDeletion {
                uid: row.text("uid")?,
                token: row.text("token")?,
                requester: row.text("requester")?,
                confirmers: row.json("confirmers")?,
                expire_us: row.int("expire_us")?,
            })
        })
        .transpose()
    }

    /// Keeps a deletion as it is now.
    pub async fn keep_deletion(&self, tx: &mut Tx, deletion: &OpenDeletion) -> Result<()> {
        let sql = "INSERT INTO deletions (uid, token, requester, confirmers, expire_us) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (uid) DO UPDATE SET token = excluded.token, requester = excluded.requester, \
                   confirmers = excluded.confirmers, expire_us = excluded.expire_us";
        let confirmers = serde_json::to_string(&deletion.confirmers).map_err(Error::internal)?;
        let binds = args![&deletion.uid, &deletion.token, &deletion.requester, confirmers, deletion.expire_us];
        tx.execute(sql, binds).await.map(drop)
    }

    /// Forgets the deletion of a life.
    pub async fn drop_deletion(&self, tx: &mut Tx, uid: &str) -> Result<()> {
        tx.execute("DELETE FROM deletions WHERE uid = $1", args![uid]).await.map(drop)
    }
}
