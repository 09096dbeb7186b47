//! Who was shown a value when, for the hourly limit.
//!
//! Owns the window. Refuses to keep what was shown: that is the audit's.
use slipway_kit::{args, db::Tx, error::Result, id};

use crate::model::reveal::WINDOW_US;

/// Instants of the principal's reveals in the window before now, oldest first, and now; the principal's reveals take turns from
/// here to the commit.
pub async fn recent(tx: &mut Tx, principal: &str) -> Result<(Vec<i64>, i64)> {
    let sql = "INSERT INTO revealer (principal, reveals) VALUES ($1, 1) \
               ON CONFLICT (principal) DO UPDATE SET reveals = revealer.reveals + 1 RETURNING NOW_US() AS now_us";
    let now_us = tx.fetch_one(sql, args![principal]).await?.int("now_us")?;
    tx.execute("DELETE FROM reveal WHERE principal = $1 AND revealed_us <= $2", args![principal, now_us - WINDOW_US])
        .await?;
    let rows = tx
        .fetch_all("SELECT revealed_us FROM reveal WHERE principal = $1 ORDER BY revealed_us", args![principal])
        .await?;
    Ok((rows.iter().map(|row| row.int("revealed_us")).collect::<Result<_>>()?, now_us))
}

/// Remembers one.
pub async fn add(tx: &mut Tx, principal: &str, now_us: i64) -> Result<()> {
    let sql = "INSERT INTO reveal (id, principal, revealed_us) VALUES ($1, $2, $3)";
    tx.execute(sql, args![id::uuid7(), principal, now_us]).await.map(drop)
}
