//! The source provider as a port, and its adapter `local` (ENV-181).
//!
//! Owns what a repository and a pull request are to every service, and bare repositories below one root in which branches are
//! refs and a pull request is `refs/pull/N/head`, `refs/pull/N/base` and a small state file. Refuses to be asked for anything but
//! the present state: what a webhook says is never taken from here.
mod pull_request;
mod repository;
mod webhook;

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::Deserialize;

pub use pull_request::{ClosePullRequest, OpenPullRequest, PullRequest, PushTo};
pub use repository::{NewRepository, Repository};
pub use webhook::{Action, Hook, pull_request_hook, push_hook};

use crate::{
    clock::Clock,
    error::{Error, Result},
    files::{FilePath, WorkDir},
    git::{self, Git},
    subprocess::Tool,
};

crate::reasons! {
    REPOSITORY_UNKNOWN: NotFound, "The source provider has no such repository.", "Check the name as owner/name, or create the repository first.";
    REPOSITORY_TAKEN: AlreadyExists, "A repository of that name exists and was made by somebody else.", "Choose another name.";
    REPOSITORY_NAME_INVALID: InvalidArgument, "A repository name breaks the provider's rules.", "Use owner/name: letters, digits and dashes; dots and underscores in the name only.";
    PULL_REQUEST_UNKNOWN: NotFound, "The repository has no such pull request.", "Check the number, or open the pull request first.";
    PULL_REQUEST_CLOSED: FailedPrecondition, "The pull request is closed.", "Reopen it, or open another one.";
    NOTHING_TO_COMPARE: FailedPrecondition, "The head branch of the pull request does not exist.", "Push the branch first, or give files to commit.";
}

/// How long a writer waits for another writer of the same repository.
const LOCK_WAIT: Duration = Duration::from_secs(20);
const LOCK_POLL: Duration = Duration::from_millis(15);
/// Scheme of clone URLs and location targets of this port.
pub const SCHEME: &str = "scm";

/// Which adapter serves a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Bare repositories below a directory of this machine.
    #[default]
    Local,
}

/// One SCM connection, `[scm.<id>]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScmConfig {
    /// Adapter.
    #[serde(default)]
    pub kind: Kind,
    /// Directory that holds the repositories as `<owner>/<name>.git`; made if missing.
    pub root: PathBuf,
    /// Absolute path of git; found on PATH if left out.
    #[serde(default)]
    pub git: Option<PathBuf>,
    /// How often open pull requests are looked at, in seconds.
    #[serde(default = "poll_default")]
    pub poll_interval_seconds: u64,
}

fn poll_default() -> u64 {
    60
}

impl ScmConfig {
    /// The adapter `local` on a directory, with everything else as by default.
    pub fn local(root: impl Into<PathBuf>) -> Self {
        Self { kind: Kind::Local, root: root.into(), git: None, poll_interval_seconds: poll_default() }
    }
}

/// One connection to a source provider; cheap to clone.
#[derive(Clone)]
pub struct Scm(Arc<Inner>);

struct Inner {
    id: String,
    git: Git,
    clock: Clock,
    poll_interval: Duration,
}

impl Scm {
    /// Opens a connection named `id`.
    ///
    /// # Errors
    /// TOOL_MISSING without a fitting git; errors of the directory.
    pub async fn open(id: &str, config: &ScmConfig) -> Result<Self> {
        Self::open_with(id, config, Clock::system()).await
    }

    /// As [`Scm::open`], with the clock that stamps pull requests.
    pub async fn open_with(id: &str, config: &ScmConfig, clock: Clock) -> Result<Self> {
        let tool = match &config.git {
            Some(path) => Tool::at("git", path)?,
            None => Tool::find("git")?,
        };
        let git = Git::open(tool, &config.root).await?;
        let poll_interval = Duration::from_secs(config.poll_interval_seconds.max(1));
        Ok(Self(Arc::new(Inner { id: id.to_owned(), git, clock, poll_interval })))
    }

    /// Id of the connection, also the source of its webhooks.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// How often open pull requests are looked at.
    pub fn poll_interval(&self) -> Duration {
        self.0.poll_interval
    }

    /// The git repository behind a name.
    ///
    /// # Errors
    /// REPOSITORY_UNKNOWN; REPOSITORY_NAME_INVALID.
    pub async fn git(&self, name: &str) -> Result<git::Repo> {
        self.0.git.repository(&repository::path_of(name)?).map_err(|_| unknown(name))
    }

    /// `scm://<connection>/<owner>/<name>`, the clone URL and location target of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("{SCHEME}://{}/{name}", self.0.id)
    }

    fn now_us(&self) -> i64 {
        self.0.clock.now_us()
    }

    /// The directory of a repository, for the files beside git's own.
    fn dir(&self, name: &str) -> Result<WorkDir> {
        let path = repository::path_of(name)?;
        if !self.0.git.root().join(path.as_str()).join("HEAD").is_file() {
            return Err(unknown(name));
        }
        WorkDir::open(self.0.git.root())?.open_dir(&path)
    }

    /// Waits until no other writer, of this or another process, is at the repository.
    async fn lock(&self, name: &str) -> Result<std::fs::File> {
        let at = self.0.git.root().join(repository::path_of(name)?.as_str()).join("slipway.lock");
        let file = std::fs::File::options().create(true).append(true).open(at).map_err(Error::internal)?;
        let until = tokio::time::Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::Error(error)) => return Err(Error::internal(error)),
                Err(std::fs::TryLockError::WouldBlock) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    let text = format!("somebody else is changing {name}");
                    return Err(Error::new(&crate::error::CONFLICT, text).retry_after_ms(1000));
                }
            }
        }
    }
}

/// Connection and repository of a URL `scm://<connection>/<owner>/<name>`; anything after the name is left to the caller.
pub fn parse_url(url: &str) -> Option<(String, String)> {
    let (connection, rest) = url.strip_prefix("scm://")?.split_once('/')?;
    let mut parts = rest.splitn(3, '/');
    let (owner, name) = (parts.next()?, parts.next()?);
    let name = format!("{owner}/{}", name.trim_end_matches(".git"));
    repository::path_of(&name).ok()?;
    Some((connection.to_owned(), name))
}

fn unknown(name: &str) -> Error {
    Error::new(&REPOSITORY_UNKNOWN, format!("there is no repository {name}")).resource("repository", name)
}

fn file(name: &str) -> Result<FilePath> {
    FilePath::parse(name)
}

#[cfg(test)]
#[path = "scm/tests.rs"]
mod tests;
