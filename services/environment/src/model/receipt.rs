//! Receipts: what the teardown of one life removed and what it kept (ENV-45, ENV-152).
//!
//! Owns the noun and how it follows from the life that ended. Refuses to claim anything about a cluster nobody looked at.
use serde::{Deserialize, Serialize};

use super::{
    environment::{Environment, Held, ObjectRef, Target},
    outcome::{self, same},
};

/// How long a receipt is kept, in microseconds.
pub const KEEP_US: i64 = 90 * 86_400_000_000;
const NOTE_GIT: &str = "The manifests are gone from the GitOps repository; the cluster was not observed.";
const NOTE_CLUSTER: &str =
    "Every object was looked for in the cluster at the end; what is named as removed was not there any more.";

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
    /// Its uid in its system; empty if it has none.
    #[serde(default)]
    pub uid: String,
    /// When we first saw it, in microseconds; 0 if that is not known.
    #[serde(default)]
    pub created_us: i64,
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
    /// Whether the cluster was looked at.
    #[serde(default)]
    pub is_observed: bool,
}

/// The receipt of a life whose teardown is done.
pub fn of(env: &Environment, now_us: i64) -> Receipt {
    let is_observed = env.target == Target::Apply;
    let mut objects = in_git(env);
    objects.extend(env.status.inventory.iter().map(|held| in_cluster(env, held, now_us)));
    objects.push(Object {
        kind: "HostReservation".to_owned(),
        id: env.label_id.clone(),
        outcome: Outcome::Retained,
        detail: "stays reserved for the same source and service".to_owned(),
        deleted_us: None,
        uid: String::new(),
        created_us: 0,
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
        note: if is_observed { NOTE_CLUSTER } else { NOTE_GIT }.to_owned(),
        is_observed,
    }
}

fn in_git(env: &Environment) -> Vec<Object> {
    let plain = |kind: &str, id: &str, outcome, detail: String, deleted_us| Object {
        kind: kind.to_owned(),
        id: id.to_owned(),
        outcome,
        detail,
        deleted_us,
        uid: String::new(),
        created_us: 0,
    };
    let mut objects = Vec::new();
    if let Some(removal) = &env.status.removal {
        let detail = format!("removed from branch {} of {}", removal.branch, env.cluster);
        let removed =
            |file: &String| plain("GitFile", file, Outcome::Removed, detail.clone(), Some(removal.removed_us));
        objects.extend(removal.files.iter().map(removed));
        let foreign = "no commit of this environment wrote it";
        let kept = |file: &String| plain("GitFile", file, Outcome::Retained, foreign.to_owned(), None);
        objects.extend(removal.kept.iter().map(kept));
        if !removal.commit.is_empty() {
            let detail = format!("removes {} files", removal.files.len());
            objects.push(plain("GitCommit", &removal.commit, Outcome::Evidence, detail, None));
        }
    }
    if env.status.publication.is_some() {
        let detail = "no manifest names it any more; whether the cluster followed was not observed".to_owned();
        objects.push(plain("Namespace", &env.namespace, Outcome::Removed, detail, None));
    }
    objects
}

/// What became of an object of the inventory.
fn in_cluster(env: &Environment, held: &Held, now_us: i64) -> Object {
    let retained = &env.status.progress.teardown.retained;
    let ObjectRef { kind, namespace, name, .. } = &held.object;
    let id = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
    let is_volume = retained.iter().any(|object| same(object, &held.object));
    let (outcome, detail) = if is_volume {
        (Outcome::Retained, format!("volumes of the tier {} are kept", env.tier.word()))
    } else if !retained.is_empty() && !outcome::goes_early(kind) {
        (Outcome::Retained, "stands with the volumes that the tier keeps".to_owned())
    } else if held.uid.is_empty() {
        (Outcome::Removed, format!("was about to be made in {}, and is not there", env.cluster))
    } else {
        (Outcome::Removed, format!("not in the cluster {} any more", env.cluster))
    };
    let deleted_us = (outcome == Outcome::Removed).then_some(now_us);
    Object { kind: kind.clone(), id, outcome, detail, deleted_us, uid: held.uid.clone(), created_us: held.created_us }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{environment::fixture, tier::Tier};

    fn held(kind: &str, name: &str, namespace: &str) -> Held {
        let object = ObjectRef {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Held { object, uid: format!("uid-{name}"), created_us: 5 }
    }

    #[test]
    fn every_object_of_the_inventory_is_named_with_what_became_of_it() {
        let mut env = fixture::preview();
        env.target = Target::Apply;
        let namespace = env.namespace.clone();
        env.status.inventory = vec![
            held("Namespace", &namespace, ""),
            held("Deployment", "api", &namespace),
            held("PersistentVolumeClaim", "data", &namespace),
        ];
        let receipt = of(&env, 9);
        assert!(receipt.is_observed);
        assert_eq!(receipt.objects.len(), 4);
        let gone = |o: &&Object| o.outcome == Outcome::Removed && o.deleted_us == Some(9) && o.created_us == 5;
        assert_eq!(receipt.objects.iter().filter(gone).count(), 3);
        assert_eq!(
            (receipt.objects[1].id.as_str(), receipt.objects[1].uid.as_str()),
            ("payments-pr-7-h4vyy/api", "uid-api")
        );
        env.tier = Tier::Staging;
        env.status.progress.teardown.retained = vec![env.status.inventory[2].object.clone()];
        let kept: Vec<_> = of(&env, 9).objects.into_iter().map(|o| (o.kind, o.outcome)).collect();
        let of = |kind: &str, outcome| (kind.to_owned(), outcome);
        assert_eq!(
            kept[..3],
            [
                of("Namespace", Outcome::Retained),
                of("Deployment", Outcome::Removed),
                of("PersistentVolumeClaim", Outcome::Retained)
            ]
        );
    }
}
