//! Diagnoses, lines and happenings on the wire.
//!
//! Owns their rendering. Refuses input beyond which lines are wanted.
use slipway_proto::environment::v1 as pb;

use super::{environment::state_to, time};
use crate::{
    app::{Happening, Line, WantedLogs},
    model::{
        diagnosis::{Blocker, Diagnosis, Event, QuotaUse, title},
        health::Problem,
        pods::Wanted,
    },
};

/// Renders a diagnosis.
pub fn render(diagnosis: &Diagnosis) -> pb::EnvironmentDiagnosis {
    pb::EnvironmentDiagnosis {
        name: format!("{}/diagnosis", diagnosis.environment),
        state: state_to(diagnosis.state).into(),
        summary: diagnosis.summary.clone(),
        problems: diagnosis.problems.iter().map(|(problem, lines)| self::problem(problem, lines)).collect(),
        events: diagnosis.events.iter().map(event).collect(),
        quotas: diagnosis.quotas.iter().map(quota).collect(),
        blockers: diagnosis.blockers.iter().map(blocker).collect(),
        observe_time: Some(time(diagnosis.observed_us)),
    }
}

fn problem(problem: &Problem, lines: &[String]) -> pb::EnvironmentProblem {
    pb::EnvironmentProblem {
        reason: problem.reason.to_owned(),
        object: title(&problem.object),
        workload: title(&problem.workload),
        container: problem.container.clone(),
        exit_code: problem.exit_code,
        restart_count: problem.restarts,
        message: problem.message.clone(),
        remedy: problem.remedy().to_owned(),
        log_lines: lines.to_vec(),
    }
}

fn event(event: &Event) -> pb::ClusterEvent {
    pb::ClusterEvent {
        r#type: event.kind.clone(),
        reason: event.reason.clone(),
        message: event.message.clone(),
        object: event.object.clone(),
        count: event.count,
        event_time: event.at.parse().ok(),
    }
}

fn quota(quota: &QuotaUse) -> pb::QuotaUse {
    pb::QuotaUse {
        quota: quota.quota.clone(),
        resource: quota.resource.clone(),
        used: quota.used.clone(),
        hard: quota.hard.clone(),
    }
}

fn blocker(blocker: &Blocker) -> pb::TeardownBlocker {
    pb::TeardownBlocker {
        object: blocker.object.clone(),
        finalizers: blocker.finalizers.clone(),
        message: blocker.message.clone(),
    }
}

/// Renders one thing that happened.
pub fn happening(happening: Happening) -> pb::StreamEnvironmentEventsResponse {
    let empty = pb::StreamEnvironmentEventsResponse::default();
    let of =
        |kind: pb::EnvironmentEventKind| pb::StreamEnvironmentEventsResponse { kind: kind.into(), ..empty.clone() };
    match happening {
        Happening::Condition(told) => pb::StreamEnvironmentEventsResponse {
            state: told.state.into(),
            condition: Some(told.condition),
            ..of(pb::EnvironmentEventKind::Condition)
        },
        Happening::Cluster(seen) => pb::StreamEnvironmentEventsResponse {
            cluster_event: Some(event(&seen)),
            ..of(pb::EnvironmentEventKind::Cluster)
        },
        Happening::Synced => of(pb::EnvironmentEventKind::Synced),
        Happening::Silent => of(pb::EnvironmentEventKind::ClusterSilent),
        Happening::Gone => of(pb::EnvironmentEventKind::Deleted),
    }
}

/// Which lines are wanted.
pub fn wanted_logs(request: pb::StreamWorkloadLogsRequest) -> WantedLogs {
    WantedLogs {
        from: Wanted { workload: request.workload, pod: request.pod, container: request.container },
        previous: request.previous,
        follow: request.follow,
        tail_lines: request.tail_lines,
    }
}

/// Renders a line.
pub fn line(line: Line) -> pb::StreamWorkloadLogsResponse {
    pb::StreamWorkloadLogsResponse { pod: line.from.pod, container: line.from.container, line: line.text }
}
