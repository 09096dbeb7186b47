//! The target apply over a cluster: what users see from the first look to the receipt, on the cluster in memory and on a real one.
#![allow(clippy::unwrap_used)]
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{sync::Arc, time::Duration};

use cluster::Tapped;
use slipway_environment::{
    app::{App, WORK_ENVIRONMENT},
    model::{
        condition::Aspect,
        environment::{Environment, Power, RetireReason},
        preview::Reading,
        receipt::Outcome,
        state::State,
    },
    store::{Store, migrations},
    worker,
    world::{
        cluster::{Cluster, ObjectRef},
        fake::Fake,
        kubernetes::Kubernetes,
    },
};
use slipway_kit::{
    clock::Clock,
    db::scratch::{self, Scratch},
    worker::enqueue,
};
use support::{REPOSITORY, ann, call, open, wanted};

/// One service over one cluster.
struct Shop {
    scratch: Scratch,
    fake: Fake,
    app: App,
    clock: Clock,
    world: Tapped,
    number: i64,
}

impl Shop {
    async fn new(scratch: Scratch, cluster: Arc<dyn Cluster>) -> Self {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, support::OWNER);
        let world = Tapped::new(&fake, cluster);
        let app = support::app_over(&scratch, world.world(), clock.clone()).await;
        Self { scratch, fake, app, clock, world, number: 7 }
    }

    /// Looks at everything as often as it takes, until a condition holds.
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

    async fn until_state(&self, state: State) -> Environment {
        self.until(state.word(), |env| env.state() == state && env.status.observed_generation == env.generation).await
    }

    async fn look(&self) {
        let mut tx = self.scratch.db.begin().await.unwrap();
        enqueue(&mut tx, WORK_ENVIRONMENT, &self.env().await.uid, 0).await.unwrap();
        tx.commit().await.unwrap();
        worker(&self.app, 1).run_due().await.unwrap();
    }

    async fn env(&self) -> Environment {
        let label = format!("pr-{}-payments", self.number);
        Store::new(self.scratch.db.clone()).by_label(&self.scratch.db, &label).await.unwrap().unwrap()
    }

    /// A commit is pushed and its image is built.
    async fn push(&self, sha: u64) {
        self.fake.set(REPOSITORY, &self.number.to_string(), open(sha));
        self.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(self.number, sha)).await.unwrap();
    }

    async fn close(&self) {
        let at_us = self.clock.now_us();
        self.fake.set(REPOSITORY, &self.number.to_string(), Reading::Ended { reason: RetireReason::Closed, at_us });
    }

    async fn power(&self, power: Power) {
        let store = Store::new(self.scratch.db.clone());
        let before = self.env().await;
        let mut env = before.clone();
        (env.power, env.version, env.used_us) = (power, before.version + 1, self.clock.now_us());
        let mut tx = self.scratch.db.begin().await.unwrap();
        store.update(&mut tx, &env, before.version).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn found(&self, env: &Environment, api_version: &str, kind: &str, name: &str) -> Option<serde_json::Value> {
        let object = ObjectRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: if kind == "Namespace" { String::new() } else { env.namespace.clone() },
            name: name.to_owned(),
        };
        self.world.cluster.get(&object).await.unwrap()
    }
}

#[allow(dead_code)]
fn reason(env: &Environment, aspect: Aspect) -> String {
    env.status.conditions.get(aspect).map(|c| c.reason.clone()).unwrap_or_default()
}

#[allow(dead_code)]
fn message(env: &Environment, aspect: Aspect) -> String {
    env.status.conditions.get(aspect).map(|c| c.message.clone()).unwrap_or_default()
}

/// The life of a preview, on whatever cluster: up, a push, asleep, awake, gone without a trace.
async fn a_life(shop: &Shop) {
    shop.push(1).await;
    let env = shop.until_state(State::Ready).await;
    let names: Vec<_> = env.status.inventory.iter().map(|h| h.object.kind.as_str()).collect();
    for kind in ["Namespace", "ResourceQuota", "NetworkPolicy", "Deployment", "Service", "ConfigMap"] {
        assert!(names.contains(&kind), "{names:?}");
    }
    assert!(env.status.inventory.iter().all(|h| !h.uid.is_empty()), "{:?}", env.status.inventory);
    let log = shop.world.log(&env.namespace);
    let at = |what: &str| log.iter().position(|line| line.contains(what)).unwrap_or(usize::MAX);
    assert!(at("Namespace/") < at("LimitRange/") && at("LimitRange/") < at("ResourceQuota/"), "{log:?}");
    assert!(at("ResourceQuota/") < at("NetworkPolicy/") && at("NetworkPolicy/") < at("Deployment/"), "{log:?}");
    // A push rolls forward and takes away what the commit before had.
    shop.push(2).await;
    let env = shop.until_state(State::Ready).await;
    assert_eq!(env.status.progress.stale, []);
    assert!(shop.found(&env, "v1", "ConfigMap", "payments-0000000001").await.is_none());
    assert!(shop.found(&env, "v1", "ConfigMap", "payments-0000000002").await.is_some());
    let deployment = shop.found(&env, "apps/v1", "Deployment", "payments").await.unwrap();
    assert!(deployment.to_string().contains(&support::sha(2)));
    assert!(deployment["metadata"]["annotations"]["slipway.dev/epoch"].is_string());
    // Nothing is written when nothing changed.
    let writes = shop.world.log(&env.namespace).len();
    shop.look().await;
    assert_eq!(shop.world.log(&env.namespace).len(), writes);
    // A guard rail that somebody removes stands again at the next look.
    let quota = shop.found(&env, "v1", "ResourceQuota", "slipway-quota").await.unwrap();
    let object = slipway_environment::model::manifest::object(&quota);
    shop.world.cluster.delete(&object, quota["metadata"]["uid"].as_str().unwrap()).await.unwrap().unwrap();
    shop.look().await;
    assert!(shop.found(&env, "v1", "ResourceQuota", "slipway-quota").await.is_some());
    shop.until_state(State::Ready).await;
    // Asleep nothing runs; awake it is what it was.
    shop.power(Power::Asleep).await;
    shop.until_state(State::Asleep).await;
    let deployment = shop.found(&env, "apps/v1", "Deployment", "payments").await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 0);
    shop.power(Power::Awake).await;
    let env = shop.until_state(State::Ready).await;
    let deployment = shop.found(&env, "apps/v1", "Deployment", "payments").await.unwrap();
    assert_eq!((deployment["spec"]["replicas"].as_i64(), env.generation), (Some(2), 2));
    // Closed: gone, and the receipt names each object.
    shop.close().await;
    let env = shop.until("deleted", |env| env.state() == State::Deleted).await;
    assert!(shop.found(&env, "v1", "Namespace", &env.namespace).await.is_none());
    assert_eq!(shop.world.cluster.remaining(&env.namespace).await.unwrap(), Vec::<serde_json::Value>::new());
    let receipt = Store::new(shop.scratch.db.clone()).receipt(&shop.scratch.db, &env.uid).await.unwrap().unwrap();
    assert!(receipt.is_observed);
    for held in &env.status.inventory {
        let named = receipt.objects.iter().find(|o| o.uid == held.uid && o.kind == held.object.kind).unwrap();
        assert!(
            named.outcome == Outcome::Removed && named.deleted_us.is_some() && named.id.contains(&held.object.name)
        );
    }
    assert_eq!(shop.world.taps().unguarded, [] as [&str; 0]);
}

#[tokio::test]
async fn a_preview_lives_and_dies_on_a_real_cluster() {
    let Ok(path) = std::env::var("SLIPWAY_TEST_KUBECONFIG") else {
        return eprintln!("skipped: a real cluster (SLIPWAY_TEST_KUBECONFIG is not set)");
    };
    if std::env::var("SLIPWAY_TEST_IMAGE").is_err() {
        return eprintln!("skipped: a real cluster (SLIPWAY_TEST_IMAGE is not set)");
    }
    let cluster = Arc::new(Kubernetes::from_file(path.as_ref()).await.unwrap());
    let shop = Shop::new(scratch::sqlite(&migrations()).await, cluster).await;
    a_life(&shop).await;
}
