//! The environment itself: identity, spec, status, and how its state follows from its conditions (ENV-1, ENV-120).
//!
//! Owns the noun and its changes of spec. Refuses to decide what happens next: that is `step`.
#[doc(hidden)]
pub mod fixture;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    approval::{self, Approval},
    budget::Claim,
    condition::{Aspect, At, Conditions, Verdict},
    config::Config,
    expiry::Warned,
    preview::Tombstone,
    progress::Progress,
    rollout,
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

impl Source {
    /// Commit that chart and values come from: what a fork says about itself does not count (ENV-32).
    pub fn chart_sha(&self) -> &str {
        if self.fork { &self.base_sha } else { &self.head_sha }
    }
}

/// How manifests reach the cluster (ENV-150).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Committed to the cluster's GitOps repository.
    #[default]
    Git,
    /// Applied to the Kubernetes API.
    Apply,
}

/// Whether workloads are wanted to run; no part of the spec, so that sleep and wake are no new generation (ENV-113).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// They run.
    #[default]
    Awake,
    /// Nothing runs.
    Asleep,
}

/// Why and until when nothing ends or puts to sleep an environment by itself (ENV-111).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Why, in the words of who pinned it.
    pub reason: String,
    /// Who pinned it.
    pub actor: String,
    /// Until when, in microseconds; at most 14 days ahead.
    pub until_us: i64,
}

/// Which object of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Group and version, for example `apps/v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for what has none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// An object of the inventory: what was applied and has to go again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which object.
    pub object: ObjectRef,
    /// Its uid in the cluster, the precondition of every delete (ENV-51).
    pub uid: String,
    /// When we first saw it, in microseconds.
    pub created_us: i64,
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
    /// Idle time asked for after which it sleeps, in microseconds; 0 means never.
    #[serde(default)]
    pub idle_us: Option<i64>,
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
    /// When the source was first read as having ended it; seen twice it counts (ENV-40).
    pub ended_seen_us: Option<i64>,
    /// When this generation was accepted; begins the wait for an image.
    pub generation_us: i64,
    /// When a failed generation is tried again.
    pub retry_us: Option<i64>,
    /// What the teardown took away.
    pub removal: Option<Removal>,
    /// Uid of the namespace; empty before it was made or with the target git.
    #[serde(default)]
    pub namespace_uid: String,
    /// Objects in the cluster that are ours, the namespace and its guard rails among them.
    #[serde(default)]
    pub inventory: Vec<Held>,
    /// How far it has been brought in its cluster.
    #[serde(default)]
    pub progress: Progress,
    /// Its part of the budget of its team.
    #[serde(default)]
    pub claim: Claim,
    /// Which warning of its end was given.
    #[serde(default)]
    pub warned: Option<Warned>,
}

/// What a teardown took out of the GitOps repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Branch committed to.
    pub branch: String,
    /// Commit that removed the files; empty if there were none.
    pub commit: String,
    /// Names of the removed files.
    pub files: Vec<String>,
    /// Names of files in the folder that are not ours and stay.
    #[serde(default)]
    pub kept: Vec<String>,
    /// When, in microseconds.
    pub removed_us: i64,
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
    /// Whether the source brought it about: such endings are braked when there are too many (ENV-42).
    pub fn is_by_source(self) -> bool {
        !matches!(self, RetireReason::Expired | RetireReason::Requested)
    }

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
    /// Since when, as the source says if it was the source, in microseconds.
    pub at_us: i64,
    /// When it was decided, in microseconds.
    pub decided_us: i64,
}

/// One life of one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Uid of the service's catalog entity.
    pub service_uid: String,
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
    /// How manifests reach the cluster; chosen when this life began.
    #[serde(default)]
    pub target: Target,
    /// Whether workloads are wanted to run.
    #[serde(default)]
    pub power: Power,
    /// When somebody last used it: traffic, a push, a touch; in microseconds (ENV-112).
    #[serde(default)]
    pub used_us: i64,
    /// Why nothing ends it by itself for now.
    #[serde(default)]
    pub pin: Option<Pin>,
    /// Who let a fork run, and what; counts only while that is what is wanted.
    #[serde(default)]
    pub approval: Option<Approval>,
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
        state::compute(&self.status.conditions, self.generation, deletion, self.target)
    }

    /// Whether the newest generation has come to rest.
    pub fn is_settled(&self) -> bool {
        match self.state() {
            State::Deleted => true,
            State::Published | State::Ready | State::Asleep | State::Failed => {
                self.status.observed_generation == self.generation
            }
            // What ran before it needed approval has to be asleep first.
            State::AwaitingApproval => {
                let falls_asleep =
                    self.status.conditions.get(Aspect::Asleep).is_some_and(|c| c.verdict == Verdict::Unknown);
                self.status.observed_generation == self.generation && (self.target == Target::Git || !falls_asleep)
            }
            _ => false,
        }
    }

    /// The point in time and generation for a condition set now.
    pub fn at(&self, now_us: i64) -> At {
        At { generation: self.generation, now_us }
    }

    /// Takes a changed spec: new generation, new life span after a push; equal spec changes nothing (ENV-3). Changed times alone bring
    /// nothing out and are no new generation.
    pub fn want(&mut self, spec: Spec, now_us: i64) -> bool {
        if self.spec == spec {
            return false;
        }
        let pushed = self.spec.source.head_sha != spec.source.head_sha;
        let only_times = Spec { ttl_us: self.spec.ttl_us, idle_us: self.spec.idle_us, ..spec.clone() } == self.spec;
        let is_ttl = self.spec.ttl_us != spec.ttl_us;
        self.spec = spec;
        if only_times {
            if is_ttl {
                self.expire_us = self.life_us().map(|l| now_us.saturating_add(l));
            }
            return true;
        }
        self.generation += 1;
        self.status.generation_us = now_us;
        self.status.retry_us = None;
        // What is deployed is used: it wakes, and its idle time begins anew (ENV-114). What nobody approved is not deployed.
        if !approval::is_missing(self) {
            self.used_us = now_us;
            rollout::set_power(self, Power::Awake, "DEPLOYED", now_us);
        }
        if pushed && self.kind != Kind::Personal {
            self.expire_us = self.expire_us.max(self.life_us().map(|l| now_us.saturating_add(l)));
        }
        true
    }

    /// Takes the news that a Secret is bound, has other content or is no longer bound: a new generation if that changes what manifests
    /// refer to, or what we have to deliver.
    pub fn rebind(&mut self, secret_name: &str, is_gone: bool, now_us: i64) -> bool {
        let knows = self.status.secret_names.iter().any(|name| name == secret_name);
        let is_delivered = knows && !is_gone && self.target == Target::Apply;
        if self.retire.is_some() || (knows != is_gone && !is_delivered) {
            return false;
        }
        self.generation += 1;
        self.status.generation_us = now_us;
        self.status.retry_us = None;
        true
    }

    /// How long it lives from a push or an extension on; none for tiers that never expire.
    pub fn life_us(&self) -> Option<i64> {
        let life = self.spec.ttl_us.or(tier::ttl_default_us(self.kind)).filter(|_| self.tier.ttl_cap_us().is_some());
        // A fork that waits runs nothing and may wait as long as any; one that runs has a day (ENV-32).
        let is_running = self.spec.source.fork && !approval::is_missing(self);
        life.map(|life| if is_running { life.min(approval::LIFE_MAX_US) } else { life })
    }

    /// How long nobody may use it before it goes to sleep; none if only a person puts it to sleep (ENV-112).
    pub fn idle_us(&self) -> Option<i64> {
        let configured = || self.spec.config.as_ref().ok()?.lifecycle.idle_us(self.tier, self.is_preview());
        match self.spec.idle_us.or_else(configured).filter(|_| self.tier != Tier::Production) {
            Some(idle_us) => (idle_us > 0).then_some(idle_us),
            None => rollout::idle_default_us(self.kind, self.tier),
        }
    }

    /// Version for guarded changes.
    pub fn etag(&self) -> String {
        format!("{}-{}", slipway_kit::id::h8(&self.uid), self.version)
    }

    /// Whether pull requests or branches made it, so that it gets the value files of previews.
    pub fn is_preview(&self) -> bool {
        matches!(self.kind, Kind::PullRequest | Kind::Branch)
    }

    /// Takes the wish to be gone; a second wish changes nothing.
    pub fn end(&mut self, reason: RetireReason, actor: &str, at_us: i64, now_us: i64) -> bool {
        if self.retire.is_some() {
            return false;
        }
        let at = self.at(now_us);
        self.retire = Some(Retire { reason, actor: actor.to_owned(), at_us, decided_us: now_us });
        self.status.conditions.set(Aspect::Deleting, Verdict::True, reason.word(), "The teardown has begun.", at);
        self.status.conditions.clear(Aspect::Stalled);
        true
    }

    /// What will remain of a life that ends; none while it lives.
    pub fn tombstone(&self) -> Option<Tombstone> {
        let head_sha = self.spec.source.head_sha.clone();
        self.retire.as_ref().map(|retire| Tombstone { reason: retire.reason, at_us: retire.at_us, head_sha })
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
