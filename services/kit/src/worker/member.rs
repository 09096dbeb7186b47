//! A member: one incarnation of a process, and the lease that all its items hang on (REL-48).
//!
//! Owns its row. Refuses to revive a lapsed member: that one's items may be another's already.
use std::time::{Duration, Instant};

use super::Lease;
use crate::{args, db::Db, error::Result, id};

/// Members silent for so long are forgotten.
const FORGET_AFTER_US: i64 = 24 * 3600 * 1_000_000;

/// A living member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub id: String,
    pub lease: Lease,
    length: Duration,
}

impl Member {
    /// A new incarnation with a fresh lease.
    pub async fn join(db: &Db, length: Duration) -> Result<Self> {
        let (id, sent) = (id::uuid7(), Instant::now());
        db.execute("DELETE FROM members WHERE lease_until_us < NOW_US() - $1", args![FORGET_AFTER_US]).await?;
        let sql = "INSERT INTO members (id, lease_until_us) VALUES ($1, NOW_US() + $2)";
        db.execute(sql, args![&id, micros(length)]).await?;
        Ok(Self { id, lease: Lease::new(sent + length), length })
    }

    /// Lengthens the lease if it has not lapsed; answers whether it lives.
    pub async fn beat(&self, db: &Db) -> Result<bool> {
        let sent = Instant::now();
        let sql = "UPDATE members SET lease_until_us = NOW_US() + $2 WHERE id = $1 AND lease_until_us > NOW_US()";
        let alive = db.execute(sql, args![&self.id, micros(self.length)]).await? == 1;
        if alive {
            self.lease.extend(sent + self.length);
        }
        Ok(alive)
    }

    /// Gives every item back at once; what was begun and not finished does not count as a try.
    pub async fn leave(&self, db: &Db) -> Result<()> {
        let mut tx = db.begin().await?;
        let sql = "UPDATE work SET member = '', attempts = attempts - 1, next_us = NOW_US() WHERE member = $1";
        tx.execute(sql, args![&self.id]).await?;
        tx.execute("DELETE FROM members WHERE id = $1", args![&self.id]).await?;
        tx.wake_work();
        tx.commit().await
    }
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
