//! Trust entries: what a job's token must say, and what the job may do then (SAFE-15, SAFE-17).
//!
//! Refuses conditions that hold for everybody, workflows that are not pinned, and to compare anything but whole values.

use serde::{Deserialize, Serialize};
use slipway_kit::error::Violations;

use super::job::JobClaims;

/// Events that count when an entry lists none.
pub const DEFAULT_EVENTS: [&str; 4] = ["push", "pull_request", "workflow_dispatch", "schedule"];
/// All that a job of a pull request may ever do, on the preview of that pull request (SAFE-18).
pub const PULL_REQUEST_PERMISSIONS: [&str; 3] =
    ["environments.ensure_preview", "environments.get", "environments.delete"];
/// Most entries of one repository: a caller carries what all of them give.
pub const ENTRIES_MAX: usize = 16;

/// A trust entry; times in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustEntry {
    /// Public id of eight characters.
    pub id: String,
    /// Uid.
    pub uid: String,
    /// Raised by each change.
    pub version: i64,
    /// Id of the issuer in the configuration.
    pub issuer: String,
    /// The provider's number of the repository.
    pub repository_id: i64,
    /// Canonical reference of the service.
    pub service: String,
    /// What may be changed.
    pub terms: Terms,
    /// Made at.
    pub created_us: i64,
    /// Changed at.
    pub updated_us: i64,
}

/// What an entry asks for and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The provider's number of the repository's owner.
    pub owner_id: i64,
    /// Name of the repository, for people.
    pub repository: String,
    /// Events that count; the default ones if empty.
    pub events: Vec<String>,
    /// Refs, each with at most one `*`.
    pub refs: Vec<String>,
    /// Whether the ref must be protected.
    pub ref_protected: bool,
    /// Environment of the provider; any if empty.
    pub environment: String,
    /// Pinned workflow; any if empty.
    pub workflow: String,
    /// Where the job runs.
    pub runner: Runner,
    /// What it gives.
    pub permissions: Vec<String>,
}

/// Where a job runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// On the provider's machines.
    #[default]
    Hosted,
    /// On one's own.
    SelfHosted,
}

impl Runner {
    /// The claim's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hosted => "github-hosted",
            Self::SelfHosted => "self-hosted",
        }
    }
}

impl TrustEntry {
    /// Resource name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("trustEntries/{}", self.id)
    }

    /// Its version as callers see it.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("v{}", self.version)
    }
}

impl Terms {
    /// Whether a job of the entry's repository fulfils every condition.
    ///
    /// # Errors
    /// A word for audit and metrics: the first condition that does not hold.
    pub fn admit(&self, job: &JobClaims) -> Result<(), &'static str> {
        let event = |listed: &str| listed == job.event;
        let events = if self.events.is_empty() {
            DEFAULT_EVENTS.into_iter().any(event)
        } else {
            self.events.iter().any(|listed| event(listed))
        };
        let listed = self.refs.is_empty() || self.refs.iter().any(|pattern| matches(pattern, &job.git_ref));
        let named = !self.refs.is_empty() || self.ref_protected;
        let protected = !self.ref_protected || job.ref_protected;
        for (holds, cause) in [
            (job.owner_id == self.owner_id, "trust: owner"),
            (events, "trust: event"),
            (named && listed && protected, "trust: ref"),
            (self.environment.is_empty() || self.environment == job.environment, "trust: environment"),
            (self.workflow.is_empty() || self.workflow == job.workflow, "trust: workflow"),
            (self.runner.word() == job.runner, "trust: runner"),
        ] {
            if !holds {
                return Err(cause);
            }
        }
        Ok(())
    }

    /// What the entry gives to a job.
    pub fn given(&self, job_is_of_pull_request: bool) -> impl Iterator<Item = &str> {
        let all = self.permissions.iter().map(String::as_str);
        all.filter(move |p| !job_is_of_pull_request || PULL_REQUEST_PERMISSIONS.contains(p))
    }

    /// Every fault of the terms; `tags` are the reusable workflows whose tags are protected.
    pub fn check(&self, tags: &[String], wrong: &mut Violations) {
        let at = |field: &str| format!("trust_entry.{field}");
        wrong.check(self.owner_id > 0, at("repository_owner_id"), "must be the provider's number of the owner");
        wrong.check(
            !self.refs.is_empty() || self.ref_protected,
            at("refs"),
            "must name at least one ref, or set ref_protected",
        );
        wrong.check(!self.permissions.is_empty(), at("permissions"), "must name at least one permission");
        let pinned = self.workflow.is_empty() || is_commit(&self.workflow) || tags.contains(&self.workflow);
        wrong.check(
            pinned,
            at("job_workflow_ref"),
            "must be <owner>/<repo>/<path>@<40 hex>, or a tag that the platform's configuration lists as protected",
        );
    }
}

/// Whether a ref is the pattern's, whose one `*` stands for any characters.
fn matches(pattern: &str, git_ref: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == git_ref,
        Some((before, after)) => {
            git_ref.len() > before.len() + after.len() && git_ref.starts_with(before) && git_ref.ends_with(after)
        }
    }
}

/// Whether a workflow is named at a full commit.
fn is_commit(workflow: &str) -> bool {
    let Some((path, commit)) = workflow.split_once('@') else { return false };
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    path.splitn(3, '/').filter(|part| !part.is_empty()).count() == 3 && commit.len() == 40 && commit.bytes().all(hex)
}

/// Principal of the jobs of a repository, or of one of its pull requests.
#[must_use]
pub fn principal(issuer: &str, repository_id: i64, pull_request: Option<i64>) -> String {
    let pull = pull_request.map(|number| format!("/pulls/{number}")).unwrap_or_default();
    format!("ci:{issuer}/{repository_id}{pull}")
}

/// Issuer, repository and pull request of [`principal`].
#[must_use]
pub fn of_principal(principal: &str) -> Option<(&str, i64, Option<i64>)> {
    let (issuer, rest) = principal.strip_prefix("ci:")?.split_once('/')?;
    match rest.split_once("/pulls/") {
        None => Some((issuer, rest.parse().ok()?, None)),
        Some((repository, pull)) => Some((issuer, repository.parse().ok()?, Some(pull.parse().ok()?))),
    }
}

/// Credential that names the entries a caller's rights come from.
#[must_use]
pub fn credential<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    format!("{CREDENTIAL}{}", ids.collect::<Vec<_>>().join(","))
}

/// Ids of [`credential`].
#[must_use]
pub fn of_credential(credential: &str) -> Option<Vec<&str>> {
    Some(credential.strip_prefix(CREDENTIAL)?.split(',').collect())
}

const CREDENTIAL: &str = "trustEntries/";
