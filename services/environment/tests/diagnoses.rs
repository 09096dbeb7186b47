//! What a person is told of a cluster: diagnoses, lines and happenings, and the mistakes they make asking.
#![allow(clippy::unwrap_used, missing_docs)]
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{sync::Arc, time::Duration};

use cluster::Tapped;
use futures::StreamExt as _;
use slipway_environment::{
    app::{App, Happening, WORK_ENVIRONMENT, WantedLogs},
    model::{environment::RetireReason, pods::Wanted, preview::Reading, state::State},
    store::Store,
    worker,
    world::{
        cluster::ObjectRef,
        fake::Fake,
        fake_cluster::{Failure, FakeCluster, Trouble},
    },
};
use slipway_kit::{caller::Role, clock::Clock, db::scratch::Scratch, serve::Call, worker::enqueue};
use support::{OWNER, REPOSITORY, ann, caller, open, stranger, wanted};

const NAME: &str = "environments/pr-7-payments";
const DIAGNOSIS: &str = "environments/pr-7-payments/diagnosis";

struct Shop {
    scratch: Scratch,
    fake: Fake,
    app: App,
    clock: Clock,
    cluster: FakeCluster,
}

fn ask(method: &str) -> Call {
    ask_as(ann(), method)
}

fn ask_as(caller: slipway_kit::caller::Caller, method: &str) -> Call {
    let method: &'static str = Box::leak(format!("/slipway.environment.v1.DiagnosisService/{method}").into_boxed_str());
    Call::for_test(caller, method)
}

impl Shop {
    async fn new(scratch: Scratch, trouble: Option<Trouble>) -> Self {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, OWNER);
        let cluster = FakeCluster::beside(&fake, clock.clone());
        if let Some(trouble) = trouble {
            cluster.state().troubles.push(("payments".to_owned(), trouble));
        }
        let world = Tapped::new(&fake, Arc::new(cluster.clone())).world();
        let app = support::app_over(&scratch, world, clock.clone()).await;
        let shop = Self { scratch, fake, app, clock, cluster };
        shop.fake.set(REPOSITORY, "7", open(1));
        shop.app.ensure_preview(&support::call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        shop
    }

    async fn state(&self) -> State {
        let found = Store::new(self.scratch.db.clone()).by_label(&self.scratch.db, "pr-7-payments").await.unwrap();
        found.unwrap().state()
    }

    async fn until(&self, state: State) {
        for _ in 0..200 {
            if self.state().await == state {
                return;
            }
            let found = Store::new(self.scratch.db.clone()).by_label(&self.scratch.db, "pr-7-payments").await.unwrap();
            let mut tx = self.scratch.db.begin().await.unwrap();
            enqueue(&mut tx, WORK_ENVIRONMENT, &found.unwrap().uid, 0).await.unwrap();
            tx.commit().await.unwrap();
            worker(&self.app, 1).run_due().await.unwrap();
            self.clock.advance_us(200_000);
        }
        panic!("never {state:?}: {:?}", self.state().await);
    }

    fn namespace(&self) -> String {
        let all = self.cluster.everything("");
        let found = all.iter().find(|doc| doc["metadata"]["name"].as_str().unwrap_or("").starts_with("payments-pr-7"));
        found.unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_crash_loop_is_told_with_exit_code_remedy_and_redacted_lines() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch, Some(Trouble::CrashLoop(3))).await;
        shop.until(State::Degraded).await;
        let lines: Vec<String> = (0..30).map(|n| format!("line {n}")).collect();
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.push("panic: DB_PASSWORD=hunter2 is wrong");
        for previous in [true, false] {
            shop.cluster.set_logs(&shop.namespace(), "payments", previous, &lines);
        }
        let found = shop.app.diagnose(&ask("GetEnvironmentDiagnosis"), DIAGNOSIS).await.unwrap();
        let (problem, told) = &found.problems[0];
        assert_eq!((problem.reason, problem.exit_code), ("CRASH_LOOP", Some(3)));
        assert!(!problem.container.is_empty() && problem.workload.kind == "Deployment");
        assert_eq!((told.len(), told.last().unwrap().as_str()), (20, "panic: DB_PASSWORD=*** is wrong"));
        assert!(found.summary.starts_with("DEGRADED: ") && found.summary.contains("exit code 3"), "{}", found.summary);
        assert!(found.quotas.iter().any(|quota| quota.resource == "pods"), "{:?}", found.quotas);
    }
}

#[tokio::test]
async fn a_healthy_one_says_so_and_a_silent_cluster_is_no_diagnosis() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch, None).await;
        shop.until(State::Ready).await;
        let found = shop.app.diagnose(&ask("GetEnvironmentDiagnosis"), DIAGNOSIS).await.unwrap();
        assert_eq!(
            (found.problems.len(), found.summary.as_str()),
            (0, "READY: every workload runs as it was applied.")
        );
        shop.cluster.state().is_down = Some(Failure::TimeoutBefore);
        let error = shop.app.diagnose(&ask("GetEnvironmentDiagnosis"), DIAGNOSIS).await.unwrap_err();
        assert!(!error.kind().is_definite(), "{error:?}");
    }
}

#[tokio::test]
async fn only_the_team_reads_and_what_is_not_seen_is_not_there() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch, None).await;
        let viewer = caller("user:default/vic", &[(OWNER, Role::Viewer)], &[]);
        for who in [stranger(), viewer] {
            let error =
                shop.app.diagnose(&ask_as(who.clone(), "GetEnvironmentDiagnosis"), DIAGNOSIS).await.unwrap_err();
            assert_eq!(error.reason().name, "PERMISSION_DENIED");
            let error = shop.app.logs(&ask_as(who.clone(), "StreamWorkloadLogs"), NAME, &WantedLogs::default()).await;
            assert_eq!(error.err().unwrap().reason().name, "PERMISSION_DENIED");
            let error = shop.app.happenings(&ask_as(who, "StreamEnvironmentEvents"), NAME).await;
            assert_eq!(error.err().unwrap().reason().name, "PERMISSION_DENIED");
        }
        // The name of the environment is not the name of its diagnosis; to a developer it is not there.
        let error = shop.app.diagnose(&ask("GetEnvironmentDiagnosis"), NAME).await.unwrap_err();
        assert_eq!(error.reason().name, "PERMISSION_DENIED");
    }
}

#[tokio::test]
async fn with_target_git_nothing_is_observed() {
    for scratch in support::databases().await {
        let (fake, app, _) = support::shop(&scratch).await;
        fake.set(REPOSITORY, "7", open(1));
        app.ensure_preview(&support::call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        let reasons = [
            app.diagnose(&ask("GetEnvironmentDiagnosis"), DIAGNOSIS).await.err(),
            app.logs(&ask("StreamWorkloadLogs"), NAME, &WantedLogs::default()).await.err(),
            app.happenings(&ask("StreamEnvironmentEvents"), NAME).await.err(),
        ];
        assert_eq!(reasons.map(|e| e.unwrap().reason().name), ["CLUSTER_NOT_OBSERVED"; 3]);
    }
}

#[tokio::test]
async fn lines_come_from_the_workload_redacted_and_a_wrong_name_lists_the_right_ones() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch, None).await;
        shop.until(State::Ready).await;
        shop.cluster.set_logs(&shop.namespace(), "payments", false, &["one", "Authorization: Bearer abc", "three"]);
        let read = async |wanted: WantedLogs| {
            let lines = shop.app.logs(&ask("StreamWorkloadLogs"), NAME, &wanted).await?;
            Ok::<_, slipway_kit::error::Error>(lines.map(|line| line.unwrap().text).collect::<Vec<String>>().await)
        };
        let of = |workload: &str, container: &str| WantedLogs {
            from: Wanted { workload: workload.to_owned(), container: container.to_owned(), ..Wanted::default() },
            ..WantedLogs::default()
        };
        // Two pods write the same; each in its own order.
        let mut all = read(of("", "")).await.unwrap();
        all.sort();
        assert_eq!(all, ["Authorization: ***", "Authorization: ***", "one", "one", "three", "three"]);
        let last = read(WantedLogs { tail_lines: 1, ..WantedLogs::default() }).await.unwrap();
        assert!(last.iter().all(|line| line == "three"), "{last:?}");
        let error = read(of("web", "")).await.unwrap_err();
        assert!(error.reason().name == "WORKLOAD_UNKNOWN" && error.message().contains("Deployment/"), "{error:?}");
        let error = read(of("", "nope")).await.unwrap_err();
        assert_eq!(error.violations()[0].0, "container");
        let follow = WantedLogs { follow: true, ..WantedLogs::default() };
        let mut lines = shop.app.logs(&ask("StreamWorkloadLogs"), NAME, &follow).await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap().text, "one");
        shop.app.drain();
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(5), lines.next()).await {}
        assert!(lines.next().await.is_none(), "a process that ends ends its streams");
    }
}

#[tokio::test]
async fn happenings_begin_with_now_and_go_on_to_the_end() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch, None).await;
        shop.until(State::Ready).await;
        let told = shop.app.happenings(&ask("StreamEnvironmentEvents"), NAME).await.unwrap();
        let mut told = Box::pin(told);
        let mut aspects = Vec::new();
        loop {
            match told.next().await.unwrap().unwrap() {
                Happening::Condition(told) => aspects.push(told.condition.r#type.clone()),
                Happening::Synced => break,
                _ => {}
            }
        }
        assert!(aspects.contains(&"Healthy".to_owned()), "{aspects:?}");
        let at_us = shop.clock.now_us();
        shop.fake.set(REPOSITORY, "7", Reading::Ended { reason: RetireReason::Closed, at_us });
        support::tell(&shop.app, 7).await;
        let ends = async {
            let mut saw_deleting = false;
            while let Some(happening) = told.next().await {
                match happening.unwrap() {
                    Happening::Condition(told) => saw_deleting |= told.condition.r#type == "Deleting",
                    Happening::Gone => return saw_deleting,
                    _ => {}
                }
            }
            false
        };
        let (saw_deleting, ()) = tokio::join!(ends, shop.until(State::Deleted));
        assert!(saw_deleting);
        let error = shop.app.logs(&ask("StreamWorkloadLogs"), NAME, &WantedLogs::default()).await;
        assert_eq!(error.err().unwrap().reason().name, "ENVIRONMENT_DELETING");
    }
}

#[tokio::test]
async fn what_blocks_an_end_is_named_with_who_holds_it() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch, None).await;
        shop.until(State::Ready).await;
        let namespace = shop.namespace();
        let held = shop.cluster.everything(&namespace).into_iter().find(|doc| doc["kind"] == "Service").unwrap();
        let object = ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            namespace: namespace.clone(),
            name: held["metadata"]["name"].as_str().unwrap().to_owned(),
        };
        shop.cluster.edit(&object, |doc| doc["metadata"]["finalizers"] = serde_json::json!(["example.com/keep"]));
        let at_us = shop.clock.now_us();
        shop.fake.set(REPOSITORY, "7", Reading::Ended { reason: RetireReason::Closed, at_us });
        support::tell(&shop.app, 7).await;
        shop.until(State::Deleting).await;
        for _ in 0..5 {
            shop.clock.advance_us(200_000);
            worker(&shop.app, 1).run_due().await.unwrap();
        }
        let found = shop.app.diagnose(&ask("GetEnvironmentDiagnosis"), DIAGNOSIS).await.unwrap();
        let blocker = found.blockers.iter().find(|blocker| blocker.object.starts_with("Service/")).unwrap();
        assert_eq!(blocker.finalizers, ["example.com/keep"]);
        assert!(found.summary.contains("in the way"), "{}", found.summary);
    }
}
