//! Orphans: namespaces in a cluster that carry our labels and belong to no environment (ENV-49).
//!
//! Owns the noun, what counts as an orphan, and when one may be deleted. Refuses what does not carry both labels: it is not ours, whatever
//! its name; and refuses to take a label for proof: anybody can write one, so only the uid of the namespace in our own records is.
use serde::{Deserialize, Serialize};

use super::{
    environment::{Environment, Target},
    manifest::{self, Doc},
    receipt::{Outcome, Receipt},
};

/// How long an orphan is left alone.
pub const QUARANTINE_US: i64 = 72 * 3_600_000_000;
/// How long orphans that are gone can be read.
pub const KEEP_US: i64 = 90 * 86_400_000_000;
/// How long after the end of a life with the target git its namespace may still be there: somebody else removes it.
const GIT_REMOVAL_US: i64 = 3_600_000_000;

/// The label by which everything we write is found.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "slipway");
const MANAGED_BY_AT: &str = "/metadata/labels/app.kubernetes.io~1managed-by";
const ENV_UID_AT: &str = "/metadata/labels/slipway.dev~1env-uid";
const SERVICE_AT: &str = "/metadata/labels/slipway.dev~1service";

/// A namespace with our labels, as it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// Name.
    pub namespace: String,
    /// Uid.
    pub uid: String,
    /// Value of `slipway.dev/env-uid`.
    pub env_uid: String,
    /// Value of `slipway.dev/service`.
    pub service: String,
}

impl Labelled {
    /// The namespace if it carries both labels; anything else is somebody else's.
    pub fn read(doc: &Doc) -> Option<Self> {
        let text = |at: &str| manifest::text(doc, at).to_owned();
        let found = Self {
            namespace: manifest::name(doc).to_owned(),
            uid: text("/metadata/uid"),
            env_uid: text(ENV_UID_AT),
            service: text(SERVICE_AT),
        };
        let is_ours = manifest::text(doc, MANAGED_BY_AT) == MANAGED_BY.1 && !found.env_uid.is_empty();
        (is_ours && !found.uid.is_empty()).then_some(found)
    }
}

/// Where an orphan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Left alone.
    Quarantined,
    /// Its deletion was decided.
    Deleting,
    /// Not there any more.
    Gone,
}

/// A namespace that belongs to no environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Uid of the namespace, also the id.
    pub uid: String,
    /// Cluster.
    pub cluster: String,
    /// Name of the namespace.
    pub namespace: String,
    /// Value of `slipway.dev/env-uid`.
    pub env_uid: String,
    /// Value of `slipway.dev/service`.
    pub service: String,
    /// Why it counts as one, and what proof there is.
    pub evidence: String,
    /// Whether our records say that we made this very namespace and were to delete it.
    pub is_proven: bool,
    /// When it was found, in microseconds.
    pub found_us: i64,
    /// Who confirmed its deletion; empty if nobody did.
    pub confirmed_by: String,
    /// Why.
    pub confirm_reason: String,
    /// When its deletion was first ordered, in microseconds; 0 before.
    pub deleting_us: i64,
    /// When it was seen to be gone, in microseconds; 0 before.
    pub gone_us: i64,
    /// Grows with every write.
    pub version: i64,
}

impl Orphan {
    /// One just found.
    pub fn found(cluster: &str, labelled: &Labelled, claim: &Claimed, now_us: i64) -> Self {
        Self {
            uid: labelled.uid.clone(),
            cluster: cluster.to_owned(),
            namespace: labelled.namespace.clone(),
            env_uid: labelled.env_uid.clone(),
            service: labelled.service.clone(),
            evidence: claim.evidence.clone(),
            is_proven: claim.is_proven,
            found_us: now_us,
            confirmed_by: String::new(),
            confirm_reason: String::new(),
            deleting_us: 0,
            gone_us: 0,
            version: 1,
        }
    }

    /// `orphans/<uid>`.
    pub fn name(&self) -> String {
        format!("orphans/{}", self.uid)
    }

    /// Version for guarded changes.
    pub fn etag(&self) -> String {
        format!("{}-{}", slipway_kit::id::h8(&self.uid), self.version)
    }

    /// Where it stands.
    pub fn stage(&self) -> Stage {
        match (self.gone_us, self.deleting_us, self.confirmed_by.is_empty()) {
            (1.., _, _) => Stage::Gone,
            (_, 1.., _) | (_, _, false) => Stage::Deleting,
            _ => Stage::Quarantined,
        }
    }

    /// When it is deleted by itself, in microseconds; `None` if only a person can decide.
    pub fn expire_us(&self) -> Option<i64> {
        self.is_proven.then_some(self.found_us.saturating_add(QUARANTINE_US))
    }

    /// Whether it may be deleted now.
    pub fn is_due(&self, now_us: i64) -> bool {
        self.gone_us == 0 && (!self.confirmed_by.is_empty() || self.expire_us().is_some_and(|at| at <= now_us))
    }
}

/// What our records say about a namespace that no living environment claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// In words.
    pub evidence: String,
    /// Whether they prove that it is ours and was to go.
    pub is_proven: bool,
}

/// What a labelled namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An environment's own.
    Owned,
    /// It outlived its environment, whose records have its uid: the deletion is repeated.
    Left,
    /// Nobody's.
    Orphan(Claimed),
}

/// Judges a labelled namespace by the life its label names and that life's receipt.
pub fn judge(found: &Labelled, env: Option<&Environment>, receipt: Option<&Receipt>, now_us: i64) -> Verdict {
    let orphan = |evidence: String, is_proven| Verdict::Orphan(Claimed { evidence, is_proven });
    match env {
        Some(env) if env.deleted_us.is_none() && env.namespace == found.namespace => Verdict::Owned,
        Some(env) if env.deleted_us.is_none() => {
            let text = format!(
                "Its label names environments/{}, which lives in the namespace {}.",
                env.label_id, env.namespace
            );
            orphan(text, false)
        }
        Some(env) if env.status.namespace_uid == found.uid => {
            if env.status.progress.teardown.retained.is_empty() {
                Verdict::Left
            } else {
                Verdict::Owned
            }
        }
        Some(env) if env.target == Target::Git && env.deleted_us.is_some_and(|at| now_us - at < GIT_REMOVAL_US) => {
            Verdict::Owned
        }
        _ => match receipt.and_then(|receipt| outcome(receipt, &found.uid)) {
            Some(Outcome::Removed) => orphan("A receipt says that this very namespace was removed.".to_owned(), true),
            Some(_) => orphan("A receipt says that this very namespace was kept on purpose.".to_owned(), false),
            None => {
                let whose = if env.is_some() { "a deleted environment" } else { "no environment that is known" };
                orphan(format!("Its label names {whose}, and no record has the uid of this namespace."), false)
            }
        },
    }
}

fn outcome(receipt: &Receipt, uid: &str) -> Option<Outcome> {
    receipt.objects.iter().find(|object| object.kind == "Namespace" && object.uid == uid).map(|object| object.outcome)
}
