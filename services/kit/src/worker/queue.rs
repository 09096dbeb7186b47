//! The queue's statements: find, claim, finish.
//!
//! Owns the portable claim of REL-47. Refuses locks of one engine: a claim is one conditional update.
use std::time::Duration;

use super::{Claim, member::Member};
use crate::{args, db::Db, error::Result};

/// `next_us` of an item somebody is at: a wish that comes meanwhile is always sooner.
pub(super) const BUSY_US: i64 = i64::MAX;
/// Longest error text kept with an item.
const ERROR_CHARS_MAX: usize = 500;

const CLAIMABLE: &str = "parked = 0 AND ((member = '' AND next_us <= NOW_US()) OR (member <> '' AND NOT EXISTS \
     (SELECT 1 FROM members m WHERE m.id = work.member AND m.lease_until_us > NOW_US())))";

/// Claims up to `free` items of a kind that are due, or whose member has fallen silent.
pub(super) async fn claim(db: &Db, member: &Member, kind: &str, free: usize) -> Result<Vec<Claim>> {
    let sql = format!("SELECT id, epoch FROM work WHERE kind = $1 AND {CLAIMABLE} ORDER BY next_us, id LIMIT $2");
    let candidates = db.fetch_all(&sql, args![kind, free * 4]).await?;
    let mut claims = Vec::new();
    for row in candidates {
        if claims.len() == free {
            break;
        }
        let sql = format!(
            "UPDATE work SET member = $1, epoch = epoch + 1, attempts = attempts + 1, \
             next_us = CASE WHEN member = '' THEN $2 ELSE next_us END \
             WHERE kind = $3 AND id = $4 AND epoch = $5 AND {CLAIMABLE} RETURNING id, epoch, attempts"
        );
        let binds = args![&member.id, BUSY_US, kind, row.text("id")?, row.int("epoch")?];
        if let Some(won) = db.fetch_optional(&sql, binds).await? {
            claims.push(Claim {
                kind: kind.to_owned(),
                id: won.text("id")?,
                epoch: won.int("epoch")?,
                attempts: won.int("attempts")?,
                member: member.id.clone(),
                lease: member.lease.clone(),
            });
        }
    }
    Ok(claims)
}

/// Time until the next item of any of the kinds is due, if there is one.
pub(super) async fn next_due(db: &Db, kinds: &[&'static str]) -> Result<Option<Duration>> {
    let binds = (1..=kinds.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT MIN(next_us) - NOW_US() AS due FROM work WHERE parked = 0 AND member = '' AND kind IN ({binds})"
    );
    let row = db.fetch_one(&sql, kinds.iter().map(|kind| (*kind).into()).collect()).await?;
    Ok(row.opt_int("due")?.map(|due| Duration::from_micros(u64::try_from(due).unwrap_or(0))))
}

/// How an item is put back.
pub(super) enum Finish<'a> {
    /// Nothing more to do.
    Done,
    /// It went well; another look.
    After(Duration),
    /// It failed; another try.
    Retry(Duration, &'a str),
    /// It failed too often.
    Park(&'a str),
}

/// Puts an item back; nothing happens if the claim is lost. A wish that came meanwhile is kept.
pub(super) async fn finish(db: &Db, claim: &Claim, finish: Finish<'_>) -> Result<()> {
    const HELD: &str = "kind = $1 AND id = $2 AND epoch = $3 AND member = $4 AND EXISTS \
         (SELECT 1 FROM members m WHERE m.id = $4 AND m.lease_until_us > NOW_US())";
    let mut binds = args![&claim.kind, &claim.id, claim.epoch, &claim.member];
    if matches!(finish, Finish::Done) {
        binds.push(BUSY_US.into());
        if db.execute(&format!("DELETE FROM work WHERE {HELD} AND next_us = $5"), binds.clone()).await? == 1 {
            return Ok(());
        }
        // Somebody wants it again.
        binds.pop();
        let sql = format!("UPDATE work SET member = '', attempts = 0, last_error = '' WHERE {HELD}");
        return db.execute(&sql, binds).await.map(drop);
    }
    let (delay, attempts, parked, error) = match finish {
        Finish::Done => return Ok(()),
        Finish::After(delay) => (delay, 0, 0, ""),
        Finish::Retry(delay, error) => (delay, claim.attempts, 0, error),
        Finish::Park(error) => (Duration::ZERO, claim.attempts, 1, error),
    };
    let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
    binds.extend(args![i64::try_from(delay.as_micros()).unwrap_or(i64::MAX / 4), attempts, parked, error]);
    let sql = format!(
        "UPDATE work SET member = '', attempts = $6, parked = $7, last_error = $8, \
         next_us = CASE WHEN next_us < NOW_US() + $5 THEN next_us ELSE NOW_US() + $5 END WHERE {HELD}"
    );
    db.execute(&sql, binds).await.map(drop)
}
