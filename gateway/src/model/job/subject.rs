//! `sub` of a job's token: the two live forms of GitHub, read strictly (SAFE-16).
//!
//! Refuses the withdrawn form with hyphens, and any subject that says other than the claims beside it; gives no right by itself.

use super::JobClaims;

/// Checks that a subject agrees with the claims.
///
/// # Errors
/// `subject`, for audit and metrics.
pub(super) fn check(subject: &str, job: &JobClaims) -> Result<(), &'static str> {
    // A repository may choose other parts for its subject; the ids were read from claims of their own, so that one says nothing.
    let Some(rest) = subject.strip_prefix("repo:") else { return Ok(()) };
    let (place, context) = rest.split_once(':').ok_or("subject")?;
    if place == job.repository || Some(place) == with_ids(job).as_deref() {
        return check_context(context, job);
    }
    Err("subject")
}

/// `owner@id/name@id`, the form of repositories that were made, renamed or transferred since July 2026.
fn with_ids(job: &JobClaims) -> Option<String> {
    let (owner, name) = job.repository.split_once('/')?;
    Some(format!("{owner}@{}/{name}@{}", job.owner_id, job.repository_id))
}

/// What follows the repository: where the job runs, and after it whatever a customised subject adds.
fn check_context(context: &str, job: &JobClaims) -> Result<(), &'static str> {
    let mut parts = context.split(':');
    let agrees = match parts.next() {
        Some("pull_request") => job.environment.is_empty() && job.event.starts_with("pull_request"),
        Some("environment") => {
            let named = parts.next();
            !job.environment.is_empty() && named == Some(job.environment.replace(':', "%3A").as_str())
        }
        Some("ref") => parts.next() == Some(&job.git_ref) && job.event != "pull_request" && job.environment.is_empty(),
        Some(other) => !other.is_empty(),
        None => false,
    };
    if agrees { Ok(()) } else { Err("subject") }
}
