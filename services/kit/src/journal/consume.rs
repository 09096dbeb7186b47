//! Applying another service's events: each once in effect, in order per key (REL-45).
//!
//! Owns position, deduplication and parking. Refuses to let one bad event hold back others: after five tries it is parked, and
//! with it only what follows of its own key.
use std::{future::Future, time::Duration};

use futures::{StreamExt as _, future::BoxFuture};
use slipway_proto::journal::v1::{WatchEventsRequest, journal_service_client::JournalServiceClient};

use super::Stored;
use crate::{
    args,
    db::{Db, Row, Tx},
    error::{DATABASE_UNAVAILABLE, Error, RESUME_TOKEN_EXPIRED, Result},
    serve::{Peers, Shutdown, error_from},
};

/// Tries before an event is parked.
const TRIES_MAX: i64 = 5;
/// Longest wait between two attempts to reach the producer.
const RECONNECT_MAX: Duration = Duration::from_secs(10);
/// How often parked events are tried again.
const REPLAY_EVERY: Duration = Duration::from_secs(600);
/// Longest life of one stream; it is then opened anew.
const STREAM_LIFE: Duration = Duration::from_secs(15 * 60);
/// Longest error text kept with a parked event.
const ERROR_CHARS_MAX: usize = 500;

/// Pulls a producer's events and applies each in one transaction with the consumer's position, until shutdown.
///
/// `apply` does nothing but work in the transaction; it may be called again for an event whose transaction failed.
pub async fn consume<F>(
    peers: Peers,
    db: Db,
    producer: &'static str,
    consumer: &'static str,
    shutdown: Shutdown,
    apply: F,
) where
    F: for<'a> Fn(&'a mut Tx, &'a Stored) -> BoxFuture<'a, Result<()>> + Send + Sync,
{
    let applier = Applier::new(db, consumer, producer, apply);
    let mut failures = 0u32;
    while !shutdown.is_down() {
        let pull = async {
            applier.replay().await?;
            pull(&applier, &peers, producer, &mut failures).await
        };
        let ended = tokio::select! { ended = pull => ended, () = shutdown.wait() => return };
        if let Err(error) = ended {
            if error.is(&RESUME_TOKEN_EXPIRED) {
                tracing::error!(
                    producer,
                    consumer,
                    "events were lost to retention or restore; starting from the oldest kept"
                );
                if let Err(error) = applier.rewind().await {
                    tracing::warn!(producer, consumer, ?error, "the position cannot be kept");
                }
            }
            tracing::debug!(producer, consumer, %error, "events are not to be had; trying again");
            failures += 1;
        }
        let wait = backoff(Duration::from_millis(200), failures, RECONNECT_MAX);
        tokio::select! { () = tokio::time::sleep(wait) => {}, () = shutdown.wait() => return }
    }
}

async fn pull<F>(applier: &Applier<F>, peers: &Peers, producer: &'static str, failures: &mut u32) -> Result<()>
where
    F: for<'a> Fn(&'a mut Tx, &'a Stored) -> BoxFuture<'a, Result<()>> + Send + Sync,
{
    let client = peers.as_service(producer, STREAM_LIFE);
    let request = WatchEventsRequest { after: applier.position().await? };
    let stream = JournalServiceClient::new(client).watch_events(request).await.map_err(error_from)?;
    let mut stream = stream.into_inner();
    let replay_at = tokio::time::sleep(REPLAY_EVERY);
    tokio::pin!(replay_at);
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = &mut replay_at => return Ok(()),
        };
        let Some(event) = event else { return Ok(()) };
        applier.apply(&Stored::from(event.map_err(error_from)?)).await?;
        *failures = 0;
    }
}

/// Full jitter over a doubling base.
fn backoff(base: Duration, attempt: u32, max: Duration) -> Duration {
    let ceiling = base.saturating_mul(1 << attempt.min(16)).min(max);
    ceiling.mul_f64(rand::random_range(0.1..=1.0))
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was applied now.
    Now,
    /// It was applied before.
    Before,
    /// It waits, with its key, until somebody helps.
    Parked,
}

/// An event that could not be applied.
#[derive(Clone, Debug)]
pub struct Parked {
    /// Consumer and producer, `<consumer>/<producer>`.
    pub consumer: String,
    /// The event.
    pub event: Stored,
    /// Tries so far; 0 if it only waits behind another of its key.
    pub attempts: i64,
    /// What went wrong last.
    pub last_error: String,
}

/// Applies events of one producer for one consumer.
pub struct Applier<F> {
    db: Db,
    name: String,
    apply: F,
}

impl<F> Applier<F>
where
    F: for<'a> Fn(&'a mut Tx, &'a Stored) -> BoxFuture<'a, Result<()>> + Send + Sync,
{
    /// An applier that keeps its position in `db`.
    pub fn new(db: Db, consumer: &str, producer: &str, apply: F) -> Self {
        Self { db, name: format!("{consumer}/{producer}"), apply }
    }

    /// Number of the last event of the producer that was applied or parked; 0 at first.
    pub async fn position(&self) -> Result<i64> {
        let row = self.db.fetch_optional("SELECT position FROM consumer WHERE name = $1", args![&self.name]).await?;
        row.map_or(Ok(0), |row| row.int("position"))
    }

    /// Starts again from the oldest event the producer keeps; what was applied is not applied again.
    pub async fn rewind(&self) -> Result<()> {
        self.db.execute("DELETE FROM consumer WHERE name = $1", args![&self.name]).await.map(drop)
    }

    /// Applies one event, or parks it after five tries. Errors only if the own database does not answer.
    pub async fn apply(&self, event: &Stored) -> Result<Applied> {
        if self.is_held_back(event).await? {
            self.park(event, 0, "waits behind an earlier event of its key").await?;
            return Ok(Applied::Parked);
        }
        match self.try_often(event).await? {
            Ok(applied) => Ok(applied),
            Err(error) => {
                tracing::error!(consumer = %self.name, event = %event.event_id, subject = %event.subject, ?error, "event parked");
                self.park(event, TRIES_MAX, &error.to_string()).await?;
                Ok(Applied::Parked)
            }
        }
    }

    /// Tries every parked event again, in order per key; answers how many were applied.
    pub async fn replay(&self) -> Result<u64> {
        let mut stuck = std::collections::BTreeSet::new();
        let mut applied = 0;
        for parked in parked(&self.db, &self.name).await? {
            if stuck.contains(&parked.event.key) {
                continue;
            }
            match self.once(&parked.event).await {
                Ok(_) => applied += 1,
                Err(error) => {
                    stuck.insert(parked.event.key.clone());
                    self.park(&parked.event, parked.attempts + 1, &error.to_string()).await?;
                }
            }
        }
        Ok(applied)
    }

    async fn try_often(&self, event: &Stored) -> Result<Result<Applied>> {
        let mut tries = 0;
        loop {
            match self.once(event).await {
                Ok(applied) => return Ok(Ok(applied)),
                Err(error) if error.is(&DATABASE_UNAVAILABLE) => return Err(error),
                Err(error) => {
                    tries += 1;
                    if tries >= TRIES_MAX {
                        return Ok(Err(error));
                    }
                    let attempt = u32::try_from(tries).unwrap_or(u32::MAX);
                    tokio::time::sleep(backoff(Duration::from_millis(20), attempt, Duration::from_secs(1))).await;
                }
            }
        }
    }

    /// One transaction: deduplication, effect, position, and the end of a parking.
    async fn once(&self, event: &Stored) -> Result<Applied> {
        let mut tx = self.db.begin().await?;
        tx.set_traceparent(&event.traceparent);
        let sql =
            "INSERT INTO consumed (consumer, event_id, applied_us) VALUES ($1, $2, NOW_US()) ON CONFLICT DO NOTHING";
        let fresh = tx.execute(sql, args![&self.name, &event.event_id]).await? == 1;
        if fresh {
            (self.apply)(&mut tx, event).await?;
        }
        tx.execute("DELETE FROM parked WHERE consumer = $1 AND event_id = $2", args![&self.name, &event.event_id])
            .await?;
        advance(&mut tx, &self.name, event.seq).await?;
        tx.commit().await?;
        Ok(if fresh { Applied::Now } else { Applied::Before })
    }

    async fn is_held_back(&self, event: &Stored) -> Result<bool> {
        let sql = "SELECT event_id FROM parked WHERE consumer = $1 AND event_key = $2 AND seq < $3 LIMIT 1";
        Ok(self.db.fetch_optional(sql, args![&self.name, &event.key, event.seq]).await?.is_some())
    }

    async fn park(&self, event: &Stored, attempts: i64, error: &str) -> Result<()> {
        let json = serde_json::to_string(event).map_err(Error::internal)?;
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        let mut tx = self.db.begin().await?;
        tx.execute(
            "INSERT INTO parked (consumer, event_id, seq, event_key, event, attempts, last_error) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (consumer, event_id) \
             DO UPDATE SET attempts = excluded.attempts, last_error = excluded.last_error",
            args![&self.name, &event.event_id, event.seq, &event.key, json, attempts, error],
        )
        .await?;
        advance(&mut tx, &self.name, event.seq).await?;
        tx.commit().await
    }
}

/// A position never goes back except by a rewind.
fn advance<'a>(tx: &'a mut Tx, name: &'a str, seq: i64) -> impl Future<Output = Result<u64>> + 'a {
    let sql = "INSERT INTO consumer (name, position) VALUES ($1, $2) ON CONFLICT (name) \
               DO UPDATE SET position = excluded.position WHERE excluded.position > consumer.position";
    tx.execute(sql, args![name, seq])
}

/// The parked events of a consumer (`<consumer>/<producer>`), oldest first; at most 10,000.
pub async fn parked(db: &Db, consumer: &str) -> Result<Vec<Parked>> {
    let sql = "SELECT event, attempts, last_error FROM parked WHERE consumer = $1 ORDER BY seq LIMIT 10000";
    let read = |row: &Row| {
        Ok(Parked {
            consumer: consumer.to_owned(),
            event: row.json("event")?,
            attempts: row.int("attempts")?,
            last_error: row.text("last_error")?,
        })
    };
    db.fetch_all(sql, args![consumer]).await?.iter().map(read).collect()
}
