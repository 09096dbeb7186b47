//! A CI job as its verified token describes it: GitHub's claims, typed, complete and in agreement with each other (SAFE-14 to SAFE-18).
//!
//! Refuses names as identity: a repository is its number. Refuses tokens whose parts contradict each other, whatever they claim.

mod subject;

use serde_json::{Map, Value};

use super::jwt::Verified;

/// Most digits of a number of 63 bits; a longer or larger one is refused.
const DIGITS_MAX: usize = 19;
/// Claims that some providers add about where a pull request comes from, and the claim each must equal.
const HEAD_CLAIMS: [(&str, &str); 3] = [
    ("head_repository", "repository"),
    ("head_repository_id", "repository_id"),
    ("head_repository_owner_id", "repository_owner_id"),
];

/// What decisions on a job need of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobClaims {
    /// `repository_id`.
    pub repository_id: i64,
    /// `repository_owner_id`.
    pub owner_id: i64,
    /// `repository`, as `owner/name`; for people.
    pub repository: String,
    /// `event_name`.
    pub event: String,
    /// `ref`.
    pub git_ref: String,
    /// `ref_protected`.
    pub ref_protected: bool,
    /// `environment`; empty if the job has none.
    pub environment: String,
    /// `job_workflow_ref`.
    pub workflow: String,
    /// `runner_environment`.
    pub runner: String,
    /// Number of the pull request the job runs for, by its ref.
    pub pull_request: Option<i64>,
}

impl JobClaims {
    /// Reads a verified token.
    ///
    /// # Errors
    /// A word for audit and metrics, never for the caller.
    pub fn read(token: &Verified) -> Result<Self, &'static str> {
        let claims = &token.claims;
        let repository = text(claims, "repository")?.ok_or("repository")?;
        let (owner, name) = repository.split_once('/').ok_or("repository")?;
        let ids = (number(claims, "repository_id")?, number(claims, "repository_owner_id")?);
        if !is_name(owner) || !is_name(name) || text(claims, "repository_owner")?.is_some_and(|said| said != owner) {
            return Err("repository");
        }
        let git_ref = text(claims, "ref")?.ok_or("ref")?.to_owned();
        let job = Self {
            repository_id: ids.0,
            owner_id: ids.1,
            repository: repository.to_owned(),
            event: text(claims, "event_name")?.ok_or("event")?.to_owned(),
            ref_protected: flag(claims, "ref_protected")?,
            environment: text(claims, "environment")?.unwrap_or_default().to_owned(),
            workflow: text(claims, "job_workflow_ref")?.ok_or("workflow")?.to_owned(),
            runner: text(claims, "runner_environment")?.ok_or("runner")?.to_owned(),
            pull_request: pull_request(&git_ref),
            git_ref,
        };
        job.check_event(claims)?;
        check_head(claims)?;
        subject::check(&token.subject, &job)?;
        // The calling workflow always lies in the repository itself, whatever reusable workflow the job is of.
        let own = |said: &str| said.strip_prefix(repository).is_some_and(|rest| rest.starts_with("/."));
        match text(claims, "workflow_ref")? {
            Some(said) if !own(said) => Err("workflow"),
            _ => Ok(job),
        }
    }

    /// An event of a pull request runs on the merge of that pull request, and nothing else does.
    fn check_event(&self, claims: &Map<String, Value>) -> Result<(), &'static str> {
        let under_pull = self.git_ref.starts_with("refs/pull/");
        if (self.event == "pull_request" || under_pull) && self.pull_request.is_none() {
            return Err("ref");
        }
        // A head branch of another repository is told as `owner:branch`; no branch has a colon.
        match text(claims, "head_ref")? {
            Some(head) if head.contains(':') => Err("fork"),
            _ => Ok(()),
        }
    }
}

/// A run whose pull request comes from a fork has no identity, whatever its token says (SAFE-18).
fn check_head(claims: &Map<String, Value>) -> Result<(), &'static str> {
    for (head, base) in HEAD_CLAIMS {
        if claims.get(head).is_some_and(|said| Some(said) != claims.get(base)) {
            return Err("fork");
        }
    }
    let says = |name: &str| claims.get(name).is_some_and(|said| *said != Value::Bool(false) && *said != "false");
    if ["fork", "head_repository_fork"].into_iter().any(says) { Err("fork") } else { Ok(()) }
}

/// The number in `refs/pull/<number>/merge`.
fn pull_request(git_ref: &str) -> Option<i64> {
    digits(git_ref.strip_prefix("refs/pull/")?.strip_suffix("/merge")?)
}

/// A text claim; one of another type is no absent one.
fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(name),
    }
}

/// A number as GitHub sends it: decimal text in its one canonical form.
fn number(claims: &Map<String, Value>, name: &'static str) -> Result<i64, &'static str> {
    text(claims, name)?.and_then(digits).ok_or(name)
}

fn digits(text: &str) -> Option<i64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') && text.len() <= DIGITS_MAX;
    if canonical { text.parse().ok() } else { None }
}

fn flag(claims: &Map<String, Value>, name: &'static str) -> Result<bool, &'static str> {
    match text(claims, name)? {
        Some("true") => Ok(true),
        Some("false") | None => Ok(false),
        Some(_) => Err(name),
    }
}

/// Whether a text is an owner's or repository's name; neither has a colon, a slash or an at sign.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests;
