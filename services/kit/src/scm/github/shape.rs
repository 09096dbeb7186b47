//! The answers of the REST API as far as they are read.
//!
//! Owns their shapes and the translation to the port's nouns. Refuses an answer without what it must have: that is an error of
//! the answer, never a default.
use serde::Deserialize;

use super::super::{PullRequest, Repository};

/// Begins the end of a description that carries a marker.
const MARKER: &str = " [slipway:";

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Repo {
    pub id: i64,
    pub full_name: String,
    pub default_branch: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub archived: bool,
    pub created_at: Option<jiff::Timestamp>,
}

impl From<Repo> for Repository {
    fn from(repo: Repo) -> Self {
        let (description, marker) = unmark(&repo.description.unwrap_or_default());
        Self {
            id: repo.id.to_string(),
            name: repo.full_name,
            default_branch: repo.default_branch.unwrap_or_else(|| "main".to_owned()),
            description,
            archived: repo.archived,
            created_us: repo.created_at.map_or(0, |at| at.as_microsecond()),
            marker,
        }
    }
}

/// A description that carries its maker's marker: the one field that is set in the same call that makes the repository.
pub(super) fn mark(description: &str, marker: &str) -> String {
    if marker.is_empty() { description.to_owned() } else { format!("{description}{MARKER}{marker}]") }
}

fn unmark(text: &str) -> (String, String) {
    match text.rsplit_once(MARKER).and_then(|(before, rest)| Some((before, rest.strip_suffix(']')?))) {
        Some((description, marker)) => (description.to_owned(), marker.to_owned()),
        None => (text.to_owned(), String::new()),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Pull {
    pub number: i64,
    pub state: String,
    #[serde(default)]
    pub draft: bool,
    pub title: String,
    pub labels: Vec<Label>,
    pub user: Option<User>,
    pub head: Side,
    pub base: Side,
    pub created_at: jiff::Timestamp,
    pub updated_at: jiff::Timestamp,
    pub closed_at: Option<jiff::Timestamp>,
    pub merged_at: Option<jiff::Timestamp>,
    pub merge_commit_sha: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Label {
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub login: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Side {
    #[serde(rename = "ref")]
    pub name: String,
    pub sha: String,
    /// Null once a fork was deleted.
    pub repo: Option<SideRepo>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SideRepo {
    pub id: i64,
    pub full_name: String,
}

impl Pull {
    /// Whether it comes from another repository, by the provider's ids (ENV-30); one that is gone was another.
    pub(super) fn is_fork(&self) -> bool {
        let id = |side: &Side| side.repo.as_ref().map(|repo| repo.id);
        id(&self.head).is_none() || id(&self.head) != id(&self.base)
    }

    pub(super) fn render(self, opened_us: Option<i64>, head_exists: bool) -> PullRequest {
        let us = |at: Option<jiff::Timestamp>| at.map(|at| at.as_microsecond());
        let created_us = self.created_at.as_microsecond();
        PullRequest {
            number: self.number,
            open: self.state == "open",
            draft: self.draft,
            fork: self.is_fork(),
            title: self.title,
            labels: self.labels.into_iter().map(|label| label.name).collect(),
            author: self.user.map_or_else(|| "ghost".to_owned(), |user| user.login),
            head_ref: self.head.name,
            head_sha: self.head.sha,
            head_exists,
            head_repository: self.head.repo.map(|repo| repo.full_name).unwrap_or_default(),
            base_ref: self.base.name,
            base_sha: self.base.sha,
            created_us,
            opened_us: opened_us.unwrap_or(created_us),
            updated_us: self.updated_at.as_microsecond(),
            closed_us: us(self.closed_at),
            merged_us: us(self.merged_at),
            // Before a merge this is a test merge of the provider.
            merge_sha: self.merge_commit_sha.filter(|_| self.merged_at.is_some()),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct IssueEvent {
    pub event: String,
    pub created_at: jiff::Timestamp,
}

#[derive(Debug, Deserialize)]
pub(super) struct Comment {
    pub id: i64,
    #[serde(default)]
    pub body: Option<String>,
    pub user: Option<User>,
    #[serde(default)]
    pub performed_via_github_app: Option<AppId>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AppId {
    pub id: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Deployment {
    pub id: i64,
    pub sha: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct DeploymentStatus {
    pub state: String,
    #[serde(default)]
    pub environment_url: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct InstallationToken {
    pub token: String,
    pub expires_at: jiff::Timestamp,
}

#[derive(Debug, Deserialize)]
pub(super) struct Installation {
    #[serde(default)]
    pub permissions: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub suspended_at: Option<jiff::Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_survives_in_the_description() {
        for (description, marker) in [("A service", "run-1"), ("", "x"), ("odd [slipway:a] text", "b"), ("none", "")] {
            assert_eq!(unmark(&mark(description, marker)), (description.to_owned(), marker.to_owned()));
        }
    }
}
