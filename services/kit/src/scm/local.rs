//! The adapter `local`: bare repositories below one root (ENV-181).
//!
//! Owns the root, the repositories' locks and the files beside git's own. Refuses repositories outside the root.
mod pull_request;
mod repository;

use std::time::Duration;

use super::{Check, DeployState, Filed, Report, ScmConfig, path_of, unknown};
use crate::{
    clock::Clock,
    error::{Error, Result},
    files::{FilePath, WorkDir},
    git::{self, Git},
    subprocess::Tool,
};

/// How long a writer waits for another writer of the same repository.
const LOCK_WAIT: Duration = Duration::from_secs(20);
const LOCK_POLL: Duration = Duration::from_millis(15);

/// Bare repositories below one root.
pub(super) struct Local {
    pub(super) git: Git,
    clock: Clock,
}

impl Local {
    pub(super) async fn open(config: &ScmConfig, clock: Clock) -> Result<Self> {
        Ok(Self { git: open_git(config).await?, clock })
    }

    pub(super) async fn git(&self, name: &str) -> Result<git::Repo> {
        self.git.repository(&path_of(name)?).map_err(|_| unknown(name))
    }

    fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// The directory of a repository, for the files beside git's own.
    fn dir(&self, name: &str) -> Result<WorkDir> {
        let path = path_of(name)?;
        if !self.git.root().join(path.as_str()).join("HEAD").is_file() {
            return Err(unknown(name));
        }
        WorkDir::open(self.git.root())?.open_dir(&path)
    }

    /// Waits until no other writer, of this or another process, is at the repository.
    async fn lock(&self, name: &str) -> Result<std::fs::File> {
        lock(&self.git, &path_of(name)?, name).await
    }

    /// Keeps what a provider would show: the comment, and one deployment per commit of which the last counts.
    pub(super) async fn report(&self, name: &str, report: &Report) -> Result<()> {
        let Some(number) = report.number else { return Ok(()) };
        let _lock = self.lock(name).await?;
        let dir = self.dir(name)?;
        let missing = || pull_request::no_such(number);
        let mut state = pull_request::read_state(&dir, number)?.ok_or_else(missing)?;
        let filed = Filed {
            comment: Some(report.comment.clone()),
            sha: report.sha.clone(),
            state: report.state.word().to_owned(),
            url: report.url.clone(),
            active: i64::from(report.state != DeployState::Inactive),
        };
        if state.reports.insert(report.environment.clone(), filed.clone()).as_ref() != Some(&filed) {
            pull_request::write_state(&dir, number, &state)?;
        }
        Ok(())
    }

    pub(super) async fn filed(&self, name: &str, number: i64, environment: &str) -> Result<Filed> {
        let state = pull_request::read_state(&self.dir(name)?, number)?;
        let state = state.ok_or_else(|| pull_request::no_such(number))?;
        Ok(state.reports.get(environment).cloned().unwrap_or_default())
    }

    pub(super) async fn test_connection(&self) -> Vec<Check> {
        let root = self.git.root().display().to_string();
        let writable = tempfile::tempfile_in(self.git.root()).is_ok();
        let remedy = "Give the process the right to read and write the directory `root` of the connection.";
        let directory = match (self.repositories().await, writable) {
            (Ok(found), true) => Check::passed("root", format!("{root} holds {} repositories", found.len())),
            (Ok(_), false) => Check::failed("root", format!("{root} cannot be written"), remedy),
            (Err(error), _) => Check::failed("root", format!("{root} cannot be read: {}", error.message()), remedy),
        };
        vec![directory]
    }
}

/// Git over the connection's directory.
pub(super) async fn open_git(config: &ScmConfig) -> Result<Git> {
    let tool = match &config.git {
        Some(path) => Tool::at("git", path)?,
        None => Tool::find("git")?,
    };
    Git::open(tool, &config.root).await
}

/// Waits until no other writer, of this or another process, is at a repository; `name` is for the error.
pub(super) async fn lock(git: &Git, path: &FilePath, name: &str) -> Result<std::fs::File> {
    let at = git.root().join(path.as_str()).join("slipway.lock");
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

fn file(name: &str) -> Result<FilePath> {
    FilePath::parse(name)
}
