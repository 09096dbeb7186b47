//! How requests reach an environment behind the built-in proxy: the chart's own paths, and whether its address answers, on the
//! cluster in memory.
#![allow(clippy::unwrap_used)]
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{sync::Arc, time::Duration};

use cluster::Tapped;
use futures::StreamExt as _;
use serde_json::json;
use slipway_environment::{
    app::{App, RouteChange, WORK_ENVIRONMENT},
    model::{
        condition::{Aspect, Verdict},
        environment::Environment,
        state::State,
    },
    store::Store,
    worker,
    world::{Probed, fake::Fake, fake_cluster::FakeCluster},
};
use slipway_kit::{clock::Clock, db::scratch::Scratch, serve::Shutdown, worker::enqueue};
use support::{REPOSITORY, ann, call, open, wanted};

const HOST: &str = "pr-7-payments.preview.localhost";

struct Shop {
    scratch: Scratch,
    fake: Fake,
    app: App,
    clock: Clock,
    world: Tapped,
}

impl Shop {
    async fn new(scratch: Scratch) -> Self {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, support::OWNER);
        let world = Tapped::new(&fake, Arc::new(FakeCluster::new(Clock::manual(1_800_000_000_000_000))));
        let app = support::app_over(&scratch, world.world(), clock.clone()).await;
        Self { scratch, fake, app, clock, world }
    }

    async fn push(&self, sha: u64) {
        self.fake.set(REPOSITORY, "7", open(sha));
        self.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, sha)).await.unwrap();
    }

    async fn env(&self) -> Environment {
        Store::new(self.scratch.db.clone()).by_label(&self.scratch.db, "pr-7-payments").await.unwrap().unwrap()
    }

    async fn look(&self) {
        let mut tx = self.scratch.db.begin().await.unwrap();
        enqueue(&mut tx, WORK_ENVIRONMENT, &self.env().await.uid, 0).await.unwrap();
        tx.commit().await.unwrap();
        worker(&self.app, 1).run_due().await.unwrap();
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Environment) -> bool) -> Environment {
        for _ in 0..300 {
            let env = self.env().await;
            if is_so(&env) {
                return env;
            }
            self.look().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.clock.advance_us(200_000);
        }
        let env = self.env().await;
        panic!("never {what}: {} {:#?}", env.state().word(), env.status.conditions);
    }
}

fn reachable(env: &Environment) -> (Verdict, &str, &str) {
    let told = env.status.conditions.get(Aspect::Reachable).unwrap();
    (told.verdict, &told.reason, &told.message)
}

#[tokio::test]
async fn a_charts_own_paths_go_to_their_services_though_no_route_is_applied() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch).await;
        let backend = |name: &str, port: u16| json!([{"name": name, "port": port}]);
        let under = |path: &str| json!([{"path": {"type": "PathPrefix", "value": path}}]);
        shop.world.taps().extra = vec![
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"},
                "spec": {"selector": {"app": "payments"}, "ports": [{"name": "http", "port": 8081, "targetPort": 8080}]}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "payments"},
            "spec": {"hostnames": [HOST], "rules": [
                {"matches": under("/"), "backendRefs": backend("payments", 80)},
                {"matches": under("/api"), "backendRefs": backend("api", 8081)},
            ]}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "admin"},
                "spec": {"hostnames": [HOST], "rules": [{"backendRefs": backend("api", 8081)}]}}),
        ];
        shop.push(1).await;
        let env = shop.until("READY", |env| env.state() == State::Ready).await;
        let kinds: Vec<&str> = env.status.inventory.iter().map(|held| held.object.kind.as_str()).collect();
        assert!(!kinds.contains(&"HTTPRoute"), "{kinds:?}");
        let shutdown = Shutdown::new();
        let (routes, clusters, down) = (shop.app.clone(), shop.app.clone(), shutdown.clone());
        tokio::spawn(routes.keep_routes(shutdown.clone()));
        tokio::spawn(async move { clusters.watch_clusters(down).await });
        let mut changes = Box::pin(shop.app.watch_routes());
        let mut found = std::collections::BTreeMap::new();
        let told = async {
            while let Some(change) = changes.next().await {
                match change {
                    RouteChange::Put(route) => drop(found.insert(route.host.clone(), route)),
                    RouteChange::Synced => break,
                    RouteChange::Delete(_) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
        let paths = |host: &str| -> Vec<(String, usize)> {
            found[host].upstreams.iter().map(|u| (u.path.clone(), u.endpoints.len())).collect()
        };
        assert_eq!(paths(HOST), [("/api".to_owned(), 2), ("/".to_owned(), 2)]);
        assert_eq!(paths("pr-7-payments--admin.preview.localhost"), [("/".to_owned(), 2)]);
        shutdown.begin();
    }
}

#[tokio::test]
async fn it_is_ready_when_its_address_answers_as_its_own_life() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch).await;
        shop.fake.state().probed = Some(Probed::Silent("Nothing answers at the address yet.".to_owned()));
        shop.push(1).await;
        let pending = |env: &Environment| {
            env.status.conditions.get(Aspect::Reachable).is_some_and(|c| c.reason == "PROBE_PENDING")
        };
        let env = shop.until("tried", pending).await;
        assert_eq!(env.state(), State::Deploying);
        shop.fake.state().probed = Some(Probed::Answered(200, "somebody-else".to_owned()));
        shop.look().await;
        let env = shop.env().await;
        assert_eq!(reachable(&env).2, "Another environment answers at the address.");
        shop.fake.state().probed = Some(Probed::Answered(503, env.uid.clone()));
        shop.clock.advance_us(2_000_000);
        shop.look().await;
        assert_eq!(reachable(&shop.env().await).2, "/ answered 503; anything below 500 is wanted.");
        shop.fake.state().probed = Some(Probed::Answered(404, env.uid.clone()));
        let env = shop.until("READY", |env| env.state() == State::Ready).await;
        assert_eq!(reachable(&env), (Verdict::True, "ANSWERS", "/ answered 404."));
        assert!(shop.fake.state().probes.iter().all(|probe| *probe == format!("{HOST}/")));
        // What answered and does not any more is a loss; a gateway that cannot try holds nothing up.
        shop.fake.state().probed = Some(Probed::Answered(500, env.uid.clone()));
        shop.clock.advance_us(400_000_000);
        let env = shop.until("DEGRADED", |env| env.state() == State::Degraded).await;
        assert_eq!(reachable(&env).1, "NOT_REACHABLE");
        shop.fake.state().probed = None;
        let env = shop.until("READY", |env| env.state() == State::Ready).await;
        assert_eq!(reachable(&env).0, Verdict::Unknown);
    }
}
