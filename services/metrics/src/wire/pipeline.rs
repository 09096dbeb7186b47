//! Pipeline runs both ways, and their figures.
use slipway_kit::error::Violations;
use slipway_proto::metrics::v1 as pb;

use super::{micros, timestamp};
use crate::{
    app::pipelines::Shown,
    model::{
        fact::{PipelineRun, RunStatus, Stage, Trigger},
        pipeline::Stats,
        repository,
        stage::StageKind,
    },
};

/// A run as a caller sends it.
pub(super) fn run(r: pb::PipelineRun, connection: &str, faults: &mut Violations) -> PipelineRun {
    let (status, trigger) = (status(r.status()), trigger(r.trigger()));
    let stage = |s: &pb::PipelineStage| Stage {
        title: s.title.clone(),
        status: self::status(s.status()),
        started_us: s.start_time.as_ref().map(micros),
        finished_us: s.finish_time.as_ref().map(micros),
    };
    let name = |(n, text): (usize, &String)| super::fact::service(text, &format!("pipeline_run.services[{n}]"), faults);
    let mut services: Vec<String> = r.services.iter().enumerate().map(name).collect();
    services.sort();
    services.dedup();
    PipelineRun {
        stages: r.stages.iter().map(stage).collect(),
        provider: r.provider,
        repository: repository::canonical(&r.repository, connection),
        external_id: r.external_id,
        attempt: r.attempt,
        title: r.title,
        branch: r.branch,
        sha: r.sha,
        pull_request: r.pull_request,
        trigger,
        status,
        queued_us: r.queue_time.as_ref().map(micros),
        started_us: r.start_time.as_ref().map(micros),
        finished_us: r.finish_time.as_ref().map(micros),
        url: r.url,
        services,
    }
}

fn status(status: pb::PipelineStatus) -> RunStatus {
    match status {
        pb::PipelineStatus::Running => RunStatus::Running,
        pb::PipelineStatus::Waiting => RunStatus::Waiting,
        pb::PipelineStatus::Succeeded => RunStatus::Succeeded,
        pb::PipelineStatus::Failed => RunStatus::Failed,
        pb::PipelineStatus::Cancelled => RunStatus::Cancelled,
        pb::PipelineStatus::Skipped => RunStatus::Skipped,
        pb::PipelineStatus::Queued | pb::PipelineStatus::Stale | pb::PipelineStatus::Unspecified => RunStatus::Queued,
    }
}

fn status_of(status: RunStatus) -> pb::PipelineStatus {
    match status {
        RunStatus::Queued => pb::PipelineStatus::Queued,
        RunStatus::Running => pb::PipelineStatus::Running,
        RunStatus::Waiting => pb::PipelineStatus::Waiting,
        RunStatus::Succeeded => pb::PipelineStatus::Succeeded,
        RunStatus::Failed => pb::PipelineStatus::Failed,
        RunStatus::Cancelled => pb::PipelineStatus::Cancelled,
        RunStatus::Skipped => pb::PipelineStatus::Skipped,
    }
}

fn trigger(trigger: pb::PipelineTrigger) -> Option<Trigger> {
    match trigger {
        pb::PipelineTrigger::Unspecified => None,
        pb::PipelineTrigger::Push => Some(Trigger::Push),
        pb::PipelineTrigger::PullRequest => Some(Trigger::PullRequest),
        pb::PipelineTrigger::Schedule => Some(Trigger::Schedule),
        pb::PipelineTrigger::Manual => Some(Trigger::Manual),
        pb::PipelineTrigger::Api => Some(Trigger::Api),
    }
}

fn trigger_of(trigger: Option<Trigger>) -> pb::PipelineTrigger {
    match trigger {
        None => pb::PipelineTrigger::Unspecified,
        Some(Trigger::Push) => pb::PipelineTrigger::Push,
        Some(Trigger::PullRequest) => pb::PipelineTrigger::PullRequest,
        Some(Trigger::Schedule) => pb::PipelineTrigger::Schedule,
        Some(Trigger::Manual) => pb::PipelineTrigger::Manual,
        Some(Trigger::Api) => pb::PipelineTrigger::Api,
    }
}

fn kind_of(kind: StageKind) -> pb::StageKind {
    match kind {
        StageKind::Build => pb::StageKind::Build,
        StageKind::Test => pb::StageKind::Test,
        StageKind::Scan => pb::StageKind::Scan,
        StageKind::Deploy => pb::StageKind::Deploy,
        StageKind::Other => pb::StageKind::Other,
    }
}

/// A run as it is answered; in lists without stages.
pub fn shown(shown: Shown, with_stages: bool) -> pb::PipelineRun {
    let run = shown.stored.run;
    let status = if shown.stale { pb::PipelineStatus::Stale } else { status_of(run.status) };
    let stage = |s: Stage| pb::PipelineStage {
        kind: kind_of(StageKind::of_job(&s.title)).into(),
        title: s.title,
        status: status_of(s.status).into(),
        start_time: s.started_us.map(timestamp),
        finish_time: s.finished_us.map(timestamp),
    };
    pb::PipelineRun {
        provider: run.provider,
        repository: run.repository,
        external_id: run.external_id,
        attempt: run.attempt,
        title: run.title,
        branch: run.branch,
        sha: run.sha,
        status: status.into(),
        queue_time: run.queued_us.map(timestamp),
        start_time: run.started_us.map(timestamp),
        finish_time: run.finished_us.map(timestamp),
        url: run.url,
        stages: if with_stages { run.stages.into_iter().map(stage).collect() } else { Vec::new() },
        name: format!("pipelineRuns/{}", shown.stored.id),
        trigger: trigger_of(run.trigger).into(),
        pull_request: run.pull_request,
        services: run.services,
    }
}

/// Figures over runs.
pub fn stats(service: String, basis: pb::Basis, stats: Stats) -> pb::PipelineStats {
    let nothing = || super::measure::no_data(pb::NoDataReason::NoRuns);
    let span = |(summary, negative): (Option<_>, usize)| super::measure::span_of(summary.ok_or_else(nothing), negative);
    let (good, all) = stats.success;
    let count =
        |n: usize| pb::Count { value: (stats.runs > 0).then_some(n as i64), no_data: (stats.runs == 0).then(nothing) };
    pb::PipelineStats {
        service,
        basis: Some(basis),
        runs: Some(count(stats.runs)),
        success_rate: Some(if all == 0 {
            pb::Ratio { no_data: Some(nothing()), ..pb::Ratio::default() }
        } else {
            super::measure::ratio_of(good, all)
        }),
        duration: Some(span(stats.duration)),
        queue_time: Some(span(stats.queue_time)),
        flaky_runs: Some(count(stats.flaky_runs)),
    }
}
