//! Webhook deliveries and the events of the other services become facts.
use serde_json::{Value, json};
use slipway_kit::{
    files::FilePath,
    git::{Author, FileChange, RefName},
    inbox::{self, Delivery},
    journal,
    scm::{NewRepository, PushTo, push_hook},
};
use slipway_metrics::store;
use slipway_proto::{
    environment::v1::{EnvironmentTier, RolloutFinished, RolloutKind, RolloutOutcome},
    metrics::v1 as pb,
    scaffolding::v1::{RunFinished, RunState},
};

use super::platform::*;

async fn deliver(p: &Platform, id: &str, event: &str, body: Value) {
    let delivery = Delivery {
        source: "local".into(),
        delivery_id: id.into(),
        event: event.into(),
        body: body.to_string().into_bytes(),
    };
    inbox::store(&p.db, &delivery).await.unwrap();
}

fn status(state: &str, id: i64, at: &str) -> Value {
    json!({
        "repository": {"id": 7, "full_name": "shop/checkout"},
        "deployment": {"id": 41, "sha": "c1", "task": "deploy", "environment": "production"},
        "deployment_status": {"id": id, "state": state, "created_at": at},
    })
}

async fn deployments(p: &Platform, service: &str) -> Vec<pb::Deployment> {
    let request = pb::ListDeploymentsRequest { service: service.into(), ..Default::default() };
    let page = p.facts(&guest(), "ListDeployments").list_deployments(request).await.unwrap().into_inner();
    page.deployments.into_iter().map(|d| d.deployment.unwrap()).collect()
}

#[tokio::test]
async fn success_twice_then_inactive_is_one_deployment_in_any_order() {
    for p in all().await {
        let statuses = [
            ("inactive", 4, "2026-03-02T12:00:00Z"),
            ("success", 3, "2026-03-02T10:00:00Z"),
            ("success", 3, "2026-03-02T10:00:00Z"),
            ("in_progress", 2, "2026-03-02T09:50:00Z"),
        ];
        for (n, (state, id, at)) in statuses.into_iter().enumerate() {
            deliver(&p, &format!("delivery-{n}"), "deployment_status", status(state, id, at)).await;
        }
        p.until("the deployment is there with its begin", async || {
            deployments(&p, "checkout").await.first().is_some_and(|d| d.start_time.is_some())
        })
        .await;
        let all = deployments(&p, "checkout").await;
        assert_eq!(
            (all.len(), all[0].status(), all[0].finish_time),
            (1, pb::DeploymentStatus::Succeeded, at("03-02T10:00")),
            "{}",
            p.engine
        );
    }
}

#[tokio::test]
async fn a_run_and_its_jobs_are_history_and_a_deployment_only_without_better() {
    for p in all().await {
        let run = json!({
            "repository": {"full_name": "shop/checkout"},
            "workflow_run": {"id": 9, "run_attempt": 1, "name": "Deploy to production", "head_sha": "c1", "head_branch": "main", "event": "push",
                "status": "completed", "conclusion": "success", "created_at": "2026-03-02T09:00:00Z",
                "run_started_at": "2026-03-02T09:01:00Z", "updated_at": "2026-03-02T09:05:00Z"},
        });
        let job = json!({
            "repository": {"full_name": "shop/checkout"},
            "workflow_job": {"id": 90, "run_id": 9, "run_attempt": 1, "name": "scan image", "status": "completed", "conclusion": "failure",
                "started_at": "2026-03-02T09:01:00Z", "completed_at": "2026-03-02T09:02:00Z"},
        });
        deliver(&p, "job", "workflow_job", job).await;
        deliver(&p, "run", "workflow_run", run).await;
        let first = async || {
            let request = pb::ListPipelineRunsRequest {
                filter: "service = checkout AND stage_kind : SCAN".into(),
                ..Default::default()
            };
            p.pipelines(&guest(), "ListPipelineRuns")
                .list_pipeline_runs(request)
                .await
                .unwrap()
                .into_inner()
                .pipeline_runs
        };
        p.until("the run is there", async || !first().await.is_empty()).await;
        let window = || instants("03-02T00:00", "03-03T00:00");
        let count = async || {
            p.performance("checkout", window()).await.deployment_frequency.unwrap().deployments_all.unwrap().value
        };
        p.until("the run counts as a deployment", async || count().await == Some(1)).await;
        deliver(&p, "status", "deployment_status", status("success", 3, "2026-03-02T09:04:00Z")).await;
        p.until("the better source is there", async || deployments(&p, "checkout").await.len() == 2).await;
        assert_eq!(count().await, Some(1), "{}: then the runs are history alone", p.engine);
    }
}

/// A delivery from a provider whose commits cannot be read.
async fn told(p: &Platform, id: &str, event: &str, body: Value) {
    let body = body.to_string().into_bytes();
    let delivery = Delivery { source: "hub".into(), delivery_id: id.into(), event: event.into(), body };
    inbox::store(&p.db, &delivery).await.unwrap();
}

#[tokio::test]
async fn a_push_and_a_pull_request_give_lead_times() {
    for p in all().await {
        let push = |before: &str, after: &str, commits: &[(&str, &str)]| {
            let commits: Vec<Value> =
                commits.iter().map(|(id, at)| json!({"id": id, "timestamp": at, "message": "x"})).collect();
            json!({"ref": "refs/heads/main", "before": before, "after": after,
                "repository": {"full_name": "shop/checkout"}, "commits": commits})
        };
        let nothing = "0000000000000000000000000000000000000000";
        told(&p, "p1", "push", push(nothing, "c0", &[("c0", "2026-03-01T08:00:00Z")])).await;
        let two = [("c1", "2026-03-02T08:00:00Z"), ("c2", "2026-03-02T09:00:00Z")];
        told(&p, "p2", "push", push("c0", "c2", &two)).await;
        let pull = json!({
            "repository": {"full_name": "shop/checkout"},
            "pull_request": {"number": 4, "created_at": "2026-03-02T08:05:00Z", "updated_at": "2026-03-02T09:00:00Z",
                "merged_at": "2026-03-02T09:00:00Z", "closed_at": "2026-03-02T09:00:00Z", "merge_commit_sha": "c2",
                "head": {"sha": "c2"}, "base": {"ref": "main"}, "labels": []},
        });
        told(&p, "pr", "pull_request", pull).await;
        let one = |id, at, sha| deployed(deployment("checkout", "production", id, at, &[("hub/shop/checkout", sha)]));
        p.accept(&ann(), vec![one("d0", "03-01T10:00", "c0"), one("d1", "03-02T10:00", "c2")]).await;
        let lead =
            async || p.performance("checkout", instants("03-02T00:00", "03-03T00:00")).await.change_lead_time.unwrap();
        p.until("the deliveries are taken in", async || {
            let lead = lead().await;
            lead.commit.unwrap().n == Some(2) && lead.pr_merged.unwrap().p50_seconds == Some(3_600)
        })
        .await;
    }
}

#[tokio::test]
async fn commits_of_a_push_are_read_from_the_provider() {
    for p in all().await {
        let scm = p.scm().await;
        let author = |text: &str| Author {
            name: "Ann".into(),
            email: "ann@example.com".into(),
            time_seconds: us(text) / 1_000_000,
        };
        let write = |text: &str| FileChange::Write {
            path: FilePath::parse("a.txt").unwrap(),
            bytes: text.into(),
            executable: false,
        };
        let new = NewRepository {
            name: "shop/checkout".into(),
            description: String::new(),
            default_branch: "main".into(),
            marker: "m".into(),
            files: vec![write("1")],
            message: "first".into(),
            author: author("2026-03-01T08:00:00Z"),
        };
        let repository = scm.create_repository(&new).await.unwrap();
        let git = scm.git("shop/checkout").await.unwrap();
        let first = git.need(&RefName::branch("main").unwrap()).await.unwrap();
        let (branch, message, author) = ("main".into(), "second".into(), author("2026-03-02T08:00:00Z"));
        let push = PushTo { branch, files: vec![write("2")], message, force: false, author };
        let second = scm.push_to("shop/checkout", &push).await.unwrap();
        for (before, after) in [("", &first), (first.as_str(), &second)] {
            let hook = push_hook(&repository, "main", before, after.as_str(), &[], false);
            deliver(&p, after.as_str(), hook.event, serde_json::from_slice(&hook.body).unwrap()).await;
        }
        let one = |id, at, sha: &str| deployed(deployment("checkout", "production", id, at, &[("shop/checkout", sha)]));
        p.accept(&ann(), vec![one("d0", "03-01T10:00", first.as_str()), one("d1", "03-02T10:00", second.as_str())])
            .await;
        p.until("the commits are read", async || {
            let lead =
                p.performance("checkout", instants("03-02T00:00", "03-03T00:00")).await.change_lead_time.unwrap();
            lead.commit.unwrap().p50_seconds == Some(7_200) && !lead.incomplete_graph
        })
        .await;
    }
}

#[tokio::test]
async fn commits_behind_a_deployment_are_read_without_any_push() {
    for p in all().await {
        let scm = p.scm().await;
        let author = Author {
            name: "Ann".into(),
            email: "ann@example.com".into(),
            time_seconds: us("2026-03-01T08:00:00Z") / 1_000_000,
        };
        let write = |text: &str| FileChange::Write {
            path: FilePath::parse("a.txt").unwrap(),
            bytes: text.into(),
            executable: false,
        };
        let new = NewRepository {
            name: "shop/checkout".into(),
            description: String::new(),
            default_branch: "main".into(),
            marker: "m".into(),
            files: vec![write("1")],
            message: "first".into(),
            author: author.clone(),
        };
        scm.create_repository(&new).await.unwrap();
        let git = scm.git("shop/checkout").await.unwrap();
        let first = git.need(&RefName::branch("main").unwrap()).await.unwrap();
        let (branch, message) = ("main".into(), "second".into());
        let push = PushTo { branch, files: vec![write("2")], message, force: false, author };
        let second = scm.push_to("shop/checkout", &push).await.unwrap();
        let one = |id, at, sha: &str| deployed(deployment("checkout", "production", id, at, &[("shop/checkout", sha)]));
        let gone = "0123456789012345678901234567890123456789";
        p.accept(
            &ann(),
            vec![
                one("d0", "03-01T10:00", first.as_str()),
                one("d1", "03-02T10:00", second.as_str()),
                one("d2", "03-02T11:00", gone),
            ],
        )
        .await;
        p.until("the commits are read", async || {
            let answer = p.performance("checkout", instants("03-02T00:00", "03-02T10:30")).await;
            answer.change_lead_time.unwrap().commit.unwrap().p50_seconds == Some(26 * 3_600)
        })
        .await;
    }
}

#[tokio::test]
async fn rollouts_and_golden_paths_of_the_platform_become_facts() {
    for p in all().await {
        let rollout = |id: &str, outcome: RolloutOutcome| RolloutFinished {
            rollout_id: id.into(),
            attempt: 1,
            service: "component:default/checkout".into(),
            environment: "environments/checkout-live".into(),
            tier: EnvironmentTier::Production.into(),
            sha: "c1".into(),
            actor: "user:default/ann".into(),
            start_time: at("03-02T09:50"),
            finish_time: at("03-02T10:00"),
            outcome: outcome.into(),
            kind: RolloutKind::Normal.into(),
            ..Default::default()
        };
        let outcomes = [RolloutOutcome::Succeeded, RolloutOutcome::Failed, RolloutOutcome::Cancelled];
        for (n, outcome) in outcomes.into_iter().enumerate() {
            p.publish("environment", journal::event("env-1", &rollout(&format!("r{n}"), outcome))).await;
        }
        let run = RunFinished {
            run: "runs/1".into(),
            state: RunState::Succeeded.into(),
            service: "component:default/checkout".into(),
            end_time: at("02-28T10:00"),
            ..Default::default()
        };
        p.publish("scaffolding", journal::event("run-1", &run)).await;
        p.until("two rollouts are deployments", async || deployments(&p, "checkout").await.len() == 2).await;
        let live = deployments(&p, "checkout").await.into_iter().find(|d| d.external_id == "r0").unwrap();
        assert_eq!(
            (live.tier(), live.status()),
            (pb::Tier::Production, pb::DeploymentStatus::Succeeded),
            "{}",
            p.engine
        );
        p.until("the milestone is kept", async || {
            let all = store::derived::milestones(&p.db, "component:default/checkout").await.unwrap();
            all.iter().any(|m| m.kind == "CREATED" && m.path == "GOLDEN" && m.at_us == us("2026-02-28T10:00:00Z"))
        })
        .await;
    }
}

#[tokio::test]
async fn a_body_that_says_nothing_is_passed_over() {
    for p in all().await {
        deliver(&p, "odd", "deployment_status", json!({"zen": "yes"})).await;
        deliver(&p, "ping", "ping", json!({"repository": {"full_name": "shop/checkout"}})).await;
        deliver(&p, "good", "deployment_status", status("failure", 3, "2026-03-02T10:00:00Z")).await;
        p.until("the good one is taken in", async || deployments(&p, "checkout").await.len() == 1).await;
        assert_eq!(deployments(&p, "checkout").await[0].status(), pb::DeploymentStatus::Failed, "{}", p.engine);
    }
}
