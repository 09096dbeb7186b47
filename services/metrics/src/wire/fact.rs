//! Facts as callers send them, and deployments as they are answered.
use prost::Message as _;
use prost_types::Timestamp;
use sha2::{Digest as _, Sha256};
use slipway_kit::{
    error::{Error, INVALID_FIELD, Result, Violations},
    validate,
};
use slipway_proto::metrics::v1 as pb;

use super::{micros, timestamp};
use crate::{
    app::ingest::Event,
    model::{
        effective::Effective,
        fact::{Change, Deployment, Enrolment, Fact, Incident, Kind, Origin, Part, PullRequest, Status},
        outcome::Outcome,
        repository, service_ref,
        tier::Tier,
    },
    store::deployments::Stored,
};

/// An event of a batch; what is wrong with it goes along.
pub fn event(event: pb::FactEvent, connection: &str) -> Event {
    let body_sha256 = hex::encode(Sha256::digest(event.encode_to_vec()));
    let (occurred_us, sequence) = (event.occur_time.as_ref().map(micros), event.sequence);
    let idempotency_key = event.idempotency_key.clone();
    let fact = validate::check(&event).and_then(|()| fact(event.fact, connection));
    Event { idempotency_key, body_sha256, fact, occurred_us, sequence }
}

fn fact(fact: Option<pb::fact_event::Fact>, connection: &str) -> Result<Fact> {
    use pb::fact_event::Fact as Sent;
    let mut faults = Violations::new();
    let parsed = match fact {
        Some(Sent::Deployment(d)) => Fact::Deployment(deployment(d, connection, &mut faults)),
        Some(Sent::Change(c)) => Fact::Change(change(c, connection)),
        Some(Sent::PullRequest(p)) => Fact::PullRequest(pull_request(p, connection)),
        Some(Sent::Incident(i)) => Fact::Incident(incident(i, &mut faults)),
        Some(Sent::PipelineRun(r)) => Fact::PipelineRun(super::pipeline::run(r, connection, &mut faults)),
        Some(Sent::Enrolment(e)) => Fact::Enrolment(Enrolment {
            service: service(&e.service, "enrolment.service", &mut faults),
            enrolled_us: at(e.enroll_time.as_ref()),
            incident_source: e.incident_source,
        }),
        None => return Err(Error::new(&INVALID_FIELD, "invalid: fact").violation("fact", "is required")),
    };
    faults.finish().map(|()| parsed)
}

fn at(time: Option<&Timestamp>) -> i64 {
    time.map_or(0, micros)
}

pub(super) fn service(text: &str, field: &str, faults: &mut Violations) -> String {
    let canonical = service_ref::canonical(text);
    faults.check(canonical.is_some(), field, "must be a reference, as component:default/payments");
    canonical.unwrap_or_default()
}

fn deployment(d: pb::Deployment, connection: &str, faults: &mut Violations) -> Deployment {
    let (tier, kind, status) = (d.tier(), d.kind(), status(d.status));
    let part = |p: &pb::DeploymentPart| Part {
        repository: repository::canonical(&p.repository, connection),
        sha: p.sha.clone(),
        finished_us: p.finish_time.as_ref().map(micros),
        status: self::status(p.status),
    };
    Deployment {
        service: (!d.service.is_empty()).then(|| service(&d.service, "deployment.service", faults)),
        environment: d.environment,
        tier: self::tier(tier),
        external_id: d.external_id,
        attempt: d.attempt,
        status,
        parts: d.parts.iter().map(part).collect(),
        started_us: d.start_time.as_ref().map(micros),
        finished_us: at(d.finish_time.as_ref()),
        kind: self::kind(kind),
        actor: d.actor,
        remediates: d.remediates,
        planned: d.planned,
        origin: Origin::Api,
        url: String::new(),
    }
}

fn status(status: i32) -> Option<Status> {
    match pb::DeploymentStatus::try_from(status) {
        Ok(pb::DeploymentStatus::Succeeded) => Some(Status::Succeeded),
        Ok(pb::DeploymentStatus::Failed) => Some(Status::Failed),
        _ => None,
    }
}

fn tier(tier: pb::Tier) -> Option<Tier> {
    match tier {
        pb::Tier::Production => Some(Tier::Production),
        pb::Tier::Staging => Some(Tier::Staging),
        pb::Tier::Development => Some(Tier::Development),
        pb::Tier::Unspecified => None,
    }
}

/// Kind as stated.
pub fn kind(kind: pb::DeploymentKind) -> Option<Kind> {
    match kind {
        pb::DeploymentKind::Normal => Some(Kind::Normal),
        pb::DeploymentKind::Rollback => Some(Kind::Rollback),
        pb::DeploymentKind::Hotfix => Some(Kind::Hotfix),
        pb::DeploymentKind::Redeploy => Some(Kind::Redeploy),
        pb::DeploymentKind::Unspecified => None,
    }
}

/// The contract's word for a kind.
pub fn kind_of(kind: Option<Kind>) -> pb::DeploymentKind {
    match kind {
        Some(Kind::Normal) => pb::DeploymentKind::Normal,
        Some(Kind::Rollback) => pb::DeploymentKind::Rollback,
        Some(Kind::Hotfix) => pb::DeploymentKind::Hotfix,
        Some(Kind::Redeploy) => pb::DeploymentKind::Redeploy,
        None => pb::DeploymentKind::Unspecified,
    }
}

fn change(c: pb::Change, connection: &str) -> Change {
    let bot = match c.author_kind() {
        pb::AuthorKind::Bot => Some(true),
        pb::AuthorKind::Human => Some(false),
        pb::AuthorKind::Unspecified => None,
    };
    Change {
        repository: repository::canonical(&c.repository, connection),
        sha: c.sha,
        parents: c.parents,
        committed_us: at(c.commit_time.as_ref()),
        bot,
        picked_from: c.cherry_picked_from,
        patch_id: c.patch_id,
    }
}

fn pull_request(p: pb::PullRequest, connection: &str) -> PullRequest {
    PullRequest {
        repository: repository::canonical(&p.repository, connection),
        number: p.number,
        created_us: at(p.create_time.as_ref()),
        first_commit_us: p.first_commit_time.as_ref().map(micros),
        merged_us: p.merge_time.as_ref().map(micros),
        closed_us: p.close_time.as_ref().map(micros),
        merge_sha: p.merge_sha,
        head_sha: p.head_sha,
        base_ref: p.base_ref,
        labels: p.labels,
    }
}

fn incident(i: pb::Incident, faults: &mut Violations) -> Incident {
    let name = |(n, text): (usize, &String)| service(text, &format!("incident.services[{n}]"), faults);
    let mut services: Vec<String> = i.services.iter().enumerate().map(name).collect();
    services.sort();
    services.dedup();
    Incident {
        external_id: i.external_id,
        services,
        started_us: at(i.start_time.as_ref()),
        detected_us: i.detect_time.as_ref().map(micros),
        resolved_us: i.resolve_time.as_ref().map(micros),
        severity: i.severity,
        cause_deployment: i.cause_deployment,
        cause_sha: i.cause_sha,
    }
}

/// The result of an event.
pub fn result(outcome: Outcome) -> pb::EventResult {
    let violation = |(field, description)| pb::EventViolation { field, description };
    pb::EventResult {
        idempotency_key: outcome.idempotency_key,
        duplicate: outcome.duplicate,
        parked: outcome.parked,
        error: outcome.fault.map(|fault| pb::EventError {
            code: fault.code,
            reason: fault.reason,
            message: fault.message,
            violations: fault.violations.into_iter().map(violation).collect(),
        }),
    }
}

/// The contract's word for a tier.
pub fn tier_of(tier: Tier) -> pb::Tier {
    match tier {
        Tier::Production => pb::Tier::Production,
        Tier::Staging => pb::Tier::Staging,
        Tier::Development => pb::Tier::Development,
    }
}

/// The contract's word for a status.
pub fn status_of(status: Status) -> pb::DeploymentStatus {
    match status {
        Status::Succeeded => pb::DeploymentStatus::Succeeded,
        Status::Failed => pb::DeploymentStatus::Failed,
    }
}

/// A deployment as it is answered.
pub fn recorded(stored: Stored) -> pb::RecordedDeployment {
    pb::RecordedDeployment {
        name: format!("deployments/{}", stored.id),
        origin: stored.effective.origin.word().to_owned(),
        deployment: Some(effective(stored.service, stored.effective)),
        update_time: Some(timestamp(stored.updated_us)),
    }
}

fn effective(service: String, d: Effective) -> pb::Deployment {
    let part = |p: crate::model::effective::Part| pb::DeploymentPart {
        repository: p.repository,
        sha: p.sha,
        finish_time: Some(timestamp(p.finished_us)),
        status: status_of(p.status).into(),
    };
    pb::Deployment {
        service,
        environment: d.environment,
        tier: tier_of(d.tier).into(),
        external_id: d.external_id,
        attempt: d.attempt,
        status: status_of(d.status).into(),
        parts: d.parts.into_iter().map(part).collect(),
        start_time: d.started_us.map(timestamp),
        finish_time: Some(timestamp(d.finished_us)),
        kind: kind_of(d.kind).into(),
        actor: d.actor,
        remediates: d.remediates,
        planned: d.planned,
    }
}
