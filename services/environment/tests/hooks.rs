//! Hooks of charts as their authors meet them: in order, once each, told when they fail, and the same whoever dies (ENV-75).
#![allow(clippy::unwrap_used)]
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use cluster::{DEATH, Tapped};
use serde_json::{Value, json};
use slipway_environment::{
    app::{App, NewEnvironment, WORK_ENVIRONMENT},
    model::{
        condition::Aspect,
        environment::{Environment, Kind, RetireReason},
        manifest::{self, Doc},
        preview::{Head, Reading},
        state::State,
        tier::Tier,
    },
    store::Store,
    worker,
    world::{
        World,
        fake::{Fake, Kill},
        fake_cluster::{FakeCluster, Trouble},
    },
};
use slipway_kit::{caller::Role, clock::Clock, db::scratch::Scratch, worker::enqueue};
use support::{REPOSITORY, ann, call, caller, open, wanted};

/// One service with a chart that has hooks.
struct Shop {
    scratch: Scratch,
    fake: Fake,
    app: App,
    clock: Clock,
    world: Tapped,
    cluster: FakeCluster,
}

impl Shop {
    async fn new(scratch: Scratch, extra: Vec<Doc>) -> Self {
        Self::over(scratch, extra, |tapped| tapped.world()).await
    }

    async fn over(scratch: Scratch, extra: Vec<Doc>, world_of: impl Fn(&Tapped) -> World) -> Self {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, support::OWNER);
        let cluster = FakeCluster::new(clock.clone());
        let world = Tapped::new(&fake, Arc::new(cluster.clone()));
        world.taps().extra = extra;
        let app = support::app_over(&scratch, world_of(&world), clock.clone()).await;
        Self { scratch, fake, app, clock, world, cluster }
    }

    fn store(&self) -> Store {
        Store::new(self.scratch.db.clone())
    }

    async fn env(&self, label: &str) -> Environment {
        self.store().by_label(&self.scratch.db, label).await.unwrap().unwrap()
    }

    async fn push(&self, number: i64, sha: u64) {
        self.fake.set(REPOSITORY, &number.to_string(), open(sha));
        self.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(number, sha)).await.unwrap();
    }

    async fn close(&self, number: i64) {
        let at_us = self.clock.now_us();
        self.fake.set(REPOSITORY, &number.to_string(), Reading::Ended { reason: RetireReason::Closed, at_us });
    }

    async fn look(&self, labels: &[String]) {
        let mut tx = self.scratch.db.begin().await.unwrap();
        for label in labels {
            enqueue(&mut tx, WORK_ENVIRONMENT, &self.env(label).await.uid, 0).await.unwrap();
        }
        tx.commit().await.unwrap();
        worker(&self.app, 16).run_due().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.clock.advance_us(500_000);
    }

    async fn until(&self, label: &str, what: &str, is_so: impl Fn(&Environment) -> bool) -> Environment {
        for _ in 0..200 {
            let env = self.env(label).await;
            if is_so(&env) {
                return env;
            }
            self.look(&[label.to_owned()]).await;
        }
        let env = self.env(label).await;
        panic!("never {what}: {} {:#?} {:#?}", env.state().word(), env.status.conditions, env.status.progress.hooks);
    }

    async fn until_state(&self, label: &str, state: State) -> Environment {
        let is_so = |env: &Environment| env.state() == state && env.status.observed_generation == env.generation;
        self.until(label, state.word(), is_so).await
    }

    /// Kinds and names in the namespace.
    fn titles(&self, env: &Environment) -> Vec<String> {
        self.cluster.everything(&env.namespace).iter().map(manifest::title).collect()
    }
}

const LABEL: &str = "pr-7-payments";

fn hook(kind: &str, name: &str, events: &str, weight: &str, delete: &str) -> Doc {
    let mut annotations = json!({"helm.sh/hook": events});
    if !weight.is_empty() {
        annotations["helm.sh/hook-weight"] = json!(weight);
    }
    if !delete.is_empty() {
        annotations["helm.sh/hook-delete-policy"] = json!(delete);
    }
    let metadata = json!({"name": name, "annotations": annotations});
    if kind == "ConfigMap" {
        return json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": {"a": "b"}});
    }
    let container = json!({
        "name": "run",
        "image": format!("ghcr.io/acme/{name}@sha256:{}", "c".repeat(64)),
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    let spec = json!({"backoffLimit": 0, "ttlSecondsAfterFinished": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}});
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
}

fn chart() -> Vec<Doc> {
    vec![
        hook("Job", "seed", "post-install", "1", ""),
        hook("Job", "migrate", "pre-install,pre-upgrade", "0", ""),
        hook("Job", "check", "pre-upgrade", "1", "hook-succeeded"),
        hook("Job", "tell", "post-upgrade", "", ""),
        hook("ConfigMap", "settings", "pre-install,pre-upgrade", "-5", "before-hook-creation,hook-succeeded"),
        hook("Job", "back", "pre-rollback", "", ""),
        hook("Job", "smoke", "test", "", ""),
        hook("Job", "goodbye", "pre-delete", "", ""),
        hook("Job", "farewell", "post-delete", "", ""),
    ]
}

/// The lines of a log that are about these, in order.
fn only(log: &[String], about: &[&str]) -> Vec<String> {
    log.iter().filter(|line| about.iter().any(|what| line.contains(what))).cloned().collect()
}

const HOOKS: [&str; 8] =
    ["settings", "Job/", "Deployment/payments", "farewell", "goodbye", "seed", "Namespace/", "migrate"];

#[tokio::test]
async fn hooks_run_in_order_once_and_only_those_of_the_event() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch, chart()).await;
        shop.push(7, 1).await;
        let env = shop.until_state(LABEL, State::Ready).await;
        let log = only(&shop.world.log(&env.namespace), &HOOKS);
        let want = [
            format!("apply Namespace/{}", env.namespace),
            "apply ConfigMap/settings".to_owned(),
            "apply Job/migrate-g1".to_owned(),
            "delete ConfigMap/settings".to_owned(),
            "apply Deployment/payments".to_owned(),
            "apply Job/seed-g1".to_owned(),
        ];
        let namespace_once: Vec<_> = log
            .iter()
            .enumerate()
            .filter(|(at, line)| *at == 0 || !line.contains("Namespace/"))
            .map(|(_, l)| l.clone())
            .collect();
        assert_eq!(namespace_once, want, "{}", shop.scratch.engine);
        let said = env.status.conditions.get(Aspect::PolicyPassed).unwrap();
        assert_eq!((said.reason.as_str(), said.message.contains("Job/back")), ("HOOKS_NOT_RUN", true));
        // Asleep and awake again, none runs a second time.
        shop.app.sleep(&call(ann(), "SleepEnvironment"), "environments/pr-7-payments", "").await.unwrap();
        shop.until(LABEL, "asleep", |env| env.state() == State::Asleep).await;
        shop.app.wake(&call(ann(), "WakeEnvironment"), "environments/pr-7-payments").await.unwrap();
        shop.until_state(LABEL, State::Ready).await;
        assert_eq!(only(&shop.world.log(&env.namespace), &["Job/"]).len(), 2);
        // A push is an upgrade.
        let before = shop.world.log(&env.namespace).len();
        shop.push(7, 2).await;
        let env = shop.until_state(LABEL, State::Ready).await;
        let log = only(&shop.world.log(&env.namespace)[before..], &["settings", "Job/", "Deployment/"]);
        let want = [
            "apply ConfigMap/settings",
            "delete Job/migrate-g1",
            "apply Job/migrate-g2",
            "apply Job/check-g2",
            "delete ConfigMap/settings",
            "delete Job/check-g2",
            "apply Deployment/payments",
            "apply Job/tell-g2",
        ];
        assert_eq!(log, want);
        assert!(shop.titles(&env).contains(&"Job/seed-g1".to_owned()), "its policy lets it stay");
        // The teardown has its own.
        let before = shop.world.log(&env.namespace).len();
        shop.close(7).await;
        let env = shop.until(LABEL, "deleted", |env| env.state() == State::Deleted).await;
        let log = shop.world.log(&env.namespace)[before..].to_vec();
        let at = |what: &str| {
            log.iter().position(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what}: {log:?}"))
        };
        assert!(at("apply Job/goodbye-g2") < at("delete Deployment/"), "{log:?}");
        assert!(at("delete Deployment/") < at("apply Job/farewell-g2"), "{log:?}");
        assert!(at("apply Job/farewell-g2") < at("delete Namespace/"), "{log:?}");
        assert_eq!(shop.titles(&env), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn a_hook_that_fails_stops_the_rollout_with_its_last_lines() {
    for scratch in support::databases().await {
        let failing = hook("Job", "migrate", "pre-install,pre-upgrade", "", "before-hook-creation,hook-failed");
        let shop = Shop::new(scratch, vec![failing]).await;
        shop.cluster.state().troubles.push(("migrate".to_owned(), Trouble::CrashLoop(3)));
        shop.push(7, 1).await;
        let namespace = shop.env(LABEL).await.namespace;
        shop.cluster.set_logs(&namespace, "migrate", false, &["connecting", "relation orders does not exist"]);
        let env = shop.until_state(LABEL, State::Failed).await;
        let stalled = env.status.conditions.get(Aspect::Stalled).unwrap();
        assert_eq!(stalled.reason, "HOOK_FAILED");
        assert!(stalled.message.starts_with("Job/migrate-g1 failed"), "{}", stalled.message);
        assert!(stalled.message.contains("relation orders does not exist"), "{}", stalled.message);
        assert_eq!(only(&shop.world.log(&namespace), &["Deployment/"]), [] as [&str; 0]);
        shop.look(&[LABEL.to_owned()]).await;
        shop.look(&[LABEL.to_owned()]).await;
        assert!(!shop.titles(&env).contains(&"Job/migrate-g1".to_owned()), "hook-failed deletes it");
        // Mended and tried again, it runs anew.
        shop.cluster.state().troubles.clear();
        shop.app.retry(&call(ann(), "RetryEnvironment"), "environments/pr-7-payments").await.unwrap();
        let env = shop.until_state(LABEL, State::Ready).await;
        assert_eq!(only(&shop.world.log(&namespace), &["apply Job/"]).len(), 2);
        // One that follows fails what is healthy, and a failing one of the teardown holds nothing up.
        shop.world.taps().extra =
            vec![hook("Job", "tell", "post-upgrade", "", ""), hook("Job", "goodbye", "pre-delete", "", "")];
        for image in ["tell", "goodbye"] {
            shop.cluster.state().troubles.push((format!("/{image}@"), Trouble::CrashLoop(1)));
        }
        shop.push(7, 2).await;
        let failed = shop.until_state(LABEL, State::Failed).await;
        assert_eq!(failed.status.conditions.get(Aspect::Healthy).unwrap().reason, "HOOK_FAILED");
        assert_eq!(failed.status.progress.applied, 2);
        shop.close(7).await;
        shop.until(LABEL, "deleted", |env| env.state() == State::Deleted).await;
        assert_eq!(shop.titles(&env), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn hooks_need_a_cluster_that_the_platform_applies_to() {
    for scratch in support::databases().await {
        let with_git = |tapped: &Tapped| World { clusters: tapped.fake.world().clusters, ..tapped.world() };
        let shop = Shop::over(scratch, chart(), with_git).await;
        shop.push(7, 1).await;
        let env = shop.until_state(LABEL, State::Failed).await;
        assert_eq!(env.status.conditions.get(Aspect::Stalled).unwrap().reason, "HOOK_NOT_SUPPORTED");
    }
}

fn note(keep: bool) -> Doc {
    let annotations = if keep { json!({"helm.sh/resource-policy": "keep"}) } else { json!({}) };
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note", "annotations": annotations}, "data": {"a": "b"}})
}

#[tokio::test]
async fn what_a_chart_keeps_stays_except_in_development() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch, vec![note(true)]).await;
        let main = |sha| Reading::Open(Head { branch: "main".to_owned(), ..support::head(sha, 1) });
        let new = NewEnvironment {
            service: support::SERVICE.to_owned(),
            kind: Some(Kind::LongLived),
            tier: Some(Tier::Staging),
            images: support::images(),
            ..NewEnvironment::default()
        };
        shop.fake.set(REPOSITORY, "main", main(1));
        let staging = shop.app.create(&call(ann(), "CreateEnvironment"), &new).await.unwrap().label_id;
        shop.push(7, 1).await;
        for label in [staging.as_str(), LABEL] {
            let env = shop.until_state(label, State::Ready).await;
            assert!(shop.titles(&env).contains(&"ConfigMap/note".to_owned()));
        }
        shop.world.taps().extra.clear();
        shop.fake.set(REPOSITORY, "main", main(2));
        shop.app.create(&call(ann(), "CreateEnvironment"), &new).await.unwrap();
        shop.push(7, 2).await;
        for (label, stays) in [(staging.as_str(), true), (LABEL, false)] {
            let env = shop.until(label, "second", |env| {
                env.state() == State::Ready
                    && env.status.observed_generation == 2
                    && env.status.progress.stale.is_empty()
            });
            let env = env.await;
            assert_eq!(shop.titles(&env).contains(&"ConfigMap/note".to_owned()), stays, "{label}");
        }
        let name = format!("environments/{staging}");
        let open = shop.app.delete(&call(ann(), "DeleteEnvironment"), &name, "", false).await.unwrap();
        let boss = caller("user:default/max", &[(support::OWNER, Role::Maintainer)], &[]);
        shop.app.confirm(&call(boss, "ConfirmDelete"), &name, &staging, &open.token).await.unwrap();
        let env = shop.until(&staging, "deleted", |env| env.state() == State::Deleted).await;
        assert!(shop.titles(&env).contains(&"ConfigMap/note".to_owned()), "its chart keeps it");
        assert!(!shop.titles(&env).iter().any(|title| title.starts_with("Deployment/")));
        let receipt = shop.store().receipt(&shop.scratch.db, &env.uid).await.unwrap().unwrap();
        let kept = receipt.objects.iter().find(|o| o.id.contains("note")).unwrap();
        assert!(kept.deleted_us.is_none(), "{kept:?}");
    }
}

/// A worker that dies in a test is no news.
fn quiet() {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload_as_str().unwrap_or_default().contains(DEATH) {
                loud(info);
            }
        }));
    });
}

#[tokio::test]
async fn a_death_at_any_effect_runs_no_hook_twice() {
    quiet();
    for scratch in support::databases().await {
        let shop = Shop::new(scratch, chart()).await;
        // Effects of a life from its guard rails to its upgrade; each environment dies at one, before or after it.
        let numbers: Vec<i64> = (1..=26).collect();
        for number in &numbers {
            for (base, kill) in [(100, Kill::Before), (200, Kill::After)] {
                let deaths = vec![(8 + *number as u64, kill)];
                shop.world.taps().kills.insert(format!("payments-pr-{}-", base + number), deaths);
            }
        }
        let numbers: Vec<i64> = numbers.iter().flat_map(|n| [100 + n, 200 + n]).collect();
        let labels: Vec<String> = numbers.iter().map(|n| format!("pr-{n}-payments")).collect();
        for generation in [1, 2] {
            for number in &numbers {
                shop.push(*number, generation).await;
            }
            for round in 0.. {
                let mut waiting = Vec::new();
                for label in &labels {
                    let env = shop.env(label).await;
                    if env.state() != State::Ready || env.status.observed_generation != generation as i64 {
                        waiting.push(label.clone());
                    }
                }
                if waiting.is_empty() {
                    break;
                }
                assert!(round < 150, "{waiting:?}: {:#?}", shop.env(&waiting[0]).await.status);
                shop.look(&waiting).await;
            }
        }
        let killed = shop.world.taps().killed;
        println!("{}: {killed} deaths", shop.scratch.engine);
        assert!(killed >= 50, "only {killed} deaths");
        for label in &labels {
            let env = shop.env(label).await;
            let all = shop.cluster.everything(&env.namespace);
            let runs = |job: &str| {
                let of = |pod: &&Value| pod.pointer("/metadata/labels/job-name") == Some(&json!(job));
                all.iter().filter(|doc| manifest::kind(doc) == "Pod").filter(of).count()
            };
            let ran = ["seed-g1", "migrate-g2", "tell-g2"].map(runs);
            assert_eq!((ran, runs("check-g2"), runs("migrate-g1")), ([1; 3], 0, 0), "{label}");
            assert!(env.status.inventory.iter().all(|held| !held.uid.is_empty()), "{label}");
        }
        assert_eq!(shop.world.taps().unguarded, [] as [&str; 0]);
    }
}
