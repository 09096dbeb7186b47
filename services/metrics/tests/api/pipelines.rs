//! Pipeline history through the API.
use slipway_proto::metrics::v1 as pb;

use super::platform::*;

const REPO: &str = "shop/checkout";

fn run(id: &str, attempt: i32, status: pb::PipelineStatus, started: &str, finished: Option<&str>) -> pb::FactEvent {
    let stage = |title: &str| pb::PipelineStage { title: title.into(), status: status.into(), ..Default::default() };
    let run = pb::PipelineRun {
        provider: "github".into(),
        repository: REPO.into(),
        external_id: id.into(),
        attempt,
        title: "CI".into(),
        branch: if id.ends_with('7') { "fix".into() } else { "main".into() },
        sha: format!("sha{id}"),
        status: status.into(),
        trigger: pb::PipelineTrigger::Push.into(),
        start_time: at(started),
        finish_time: finished.and_then(at),
        stages: vec![stage("build"), stage("unit tests"), stage("deploy/prod")],
        ..Default::default()
    };
    event(&format!("run-{id}-{attempt}-{}", status as i32), pb::fact_event::Fact::PipelineRun(run))
}

async fn list(
    p: &Platform,
    request: pb::ListPipelineRunsRequest,
) -> Result<pb::ListPipelineRunsResponse, tonic::Status> {
    p.pipelines(&guest(), "ListPipelineRuns").list_pipeline_runs(request).await.map(tonic::Response::into_inner)
}

async fn known(p: &Platform) {
    p.accept(&ann(), vec![deployed(deployment("checkout", "production", "warm", "03-01T10:00", &[(REPO, "c0")]))])
        .await;
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_filtered() {
    for p in all().await {
        known(&p).await;
        let events = (0..12).map(|n| {
            let status = if n % 3 == 0 { pb::PipelineStatus::Failed } else { pb::PipelineStatus::Succeeded };
            run(&format!("{n}"), 1, status, &format!("03-02T{n:02}:00"), Some(&format!("03-02T{n:02}:10")))
        });
        p.accept(&ann(), events.collect()).await;
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let filter = r#"service = "checkout" AND start_time >= "2026-03-02T00:00:00Z""#.to_owned();
            let page = list(
                &p,
                pb::ListPipelineRunsRequest { page_size: 5, page_token: token, filter, total: 2, ..Default::default() },
            )
            .await
            .unwrap();
            assert_eq!(page.total_size, Some(12));
            seen.extend(page.pipeline_runs.into_iter().map(|r| r.external_id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, (0..12).rev().map(|n| n.to_string()).collect::<Vec<_>>(), "{}", p.engine);
        let count = async |filter: &str| {
            list(&p, pb::ListPipelineRunsRequest { filter: filter.into(), ..Default::default() })
                .await
                .unwrap()
                .pipeline_runs
                .len()
        };
        assert_eq!(count("service = \"component:default/checkout\" AND status = FAILED").await, 4);
        assert_eq!(count("branch = fix").await, 1);
        assert_eq!(count("stage_kind : DEPLOY AND trigger = PUSH").await, 12);
        assert_eq!(count("stage_kind : SCAN").await, 0);
        assert_eq!(count("service = search").await, 0);
        for (request, wanted) in [
            (pb::ListPipelineRunsRequest { filter: "colour = red".into(), ..Default::default() }, "FILTER_INVALID"),
            (pb::ListPipelineRunsRequest { order_by: "branch".into(), ..Default::default() }, "ORDER_INVALID"),
            (pb::ListPipelineRunsRequest { page_token: "x".into(), ..Default::default() }, "PAGE_TOKEN_INVALID"),
        ] {
            assert_eq!(reason(&list(&p, request).await.unwrap_err()), wanted);
        }
        let negative = list(&p, pb::ListPipelineRunsRequest { page_size: -1, ..Default::default() }).await.unwrap_err();
        assert_eq!(fields(&negative), ["page_size"]);
    }
}

#[tokio::test]
async fn a_run_has_stages_and_falls_stale() {
    for p in all().await {
        known(&p).await;
        p.accept(&ann(), vec![run("5", 1, pb::PipelineStatus::Running, "04-14T23:00", None)]).await;
        let name = list(&p, pb::ListPipelineRunsRequest::default()).await.unwrap().pipeline_runs.remove(0).name;
        let get = async |name: &str| {
            p.pipelines(&guest(), "GetPipelineRun")
                .get_pipeline_run(pb::GetPipelineRunRequest { name: name.into() })
                .await
        };
        let found = get(&name).await.unwrap().into_inner();
        let kinds: Vec<pb::StageKind> = found.stages.iter().map(|s| s.kind()).collect();
        assert_eq!(kinds, [pb::StageKind::Build, pb::StageKind::Deploy, pb::StageKind::Test]);
        assert_eq!(
            (found.status(), found.services),
            (pb::PipelineStatus::Running, vec!["component:default/checkout".to_owned()])
        );
        p.clock.advance_us(86_400_000_000);
        assert_eq!(get(&name).await.unwrap().into_inner().status(), pb::PipelineStatus::Stale, "{}", p.engine);
        assert_eq!(reason(&get("pipelineRuns/none").await.unwrap_err()), "PIPELINE_RUN_UNKNOWN");
    }
}

#[tokio::test]
async fn figures_leave_out_what_was_cancelled() {
    for p in all().await {
        known(&p).await;
        use pb::PipelineStatus::{Cancelled, Failed, Succeeded};
        p.accept(
            &ann(),
            vec![
                run("1", 1, Failed, "03-02T10:00", Some("03-02T10:10")),
                run("1", 2, Succeeded, "03-02T10:20", Some("03-02T10:40")),
                run("2", 1, Cancelled, "03-02T11:00", Some("03-02T11:01")),
                run("3", 1, Succeeded, "03-03T11:00", Some("03-03T11:30")),
            ],
        )
        .await;
        let stats = async |service: &str, window| {
            let request = pb::GetPipelineStatsRequest { service: service.into(), window: Some(window) };
            p.pipelines(&guest(), "GetPipelineStats").get_pipeline_stats(request).await.map(tonic::Response::into_inner)
        };
        let all = stats("checkout", instants("03-02T00:00", "03-04T00:00")).await.unwrap();
        let rate = all.success_rate.unwrap();
        assert_eq!((rate.numerator, rate.denominator), (Some(2), Some(3)), "{}", p.engine);
        assert_eq!((all.runs.unwrap().value, all.flaky_runs.unwrap().value), (Some(4), Some(1)));
        assert_eq!(all.duration.unwrap().p50_seconds, Some(900));
        let none = stats("checkout", instants("03-05T00:00", "03-06T00:00")).await.unwrap();
        assert_eq!(none.runs.unwrap().no_data.unwrap().reason(), pb::NoDataReason::NoRuns);
        assert_eq!(
            reason(&stats("gone", instants("03-05T00:00", "03-06T00:00")).await.unwrap_err()),
            "SERVICE_UNKNOWN"
        );
        assert_eq!(
            fields(&stats("checkout", dates("2026-03-05", "2026-03-05", "UTC")).await.unwrap_err()),
            ["window.to_date"]
        );
    }
}
