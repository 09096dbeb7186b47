//! The table host → upstreams of every living environment that is applied, kept fresh for the proxy.
//!
//! Owns one table for all who watch it, filled from the journal, the hints of `watching` and a slow pass; and what use of a host means.
//! Refuses calls to a cluster for a request: whoever asks reads the table.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use slipway_kit::{
    error::{CONFLICT, Result},
    journal,
    serve::Shutdown,
    worker,
};
use tokio::{sync::watch, time::Instant};

use super::{App, WORK_ENVIRONMENT, watching::until};
use crate::model::{
    approval,
    environment::{Environment, Power, Target},
    manifest::Doc,
    route::{self, Route, RouteState},
};

/// How long hints are gathered before the cluster is asked.
const GATHER: Duration = Duration::from_millis(100);
/// How often everything is looked at without a hint.
const PASS_EVERY: Duration = Duration::from_secs(60);
/// Pause before a cluster that gave no answer is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// How exactly use is noted (ENV-112), in microseconds.
const USE_GRAIN_US: i64 = 60_000_000;
/// Tries to wake an environment that others change meanwhile.
const TRIES_MAX: usize = 10;

/// Documents that matter to routes, by uid, with the digest of the render they are of.
type Documents = BTreeMap<String, (String, Arc<Vec<Doc>>)>;
type Table = Arc<BTreeMap<String, Arc<Route>>>;

/// The table; cheap to clone.
#[derive(Clone)]
pub struct Routes(Arc<Inner>);

struct Inner {
    /// Nothing until the first pass is done.
    table: watch::Sender<Option<Table>>,
    /// Documents that matter to routes, by uid, with the digest of the render they are of.
    documents: Mutex<Documents>,
}

impl Default for Routes {
    fn default() -> Self {
        Self(Arc::new(Inner { table: watch::Sender::new(None), documents: Mutex::default() }))
    }
}

/// One message to a watcher of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// The route is so.
    Put(Arc<Route>),
    /// There is no route of this host any more.
    Delete(String),
    /// Everything that there is has been told.
    Synced,
}

/// Use of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The host.
    pub host: String,
    /// Requests since the last word.
    pub requests: i64,
    /// Whether a request waits for it.
    pub wake: bool,
}

impl Routes {
    /// Replaces the routes of these environments.
    fn put(&self, fresh: BTreeMap<String, Vec<Route>>, is_whole: bool) {
        self.0.table.send_if_modified(|table| {
            let old = table.clone().unwrap_or_default();
            let kept = old.iter().filter(|(_, route)| !is_whole && !fresh.contains_key(&route.uid));
            let mut new: BTreeMap<String, Arc<Route>> = kept.map(|(h, r)| (h.clone(), r.clone())).collect();
            for route in fresh.into_values().flatten() {
                // Under the host of a life that ends, the next one may be up already.
                if new.get(&route.host).is_some_and(|known| known.state != RouteState::None) {
                    continue;
                }
                let same = old.get(&route.host).filter(|known| ***known == route).cloned();
                new.insert(route.host.clone(), same.unwrap_or_else(|| Arc::new(route)));
            }
            let changed = table.is_none() || new != *old;
            if changed {
                *table = Some(Arc::new(new));
            }
            changed
        });
    }

    fn uid_of(&self, host: &str) -> Option<String> {
        self.0.table.borrow().as_ref()?.get(host).map(|route| route.uid.clone())
    }

    fn is_known(&self, uid: &str) -> bool {
        self.0.table.borrow().as_ref().is_some_and(|table| table.values().any(|route| route.uid == uid))
    }

    fn documents(&self) -> std::sync::MutexGuard<'_, Documents> {
        self.0.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Everything, then every change, until the service drains.
    pub fn watch_routes(&self) -> impl Stream<Item = RouteChange> + Send + 'static + use<> {
        let (mut table, drain) = (self.routes.0.table.subscribe(), self.drain.clone());
        async_stream::stream! {
            let mut shown: Table = Arc::default();
            let mut is_synced = false;
            loop {
                let now = table.borrow_and_update().clone();
                if let Some(now) = now {
                    for host in shown.keys().filter(|host| !now.contains_key(*host)) {
                        yield RouteChange::Delete(host.clone());
                    }
                    for (host, route) in now.iter().filter(|(host, route)| shown.get(*host) != Some(*route)) {
                        debug_assert_eq!(*host, route.host, "the key is the host");
                        yield RouteChange::Put(route.clone());
                    }
                    shown = now;
                    if !is_synced {
                        is_synced = true;
                        yield RouteChange::Synced;
                    }
                }
                tokio::select! {
                    changed = table.changed() => if changed.is_err() { break },
                    () = drain.wait() => break,
                }
            }
        }
    }

    /// Notes which hosts were used, and wakes those that somebody waits for; again has no effect.
    pub async fn touch_routes(&self, touches: &[Touch]) -> Result<()> {
        for touch in touches {
            let Some(uid) = self.touched(&touch.host).await? else { continue };
            for _ in 0..TRIES_MAX {
                match self.touch(&uid, touch).await {
                    Err(error) if error.is(&CONFLICT) => {}
                    done => {
                        done?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whose host it is: as the table says, else by its label.
    async fn touched(&self, host: &str) -> Result<Option<String>> {
        if let Some(uid) = self.routes.uid_of(host) {
            return Ok(Some(uid));
        }
        let Some(label) = host.strip_suffix(self.platform.domain.as_str()).and_then(|l| l.strip_suffix('.')) else {
            return Ok(None);
        };
        let label = label.split_once("--").map_or(label, |(own, _)| own);
        Ok(self.store.by_label(&self.store.db, label).await?.map(|env| env.uid))
    }

    async fn touch(&self, uid: &str, touch: &Touch) -> Result<()> {
        let Some(mut env) = self.store.by_uid(&self.store.db, uid).await?.filter(is_routed) else { return Ok(()) };
        let now_us = self.now_us();
        // A fork that waits for approval sleeps on, whoever waits for it.
        if touch.wake && env.power == Power::Asleep && env.retire.is_none() && !approval::is_missing(&env) {
            let before = env.clone();
            (env.power, env.used_us) = (Power::Awake, now_us.max(env.used_us));
            let mut tx = self.store.db.begin().await?;
            self.save_status(&mut tx, &before, &mut env).await?;
            worker::enqueue(&mut tx, WORK_ENVIRONMENT, &env.uid, 0).await?;
            return tx.commit().await;
        }
        if (touch.wake || touch.requests > 0) && now_us - env.used_us >= USE_GRAIN_US {
            env.used_us = now_us;
            return self.store.note_use(&env).await;
        }
        Ok(())
    }

    /// Keeps the table until shutdown.
    pub async fn keep_routes(self, shutdown: Shutdown) {
        let mut hints = self.watches.listen();
        let head = journal::head(&self.store.db).await.map_or(0, |head| head.seq);
        let mut events = Box::pin(journal::follow(&self.store.db, head, shutdown.clone()));
        let (mut dirty, mut next_pass) = (BTreeSet::new(), Instant::now());
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep_until(next_pass) => {
                    dirty.clear();
                    due = None;
                    let done = self.pass().await;
                    next_pass = Instant::now() + if done { PASS_EVERY } else { AGAIN };
                }
                () = until(due), if due.is_some() => {
                    let again = self.look_at(std::mem::take(&mut dirty)).await;
                    due = (!again.is_empty()).then(|| Instant::now() + AGAIN);
                    dirty = again;
                }
                hint = hints.recv() => match hint {
                    Ok(uid) if !uid.is_empty() => {
                        if self.routes.is_known(&uid) {
                            dirty.insert(uid);
                            due = soon(due);
                        }
                    }
                    // Some were missed.
                    Ok(_) | Err(_) => next_pass = next_pass.min(Instant::now() + GATHER),
                },
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        dirty.insert(event.key);
                        due = soon(due);
                    }
                    // Retention overtook us: begin anew at the end, after a look at everything.
                    Some(Err(_)) | None => {
                        tokio::time::sleep(GATHER).await;
                        let head = journal::head(&self.store.db).await.map_or(0, |head| head.seq);
                        events = Box::pin(journal::follow(&self.store.db, head, shutdown.clone()));
                        next_pass = Instant::now();
                    }
                },
            }
        }
    }

    /// Looks at these environments; answers those that could not be looked at.
    async fn look_at(&self, uids: BTreeSet<String>) -> BTreeSet<String> {
        let mut again = BTreeSet::new();
        for uid in uids {
            match self.routes_of(&uid, None).await {
                Ok(routes) => self.routes.put(BTreeMap::from([(uid, routes)]), false),
                Err(error) => {
                    tracing::warn!(error = ?error, uid, "the routes of an environment could not be read");
                    again.insert(uid);
                }
            }
        }
        again
    }

    /// Looks at everything, with one list per cluster; `false` if something could not be read.
    async fn pass(&self) -> bool {
        let Ok(uids) = self.store.all_living().await else { return false };
        let (mut slices, mut fresh, mut is_whole) = (BTreeMap::new(), BTreeMap::new(), true);
        for uid in uids {
            match self.routes_of(&uid, Some(&mut slices)).await {
                Ok(routes) => drop(fresh.insert(uid, routes)),
                Err(error) => {
                    tracing::warn!(error = ?error, uid, "the routes of an environment could not be read");
                    is_whole = false;
                }
            }
        }
        self.routes.documents().retain(|uid, _| fresh.contains_key(uid));
        // What could not be read keeps its old routes.
        self.routes.put(fresh, is_whole);
        is_whole
    }

    async fn routes_of(&self, uid: &str, shared: Option<&mut BTreeMap<String, Vec<Doc>>>) -> Result<Vec<Route>> {
        let env = self.store.by_uid(&self.store.db, uid).await?.filter(is_routed);
        let Some(env) = env else {
            self.routes.documents().remove(uid);
            return Ok(Vec::new());
        };
        self.watches.want(&env.cluster);
        let documents = self.documents_of(&env).await?;
        let slices = match (documents.is_empty() || env.power == Power::Asleep, shared) {
            (true, _) => Vec::new(),
            (false, None) => self.slices(&env.cluster, &env.namespace).await?,
            (false, Some(shared)) => {
                if !shared.contains_key(&env.cluster) {
                    shared.insert(env.cluster.clone(), self.slices(&env.cluster, "").await?);
                }
                let own = |slice: &&Doc| slice.pointer("/metadata/namespace").is_some_and(|n| *n == *env.namespace);
                shared.get(&env.cluster).into_iter().flatten().filter(own).cloned().collect()
            }
        };
        Ok(route::routes(&env, &documents, &slices, &self.platform.host(&env.label_id)))
    }

    async fn slices(&self, cluster: &str, namespace: &str) -> Result<Vec<Doc>> {
        let (api_version, kind) = route::SLICES;
        self.world.clusters.open(cluster).await?.list(api_version, kind, namespace, &[]).await
    }

    /// The documents that matter to routes, of what was rendered last.
    async fn documents_of(&self, env: &Environment) -> Result<Arc<Vec<Doc>>> {
        let digest = format!("{:?} {}", env.status.render_sha256, env.status.observed_generation);
        if let Some((known, documents)) = self.routes.documents().get(&env.uid)
            && *known == digest
        {
            return Ok(documents.clone());
        }
        let files = self.store.last_render(&env.uid).await?;
        let mut documents = Vec::new();
        for (name, text) in files {
            // Names begin with a rank and the kind.
            if ["-service-", "-httproute-", "-grpcroute-", "-ingress-"].iter().any(|kind| name.contains(kind)) {
                documents.extend(crate::model::manifest::parse(&text).unwrap_or_default());
            }
        }
        documents.retain(route::matters);
        let documents = Arc::new(documents);
        self.routes.documents().insert(env.uid.clone(), (digest, documents.clone()));
        Ok(documents)
    }
}

/// Whether the proxy is in front of it.
fn is_routed(env: &Environment) -> bool {
    env.target == Target::Apply && env.deleted_us.is_none()
}

fn soon(due: Option<Instant>) -> Option<Instant> {
    let soon = Instant::now() + GATHER;
    Some(due.map_or(soon, |due| due.min(soon)))
}
