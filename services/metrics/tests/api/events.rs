//! Webhook deliveries and the events of the other services become facts.
use serde_json::{Value, json};
use slipway_kit::inbox::{self, Delivery};
use slipway_proto::metrics::v1 as pb;

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

#[tokio::test]
async fn a_push_and_a_pull_request_give_lead_times() {
    for p in all().await {
        let push = |before: &str, after: &str, commits: &[(&str, &str)]| {
            let commits: Vec<Value> =
                commits.iter().map(|(id, at)| json!({"id": id, "timestamp": at, "message": "x"})).collect();
            json!({"ref": "refs/heads/main", "before": before, "after": after, "repository": {"full_name": "shop/checkout"}, "commits": commits})
        };
        deliver(
            &p,
            "p1",
            "push",
            push("0000000000000000000000000000000000000000", "c0", &[("c0", "2026-03-01T08:00:00Z")]),
        )
        .await;
        deliver(&p, "p2", "push", push("c0", "c2", &[("c1", "2026-03-02T08:00:00Z"), ("c2", "2026-03-02T09:00:00Z")]))
            .await;
        deliver(&p, "pr", "pull_request", json!({
            "repository": {"full_name": "shop/checkout"},
            "pull_request": {"number": 4, "created_at": "2026-03-02T08:05:00Z", "updated_at": "2026-03-02T09:00:00Z", "merged_at": "2026-03-02T09:00:00Z",
                "closed_at": "2026-03-02T09:00:00Z", "merge_commit_sha": "c2", "head": {"sha": "c2"}, "base": {"ref": "main"}, "labels": []},
        })).await;
        let one = |id, at, sha| deployed(deployment("checkout", "production", id, at, &[("shop/checkout", sha)]));
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
async fn a_body_that_says_nothing_is_passed_over() {
    for p in all().await {
        deliver(&p, "odd", "deployment_status", json!({"zen": "yes"})).await;
        deliver(&p, "ping", "ping", json!({"repository": {"full_name": "shop/checkout"}})).await;
        deliver(&p, "good", "deployment_status", status("failure", 3, "2026-03-02T10:00:00Z")).await;
        p.until("the good one is taken in", async || deployments(&p, "checkout").await.len() == 1).await;
        assert_eq!(deployments(&p, "checkout").await[0].status(), pb::DeploymentStatus::Failed, "{}", p.engine);
    }
}
