//! The port itself: one call per verb, handed to the adapter.
//!
//! Owns which adapter can do what. Refuses writers of pull requests anywhere but at `local`: at a provider people do that.
use std::{sync::Arc, time::Duration};

use super::{
    Adapter, Check, ClosePullRequest, Filed, Github, Inner, Kind, Local, NewRepository, OpenPullRequest, PullRequest,
    PushTo, Report, Repository, SCHEME, SCM_UNSUPPORTED, Scm, ScmConfig,
};
use crate::{
    clock::Clock,
    error::{Error, Result, Violations},
    git::{self, Sha},
};

impl Scm {
    /// Opens a connection named `id`.
    ///
    /// # Errors
    /// TOOL_MISSING without a fitting git; errors of the directory; INVALID_FIELD for what the configuration lacks.
    pub async fn open(id: &str, config: &ScmConfig) -> Result<Self> {
        Self::open_with(id, config, Clock::system()).await
    }

    /// As [`Scm::open`], with the clock that stamps pull requests.
    pub async fn open_with(id: &str, config: &ScmConfig, clock: Clock) -> Result<Self> {
        let mut v = Violations::new();
        v.check(!config.root.as_os_str().is_empty(), format!("scm.{id}.root"), "must be a directory");
        v.finish()?;
        let adapter = match config.kind {
            Kind::Local => Adapter::Local(Local::open(config, clock).await?),
            Kind::Github => Adapter::Github(Box::new(Github::open(config).await?)),
        };
        let poll_interval = Duration::from_secs(config.poll_interval_seconds.max(1));
        Ok(Self(Arc::new(Inner { id: id.to_owned(), poll_interval, adapter })))
    }

    /// Id of the connection, also the source of its webhooks.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Kind of the connection's provider.
    pub fn kind(&self) -> Kind {
        match &self.0.adapter {
            Adapter::Local(_) => Kind::Local,
            Adapter::Github(_) => Kind::Github,
        }
    }

    /// How often open pull requests are looked at.
    pub fn poll_interval(&self) -> Duration {
        self.0.poll_interval
    }

    /// `scm://<connection>/<owner>/<name>`, the clone URL and location target of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("{SCHEME}://{}/{name}", self.0.id)
    }

    /// The git repository behind a name, with the branches of this instant.
    ///
    /// # Errors
    /// REPOSITORY_UNKNOWN; REPOSITORY_NAME_INVALID; those of the provider.
    pub async fn git(&self, name: &str) -> Result<git::Repo> {
        match &self.0.adapter {
            Adapter::Local(local) => local.git(name).await,
            Adapter::Github(github) => github.git(name).await,
        }
    }

    /// The git repository behind a name, with this commit: what a provider of ours has already is not fetched again. Its branches
    /// may be of an earlier instant.
    ///
    /// # Errors
    /// As [`Scm::git`]; a commit that the provider does not have is an error where it is fetched.
    pub async fn git_at(&self, name: &str, sha: &Sha) -> Result<git::Repo> {
        match &self.0.adapter {
            Adapter::Local(local) => local.git(name).await,
            Adapter::Github(github) => github.git_at(name, sha).await,
        }
    }

    /// The repository of that name; `None` if there is none, or none that the connection may see.
    ///
    /// # Errors
    /// REPOSITORY_NAME_INVALID; errors of the disk; those of the provider.
    pub async fn repository(&self, name: &str) -> Result<Option<Repository>> {
        match &self.0.adapter {
            Adapter::Local(local) => local.repository(name).await,
            Adapter::Github(github) => github.repository(name).await,
        }
    }

    /// The repository with that numeric id; `None` if there is none.
    pub async fn repository_by_id(&self, id: &str) -> Result<Option<Repository>> {
        match &self.0.adapter {
            Adapter::Local(local) => local.repository_by_id(id).await,
            Adapter::Github(github) => github.repository_by_id(id).await,
        }
    }

    /// Every repository that the connection may see, in order of name; complete or an error.
    pub async fn repositories(&self) -> Result<Vec<Repository>> {
        match &self.0.adapter {
            Adapter::Local(local) => local.repositories().await,
            Adapter::Github(github) => github.repositories().await,
        }
    }

    /// Makes a repository with a first commit. Killed anywhere and repeated with the same marker, it ends in the same state.
    ///
    /// # Errors
    /// REPOSITORY_TAKEN if one of that name carries another marker; REPOSITORY_NAME_INVALID; REF_INVALID.
    pub async fn create_repository(&self, new: &NewRepository) -> Result<Repository> {
        match &self.0.adapter {
            Adapter::Local(local) => local.create_repository(new).await,
            Adapter::Github(github) => github.create_repository(new).await,
        }
    }

    /// The pull request as it is now; `None` if there is none of that number.
    ///
    /// # Errors
    /// REPOSITORY_UNKNOWN; errors of the disk; those of the provider.
    pub async fn pull_request(&self, name: &str, number: i64) -> Result<Option<PullRequest>> {
        match &self.0.adapter {
            Adapter::Local(local) => local.pull_request(name, number).await,
            Adapter::Github(github) => github.pull_request(name, number).await,
        }
    }

    /// Every open pull request, in order of number.
    ///
    /// # Errors
    /// As [`Scm::pull_request`]; a listing is complete or an error.
    pub async fn open_pull_requests(&self, name: &str) -> Result<Vec<PullRequest>> {
        match &self.0.adapter {
            Adapter::Local(local) => local.open_pull_requests(name).await,
            Adapter::Github(github) => github.open_pull_requests(name).await,
        }
    }

    /// Brings the comment and the deployment of an environment up to date; a repeat changes nothing (ENV-29).
    ///
    /// # Errors
    /// REPOSITORY_UNKNOWN; PULL_REQUEST_UNKNOWN; those of the provider.
    pub async fn report(&self, name: &str, report: &Report) -> Result<()> {
        match &self.0.adapter {
            Adapter::Local(local) => local.report(name, report).await,
            Adapter::Github(github) => github.report(name, report).await,
        }
    }

    /// What the provider shows about an environment of a pull request.
    ///
    /// # Errors
    /// As [`Scm::report`].
    pub async fn filed(&self, name: &str, number: i64, environment: &str) -> Result<Filed> {
        match &self.0.adapter {
            Adapter::Local(local) => local.filed(name, number, environment).await,
            Adapter::Github(github) => github.filed(name, number, environment).await,
        }
    }

    /// Tries what the connection needs, and names each missing permission (ENV-182).
    pub async fn test_connection(&self) -> Vec<Check> {
        match &self.0.adapter {
            Adapter::Local(local) => local.test_connection().await,
            Adapter::Github(github) => github.test_connection().await,
        }
    }

    /// Opens a pull request; one that is open for the same two branches is answered instead, after its files are committed.
    ///
    /// # Errors
    /// REPOSITORY_UNKNOWN, REVISION_UNKNOWN for the base, NOTHING_TO_COMPARE without a head; SCM_UNSUPPORTED.
    pub async fn open_pull_request(&self, name: &str, new: &OpenPullRequest) -> Result<PullRequest> {
        self.writable()?.open_pull_request(name, new).await
    }

    /// Commits files to a branch, and brings the open pull requests of the branch up to it. Answers the new head.
    ///
    /// # Errors
    /// REVISION_UNKNOWN without such a branch; REF_MOVED if somebody pushes at the same instant; SCM_UNSUPPORTED.
    pub async fn push_to(&self, name: &str, push: &PushTo) -> Result<Sha> {
        self.writable()?.push_to(name, push).await
    }

    /// Brings an open pull request, also one of a fork, up to the head of its branch and of its base.
    ///
    /// # Errors
    /// PULL_REQUEST_UNKNOWN; PULL_REQUEST_CLOSED; SCM_UNSUPPORTED.
    pub async fn refresh_pull_request(&self, name: &str, number: i64) -> Result<PullRequest> {
        self.writable()?.refresh_pull_request(name, number).await
    }

    /// Sets labels and draft of an open pull request.
    ///
    /// # Errors
    /// PULL_REQUEST_UNKNOWN; PULL_REQUEST_CLOSED; SCM_UNSUPPORTED.
    pub async fn label_pull_request(
        &self,
        name: &str,
        number: i64,
        labels: &[String],
        draft: bool,
    ) -> Result<PullRequest> {
        self.writable()?.label_pull_request(name, number, labels, draft).await
    }

    /// Has an open pull request aim at another branch.
    ///
    /// # Errors
    /// PULL_REQUEST_UNKNOWN, PULL_REQUEST_CLOSED; REVISION_UNKNOWN without that branch; SCM_UNSUPPORTED.
    pub async fn retarget_pull_request(&self, name: &str, number: i64, base: &str) -> Result<PullRequest> {
        self.writable()?.retarget_pull_request(name, number, base).await
    }

    /// Closes a pull request, merged or not; one that is closed is answered as it is.
    ///
    /// # Errors
    /// PULL_REQUEST_UNKNOWN; MERGE_CONFLICT; REF_MOVED if the base moves at the same instant; SCM_UNSUPPORTED.
    pub async fn close_pull_request(&self, name: &str, close: &ClosePullRequest) -> Result<PullRequest> {
        self.writable()?.close_pull_request(name, close).await
    }

    /// Opens a closed pull request again; one that is open is answered as it is.
    ///
    /// # Errors
    /// PULL_REQUEST_UNKNOWN; PULL_REQUEST_CLOSED if it was merged; SCM_UNSUPPORTED.
    pub async fn reopen_pull_request(&self, name: &str, number: i64) -> Result<PullRequest> {
        self.writable()?.reopen_pull_request(name, number).await
    }

    fn writable(&self) -> Result<&Local> {
        match &self.0.adapter {
            Adapter::Local(local) => Ok(local),
            Adapter::Github(_) => {
                let text = format!("pull requests of {} are opened, pushed to and closed at the provider", self.0.id);
                Err(Error::new(&SCM_UNSUPPORTED, text))
            }
        }
    }
}
