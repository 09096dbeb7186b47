//! Durable work: due rows, claimed by member lease and epoch, run, backed off, nudged and drained (REL-47 to REL-50).
//!
//! Owns the queue and the loop over it. Refuses to be trusted blindly: a handler's every write begins with [`Claim::guard`], so
//! that one who was paused or cut off writes nothing. The time of leases is the database's.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;

use crate::{
    args,
    db::{Db, Exec, Row, Tx},
    error::{Error, Result, STALE_EPOCH},
};

mod member;
mod queue;
mod run;

pub use run::Worker;

/// How long a member may be silent before others take its work.
pub const LEASE: Duration = Duration::from_secs(15);
/// Tries before an item of a parking handler is parked.
pub const TRIES_MAX: i64 = 5;

/// Makes an item due after a delay; of several wishes the sooner wins. A parked item starts anew.
///
/// The commit of the transaction nudges the workers of this process.
pub async fn enqueue(tx: &mut Tx, kind: &str, id: &str, delay_ms: i64) -> Result<()> {
    tx.execute(
        // A new item's epoch is the time in microseconds: above every epoch that an earlier item of this name ever had.
        "INSERT INTO work (kind, id, next_us, member, epoch, attempts, parked, last_error) \
         VALUES ($1, $2, NOW_US() + $3 * 1000, '', NOW_US(), 0, 0, '') \
         ON CONFLICT (kind, id) DO UPDATE SET \
         next_us = CASE WHEN excluded.next_us < work.next_us OR work.parked = 1 THEN excluded.next_us ELSE work.next_us END, \
         attempts = CASE WHEN work.parked = 1 THEN 0 ELSE work.attempts END, parked = 0",
        args![kind, id, delay_ms],
    )
    .await?;
    tx.wake_work();
    Ok(())
}

/// Forgets an item; a worker that is at it finds its guard failing.
pub async fn cancel(tx: &mut Tx, kind: &str, id: &str) -> Result<()> {
    tx.execute("DELETE FROM work WHERE kind = $1 AND id = $2", args![kind, id]).await.map(drop)
}

/// An item as people see it (REL-28).
#[derive(Clone, Debug)]
pub struct Item {
    /// Kind of work.
    pub kind: String,
    /// What it is about.
    pub id: String,
    /// When it is due next; far in the future while somebody is at it.
    pub next_us: i64,
    /// Claims since it last went well.
    pub attempts: i64,
    /// Whether it waits for somebody's help.
    pub parked: bool,
    /// What went wrong last.
    pub last_error: String,
}

/// The item, if there is something to do about it.
pub async fn item(exec: impl Into<Exec<'_>>, kind: &str, id: &str) -> Result<Option<Item>> {
    let sql = "SELECT kind, id, next_us, attempts, parked, last_error FROM work WHERE kind = $1 AND id = $2";
    exec.into().fetch_optional(sql, args![kind, id]).await?.as_ref().map(read_item).transpose()
}

/// Parked items of a kind, at most 1,000.
pub async fn parked(db: &Db, kind: &str) -> Result<Vec<Item>> {
    let sql = "SELECT kind, id, next_us, attempts, parked, last_error FROM work WHERE kind = $1 AND parked = 1 ORDER BY id LIMIT 1000";
    db.fetch_all(sql, args![kind]).await?.iter().map(read_item).collect()
}

fn read_item(row: &Row) -> Result<Item> {
    Ok(Item {
        kind: row.text("kind")?,
        id: row.text("id")?,
        next_us: row.int("next_us")?,
        attempts: row.int("attempts")?,
        parked: row.bool("parked")?,
        last_error: row.text("last_error")?,
    })
}

/// A worker's hold on an item.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Kind of work.
    pub kind: String,
    /// What it is about.
    pub id: String,
    /// Fencing number: higher at every claim of this item, for ever.
    pub epoch: i64,
    /// Claims since it last went well, this one included.
    pub attempts: i64,
    member: String,
    lease: Lease,
}

impl Claim {
    /// Begins every transaction in which a worker writes: STALE_EPOCH once the claim is lost, and then the worker gives up silently.
    ///
    /// Holds the item's row until the end of the transaction, so that nobody can take it in between.
    pub async fn guard(&self, tx: &mut Tx) -> Result<()> {
        let held = tx
            .execute(
                "UPDATE work SET epoch = epoch WHERE kind = $1 AND id = $2 AND epoch = $3 AND member = $4 AND EXISTS \
                 (SELECT 1 FROM members m WHERE m.id = $4 AND m.lease_until_us > NOW_US())",
                args![&self.kind, &self.id, self.epoch, &self.member],
            )
            .await?;
        if held == 1 { Ok(()) } else { Err(self.stale()) }
    }

    /// Asked before an effect outside the database: STALE_EPOCH if less than the effect's time-out and a second are left of the
    /// lease as this process knows it (REL-50).
    pub fn may_start(&self, timeout: Duration) -> Result<()> {
        let until = self.lease.until();
        if Instant::now() + timeout + Duration::from_secs(1) < until { Ok(()) } else { Err(self.stale()) }
    }

    fn stale(&self) -> Error {
        Error::new(&STALE_EPOCH, format!("{} {} is worked on by another", self.kind, self.id))
    }
}

/// Until when the member's lease surely holds, by this process's monotonic clock.
#[derive(Clone, Debug)]
struct Lease(Arc<Mutex<Instant>>);

impl Lease {
    fn new(until: Instant) -> Self {
        Self(Arc::new(Mutex::new(until)))
    }

    fn until(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// What comes after an item was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until somebody enqueues it again.
    Done,
    /// Another look after this time, or sooner if somebody enqueues it.
    After(Duration),
}

/// Works on items of one kind. It rereads everything: an item carries no input but its id.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Works on one item. An error backs off from a second to five minutes with full jitter.
    async fn handle(&self, claim: &Claim) -> Result<Next>;

    /// Whether an item is parked after five tries instead of tried for ever.
    fn parks(&self) -> bool {
        false
    }
}

#[async_trait]
impl<H: Handler + ?Sized> Handler for Arc<H> {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        (**self).handle(claim).await
    }

    fn parks(&self) -> bool {
        (**self).parks()
    }
}

#[async_trait]
impl Handler for Box<dyn Handler> {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        (**self).handle(claim).await
    }

    fn parks(&self) -> bool {
        (**self).parks()
    }
}

#[cfg(test)]
mod tests;
