//! What is stuck slows nobody: blocked teardowns have a lane of their own, a silent cluster is asked now and then.
#![allow(clippy::unwrap_used, missing_docs)]
mod support;
#[path = "support/cluster.rs"]
mod tapped;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use slipway_environment::{
    app::{App, WORK_BLOCKED, WORK_ENVIRONMENT, WORK_TEARDOWN},
    error::CLUSTER_UNKNOWN,
    model::{
        environment::{Environment, RetireReason},
        preview::Reading,
        state::State,
    },
    store::Store,
    worker,
    world::{
        World,
        breaker::Guarded,
        cluster::{Cluster, Clusters, ObjectRef},
        fake::Fake,
        fake_cluster::{Failure, FakeCluster},
    },
};
use slipway_kit::{
    clock::Clock,
    db::scratch::Scratch,
    error::{Error, Result},
    worker::{enqueue, item},
};
use support::{REPOSITORY, ann, call, open, tell, wanted};
use tapped::Tapped;

struct Town<'a> {
    scratch: &'a Scratch,
    fake: Fake,
    app: App,
    clock: Clock,
    cluster: FakeCluster,
}

impl Town<'_> {
    async fn new(scratch: &Scratch, many: i64) -> Town<'_> {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, support::OWNER);
        let cluster = FakeCluster::new(clock.clone());
        let world = Tapped::new(&fake, Arc::new(cluster.clone()));
        let app = support::app_over(scratch, world.world(), clock.clone()).await;
        let town = Town { scratch, fake, app, clock, cluster };
        for number in 1..=many {
            town.fake.set(REPOSITORY, &number.to_string(), open(1));
            town.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(number, 1)).await.unwrap();
        }
        for _ in 0..20 {
            if town.in_state(State::Ready).await as i64 == many {
                break;
            }
            town.after(1_000_000).await;
        }
        assert_eq!(town.in_state(State::Ready).await as i64, many);
        town
    }

    async fn all(&self) -> Vec<Environment> {
        let (store, mut all) = (Store::new(self.scratch.db.clone()), Vec::new());
        for uid in store.all_living().await.unwrap() {
            all.push(store.by_uid(&self.scratch.db, &uid).await.unwrap().unwrap());
        }
        all
    }

    async fn in_state(&self, state: State) -> usize {
        self.all().await.iter().filter(|env| env.state() == state).count()
    }

    /// Every environment is due, as it would be after this time.
    async fn after(&self, us: i64) {
        self.clock.advance_us(us);
        let mut tx = self.scratch.db.begin().await.unwrap();
        for env in self.all().await {
            enqueue(&mut tx, WORK_ENVIRONMENT, &env.uid, 0).await.unwrap();
        }
        tx.commit().await.unwrap();
        worker(&self.app, 16).run_due().await.unwrap();
    }

    /// Closes these, and answers after how many looks all but `stuck` are gone.
    async fn close(&self, numbers: std::ops::RangeInclusive<i64>, stuck: usize) -> usize {
        for number in numbers {
            let closed = Reading::Ended { reason: RetireReason::Closed, at_us: 5 };
            self.fake.set(REPOSITORY, &number.to_string(), closed);
            tell(&self.app, number).await;
        }
        for looks in 1..60 {
            if self.all().await.iter().filter(|env| env.retire.is_some()).count() == stuck && looks > 1 {
                return looks;
            }
            self.after(1_000_000).await;
        }
        panic!("they never go");
    }
}

/// An object of the namespace that some controller keeps.
fn kept(env: &Environment) -> ObjectRef {
    let object = |api_version: &str, kind: &str, name: &str| ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: env.namespace.clone(),
        name: name.to_owned(),
    };
    object("v1", "Service", "payments")
}

#[tokio::test]
async fn ten_blocked_teardowns_slow_no_other_and_end_when_they_can() {
    for scratch in support::databases().await {
        let town = Town::new(&scratch, 40).await;
        let undisturbed = town.close(1..=10, 0).await;
        for env in town.all().await.iter().filter(|env| env.spec.source.pull_request.is_some_and(|n| n > 30)) {
            town.cluster.edit(&kept(env), |doc| doc["metadata"]["finalizers"] = serde_json::json!(["acme.io/keep"]));
        }
        town.clock.advance_us(11 * 60_000_000);
        town.close(31..=40, 10).await;
        for _ in 0..3 {
            town.after(3 * 60_000_000).await;
        }
        let blocked = town.all().await.into_iter().filter(|env| env.retire.is_some()).collect::<Vec<_>>();
        assert!(
            blocked.len() == 10 && blocked.iter().all(|env| env.state() == State::DeleteBlocked),
            "{}",
            scratch.engine
        );
        for env in &blocked {
            let lane = |kind: &'static str| item(&scratch.db, kind, &env.uid);
            assert!(lane(WORK_BLOCKED).await.unwrap().is_some(), "{}", env.label_id);
            assert!(lane(WORK_TEARDOWN).await.unwrap().is_none() && lane(WORK_ENVIRONMENT).await.unwrap().is_none());
        }
        let disturbed = town.close(11..=20, 10).await;
        assert_eq!(disturbed, undisturbed, "{}: looks until ten are gone", scratch.engine);
        assert_eq!(town.in_state(State::Ready).await, 10);
        for env in &blocked {
            town.cluster.edit(&kept(env), |doc| doc["metadata"]["finalizers"] = serde_json::json!([]));
        }
        town.cluster.settle();
        for _ in 0..5 {
            town.after(10_000_000).await;
        }
        assert_eq!(town.all().await.len(), 10, "{}", scratch.engine);
    }
}

#[tokio::test]
async fn a_teardown_waits_until_the_first_lane_has_let_go() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let town = Town::new(&scratch, 1).await;
    let env = town.all().await.remove(0);
    town.app.delete(&call(ann(), "DeleteEnvironment"), &env.name(), "", false).await.unwrap();
    // An item of the first lane that is not due yet, as after an error.
    let mut tx = scratch.db.begin().await.unwrap();
    tx.execute("UPDATE work SET next_us = NOW_US() + 60000000 WHERE kind = 'environment'", Vec::new()).await.unwrap();
    enqueue(&mut tx, WORK_TEARDOWN, &env.uid, 0).await.unwrap();
    tx.commit().await.unwrap();
    worker(&town.app, 4).run_due().await.unwrap();
    for _ in 0..10 {
        if town.all().await.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        town.after(1_000_000).await;
    }
    assert_eq!(town.all().await.len(), 0);
}

/// Two clusters.
struct Two(BTreeMap<&'static str, FakeCluster>);

#[async_trait]
impl Clusters for Two {
    async fn open(&self, id: &str) -> Result<Arc<dyn Cluster>> {
        let found = self.0.get(id).cloned().ok_or_else(|| Error::new(&CLUSTER_UNKNOWN, id))?;
        Ok(Arc::new(found))
    }
}

fn calls(cluster: &FakeCluster) -> u64 {
    cluster.state().calls.values().sum()
}

#[tokio::test]
async fn a_silent_cluster_is_asked_now_and_then_and_another_is_not_concerned() {
    let clock = Clock::manual(1_800_000_000_000_000);
    let (silent, other) = (FakeCluster::new(clock.clone()), FakeCluster::new(clock.clone()));
    let two = Two(BTreeMap::from([("silent", silent.clone()), ("other", other.clone())]));
    let guarded = Guarded::new(Arc::new(two), clock.clone());
    let list = async |id: &str| guarded.open(id).await.unwrap().list("v1", "Namespace", "", &[]).await;
    silent.state().is_down = Some(Failure::TimeoutBefore);
    for _ in 0..50 {
        let error = list("silent").await.unwrap_err();
        assert_eq!(error.reason().name, "CLUSTER_UNREACHABLE");
        list("other").await.unwrap();
    }
    assert_eq!((calls(&silent), calls(&other)), (5, 50));
    let error = list("silent").await.unwrap_err();
    assert!(error.retry_after().is_some_and(|ms| ms <= 10_000), "{error:?}");
    // One call in five seconds tries it.
    for _ in 0..3 {
        clock.advance_us(5_000_000);
        for _ in 0..10 {
            list("silent").await.unwrap_err();
        }
    }
    assert_eq!(calls(&silent), 8);
    silent.state().is_down = None;
    clock.advance_us(5_000_000);
    for _ in 0..10 {
        list("silent").await.unwrap();
    }
    assert_eq!(calls(&silent), 18);
    // A cluster that answers that it is busy answers.
    silent.state().is_down = Some(Failure::Busy(1));
    for _ in 0..10 {
        assert_eq!(list("silent").await.unwrap_err().reason().name, "CLUSTER_BUSY");
    }
    assert_eq!(calls(&silent), 28);
}

#[tokio::test]
async fn environments_of_a_silent_cluster_say_so_and_go_on_by_themselves() {
    for scratch in support::databases().await {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, support::OWNER);
        let cluster = FakeCluster::new(clock.clone());
        let tapped = Tapped::new(&fake, Arc::new(cluster.clone()));
        let plain = tapped.world();
        let world = World { clusters: Arc::new(Guarded::new(plain.clusters.clone(), clock.clone())), ..plain };
        let app = support::app_over(&scratch, world, clock.clone()).await;
        let town = Town { scratch: &scratch, fake, app, clock, cluster };
        town.cluster.state().is_down = Some(Failure::TimeoutBefore);
        for number in 1..=8 {
            town.fake.set(REPOSITORY, &number.to_string(), open(1));
            town.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(number, 1)).await.unwrap();
        }
        worker(&town.app, 8).run_due().await.unwrap();
        for env in town.all().await {
            let told: Vec<_> = env.status.conditions.iter().map(|c| c.reason.as_str()).collect();
            assert!(told.contains(&"CLUSTER_UNREACHABLE"), "{told:?}");
        }
        town.cluster.state().is_down = None;
        for _ in 0..10 {
            town.after(5_000_000).await;
        }
        assert_eq!(town.in_state(State::Ready).await, 8, "{}", scratch.engine);
    }
}
