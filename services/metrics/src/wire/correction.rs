//! Corrections both ways.
use slipway_kit::error::{Error, INVALID_FIELD, Result};
use slipway_proto::metrics::v1 as pb;

use super::{fact, timestamp};
use crate::model::correction::{Correction, Target};

/// What is to be corrected.
pub fn target(correction: &pb::Correction) -> Result<Target> {
    use pb::correction::Target as Sent;
    match correction.target.clone() {
        Some(Sent::Incident(i)) => {
            Ok(Target::Incident { external_id: i.external_id, cause_deployment: i.cause_deployment })
        }
        Some(Sent::Deployment(d)) => {
            let kind = fact::kind(d.kind());
            if kind.is_none() && d.planned.is_none() {
                let why = "give kind or planned";
                return Err(Error::new(&INVALID_FIELD, "invalid: correction.deployment")
                    .violation("correction.deployment", why));
            }
            Ok(Target::Deployment { environment: d.environment, external_id: d.external_id, kind, planned: d.planned })
        }
        None => {
            Err(Error::new(&INVALID_FIELD, "invalid: correction.target").violation("correction.target", "is required"))
        }
    }
}

/// A correction as it is answered.
pub fn correction(c: Correction) -> pb::Correction {
    use pb::correction::Target as Sent;
    let target = match c.target {
        Target::Incident { external_id, cause_deployment } => {
            Sent::Incident(pb::IncidentCorrection { external_id, cause_deployment })
        }
        Target::Deployment { environment, external_id, kind, planned } => Sent::Deployment(pb::DeploymentCorrection {
            environment,
            external_id,
            kind: fact::kind_of(kind).into(),
            planned,
        }),
    };
    pb::Correction {
        name: format!("corrections/{}", c.id),
        service: c.service,
        reason: c.reason,
        target: Some(target),
        author: c.author,
        create_time: Some(timestamp(c.created_us)),
    }
}
