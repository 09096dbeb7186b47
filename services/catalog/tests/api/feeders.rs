//! What the metrics service tells: deployments pulled from its journal, and pipeline runs asked for on the caller's behalf.

use std::time::Duration;

use slipway_kit::{
    db::{Migrations, scratch},
    journal,
    serve::{Service, Shutdown},
};
use slipway_proto::{catalog::v1 as pb, metrics::v1 as metrics};

use slipway_proto::metrics::v1::pipeline_service_server::{PipelineService, PipelineServiceServer};
use tonic::{Request, Response, Status};

use super::house::{House, ann, component, each};

/// Answers one run, if asked for the right service by a caller it knows.
struct Pipelines;

#[tonic::async_trait]
impl PipelineService for Pipelines {
    async fn list_pipeline_runs(
        &self,
        request: Request<metrics::ListPipelineRunsRequest>,
    ) -> Result<Response<metrics::ListPipelineRunsResponse>, Status> {
        let (call, request) = slipway_kit::serve::accept(request)?;
        assert_eq!((call.caller.principal.as_str(), call.peer.as_str()), ("user:default/ann", "catalog"));
        assert_eq!(request.filter, "service = \"component:default/pay\"");
        let run = metrics::PipelineRun {
            name: "pipelineRuns/1".into(),
            title: "ci".into(),
            status: metrics::PipelineStatus::Succeeded.into(),
            ..Default::default()
        };
        Ok(Response::new(metrics::ListPipelineRunsResponse { pipeline_runs: vec![run], ..Default::default() }))
    }

    async fn get_pipeline_run(
        &self,
        _: Request<metrics::GetPipelineRunRequest>,
    ) -> Result<Response<metrics::PipelineRun>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn get_pipeline_stats(
        &self,
        _: Request<metrics::GetPipelineStatsRequest>,
    ) -> Result<Response<metrics::PipelineStats>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

fn recorded(id: &str, sha: &str, seconds: i64) -> metrics::DeploymentRecorded {
    metrics::DeploymentRecorded {
        service: "component:default/pay".into(),
        environment: "production".into(),
        external_id: id.into(),
        status: metrics::DeploymentStatus::Succeeded.into(),
        sha: sha.into(),
        finish_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..Default::default()
    }
}

async fn overview(house: &House) -> pb::ServiceOverview {
    let ask = pb::GetServiceOverviewRequest { name: "component:pay".into() };
    let answer = house.entities(&ann(), "GetServiceOverview").get_service_overview(ask).await.unwrap();
    answer.into_inner()
}

async fn deployments(house: &House) -> pb::DeploymentsPart {
    overview(house).await.deployments.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_are_projected_whatever_their_order() {
    for house in each().await {
        house.organization().await;
        house.repository("acme/pay", &[("catalog-info.yaml", &component("pay", "team-a", ""))]).await;
        house.register(&ann(), house.git("acme/pay", "team-a")).await.unwrap();
        let metrics = scratch::sqlite(&Migrations::none()).await;
        let mut tx = metrics.db.begin().await.unwrap();
        for (id, sha, at) in [("3", "a", 30), ("1", "a", 10), ("2", "b", 20), ("2", "b", 20)] {
            journal::append(&mut tx, journal::event("component:default/pay", &recorded(id, sha, at))).await.unwrap();
        }
        tx.commit().await.unwrap();
        let shutdown = Shutdown::new();
        let service = Service::new("metrics", metrics.db.clone()).add(PipelineServiceServer::new(Pipelines));
        let served = house.hub.serve(service, house.signer.verifier(), shutdown.clone());
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        let mut part = deployments(&house).await;
        while part.recent.len() < 3 {
            assert!(tokio::time::Instant::now() < until, "the deployments arrive");
            tokio::time::sleep(Duration::from_millis(50)).await;
            part = deployments(&house).await;
        }
        let shown: Vec<_> = part.recent.iter().map(|d| (d.id.as_str(), d.rollback, d.outcome.as_str())).collect();
        assert_eq!(shown, [("3", true, "success"), ("2", false, "success"), ("1", false, "success")]);
        assert_eq!(
            part.current.iter().map(|d| (d.environment.as_str(), d.commit.as_str())).collect::<Vec<_>>(),
            [("production", "a")]
        );
        let pipelines = overview(&house).await.pipelines.unwrap();
        assert!(!pipelines.status.unwrap().unavailable);
        let runs: Vec<_> =
            pipelines.runs.iter().map(|r| (r.name.as_str(), r.pipeline.as_str(), r.outcome.as_str())).collect();
        assert_eq!(runs, [("pipelineRuns/1", "ci", "SUCCEEDED")]);
        shutdown.begin();
        served.await.unwrap();
        house.close().await;
    }
}
