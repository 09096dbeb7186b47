//! Bodies of webhooks in the shape that GitHub sends.
//!
//! Owns the fields our services read and those a reader of the log expects, and which of them a delivery cannot be without. Refuses to sign: that needs the endpoint's secret.
use serde_json::{Value, json};

use super::{PullRequest, Repository};
use crate::{
    error::{Result, Violations},
    git::CommitInfo,
};

/// Most commits listed in the body of a push.
const COMMITS_MAX: usize = 100;

/// A delivery to be signed and posted.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Value of `X-GitHub-Event`.
    pub event: &'static str,
    /// Raw body.
    pub body: Vec<u8>,
}

/// What happened to a pull request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Opened.
    Opened,
    /// Opened again.
    Reopened,
    /// New commits.
    Synchronize,
    /// Closed, merged or not.
    Closed,
    /// A label was put on.
    Labeled,
    /// A label was taken off.
    Unlabeled,
}

impl Action {
    /// GitHub's word.
    pub fn word(self) -> &'static str {
        match self {
            Action::Opened => "opened",
            Action::Reopened => "reopened",
            Action::Synchronize => "synchronize",
            Action::Closed => "closed",
            Action::Labeled => "labeled",
            Action::Unlabeled => "unlabeled",
        }
    }
}

/// Refuses a delivery whose body lacks what every reader of its event needs; events that nobody here reads have any shape.
///
/// # Errors
/// INVALID_FIELD with every field that is missing or of another type.
pub fn check_shape(event: &str, body: &[u8]) -> Result<()> {
    let mut wrong = Violations::new();
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    if !body.is_object() {
        wrong.add("body", "must be a JSON object");
        return wrong.finish();
    }
    let is_number = |pointer: &str| body.pointer(pointer).and_then(Value::as_i64).is_some_and(|n| n > 0);
    let is_text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    // What an event is about, by GitHub's name for it.
    let subject = match event {
        "pull_request" => {
            let has = is_number("/number") || is_number("/pull_request/number");
            wrong.check(has, "number", "must be the number of the pull request");
            ""
        }
        "push" => {
            wrong.check(is_text("/ref"), "ref", "must be the ref that was pushed");
            ""
        }
        "deployment" | "deployment_status" | "workflow_run" | "workflow_job" => event,
        _ => return Ok(()),
    };
    if !subject.is_empty() {
        wrong.check(body.get(subject).is_some_and(Value::is_object), subject, "must be an object");
    }
    let has = is_number("/repository/id") || is_text("/repository/full_name");
    wrong.check(has, "repository", "must be an object with the repository's id and full_name");
    wrong.finish()
}

/// Body of a `pull_request` delivery.
pub fn pull_request_hook(repository: &Repository, pull: &PullRequest, action: Action) -> Hook {
    let side = |label: &str, sha: &str, full_name: &str| {
        let repo = if full_name == repository.name {
            repo_json(repository)
        } else {
            json!({ "full_name": full_name, "fork": true })
        };
        json!({ "ref": label, "sha": sha, "label": format!("{}:{label}", owner(full_name)), "repo": repo })
    };
    let labels: Vec<Value> = pull.labels.iter().map(|name| json!({ "name": name })).collect();
    let body = json!({
        "action": action.word(),
        "number": pull.number,
        "pull_request": {
            "number": pull.number,
            "state": if pull.open { "open" } else { "closed" },
            "draft": pull.draft,
            "title": pull.title,
            "labels": labels,
            "user": { "login": pull.author },
            "created_at": time(Some(pull.created_us)),
            "updated_at": time(Some(pull.updated_us)),
            "closed_at": time(pull.closed_us),
            "merged_at": time(pull.merged_us),
            "merged": pull.merged_us.is_some(),
            "merge_commit_sha": pull.merge_sha,
            "head": side(&pull.head_ref, &pull.head_sha, &pull.head_repository),
            "base": side(&pull.base_ref, &pull.base_sha, &repository.name),
        },
        "repository": repo_json(repository),
        "sender": { "login": pull.author },
    });
    Hook { event: "pull_request", body: body.to_string().into_bytes() }
}

/// Body of a `push` delivery; `before` or `after` is empty for a branch made or removed.
pub fn push_hook(
    repository: &Repository,
    branch: &str,
    before: &str,
    after: &str,
    commits: &[CommitInfo],
    forced: bool,
) -> Hook {
    const NOTHING: &str = "0000000000000000000000000000000000000000";
    let or_nothing = |sha: &str| if sha.is_empty() { NOTHING.to_owned() } else { sha.to_owned() };
    // GitHub lists the oldest first.
    let list: Vec<Value> = commits.iter().take(COMMITS_MAX).rev().map(commit_json).collect();
    let body = json!({
        "ref": format!("refs/heads/{branch}"),
        "before": or_nothing(before),
        "after": or_nothing(after),
        "created": before.is_empty(),
        "deleted": after.is_empty(),
        "forced": forced,
        "commits": list,
        "head_commit": commits.iter().find(|c| c.sha.as_str() == after).map(commit_json),
        "repository": repo_json(repository),
        "pusher": { "name": commits.first().map_or("unknown", |c| c.author_name.as_str()) },
        "sender": { "login": commits.first().map_or("unknown", |c| c.author_name.as_str()) },
    });
    Hook { event: "push", body: body.to_string().into_bytes() }
}

fn repo_json(repository: &Repository) -> Value {
    let id: i64 = repository.id.parse().unwrap_or(0);
    json!({
        "id": id,
        "full_name": repository.name,
        "name": repository.name.rsplit('/').next(),
        "owner": { "login": owner(&repository.name) },
        "default_branch": repository.default_branch,
        "description": repository.description,
        "archived": repository.archived,
    })
}

fn commit_json(commit: &CommitInfo) -> Value {
    json!({
        "id": commit.sha.as_str(),
        "message": commit.message,
        "timestamp": time(Some(commit.committed_seconds.saturating_mul(1_000_000))),
        "author": { "name": commit.author_name, "email": commit.author_email },
    })
}

fn owner(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn time(us: Option<i64>) -> Option<String> {
    let seconds = us?.div_euclid(1_000_000);
    jiff::Timestamp::from_second(seconds).ok().map(|t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_says_what_it_is_about() {
        let fields = |event: &str, body: &str| {
            let wrong = check_shape(event, body.as_bytes()).err();
            wrong.map(|e| e.violations().iter().map(|(field, _)| field.clone()).collect::<Vec<_>>()).unwrap_or_default()
        };
        let repository = r#""repository": {"id": 7, "full_name": "acme/shop"}"#;
        for (event, body) in [
            ("pull_request", format!(r#"{{"number": 3, {repository}}}"#)),
            ("pull_request", format!(r#"{{"pull_request": {{"number": 3}}, {repository}}}"#)),
            ("push", format!(r#"{{"ref": "refs/heads/main", {repository}}}"#)),
            ("workflow_run", format!(r#"{{"workflow_run": {{}}, {repository}}}"#)),
            ("star", "{}".to_owned()),
        ] {
            assert!(fields(event, &body).is_empty(), "{event} {body}");
        }
        for body in ["[]", "null", "7", "\"text\"", "no json"] {
            assert_eq!(fields("star", body), ["body"], "{body}");
        }
        assert_eq!(fields("pull_request", "{}"), ["number", "repository"]);
        assert_eq!(fields("pull_request", r#"{"number": "3", "repository": []}"#), ["number", "repository"]);
        assert_eq!(fields("push", r#"{"ref": {}, "repository": {"id": "7"}}"#), ["ref", "repository"]);
        assert_eq!(fields("deployment_status", &format!("{{{repository}}}")), ["deployment_status"]);
    }
}
