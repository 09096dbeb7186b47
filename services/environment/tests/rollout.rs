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
        fake_cluster::{Failure, FakeCluster, Trouble},
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

    async fn in_memory(scratch: Scratch) -> (Self, FakeCluster) {
        let cluster = FakeCluster::new(Clock::manual(1_800_000_000_000_000));
        (Self::new(scratch, Arc::new(cluster.clone())).await, cluster)
    }

    /// A fresh SQLite file and a fresh cluster in memory.
    async fn simple() -> (Self, FakeCluster) {
        Self::in_memory(scratch::sqlite(migrations()).await).await
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
        support::tell(&self.app, self.number).await;
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

fn reason(env: &Environment, aspect: Aspect) -> String {
    env.status.conditions.get(aspect).map(|c| c.reason.clone()).unwrap_or_default()
}

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
async fn a_preview_lives_and_dies_on_the_cluster_in_memory() {
    for scratch in support::databases().await {
        let (shop, _) = Shop::in_memory(scratch).await;
        a_life(&shop).await;
    }
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
    let shop = Shop::new(scratch::sqlite(migrations()).await, cluster).await;
    a_life(&shop).await;
}

#[tokio::test]
async fn what_does_not_fit_the_quota_is_told_before_anything_is_applied() {
    let (shop, cluster) = Shop::simple().await;
    shop.world.taps().cpu = "1500m".to_owned();
    shop.push(1).await;
    let env = shop.until_state(State::Failed).await;
    assert_eq!(reason(&env, Aspect::PolicyPassed), "QUOTA_TOO_SMALL");
    assert!(message(&env, Aspect::PolicyPassed).contains("needs 3000m"), "{}", message(&env, Aspect::PolicyPassed));
    assert_eq!(shop.world.log(""), [] as [&str; 0]);
    assert_eq!(cluster.everything(&env.namespace), Vec::<serde_json::Value>::new());
    // What fits at rest only rolls without a surge, and says so.
    shop.world.taps().cpu = "900m".to_owned();
    shop.push(2).await;
    let env = shop.until_state(State::Ready).await;
    assert_eq!(reason(&env, Aspect::PolicyPassed), "ROLLS_WITHOUT_SURGE");
    let deployment = shop.found(&env, "apps/v1", "Deployment", "payments").await.unwrap();
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], 0);
}

#[tokio::test]
async fn pods_that_break_pod_security_are_told_by_container_and_never_applied() {
    let (shop, _) = Shop::simple().await;
    shop.world.taps().unsafe_pod = true;
    shop.push(1).await;
    let env = shop.until_state(State::Failed).await;
    assert_eq!(reason(&env, Aspect::Applied), "POD_SECURITY");
    let told = message(&env, Aspect::Applied);
    assert!(
        told.contains("Deployment/payments") && told.contains("container \"app\"") && told.contains("runAsNonRoot"),
        "{told}"
    );
    assert!(!shop.world.log("").iter().any(|line| line.contains("Deployment")), "{:?}", shop.world.log(""));
    shop.world.taps().unsafe_pod = false;
    shop.push(2).await;
    shop.until_state(State::Ready).await;
}

#[tokio::test]
async fn a_namespace_of_somebody_else_is_left_alone() {
    let (shop, cluster) = Shop::simple().await;
    shop.push(1).await;
    let env = shop.env().await;
    let foreign = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": env.namespace, "labels": {"team": "x"}}});
    let before = cluster.apply_as("kubectl", &foreign, false).unwrap();
    let env = shop.until_state(State::Failed).await;
    assert_eq!(reason(&env, Aspect::NamespaceReady), "NAMESPACE_TAKEN");
    shop.close().await;
    shop.until("deleted", |env| env.state() == State::Deleted).await;
    assert_eq!(shop.found(&env, "v1", "Namespace", &env.namespace).await, Some(before));
    assert_eq!(shop.world.log(""), [] as [&str; 0]);
}

#[tokio::test]
async fn a_finalizer_blocks_its_own_teardown_and_no_other() {
    let (mut shop, cluster) = Shop::simple().await;
    shop.push(1).await;
    let env = shop.until_state(State::Ready).await;
    let held = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": env.namespace, "finalizers": ["acme.io/hold"]}});
    let held = slipway_environment::model::manifest::object(&cluster.apply_as("other", &held, false).unwrap());
    shop.close().await;
    shop.until("in its last step", |env| message(env, Aspect::Deleting).contains("acme.io/hold")).await;
    shop.clock.advance_us(6 * 60_000_000);
    let env = shop.until("blocked", |env| env.state() == State::DeleteBlocked).await;
    let told = message(&env, Aspect::Deleting);
    assert!(
        told.contains("ConfigMap/held held by acme.io/hold") && told.contains("NamespaceFinalizersRemaining"),
        "{told}"
    );
    shop.number = 8;
    shop.push(1).await;
    shop.until_state(State::Ready).await;
    shop.close().await;
    shop.until("deleted", |env| env.state() == State::Deleted).await;
    shop.number = 7;
    assert_eq!(shop.env().await.state(), State::DeleteBlocked);
    cluster.edit(&held, |doc| doc["metadata"]["finalizers"] = serde_json::json!([]));
    shop.until("deleted", |env| env.state() == State::Deleted).await;
}

#[tokio::test]
async fn a_cluster_that_gives_no_answer_loses_nothing() {
    let (shop, cluster) = Shop::simple().await;
    shop.push(1).await;
    shop.until_state(State::Ready).await;
    let before = cluster.everything(&shop.env().await.namespace);
    cluster.state().is_down = Some(Failure::TimeoutBefore);
    shop.look().await;
    assert_eq!(shop.env().await.state(), State::Ready);
    assert_eq!(reason(&shop.env().await, Aspect::InSync), "CLUSTER_UNREACHABLE");
    shop.clock.advance_us(6 * 60_000_000);
    shop.look().await;
    assert_eq!(shop.env().await.state(), State::Degraded);
    cluster.state().is_down = None;
    shop.until_state(State::Ready).await;
    assert_eq!(cluster.everything(&shop.env().await.namespace), before);
    // A wait that the cluster asks for is kept.
    cluster.state().is_down = Some(Failure::Busy(70));
    shop.look().await;
    let item =
        slipway_kit::worker::item(&shop.scratch.db, WORK_ENVIRONMENT, &shop.env().await.uid).await.unwrap().unwrap();
    let wait_s = (item.next_us - Clock::system().now_us()) / 1_000_000;
    assert!((60..=70).contains(&wait_s), "{wait_s}");
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_named_fails_at_the_deadline_and_recovers() {
    let (shop, cluster) = Shop::simple().await;
    cluster.state().troubles.push(("payments".to_owned(), Trouble::ImagePull));
    shop.push(1).await;
    let env = shop.until("degraded", |env| env.state() == State::Degraded).await;
    assert_eq!(reason(&env, Aspect::Healthy), "IMAGE_PULL");
    assert!(message(&env, Aspect::Healthy).contains("app"), "{}", message(&env, Aspect::Healthy));
    shop.clock.advance_us(10 * 60_000_000);
    let env = shop.until_state(State::Failed).await;
    assert_eq!(reason(&env, Aspect::Stalled), "PROGRESS_DEADLINE");
    cluster.state().troubles.clear();
    cluster.look_again();
    shop.until_state(State::Ready).await;
}

#[tokio::test]
async fn bound_secrets_come_before_workloads_and_go_before_the_namespace() {
    let (shop, _) = Shop::simple().await;
    shop.fake.state().secret_names = vec!["db".to_owned()];
    shop.push(1).await;
    let env = shop.until_state(State::Ready).await;
    assert_eq!(reason(&env, Aspect::SecretsReady), "DELIVERED");
    let log = shop.world.log(&env.namespace);
    let at = |what: &str| log.iter().position(|line| line.starts_with(what)).unwrap();
    assert!(at("apply NetworkPolicy") < at("deliver") && at("deliver") < at("apply Deployment"), "{log:?}");
    assert!(shop.found(&env, "apps/v1", "Deployment", "payments").await.unwrap().to_string().contains("secrets-hash"));
    shop.close().await;
    shop.until("deleted", |env| env.state() == State::Deleted).await;
    let log = shop.world.log(&env.namespace);
    let at = |what: &str| log.iter().position(|line| line.starts_with(what)).unwrap();
    assert!(at("delete Deployment") < at("withdraw") && at("withdraw") < at("delete Namespace"), "{log:?}");
}

#[tokio::test]
async fn a_push_and_a_close_stop_what_is_rolling_out() {
    let (shop, cluster) = Shop::simple().await;
    cluster.state().troubles.push(("payments".to_owned(), Trouble::NotReady));
    shop.push(1).await;
    shop.until("rolling out", |env| env.status.progress.applied == 1).await;
    shop.push(2).await;
    let env = shop.until("superseded", |env| env.status.progress.applied == env.generation && env.generation > 1).await;
    assert_ne!(env.state(), State::Ready);
    shop.close().await;
    let writes = shop.world.log(&env.namespace).len();
    let env = shop.until("deleted", |env| env.state() == State::Deleted).await;
    let after = shop.world.log(&env.namespace).split_off(writes);
    assert!(after.iter().all(|line| line.starts_with("delete") || line.starts_with("withdraw")), "{after:?}");
}

#[tokio::test]
async fn autoscalers_sleep_too_and_jobs_run_once_a_generation() {
    let (shop, _) = Shop::simple().await;
    let pod = serde_json::json!({"restartPolicy": "Never", "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "m", "image": format!("ghcr.io/acme/payments@sha256:{}", "a".repeat(64)),
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]});
    shop.world.taps().extra = vec![
        serde_json::json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "payments"},
            "spec": {"minReplicas": 2, "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "payments"}}}),
        serde_json::json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"}, "spec": {"template": {"spec": pod}}}),
    ];
    shop.push(1).await;
    let env = shop.until_state(State::Ready).await;
    assert!(shop.found(&env, "batch/v1", "Job", "migrate-g1").await.is_some());
    shop.power(Power::Asleep).await;
    shop.until_state(State::Asleep).await;
    let autoscaler = || shop.found(&env, "autoscaling/v2", "HorizontalPodAutoscaler", "payments");
    shop.until("without autoscaler", |env| env.status.progress.stale.is_empty()).await;
    assert!(autoscaler().await.is_none());
    shop.power(Power::Awake).await;
    shop.until_state(State::Ready).await;
    assert!(autoscaler().await.is_some());
    let jobs = |log: Vec<String>| log.iter().filter(|line| line.starts_with("apply Job/")).count();
    assert_eq!(jobs(shop.world.log(&env.namespace)), 1);
    shop.push(2).await;
    let env = shop.until_state(State::Ready).await;
    assert!(shop.found(&env, "batch/v1", "Job", "migrate-g2").await.is_some());
    assert!(shop.found(&env, "batch/v1", "Job", "migrate-g1").await.is_none());
}

#[tokio::test]
async fn fields_of_others_are_taken_over_only_where_the_object_is_ours() {
    let (shop, cluster) = Shop::simple().await;
    shop.push(1).await;
    let env = shop.until_state(State::Ready).await;
    // Somebody scales our Deployment by hand: the next generation is as it was rendered.
    let by_hand = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "payments", "namespace": env.namespace}, "spec": {"replicas": 5}});
    cluster.apply_as("kubectl", &by_hand, true).unwrap();
    // And makes an object that the next commit would make too.
    let theirs = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "payments-0000000002", "namespace": env.namespace}, "data": {"sha": "theirs"}});
    cluster.apply_as("kubectl", &theirs, true).unwrap();
    shop.push(2).await;
    let env = shop.until_state(State::Failed).await;
    assert_eq!(reason(&env, Aspect::Applied), "FIELD_CONFLICT");
    assert!(message(&env, Aspect::Applied).contains("kubectl"), "{}", message(&env, Aspect::Applied));
    shop.push(3).await;
    let env = shop.until_state(State::Ready).await;
    let deployment = shop.found(&env, "apps/v1", "Deployment", "payments").await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(shop.found(&env, "v1", "ConfigMap", "payments-0000000002").await.unwrap()["data"]["sha"], "theirs");
}

#[tokio::test]
async fn a_worker_whose_lease_is_short_writes_nothing_anywhere() {
    for scratch in support::databases().await {
        let (shop, _) = Shop::in_memory(scratch).await;
        shop.push(1).await;
        worker(&shop.app, 1).lease(Duration::from_secs(4)).run_due().await.unwrap();
        assert_eq!(shop.world.log(""), [] as [&str; 0], "{}", shop.scratch.engine);
        shop.until_state(State::Ready).await;
    }
}

#[tokio::test]
async fn what_nobody_changed_is_not_asked_again_and_what_changed_is() {
    let (shop, cluster) = Shop::simple().await;
    let shutdown = slipway_kit::serve::Shutdown::new();
    let (app, down) = (shop.app.clone(), shutdown.clone());
    let watch = tokio::spawn(async move { app.watch_clusters(down).await });
    shop.push(1).await;
    shop.until_state(State::Ready).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    shop.look().await;
    let calls = shop.world.taps().calls;
    shop.look().await;
    assert_eq!(shop.world.taps().calls, calls);
    // Somebody takes a guard rail away: the watch enqueues the environment, and it stands again.
    let env = shop.env().await;
    let quota = shop.found(&env, "v1", "ResourceQuota", "slipway-quota").await.unwrap();
    cluster.delete_as_other(&slipway_environment::model::manifest::object(&quota));
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        worker(&shop.app, 1).run_due().await.unwrap();
        if shop.found(&env, "v1", "ResourceQuota", "slipway-quota").await.is_some() {
            break;
        }
    }
    assert!(shop.found(&env, "v1", "ResourceQuota", "slipway-quota").await.is_some());
    shutdown.begin();
    watch.await.unwrap();
}
