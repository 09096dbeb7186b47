//! The table of routes as the service that owns them streams it, and the word of which hosts are used.
//!
//! Refuses to forget: while the service is away the last table stands, for a stale one is better than none.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use slipway_kit::{
    error::Result,
    serve::{Peers, Shutdown, error_from},
};
use slipway_proto::environment::v1 as pb;
use tokio::{sync::watch, time::Instant};

use crate::model::upstream::{Access, Route, State, Table, Upstream};

const SERVICE: &str = "environment";
/// Longest watch; it begins anew then.
const WATCH_TIME: Duration = Duration::from_secs(600);
const TOUCH_TIME: Duration = Duration::from_secs(5);
/// First and longest pause before the watch begins anew.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often use is told.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// How often a host that sleeps is asked to wake, however many wait.
const WAKE_EVERY: Duration = Duration::from_secs(2);
/// Most hosts in one word.
const BATCH: usize = 1000;

/// The table and its owner; cheap to clone.
#[derive(Clone)]
pub struct Routes(Arc<Inner>);

struct Inner {
    peers: Peers,
    table: watch::Sender<Option<Table>>,
    used: Mutex<HashMap<String, i64>>,
    woken: Mutex<HashMap<String, Instant>>,
}

impl Routes {
    /// An empty table, until [`Routes::keep`] runs.
    #[must_use]
    pub fn new(peers: Peers) -> Self {
        let (used, woken) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { peers, table: watch::Sender::new(None), used, woken }))
    }

    /// Tells when the table changes; `None` before the first one is complete.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Table>> {
        self.0.table.subscribe()
    }

    /// The route of a host; the outer `None` when no table is known yet.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<Option<Arc<Route>>> {
        self.0.table.borrow().as_ref().map(|table| table.get(host).cloned())
    }

    /// Counts one use of a host.
    pub fn count(&self, host: &str) {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used.entry(host.to_owned()).or_default() += 1;
    }

    /// Asks for a sleeping host to be woken.
    pub async fn wake(&self, host: &str) {
        {
            let mut woken = self.0.woken.lock().unwrap_or_else(PoisonError::into_inner);
            if woken.get(host).is_some_and(|at| at.elapsed() < WAKE_EVERY) {
                return;
            }
            woken.retain(|_, at| at.elapsed() < WAKE_EVERY);
            woken.insert(host.to_owned(), Instant::now());
        }
        let touch = pb::RouteTouch { host: host.to_owned(), requests: 1, wake: true };
        if let Err(error) = self.touch(vec![touch]).await {
            tracing::warn!(%error, "a sleeping host could not be woken");
            self.0.woken.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
        }
    }

    /// Tells now which hosts were used.
    pub async fn report(&self) {
        let used = std::mem::take(&mut *self.0.used.lock().unwrap_or_else(PoisonError::into_inner));
        let touch =
            |(host, requests): (&String, &i64)| pb::RouteTouch { host: host.clone(), requests: *requests, wake: false };
        let touches: Vec<pb::RouteTouch> = used.iter().map(touch).collect();
        for batch in touches.chunks(BATCH) {
            if let Err(error) = self.touch(batch.to_vec()).await {
                tracing::warn!(%error, "the use of hosts could not be told; it is told with the next word");
                let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
                batch.iter().for_each(|t| *used.entry(t.host.clone()).or_default() += t.requests);
            }
        }
    }

    async fn touch(&self, touches: Vec<pb::RouteTouch>) -> Result<()> {
        let client = self.0.peers.as_service(SERVICE, TOUCH_TIME);
        let mut client = pb::route_service_client::RouteServiceClient::new(client);
        client.touch_routes(pb::TouchRoutesRequest { touches }).await.map_err(error_from)?;
        Ok(())
    }

    /// Tells use every minute, and once more at shutdown.
    pub async fn keep_reporting(self, shutdown: Shutdown) {
        while !shutdown.is_down() {
            tokio::select! { () = shutdown.wait() => {}, () = tokio::time::sleep(REPORT_EVERY) => {} }
            self.report().await;
        }
    }

    /// Keeps the table until shutdown.
    pub async fn keep(self, shutdown: Shutdown) {
        let mut pause = BACKOFF.0;
        loop {
            let began = Instant::now();
            let ended = tokio::select! { () = shutdown.wait() => return, ended = self.watch() => ended };
            if let Err(error) = ended {
                tracing::debug!(%error, "the table of routes is not watched");
            }
            pause = if began.elapsed() > BACKOFF.1 { BACKOFF.0 } else { (pause * 2).min(BACKOFF.1) };
            tokio::select! { () = shutdown.wait() => return, () = tokio::time::sleep(pause) => {} }
        }
    }

    async fn watch(&self) -> Result<()> {
        let client = self.0.peers.as_service(SERVICE, WATCH_TIME);
        let mut client = pb::route_service_client::RouteServiceClient::new(client);
        let mut changes = client.watch_routes(pb::WatchRoutesRequest {}).await.map_err(error_from)?.into_inner();
        let (mut table, mut is_synced) = (BTreeMap::new(), false);
        while let Some(change) = changes.message().await.map_err(error_from)? {
            let kind = change.kind();
            match (kind, change.route) {
                (pb::WatchKind::Put, Some(route)) => drop(table.insert(route.host.clone(), Arc::new(read(route)))),
                (pb::WatchKind::Delete, Some(route)) => drop(table.remove(&route.host)),
                (pb::WatchKind::Synced, _) => is_synced = true,
                _ => {}
            }
            if is_synced {
                self.0.table.send_replace(Some(Arc::new(table.clone())));
            }
        }
        Ok(())
    }
}

fn read(route: pb::Route) -> Route {
    let state = match route.state() {
        pb::RouteState::Up => State::Up,
        pb::RouteState::Asleep => State::Asleep,
        pb::RouteState::Waking => State::Waking,
        pb::RouteState::None | pb::RouteState::Unspecified => State::None,
    };
    let access = match route.access() {
        pb::RouteAccess::Public => Access::Public,
        pb::RouteAccess::SignedIn => Access::SignedIn,
        // What is not understood lets nobody in.
        pb::RouteAccess::AllowList | pb::RouteAccess::Unspecified => Access::AllowList(route.allowed),
    };
    let upstream = |u: pb::RouteUpstream| Upstream {
        path: u.path,
        is_exact: u.exact,
        is_h2c: u.h2c,
        endpoints: u.endpoints.iter().filter_map(|e| e.parse().ok()).collect(),
    };
    let upstreams = route.upstreams.into_iter().map(upstream).collect();
    Route { host: route.host, resource: route.resource, uid: route.uid, state, access, upstreams }
}
