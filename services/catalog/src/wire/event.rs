//! Events: those of the catalog's journal, and those it takes from the metrics service.

use slipway_kit::{
    error::Result,
    journal::{self, NewEvent, Stored},
};
use slipway_proto::{
    catalog::v1::EntityChanged,
    metrics::v1::{DeploymentRecorded, DeploymentStatus},
};

use super::micros;
use crate::model::{
    deployment::Deployment,
    document::Head,
    entity::{Cause, State},
    entity_ref::EntityRef,
};

/// The event that tells of a new version.
pub fn entity_changed(
    id: &EntityRef,
    uid: &str,
    cause: Cause,
    version: i64,
    state: State,
    head: Option<&Head>,
) -> NewEvent {
    let message = EntityChanged {
        name: id.resource_name(),
        r#ref: id.to_string(),
        uid: uid.to_owned(),
        cause: cause.word().to_owned(),
        version,
        kind: id.kind().to_owned(),
        owner: head.map(|h| h.owner.clone()).unwrap_or_default(),
        service_tier: head.map(|h| h.tier).unwrap_or_default().word().to_owned(),
        state: state.word().to_owned(),
    };
    journal::event(uid, &message)
}

/// Uid and version of a changed entity; `None` for any other event.
pub fn changed(event: &Stored) -> Result<Option<(String, i64)>> {
    if event.subject != "slipway.catalog.v1.EntityChanged" {
        return Ok(None);
    }
    let message: EntityChanged = event.decode()?;
    Ok(Some((message.uid, message.version)))
}

/// A deployment the metrics service tells of; `None` for any other event.
pub fn deployment(event: &Stored) -> Result<Option<Deployment>> {
    if event.subject != "slipway.metrics.v1.DeploymentRecorded" {
        return Ok(None);
    }
    let message: DeploymentRecorded = event.decode()?;
    let outcome = match message.status() {
        DeploymentStatus::Succeeded => "success",
        DeploymentStatus::Failed => "failure",
        _ => "unknown",
    };
    Ok(Some(Deployment {
        finished_us: micros(message.finish_time.as_ref()),
        service: message.service,
        environment: message.environment,
        id: message.external_id,
        commit: message.sha,
        outcome: outcome.to_owned(),
        rollback: false,
    }))
}
