//! The loop: join, beat, claim, run, finish, drain.
//!
//! Owns concurrency per kind and the local guard of REL-50. Refuses to keep items across a pause: all are dropped before anything
//! is sent.
use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::{sync::Notify, task::JoinSet};

use super::{
    Claim, Handler, LEASE, Next, TRIES_MAX,
    member::Member,
    queue::{self, Finish},
};
use crate::{
    db::Db,
    error::{Error, Result, STALE_EPOCH},
    serve::Shutdown,
};

/// How often a worker looks without being nudged, for what other processes enqueued.
const POLL: Duration = Duration::from_secs(1);
/// Least wait between two looks, so that an item just out of reach does not spin.
const POLL_MIN: Duration = Duration::from_millis(5);
/// First and longest wait after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long a drain waits for items to finish by themselves.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs handlers over the queue of one database.
pub struct Worker {
    db: Db,
    kinds: Vec<Kind>,
    lease: Duration,
    drain: Duration,
    backoff: (Duration, Duration),
}

struct Kind {
    name: &'static str,
    concurrency: usize,
    handler: Arc<dyn Handler>,
}

/// The items being worked on, each with the index of its kind.
#[derive(Default)]
struct Running {
    tasks: JoinSet<usize>,
    count: HashMap<usize, usize>,
}

/// Why a tick of the loop ended.
enum Tick {
    Look,
    Lapsed,
    Down,
}

impl Worker {
    /// A worker without handlers.
    pub fn new(db: &Db) -> Self {
        Self { db: db.clone(), kinds: Vec::new(), lease: LEASE, drain: DRAIN, backoff: BACKOFF }
    }

    /// Adds the handler of a kind, working on at most `concurrency` items at once.
    #[must_use]
    pub fn handle(mut self, kind: &'static str, concurrency: usize, handler: impl Handler) -> Self {
        self.kinds.push(Kind { name: kind, concurrency: concurrency.max(1), handler: Arc::new(handler) });
        self
    }

    /// Another lease than 15 s; the heartbeat is a third of it.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Another patience at shutdown than 10 s.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Another first and longest wait after an error than 1 s and 5 min.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = (first, longest);
        self
    }

    /// Works until shutdown, then lets items finish, and gives back the others at once.
    pub async fn run(self, shutdown: Shutdown) {
        while !shutdown.is_down() {
            match Member::join(&self.db.reserved(), self.lease).await {
                Ok(member) => self.incarnation(&member, &shutdown).await,
                Err(error) => {
                    tracing::warn!(?error, "worker cannot join; trying again");
                    tokio::select! { () = tokio::time::sleep(POLL) => {}, () = shutdown.wait() => {} }
                }
            }
        }
    }

    /// Works on everything that is due now, until nothing is, and answers how many items were handled. For tests and tools.
    pub async fn run_due(&self) -> Result<usize> {
        let member = Member::join(&self.db, self.lease).await?;
        let mut handled = 0;
        loop {
            let before = handled;
            for kind in &self.kinds {
                for claim in queue::claim(&self.db, &member, kind.name, kind.concurrency).await? {
                    member.beat(&self.db).await?;
                    one(&self.db, kind.handler.as_ref(), &claim, self.backoff).await;
                    handled += 1;
                }
            }
            if handled == before {
                member.leave(&self.db).await?;
                return Ok(handled);
            }
        }
    }

    /// The life of one member: ends when its lease lapses, after a pause, or at shutdown.
    async fn incarnation(&self, member: &Member, shutdown: &Shutdown) {
        let mut running = Running::default();
        let lapsed = Arc::new(Notify::new());
        let heart = tokio::spawn(beat(self.db.reserved(), member.clone(), self.lease, Arc::clone(&lapsed)));
        let mut nudged = self.db.signals().work();
        let end = loop {
            nudged.mark_unchanged();
            if Instant::now() < member.lease.until()
                && let Err(error) = self.claim(member, &mut running).await
            {
                tracing::warn!(?error, "worker cannot claim; trying again");
            }
            match self.tick(&mut running, &mut nudged, &lapsed, shutdown).await {
                Tick::Look => {}
                end => break end,
            }
        };
        if matches!(end, Tick::Down) {
            let finished = async { while running.finished().await.is_some() {} };
            let _ = tokio::time::timeout(self.drain, finished).await;
        } else {
            tracing::warn!(member = %member.id, "lease lapsed or process paused; every item is dropped");
        }
        // A task ends at its next await; only when none is left may others take the items.
        running.tasks.shutdown().await;
        heart.abort();
        if let Err(error) = member.leave(&self.db).await {
            tracing::warn!(?error, "worker cannot give its items back; they are free when the lease lapses");
        }
    }

    async fn claim(&self, member: &Member, running: &mut Running) -> Result<()> {
        for (index, kind) in self.kinds.iter().enumerate() {
            let free = kind.concurrency.saturating_sub(running.count.get(&index).copied().unwrap_or(0));
            if free == 0 {
                continue;
            }
            for claim in queue::claim(&self.db, member, kind.name, free).await? {
                let (db, handler, backoff) = (self.db.clone(), Arc::clone(&kind.handler), self.backoff);
                *running.count.entry(index).or_default() += 1;
                running.tasks.spawn(async move {
                    one(&db, handler.as_ref(), &claim, backoff).await;
                    index
                });
            }
        }
        Ok(())
    }

    /// Waits for the next reason to look.
    async fn tick(
        &self,
        running: &mut Running,
        nudged: &mut tokio::sync::watch::Receiver<u64>,
        lapsed: &Notify,
        shutdown: &Shutdown,
    ) -> Tick {
        let open: Vec<_> = (self.kinds.iter().enumerate())
            .filter(|(index, kind)| running.count.get(index).copied().unwrap_or(0) < kind.concurrency)
            .map(|(_, kind)| kind.name)
            .collect();
        let wait =
            if open.is_empty() { POLL } else { queue::next_due(&self.db, &open).await.ok().flatten().unwrap_or(POLL) };
        tokio::select! {
            () = shutdown.wait() => Tick::Down,
            () = lapsed.notified() => Tick::Lapsed,
            Some(()) = running.finished() => Tick::Look,
            _ = nudged.changed() => Tick::Look,
            () = tokio::time::sleep(wait.clamp(POLL_MIN, POLL)) => Tick::Look,
        }
    }
}

impl Running {
    /// Waits for an item to end; `None` if there is none. A task that was cut off ends its process's use anyway.
    async fn finished(&mut self) -> Option<()> {
        let ended = self.tasks.join_next().await?;
        if let Ok(index) = ended {
            self.count.entry(index).and_modify(|n| *n = n.saturating_sub(1));
        }
        Some(())
    }
}

/// Beats at a third of the lease; tells when the lease has lapsed or the process was paused for as long.
async fn beat(db: Db, member: Member, lease: Duration, lapsed: Arc<Notify>) {
    let (every, step) = (lease / 3, lease / 15);
    let (mut beaten, mut ticked) = (Instant::now(), Instant::now());
    loop {
        tokio::time::sleep(step).await;
        let paused = ticked.elapsed() > every;
        ticked = Instant::now();
        if paused || ticked >= member.lease.until() {
            break lapsed.notify_one();
        }
        if beaten.elapsed() < every {
            continue;
        }
        beaten = Instant::now();
        // No answer within a third of the lease is no answer; the next beat asks again.
        match tokio::time::timeout(every, member.beat(&db)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => break lapsed.notify_one(),
            Ok(Err(error)) => tracing::warn!(?error, "heartbeat failed"),
            Err(_) => tracing::warn!("heartbeat got no answer in time"),
        }
        ticked = Instant::now();
    }
}

/// Works on one item and puts it back.
async fn one(db: &Db, handler: &dyn Handler, claim: &Claim, backoff: (Duration, Duration)) {
    // A process that died at it five times counts like five errors.
    let outcome = if handler.parks() && claim.attempts > TRIES_MAX {
        Err(Error::internal("the worker died at this item every time"))
    } else {
        let handled = AssertUnwindSafe(handler.handle(claim)).catch_unwind().await;
        handled.unwrap_or_else(|_| Err(Error::internal("the handler panicked")))
    };
    let text;
    let finish = match outcome {
        Ok(Next::Done) => Finish::Done,
        Ok(Next::After(delay)) => Finish::After(delay),
        Err(error) if error.is(&STALE_EPOCH) => {
            // Another's now, or an effect that no longer fits into the lease: whoever claims it next goes on.
            tracing::info!(kind = %claim.kind, id = %claim.id, epoch = claim.epoch, "claim lost");
            Finish::After(Duration::from_millis(200))
        }
        Err(error) => {
            tracing::warn!(kind = %claim.kind, id = %claim.id, attempts = claim.attempts, ?error, "work failed");
            text = error.to_string();
            if handler.parks() && claim.attempts >= TRIES_MAX {
                Finish::Park(&text)
            } else {
                Finish::Retry(jitter(backoff, claim.attempts), &text)
            }
        }
    };
    if let Err(error) = queue::finish(db, claim, finish).await {
        tracing::warn!(kind = %claim.kind, id = %claim.id, ?error, "an item could not be put back; it is free when the lease lapses");
    }
}

/// Full jitter over a wait that doubles with each attempt.
pub(super) fn jitter((first, longest): (Duration, Duration), attempts: i64) -> Duration {
    let doubled = u32::try_from(attempts - 1).unwrap_or(0).min(20);
    first.saturating_mul(1 << doubled).min(longest).mul_f64(rand::random_range(0.0..=1.0))
}
