//! Receipts: what the teardown of one life removed and what it kept (ENV-45, ENV-152).
//!
//! Owns the noun and how it follows from the life that ended. Refuses to claim anything about a cluster nobody looked at.
use serde::{Deserialize, Serialize};

use super::environment::Environment;

/// How long a receipt is kept, in microseconds.
pub const KEEP_US: i64 = 90 * 86_400_000_000;
const NOTE: &str = "The manifests are gone from the GitOps repository; the cluster was not observed.";

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Removed.
    Removed,
    /// Kept on purpose.
    Retained,
    /// Written by the teardown as its evidence.
    Evidence,
}

/// One external object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Kind, for example `GitFile`.
    pub kind: String,
    /// Id in its system.
    pub id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Evidence or reason.
    pub detail: String,
    /// When it was removed, in microseconds.
    pub deleted_us: Option<i64>,
}

/// The receipt of one life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Uid of the life.
    pub uid: String,
    /// Host label of the environment.
    pub label_id: String,
    /// Canonical reference of the service.
    pub service: String,
    /// Group that owned it.
    pub owner: String,
    /// Tier of the environment.
    pub tier: super::tier::Tier,
    /// Why it was torn down.
    pub reason: String,
    /// Who asked for it; empty if nobody did.
    pub actor: String,
    /// When the life began, in microseconds.
    pub created_us: i64,
    /// When the teardown was finished, in microseconds.
    pub deleted_us: i64,
    /// Every external object.
    pub objects: Vec<Object>,
    /// What was not proven.
    pub note: String,
}

/// The receipt of a life whose teardown is done.
pub fn of(env: &Environment, now_us: i64) -> Receipt {
    let mut objects = Vec::new();
    if let Some(removal) = &env.status.removal {
        let at = Some(removal.removed_us);
        objects.extend(removal.files.iter().map(|file| Object {
            kind: "GitFile".to_owned(),
            id: file.clone(),
            outcome: Outcome::Removed,
            detail: format!("removed from branch {} of {}", removal.branch, env.cluster),
            deleted_us: at,
        }));
        if !removal.commit.is_empty() {
            objects.push(Object {
                kind: "GitCommit".to_owned(),
                id: removal.commit.clone(),
                outcome: Outcome::Evidence,
                detail: format!("removes {} files", removal.files.len()),
                deleted_us: None,
            });
        }
    }
    if env.status.publication.is_some() {
        objects.push(Object {
            kind: "Namespace".to_owned(),
            id: env.namespace.clone(),
            outcome: Outcome::Removed,
            detail: "no manifest names it any more; whether the cluster followed was not observed".to_owned(),
            deleted_us: None,
        });
    }
    objects.push(Object {
        kind: "HostReservation".to_owned(),
        id: env.label_id.clone(),
        outcome: Outcome::Retained,
        detail: "stays reserved for the same source and service".to_owned(),
        deleted_us: None,
    });
    Receipt {
        uid: env.uid.clone(),
        label_id: env.label_id.clone(),
        service: env.service.clone(),
        owner: env.owner.clone(),
        tier: env.tier,
        reason: env.retire.as_ref().map_or("", |r| r.reason.word()).to_owned(),
        actor: env.retire.as_ref().map(|r| r.actor.clone()).unwrap_or_default(),
        created_us: env.created_us,
        deleted_us: now_us,
        objects,
        note: NOTE.to_owned(),
    }
}
