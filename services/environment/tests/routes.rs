//! The table of routes over a small cluster: snapshot, changes, rolling endpoints, use and wake, on both engines.
#![allow(clippy::unwrap_used)]
mod support;

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::{Stream, StreamExt as _, stream::BoxStream};
use serde_json::{Value, json};
use slipway_environment::{
    app::{App, RouteChange, Touch},
    model::{
        environment::{Environment, ObjectRef, Power, Target, fixture},
        manifest::{self, Doc},
        route::{Route, RouteState},
    },
    world::cluster::{Answer, Apply, Cluster, Clusters, Deleted, LogQuery, Version},
    world::fake::Fake,
};
use slipway_kit::{
    clock::Clock,
    db::scratch::Scratch,
    error::{DEPENDENCY_UNAVAILABLE, Error, Result},
    serve::Shutdown,
};
use support::{app_over, databases};
use tokio::sync::mpsc;

const HOST: &str = "pr-7-payments.preview.localhost";
const NOW_US: i64 = 1_800_000_000_000_000;

/// A cluster that has slices and hints, and nothing else.
#[derive(Clone, Default)]
struct Stub(Arc<Mutex<Slices>>);

#[derive(Default)]
struct Slices {
    slices: Vec<Doc>,
    hints: Vec<mpsc::UnboundedSender<String>>,
    lists: usize,
    is_away: bool,
}

impl Stub {
    fn set(&self, env: &Environment, endpoints: Value) {
        let mut state = self.0.lock().unwrap();
        let labels = json!({"kubernetes.io/service-name": "payments"});
        state.slices = vec![
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "endpoints": endpoints,
            "metadata": {"name": "payments-1", "namespace": env.namespace, "labels": labels}, "ports": [{"name": "http", "port": 8080}]}),
        ];
        state.hints.retain(|hint| hint.send(env.uid.clone()).is_ok());
    }
}

fn nothing<T>() -> Result<T> {
    Err(Error::new(&DEPENDENCY_UNAVAILABLE, "the stub has only slices"))
}

#[async_trait]
impl Cluster for Stub {
    async fn version(&self) -> Result<Version> {
        nothing()
    }
    async fn apply(&self, _: &Doc, _: Apply) -> Answer<Doc> {
        nothing()
    }
    async fn admit(&self, _: &Doc) -> Answer<()> {
        nothing()
    }
    async fn get(&self, _: &ObjectRef) -> Result<Option<Doc>> {
        nothing()
    }
    async fn list(&self, _: &str, kind: &str, namespace: &str, _: &[(&str, &str)]) -> Result<Vec<Doc>> {
        let mut state = self.0.lock().unwrap();
        state.lists += 1;
        if kind != "EndpointSlice" || state.is_away {
            return nothing();
        }
        let here = |doc: &&Doc| namespace.is_empty() || manifest::text(doc, "/metadata/namespace") == namespace;
        Ok(state.slices.iter().filter(here).cloned().collect())
    }
    async fn remaining(&self, _: &str) -> Result<Vec<Doc>> {
        nothing()
    }
    async fn delete(&self, _: &ObjectRef, _: &str) -> Answer<Deleted> {
        nothing()
    }
    async fn logs(&self, _: &str, _: &str, _: &LogQuery) -> Result<BoxStream<'static, Result<String>>> {
        nothing()
    }
    async fn changes(&self) -> Result<BoxStream<'static, String>> {
        let (hint, hints) = mpsc::unbounded_channel();
        self.0.lock().unwrap().hints.push(hint);
        Ok(futures::stream::unfold(hints, |mut hints| async { hints.recv().await.map(|uid| (uid, hints)) }).boxed())
    }
    async fn may(&self, _: &str, _: &str, _: &str, _: &str) -> Result<bool> {
        nothing()
    }
}

#[async_trait]
impl Clusters for Stub {
    async fn open(&self, _: &str) -> Result<Arc<dyn Cluster>> {
        Ok(Arc::new(self.clone()))
    }
}

struct Running {
    app: App,
    stub: Stub,
    clock: Clock,
    env: Environment,
    shutdown: Shutdown,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// An environment that is applied, with one route, and the table over it.
async fn start(scratch: &Scratch) -> Running {
    let (stub, clock) = (Stub::default(), Clock::manual(NOW_US));
    let mut world = Fake::default().world();
    world.clusters = Arc::new(stub.clone());
    let app = app_over(scratch, world, clock.clone()).await;
    let env = Environment { target: Target::Apply, used_us: NOW_US, ..fixture::preview() };
    let store = slipway_environment::store::Store::new(scratch.db.clone());
    let service =
        json!({"kind": "Service", "metadata": {"name": "payments"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
    let route = json!({"kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": {"hostnames": [HOST], "rules": [{"backendRefs": [{"name": "payments", "port": 80}]}]}});
    let files = [("50-service-payments.yaml", service), ("70-httproute-r.yaml", route)];
    let files: Vec<(String, String)> = files.map(|(name, doc)| (name.to_owned(), manifest::emit(&doc))).to_vec();
    let mut tx = scratch.db.begin().await.unwrap();
    store.insert(&mut tx, &env).await.unwrap();
    store.keep_render(&mut tx, &env.uid, env.generation, &files).await.unwrap();
    tx.commit().await.unwrap();
    let shutdown = Shutdown::new();
    tokio::spawn(app.clone().keep_routes(shutdown.clone()));
    let (clusters, down) = (app.clone(), shutdown.clone());
    tokio::spawn(async move { clusters.watch_clusters(down).await });
    Running { app, stub, clock, env, shutdown }
}

type Changes = Pin<Box<dyn Stream<Item = RouteChange> + Send>>;

async fn next(changes: &mut Changes) -> RouteChange {
    tokio::time::timeout(Duration::from_secs(10), changes.next()).await.expect("a change in time").unwrap()
}

/// Goes on until a route is as wanted.
async fn until(changes: &mut Changes, is_so: impl Fn(&Route) -> bool) -> Arc<Route> {
    loop {
        if let RouteChange::Put(route) = next(changes).await
            && is_so(&route)
        {
            return route;
        }
    }
}

fn endpoints(route: &Route) -> Vec<&str> {
    route.upstreams.iter().flat_map(|u| &u.endpoints).map(String::as_str).collect()
}

#[tokio::test]
async fn a_watcher_gets_the_table_and_every_change_of_endpoints() {
    for scratch in databases().await {
        let running = start(&scratch).await;
        let mut changes: Changes = Box::pin(running.app.watch_routes());
        let RouteChange::Put(first) = next(&mut changes).await else { panic!("a route first") };
        assert_eq!(
            (first.host.as_str(), first.state, first.uid.as_str()),
            (HOST, RouteState::Waking, &*running.env.uid)
        );
        assert_eq!(next(&mut changes).await, RouteChange::Synced);
        running.stub.set(&running.env, json!([{"addresses": ["10.0.0.1"]}]));
        let up = until(&mut changes, |r| r.state == RouteState::Up).await;
        assert_eq!(endpoints(&up), ["10.0.0.1:8080"]);
        let rolling = json!([
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true, "terminating": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
        ]);
        running.stub.set(&running.env, rolling);
        let rolled = until(&mut changes, |r| endpoints(r) != ["10.0.0.1:8080"]).await;
        assert_eq!(endpoints(&rolled), ["10.0.0.2:8080"]);
        assert_eq!(running.stub.0.lock().unwrap().hints.len(), 1, "one watch of the cluster, for queue and routes");
        // A cluster that is away leaves what was known.
        running.stub.0.lock().unwrap().is_away = true;
        running.stub.set(&running.env, json!([]));
        tokio::time::sleep(Duration::from_millis(400)).await;
        let mut late: Changes = Box::pin(running.app.watch_routes());
        let RouteChange::Put(kept) = next(&mut late).await else { panic!("a route first") };
        assert_eq!(endpoints(&kept), ["10.0.0.2:8080"]);
    }
}

#[tokio::test]
async fn use_is_noted_by_the_minute_and_a_waiting_request_wakes() {
    for scratch in databases().await {
        let running = start(&scratch).await;
        let (app, uid) = (&running.app, running.env.uid.clone());
        let store = slipway_environment::store::Store::new(scratch.db.clone());
        let stored = async || store.by_uid(&store.db, &uid).await.unwrap().unwrap();
        let mut changes: Changes = Box::pin(app.watch_routes());
        until(&mut changes, |r| r.host == HOST).await;
        let touch = |wake| [Touch { host: HOST.to_owned(), requests: 3, wake }];
        running.clock.advance_us(59_000_000);
        app.touch_routes(&touch(false)).await.unwrap();
        assert_eq!(stored().await.used_us, NOW_US, "within the same minute nothing is written");
        running.clock.advance_us(2_000_000);
        app.touch_routes(&touch(false)).await.unwrap();
        let used = stored().await;
        assert_eq!((used.used_us, used.version), (NOW_US + 61_000_000, running.env.version), "use is no new version");

        let mut asleep = Environment { power: Power::Asleep, version: used.version + 1, ..used.clone() };
        let mut tx = scratch.db.begin().await.unwrap();
        store.update(&mut tx, &asleep, used.version).await.unwrap();
        tx.commit().await.unwrap();
        app.touch_routes(&touch(false)).await.unwrap();
        assert_eq!(stored().await.power, Power::Asleep, "a late count wakes nothing");
        app.touch_routes(&touch(true)).await.unwrap();
        app.touch_routes(&touch(true)).await.unwrap();
        let woken = stored().await;
        assert_eq!(
            (woken.power, woken.version),
            (Power::Awake, asleep.version + 1),
            "once, however often it is asked for"
        );
        let due = scratch.db.fetch_all("SELECT id FROM work WHERE kind = 'environment'", slipway_kit::args![]).await;
        assert_eq!(due.unwrap().len(), 1);
        running.stub.set(&running.env, json!([{"addresses": ["10.0.0.1"]}]));
        until(&mut changes, |r| r.state == RouteState::Up).await;

        // What nobody knows is passed over; what has ended is not woken, and its route says so until it is gone.
        app.touch_routes(&[Touch { host: "x.preview.localhost".to_owned(), requests: 1, wake: true }]).await.unwrap();
        asleep = Environment { power: Power::Asleep, version: woken.version + 1, deleted_us: Some(1), ..woken.clone() };
        let mut tx = scratch.db.begin().await.unwrap();
        store.update(&mut tx, &asleep, woken.version).await.unwrap();
        tx.commit().await.unwrap();
        app.touch_routes(&touch(true)).await.unwrap();
        assert_eq!(stored().await.power, Power::Asleep);
        running.stub.set(&running.env, json!([]));
        while next(&mut changes).await != RouteChange::Delete(HOST.to_owned()) {}
    }
}

#[tokio::test]
async fn the_address_shows_the_port_of_the_proxy_where_there_is_one() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let mut config = support::config(&scratch);
    config.preview_port = Some(7070);
    let (git, applied) = (fixture::preview(), Environment { target: Target::Apply, ..fixture::preview() });
    assert_eq!(config.platform().url(&git), "http://pr-7-payments.preview.localhost");
    assert_eq!(config.platform().url(&applied), "http://pr-7-payments.preview.localhost:7070");
    config.preview_port = Some(80);
    assert_eq!(config.platform().url(&applied), "http://pr-7-payments.preview.localhost");
}
