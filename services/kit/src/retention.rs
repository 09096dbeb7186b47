//! What kit's tables keep, and for how long.
//!
//! Owns the periods and the loop that removes what is past them, in batches. Refuses to touch what a service owns.
use std::time::Duration;

use crate::{args, db::Db, error::Result, journal, mutation, serve::Shutdown};

/// Events kept in the journal (CAT-95).
const JOURNAL_EVENTS: i64 = 1_000_000;
/// How long deduplication of applied events, and finished deliveries, are kept.
const APPLIED_US: i64 = 30 * DAY_US;
/// How long audit records are kept (SAFE-76).
const AUDIT_US: i64 = 400 * DAY_US;
const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// Most rows removed by one statement.
const BATCH: i64 = 1_000;
/// How often the loop looks.
const EVERY: Duration = Duration::from_secs(15 * 60);

/// Removes what is past its time, every quarter of an hour until shutdown. Several processes may do so at once.
pub async fn run(db: Db, shutdown: Shutdown) {
    loop {
        let wait = EVERY.mul_f64(rand::random_range(0.8..1.2));
        tokio::select! { () = tokio::time::sleep(wait) => {}, () = shutdown.wait() => return }
        match sweep(&db).await {
            Ok(removed) => tracing::debug!(removed, "retention swept"),
            Err(error) => tracing::warn!(?error, "retention could not sweep; trying again later"),
        }
    }
}

/// Removes what is past its time now; answers how many rows.
pub async fn sweep(db: &Db) -> Result<u64> {
    let mut removed = mutation::purge(db).await? + journal::trim(db, JOURNAL_EVENTS).await?;
    for (table, key, past, keep_us) in [
        ("consumed", "consumer, event_id", "applied_us < NOW_US() - $1", APPLIED_US),
        ("inbox", "source, delivery_id", "done_us > 0 AND done_us < NOW_US() - $1", APPLIED_US),
        ("audit", "id", "recorded_us < NOW_US() - $1", AUDIT_US),
    ] {
        let sql = format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {past} LIMIT $2)");
        loop {
            let batch = db.execute(&sql, args![keep_us, BATCH]).await?;
            removed += batch;
            if batch == 0 {
                break;
            }
        }
    }
    Ok(removed)
}
