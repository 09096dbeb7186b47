//! Events of journals: ours as it is written, and those of the other services as facts.
use slipway_kit::{
    error::Result,
    journal::{self, NewEvent, Stored},
};
use slipway_proto::{
    catalog::v1::EntityChanged,
    environment::v1::{EnvironmentTier, RolloutFinished, RolloutKind, RolloutOutcome},
    metrics::v1::DeploymentRecorded,
    scaffolding::v1::{RunFinished, RunState},
};

use super::{fact, micros, timestamp};
use crate::model::{
    effective::Effective,
    fact::{Deployment, Fact, Kind, Milestone, Origin, Part, Status},
    service_ref,
    tier::Tier,
};

/// The event that a deployment is known, or known differently.
pub fn deployment_recorded(id: &str, service: &str, d: &Effective) -> NewEvent {
    let message = DeploymentRecorded {
        service: service.to_owned(),
        environment: d.environment.clone(),
        tier: fact::tier_of(d.tier).into(),
        external_id: d.external_id.clone(),
        status: fact::status_of(d.status).into(),
        sha: d.parts.first().map(|p| p.sha.clone()).unwrap_or_default(),
        finish_time: Some(timestamp(d.finished_us)),
    };
    journal::event(id, &message)
}

/// Canonical reference of a component that changed in the catalog; `None` for other events.
pub fn component_changed(event: &Stored) -> Result<Option<String>> {
    if event.subject != "slipway.catalog.v1.EntityChanged" {
        return Ok(None);
    }
    let changed: EntityChanged = event.decode()?;
    Ok((changed.kind == "component").then_some(changed.r#ref))
}

/// The milestone of a golden path that ended well; `None` for other events.
pub fn created(event: &Stored) -> Result<Option<Fact>> {
    if event.subject != "slipway.scaffolding.v1.RunFinished" {
        return Ok(None);
    }
    let run: RunFinished = event.decode()?;
    let service = service_ref::canonical(&run.service);
    let ended = run.end_time.as_ref().map(micros);
    Ok(match (run.state(), service, ended) {
        (RunState::Succeeded, Some(service), Some(at_us)) => {
            Some(Fact::Milestone(Milestone { service, kind: "CREATED".to_owned(), path: "GOLDEN".to_owned(), at_us }))
        }
        _ => None,
    })
}

/// The deployment that a rollout was, its repository still to be filled in; `None` for other events and for rollouts that were stopped.
pub fn rollout(event: &Stored) -> Result<Option<Deployment>> {
    if event.subject != "slipway.environment.v1.RolloutFinished" {
        return Ok(None);
    }
    let r: RolloutFinished = event.decode()?;
    let status = match r.outcome() {
        RolloutOutcome::Succeeded => Status::Succeeded,
        RolloutOutcome::Failed => Status::Failed,
        RolloutOutcome::Cancelled | RolloutOutcome::Unspecified => return Ok(None),
    };
    let (Some(service), Some(finished)) = (service_ref::canonical(&r.service), r.finish_time.as_ref()) else {
        return Ok(None);
    };
    let tier = match r.tier() {
        EnvironmentTier::Production => Some(Tier::Production),
        EnvironmentTier::Staging => Some(Tier::Staging),
        EnvironmentTier::Development => Some(Tier::Development),
        EnvironmentTier::Unspecified => None,
    };
    let kind = match r.kind() {
        // An ordinary rollout of an older commit is still a rollback, and of the same a redeploy: the graph says so.
        RolloutKind::Unspecified | RolloutKind::Normal => None,
        RolloutKind::Rollback => Some(Kind::Rollback),
        RolloutKind::Hotfix => Some(Kind::Hotfix),
        RolloutKind::Redeploy => Some(Kind::Redeploy),
    };
    Ok(Some(Deployment {
        parts: vec![Part { repository: String::new(), sha: r.sha.clone(), finished_us: None, status: None }],
        service: Some(service),
        environment: r.environment,
        tier,
        external_id: r.rollout_id,
        attempt: r.attempt,
        status: Some(status),
        started_us: r.start_time.as_ref().map(micros),
        finished_us: micros(finished),
        kind,
        actor: r.actor,
        remediates: String::new(),
        planned: false,
        origin: Origin::Environment,
        url: String::new(),
    }))
}
