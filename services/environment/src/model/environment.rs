//! The environment itself: identity, spec, status, and how its state follows from its conditions (ENV-1, ENV-120).
//!
//! Owns the noun and its changes of spec. Refuses to decide what happens next: that is `step`.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    condition::{Aspect, At, Conditions, Verdict},
    config::Config,
    state::{self, State},
    tier::{self, Tier},
};

/// What an environment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One user's own.
    Personal,
    /// Preview of a branch.
    Branch,
    /// Preview of a pull request.
    PullRequest,
    /// Staging, production and others that nothing ends by itself.
    LongLived,
}

impl Kind {
    /// The word used in rows and filters.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Personal => "personal",
            Kind::Branch => "branch",
            Kind::PullRequest => "pull_request",
            Kind::LongLived => "long_lived",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Kind::Personal, Kind::Branch, Kind::PullRequest, Kind::LongLived].into_iter().find(|k| k.word() == word)
    }

    /// Whether a push to its branch brings a new generation; long-lived ones change by promotion only.
    pub fn follows_pushes(self) -> bool {
        self != Kind::LongLived
    }
}

/// The commit an environment shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// SCM connection.
    pub scm: String,
    /// Repository as `owner/name`.
    pub repository: String,
    /// The provider's repository id.
    pub repository_id: String,
    /// Folder of the service inside the repository; empty for its root.
    pub folder: String,
    /// Number of the pull request.
    pub pull_request: Option<i64>,
    /// Branch without `refs/heads/`.
    pub branch: String,
    /// Commit shown.
    pub head_sha: String,
    /// Commit of the branch the pull request aims at; empty without one.
    pub base_sha: String,
    /// Whether the pull request comes from another repository.
    pub fork: bool,
}

/// What callers want.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The commit.
    pub source: Source,
    /// Images by name, pinned by digest.
    pub images: BTreeMap<String, String>,
    /// Time to live asked for, in microseconds.
    pub ttl_us: Option<i64>,
    /// Configuration of the service at this commit, or why it cannot be used.
    pub config: Result<Config, String>,
}

/// What was last committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Branch committed to.
    pub branch: String,
    /// Commit that holds it.
    pub commit: String,
    /// Folder of the manifests.
    pub path: String,
    /// Generation published.
    pub generation: i64,
    /// Number of manifests.
    pub manifests: i32,
    /// SHA-256 over the manifests, hex.
    pub render_sha256: String,
    /// When, in microseconds.
    pub published_us: i64,
}

/// What was observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Generation the conditions speak of.
    pub observed_generation: i64,
    /// Observed aspects.
    pub conditions: Conditions,
    /// What is published.
    pub publication: Option<Publication>,
    /// Names of the Secrets the manifests refer to.
    pub secret_names: Vec<String>,
    /// SHA-256 of what was rendered for `observed_generation`, hex.
    pub render_sha256: Option<String>,
    /// When the source was last read, in microseconds.
    pub source_read_us: i64,
    /// When a source was first read as ended by looking only; it must be seen twice (ENV-40).
    pub ended_seen_us: Option<i64>,
    /// When this generation was accepted; begins the wait for an image.
    pub generation_us: i64,
    /// When a failed generation is tried again.
    pub retry_us: Option<i64>,
    /// Whether the budget counts it.
    pub budgeted: bool,
}

/// Why an environment is torn down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RetireReason {
    /// The pull request was closed.
    Closed,
    /// The pull request was merged.
    Merged,
    /// The branch is gone.
    BranchDeleted,
    /// The required label was taken off.
    Unlabeled,
    /// The pull request became a draft and drafts have no preview.
    Draft,
    /// The service's configuration turned previews off.
    Disabled,
    /// Its time to live is over.
    Expired,
    /// Somebody asked for it.
    Requested,
}

impl RetireReason {
    /// The word in receipts and rows.
    pub fn word(self) -> &'static str {
        match self {
            RetireReason::Closed => "CLOSED",
            RetireReason::Merged => "MERGED",
            RetireReason::BranchDeleted => "BRANCH_DELETED",
            RetireReason::Unlabeled => "UNLABELED",
            RetireReason::Draft => "DRAFT",
            RetireReason::Disabled => "DISABLED",
            RetireReason::Expired => "EXPIRED",
            RetireReason::Requested => "REQUESTED",
        }
    }
}

/// The wish to be gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retire {
    /// Why.
    pub reason: RetireReason,
    /// Who asked; empty if nobody did.
    pub actor: String,
    /// Since when, in microseconds.
    pub at_us: i64,
}

/// One life of one environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment {
    /// UUIDv4 of this life.
    pub uid: String,
    /// Host label, also the resource id.
    pub label_id: String,
    /// Natural key.
    pub key: String,
    /// What it belongs to.
    pub kind: Kind,
    /// Tier; never changes.
    pub tier: Tier,
    /// Canonical reference of the service.
    pub service: String,
    /// Group that owned the service when this life began.
    pub owner: String,
    /// Tier of the service when this life began.
    pub service_tier: String,
    /// Name of a long-lived environment within its service.
    pub label: String,
    /// User of a personal environment.
    pub user: String,
    /// Cluster.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// What is wanted.
    pub spec: Spec,
    /// Grows by one when the spec changes.
    pub generation: i64,
    /// What was observed.
    pub status: Status,
    /// When it expires, in microseconds.
    pub expire_us: Option<i64>,
    /// Set when it shall be gone.
    pub retire: Option<Retire>,
    /// Grows with every write; the etag.
    pub version: i64,
    /// When this life began, in microseconds.
    pub created_us: i64,
    /// When anything last changed, in microseconds.
    pub updated_us: i64,
    /// When the teardown was finished, in microseconds.
    pub deleted_us: Option<i64>,
}

impl Environment {
    /// `environments/<host label>`.
    pub fn name(&self) -> String {
        format!("environments/{}", self.label_id)
    }

    /// State, computed from the conditions.
    pub fn state(&self) -> State {
        let deletion = match (&self.retire, self.deleted_us) {
            (_, Some(_)) => state::Deletion::Done,
            (Some(_), None) => state::Deletion::Running,
            (None, None) => state::Deletion::None,
        };
        state::compute(&self.status.conditions, self.generation, deletion)
    }

    /// Whether the newest generation has come to rest.
    pub fn is_settled(&self) -> bool {
        match self.state() {
            State::Deleted => true,
            State::Published | State::Failed | State::AwaitingApproval => {
                self.status.observed_generation == self.generation
            }
            _ => false,
        }
    }

    /// The point in time and generation for a condition set now.
    pub fn at(&self, now_us: i64) -> At {
        At { generation: self.generation, now_us }
    }

    /// Takes a changed spec: new generation, new life span after a push; equal spec changes nothing (ENV-3).
    pub fn want(&mut self, spec: Spec, now_us: i64) -> bool {
        if self.spec == spec {
            return false;
        }
        let pushed = self.spec.source.head_sha != spec.source.head_sha;
        self.spec = spec;
        self.generation += 1;
        self.status.generation_us = now_us;
        self.status.retry_us = None;
        if pushed && self.kind != Kind::Personal {
            let life_us = self.spec.ttl_us.or(tier::ttl_default_us(self.kind));
            self.expire_us = self.expire_us.max(life_us.map(|l| now_us.saturating_add(l)));
        }
        true
    }

    /// Takes the wish to be gone; a second wish changes nothing.
    pub fn end(&mut self, reason: RetireReason, actor: &str, now_us: i64) -> bool {
        if self.retire.is_some() {
            return false;
        }
        let at = self.at(now_us);
        self.retire = Some(Retire { reason, actor: actor.to_owned(), at_us: now_us });
        self.status.conditions.set(Aspect::Deleting, Verdict::True, reason.word(), "The teardown has begun.", at);
        self.status.conditions.clear(Aspect::Stalled);
        true
    }

    /// Stops this generation until a new one or the slow retry.
    pub fn fail(&mut self, aspect: Aspect, reason: &str, message: &str, retry_us: i64, now_us: i64) {
        let at = self.at(now_us);
        self.status.observed_generation = self.generation;
        self.status.conditions.set(aspect, Verdict::False, reason, message, at);
        self.status.conditions.set(Aspect::Stalled, Verdict::True, reason, message, at);
        self.status.retry_us = Some(retry_us);
    }
}
