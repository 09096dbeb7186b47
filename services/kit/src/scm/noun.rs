//! What every adapter answers and takes: repositories, pull requests, reports.
//!
//! Owns their shape. Refuses what only one provider has.
use serde::{Deserialize, Serialize};

use crate::git::{Author, FileChange};

/// A repository as the provider describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// The provider's numeric id as text; survives rename and transfer.
    pub id: String,
    /// `owner/name`.
    pub name: String,
    /// Branch that HEAD names.
    pub default_branch: String,
    /// One sentence.
    pub description: String,
    /// Whether it takes no changes any more.
    pub archived: bool,
    /// When it was made, in microseconds.
    pub created_us: i64,
    /// What its maker left, for example the uid of a run; empty if nothing.
    pub marker: String,
}

/// A repository to be made.
#[derive(Clone, Debug)]
pub struct NewRepository {
    /// `owner/name`.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Branch of the first commit.
    pub default_branch: String,
    /// Names the maker: a repository with an equal marker is adopted, not refused.
    pub marker: String,
    /// Files of the first commit.
    pub files: Vec<FileChange>,
    /// Message of the first commit.
    pub message: String,
    /// Author of the first commit; its time decides the commit's id.
    pub author: Author,
}

/// A pull request as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number in the repository.
    pub number: i64,
    /// Whether it is open.
    pub open: bool,
    /// Whether it is a draft.
    pub draft: bool,
    /// Its title.
    pub title: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Login of who opened it.
    pub author: String,
    /// Branch it comes from, without `refs/heads/`.
    pub head_ref: String,
    /// Commit it shows.
    pub head_sha: String,
    /// Whether the branch it comes from exists.
    pub head_exists: bool,
    /// Repository of the head branch as `owner/name`.
    pub head_repository: String,
    /// Branch it aims at.
    pub base_ref: String,
    /// Commit of the branch it aims at, when it was last changed.
    pub base_sha: String,
    /// Whether it comes from another repository.
    pub fork: bool,
    /// When it was first opened, in microseconds.
    pub created_us: i64,
    /// When it was last opened or reopened, in microseconds; of a closed one perhaps only when it was first opened.
    pub opened_us: i64,
    /// When it last changed, in microseconds.
    pub updated_us: i64,
    /// When it was closed, in microseconds.
    pub closed_us: Option<i64>,
    /// When it was merged, in microseconds.
    pub merged_us: Option<i64>,
    /// The merge commit.
    pub merge_sha: Option<String>,
}

/// A pull request to be opened.
#[derive(Clone, Debug)]
pub struct OpenPullRequest {
    /// Title.
    pub title: String,
    /// Branch it comes from; made from the base if it does not exist and there are files.
    pub branch: String,
    /// Repository of that branch; the same repository if `None`.
    pub head_repository: Option<String>,
    /// Branch it aims at; the default branch if `None`.
    pub base: Option<String>,
    /// Files to commit to the branch first.
    pub files: Vec<FileChange>,
    /// Whether it is a draft.
    pub draft: bool,
    /// Labels.
    pub labels: Vec<String>,
    /// Who opens it.
    pub author: Author,
}

/// Files to be pushed to a branch.
#[derive(Clone, Debug)]
pub struct PushTo {
    /// The branch; it must exist.
    pub branch: String,
    /// Files of the commit; empty only brings the pull requests of the branch up to its present head.
    pub files: Vec<FileChange>,
    /// Message of the commit.
    pub message: String,
    /// Replaces the branch by one commit on its base instead of adding one.
    pub force: bool,
    /// Author of the commit.
    pub author: Author,
}

/// A pull request to be closed.
#[derive(Clone, Debug)]
pub struct ClosePullRequest {
    /// Its number.
    pub number: i64,
    /// Merges it first.
    pub merge: bool,
    /// Who closes it.
    pub author: Author,
}

/// What a deployment came to, in the words of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployState {
    /// It waits for something.
    Queued,
    /// It is being done.
    InProgress,
    /// It answers.
    Success,
    /// It does not answer.
    Failure,
    /// It is gone.
    Inactive,
}

impl DeployState {
    /// The provider's word.
    pub fn word(self) -> &'static str {
        match self {
            DeployState::Queued => "queued",
            DeployState::InProgress => "in_progress",
            DeployState::Success => "success",
            DeployState::Failure => "failure",
            DeployState::Inactive => "inactive",
        }
    }

    /// The state of a word; `None` for one we never write.
    pub fn of(word: &str) -> Option<Self> {
        let all = [Self::Queued, Self::InProgress, Self::Success, Self::Failure, Self::Inactive];
        all.into_iter().find(|state| state.word() == word)
    }
}

/// What is told about an environment where its pull request is: one comment and one deployment, both kept up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Id of the environment; finds comment and deployment again.
    pub environment: String,
    /// The pull request that gets the comment; `None` for an environment that follows a branch.
    pub number: Option<i64>,
    /// Commit that is shown.
    pub sha: String,
    /// What the deployment came to.
    pub state: DeployState,
    /// Where it answers; empty if nowhere.
    pub url: String,
    /// One sentence about the state.
    pub summary: String,
    /// Text of the comment, without its marker.
    pub comment: String,
}

/// What the provider shows about an environment now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filed {
    /// Text of the comment, without its marker; `None` if there is none.
    pub comment: Option<String>,
    /// Commit of the newest deployment; empty if there is none.
    pub sha: String,
    /// State of the newest deployment, in the provider's word; empty if there is none.
    pub state: String,
    /// Where it answers.
    pub url: String,
    /// How many deployments of the environment are not inactive.
    pub active: i64,
}
