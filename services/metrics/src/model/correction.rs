//! Corrections of attributions (MET-47): the latest of each target counts. Refuses to change the facts themselves.
use serde::{Deserialize, Serialize};

use super::effective::Effective;
use super::fact::Kind;

/// What is corrected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "target", rename_all = "snake_case")]
pub enum Target {
    /// The cause of an incident; empty: no deployment of the service.
    Incident {
        /// External id of the incident.
        external_id: String,
        /// External id of the deployment.
        cause_deployment: String,
    },
    /// How a deployment is classed.
    Deployment {
        /// Environment.
        environment: String,
        /// External id.
        external_id: String,
        /// Kind, if corrected.
        kind: Option<Kind>,
        /// Whether planned, if corrected.
        planned: Option<bool>,
    },
}

/// One correction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// Id in the name.
    pub id: String,
    /// Canonical reference of the service.
    pub service: String,
    /// Why.
    pub reason: String,
    /// What.
    pub target: Target,
    /// Who.
    pub author: String,
    /// When.
    pub created_us: i64,
}

/// Applies the corrections of deployments, oldest first.
pub fn apply(corrections: &[Correction], deployments: &mut [Effective]) {
    for correction in corrections {
        if let Target::Deployment { environment, external_id, kind, planned } = &correction.target {
            for d in deployments.iter_mut().filter(|d| d.environment == *environment && d.external_id == *external_id) {
                d.kind = kind.or(d.kind);
                d.planned = planned.unwrap_or(d.planned);
            }
        }
    }
}

/// The latest correction of an incident: its id and the deployment it names.
pub fn of_incident<'a>(corrections: &'a [Correction], id: &str) -> Option<(&'a str, &'a str)> {
    corrections.iter().rev().find_map(|c| match &c.target {
        Target::Incident { external_id, cause_deployment } if external_id == id => {
            Some((c.id.as_str(), cause_deployment.as_str()))
        }
        _ => None,
    })
}

/// Ids of the corrections of a deployment.
pub fn of_deployment<'a>(corrections: &'a [Correction], d: &Effective) -> Vec<&'a str> {
    let hits = |c: &&Correction| matches!(&c.target, Target::Deployment { environment, external_id, .. } if *environment == d.environment && *external_id == d.external_id);
    corrections.iter().filter(hits).map(|c| c.id.as_str()).collect()
}
