//! What changes in clusters: hints that an environment must be looked at, and the knowledge that nothing changed (ENV-124).
//!
//! Owns the one watch of each cluster, for all who need to know, and a memory that only saves requests. Refuses to be needed: without a watch every look is a
//! real one, and after a restart too.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use slipway_kit::{error::Result, serve::Shutdown, worker};
use tokio::{
    sync::{Notify, broadcast},
    task::JoinSet,
    time::Instant,
};

use super::{App, WORK_ENVIRONMENT};
use crate::model::{environment::Environment, rollout::LOOK_EVERY_US};

/// Changes that come within this time are one hint.
const GATHER: Duration = Duration::from_millis(200);
/// How long until a watch that could not be begun is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Hints that a listener may leave waiting; one that falls behind is told that it missed some.
const WAITING_MAX: usize = 4096;
/// Uids that are gathered into one hint at most.
const GATHER_MAX: usize = 1000;

/// The watches of clusters, told to everybody who listens; cheap to clone.
#[derive(Clone)]
pub struct Watches(Arc<Told>);

struct Told {
    hints: broadcast::Sender<String>,
    wanted: Mutex<BTreeSet<String>>,
    news: Notify,
}

impl Default for Watches {
    fn default() -> Self {
        let (hints, _) = broadcast::channel(WAITING_MAX);
        Self(Arc::new(Told { hints, wanted: Mutex::default(), news: Notify::new() }))
    }
}

impl Watches {
    /// Uids of environments as something of theirs changes, of every cluster; an empty one says that some may have been missed.
    pub fn listen(&self) -> broadcast::Receiver<String> {
        self.0.hints.subscribe()
    }

    /// Has a cluster watched, if it is not yet.
    pub fn want(&self, cluster: &str) {
        if self.wanted().insert(cluster.to_owned()) {
            self.0.news.notify_one();
        }
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, uid: &str) {
        // Nobody listens where no routes are kept.
        let _ = self.0.hints.send(uid.to_owned());
    }
}

/// Which environments were looked at and left nothing to do; cheap to clone.
#[derive(Clone, Default)]
pub struct Looked(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    watched: BTreeSet<String>,
    changes: BTreeMap<String, u64>,
    settled: BTreeMap<String, Settled>,
}

struct Settled {
    cluster: String,
    token: u64,
    version: i64,
    at_us: i64,
}

impl Looked {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taken before a look: tells later whether something changed since.
    pub fn token(&self, uid: &str) -> u64 {
        self.memory().changes.get(uid).copied().unwrap_or(0)
    }

    /// A look with this token left nothing to do.
    pub fn settle(&self, env: &Environment, token: u64, now_us: i64) {
        let mut memory = self.memory();
        if memory.watched.contains(&env.cluster) {
            let cluster = env.cluster.clone();
            memory.settled.insert(env.uid.clone(), Settled { cluster, token, version: env.version, at_us: now_us });
        }
    }

    /// Whether neither the environment nor its cluster changed since a look that left nothing to do; false after a while, so that every
    /// environment is really looked at now and then.
    pub fn is_unchanged(&self, env: &Environment, now_us: i64) -> bool {
        let memory = self.memory();
        let Some(last) = memory.settled.get(&env.uid) else { return false };
        memory.watched.contains(&env.cluster)
            && last.version == env.version
            && last.token == memory.changes.get(&env.uid).copied().unwrap_or(0)
            && now_us - last.at_us < LOOK_EVERY_US
    }

    /// Something of this environment changed.
    fn change(&self, uid: &str) {
        let mut memory = self.memory();
        memory.settled.remove(uid);
        *memory.changes.entry(uid.to_owned()).or_default() += 1;
    }

    /// A watch of a cluster began, broke or may have missed something: nothing that was known of it counts.
    fn forget(&self, cluster: &str, is_watched: bool) {
        let mut memory = self.memory();
        memory.settled.retain(|_, last| last.cluster != cluster);
        if is_watched {
            memory.watched.insert(cluster.to_owned())
        } else {
            memory.watched.remove(cluster)
        };
        if memory.changes.len() > 10_000 {
            memory.changes.clear();
        }
    }
}

impl App {
    /// Puts everything into the queue after a start, then lets the clusters tell what changes, until shutdown.
    pub async fn keep_awake(&self, shutdown: Shutdown) {
        self.wake_all().await.unwrap_or_else(|e| tracing::error!(error = ?e, "not woken"));
        self.watch_clusters(shutdown).await;
    }

    /// Watches every cluster that environments are applied to, until shutdown.
    pub async fn watch_clusters(&self, shutdown: Shutdown) {
        let mut watches = JoinSet::new();
        let mut watched = BTreeSet::new();
        while !shutdown.is_down() {
            let used = self.store.clusters_in_use().await.unwrap_or_default();
            let asked = self.watches.wanted().clone();
            for id in used.into_iter().chain(asked).chain(self.platform.clusters.iter().cloned()) {
                if watched.insert(id.clone()) {
                    self.sweep_soon(&id).await.unwrap_or_else(|e| tracing::warn!(error = ?e, "not swept"));
                    let (app, shutdown) = (self.clone(), shutdown.clone());
                    watches.spawn(async move { app.watch_cluster(id, shutdown).await });
                }
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.watches.0.news.notified() => {}
                () = shutdown.wait() => {}
            }
        }
        while watches.join_next().await.is_some() {}
    }

    async fn watch_cluster(&self, id: String, shutdown: Shutdown) {
        while !shutdown.is_down() {
            if let Err(error) = self.watch_once(&id, &shutdown).await {
                tracing::debug!(?error, cluster = %id, "not watched");
            }
            self.looked.forget(&id, false);
            tokio::select! { () = tokio::time::sleep(AGAIN) => {}, () = shutdown.wait() => {} }
        }
    }

    async fn watch_once(&self, id: &str, shutdown: &Shutdown) -> Result<()> {
        let mut changes = self.world.clusters.open(id).await?.changes().await?;
        self.looked.forget(id, true);
        self.watches.tell("");
        let (mut waiting, mut due) = (BTreeSet::new(), None::<Instant>);
        loop {
            // Whoever listens is told at once; the queue gets what came within a while in one piece.
            tokio::select! {
                uid = changes.next() => {
                    let Some(uid) = uid else { return Ok(()) };
                    self.watches.tell(&uid);
                    waiting.insert(uid);
                    due.get_or_insert_with(|| Instant::now() + GATHER);
                    if waiting.len() < GATHER_MAX {
                        continue;
                    }
                }
                () = until(due), if due.is_some() => {}
                () = shutdown.wait() => return Ok(()),
            }
            due = None;
            self.changed(id, std::mem::take(&mut waiting)).await?;
        }
    }

    /// Wakes living environments; an empty uid says that changes may have been missed, and wakes all.
    pub(crate) async fn changed(&self, cluster: &str, mut uids: BTreeSet<String>) -> Result<()> {
        if uids.remove("") {
            self.looked.forget(cluster, true);
            uids.extend(self.store.all_living().await?);
        }
        for uid in &uids {
            self.looked.change(uid);
        }
        let mut tx = self.store.db.begin().await?;
        for uid in uids {
            // What we do not know, or what ended, is the sweeper's.
            if self.store.by_uid(&mut tx, &uid).await?.is_some_and(|env| env.deleted_us.is_none()) {
                worker::enqueue(&mut tx, WORK_ENVIRONMENT, &uid, 0).await?;
            }
        }
        tx.commit().await
    }
}

/// Waits for an instant, if there is one.
pub(super) async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment::fixture;

    #[test]
    fn a_cluster_that_is_not_watched_spoils_nothing_of_one_that_is() {
        let (looked, env) = (Looked::default(), fixture::preview());
        looked.settle(&env, looked.token(&env.uid), 1);
        assert!(!looked.is_unchanged(&env, 2), "nobody would tell of a change");
        looked.forget(&env.cluster, true);
        looked.settle(&env, looked.token(&env.uid), 1);
        looked.forget("another", false);
        assert!(looked.is_unchanged(&env, 2));
        assert!(!looked.is_unchanged(&env, 2 + LOOK_EVERY_US), "now and then it is really looked at");
        looked.change(&env.uid);
        assert!(!looked.is_unchanged(&env, 2));
        looked.settle(&env, looked.token(&env.uid), 2);
        looked.forget(&env.cluster, true);
        assert!(!looked.is_unchanged(&env, 3), "a watch that began anew may have missed something");
    }
}
