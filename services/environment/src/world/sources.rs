//! Source providers through kit's SCM port.
//!
//! Owns the reading of pull requests, branches and the service's configuration at their commits. Refuses to guess: whatever is not
//! a clear answer is [`Reading::Unknown`], on which nothing is deployed or deleted (ENV-21, ENV-41).
use async_trait::async_trait;
use slipway_kit::{
    error::Result,
    files::FilePath,
    git::{Repo, Sha},
    scm::{Check, PullRequest, Report, Scm},
};

use super::{Kept, Repository, Sources, catalog_info, connections::Connections};
use crate::model::{
    config::{self, Config},
    environment::{RetireReason, Source},
    preview::{Head, Reading},
    scm_connection::ScmConnection,
};

/// Name of the files that declare components.
const CATALOG_INFO: &str = "catalog-info.yaml";
/// Most such files that are read per repository.
const CATALOG_INFO_MAX: usize = 50;

/// Every open connection.
pub struct ScmSources {
    scms: Connections,
    configs: Kept<std::result::Result<Config, String>>,
    components: Kept<Vec<String>>,
}

impl ScmSources {
    /// Sources over open connections.
    pub fn new(scms: impl Into<Connections>) -> Self {
        Self { scms: scms.into(), configs: Kept::new(), components: Kept::new() }
    }

    fn scm(&self, id: &str) -> Result<Scm> {
        self.scms.scm(id)
    }

    /// The repository under its present name: ids survive renames.
    async fn find(&self, source: &Source) -> Result<Option<Repository>> {
        if !source.repository.is_empty() {
            let named = self.repository(&source.scm, &source.repository).await?;
            if let Some(found) = named.filter(|r| source.repository_id.is_empty() || r.id == source.repository_id) {
                return Ok(Some(found));
            }
        }
        self.repository_by_id(&source.scm, &source.repository_id).await
    }

    async fn try_read(&self, source: &Source) -> Result<Reading> {
        let scm = self.scm(&source.scm)?;
        let Some(repository) = self.find(source).await? else {
            return Ok(hold("REPOSITORY_UNKNOWN", format!("There is no repository {} any more.", source.repository)));
        };
        if repository.archived {
            return Ok(hold("REPOSITORY_ARCHIVED", format!("The repository {} is archived.", repository.name)));
        }
        match source.pull_request {
            Some(number) => match scm.pull_request(&repository.name, number).await? {
                None => Ok(hold("PULL_REQUEST_UNKNOWN", format!("{} has no pull request {number}.", repository.name))),
                Some(pull) => self.read_pull(&scm, source, &repository, &pull).await,
            },
            None => self.read_branch(&scm, source, &repository).await,
        }
    }

    async fn read_pull(
        &self,
        scm: &Scm,
        source: &Source,
        repository: &Repository,
        pull: &PullRequest,
    ) -> Result<Reading> {
        let ended = |reason, at_us: Option<i64>| Reading::Ended { reason, at_us: at_us.unwrap_or(pull.updated_us) };
        if pull.merged_us.is_some() {
            return Ok(ended(RetireReason::Merged, pull.merged_us));
        }
        if !pull.open {
            return Ok(ended(RetireReason::Closed, pull.closed_us));
        }
        if !pull.head_exists {
            return Ok(ended(RetireReason::BranchDeleted, None));
        }
        // What a fork says about itself does not count (ENV-13).
        let at_base = self.config(scm, source, &repository.name, &pull.base_sha).await?;
        let config = match pull.fork {
            true => at_base,
            false => config::with_rules_of(self.config(scm, source, &repository.name, &pull.head_sha).await?, &at_base),
        };
        Ok(Reading::Open(Head {
            repository: repository.name.clone(),
            branch: pull.head_ref.clone(),
            head_sha: pull.head_sha.clone(),
            base_sha: pull.base_sha.clone(),
            fork: pull.fork,
            author: pull.author.clone(),
            draft: pull.draft,
            labels: pull.labels.clone(),
            opened_us: pull.opened_us,
            config,
        }))
    }

    async fn read_branch(&self, scm: &Scm, source: &Source, repository: &Repository) -> Result<Reading> {
        let branch = if source.branch.is_empty() { &repository.default_branch } else { &source.branch };
        let repo = scm.git(&repository.name).await?;
        let Some(head) = repo.branch_head(branch).await? else {
            return Ok(Reading::Ended { reason: RetireReason::BranchDeleted, at_us: i64::MAX });
        };
        Ok(Reading::Open(Head {
            repository: repository.name.clone(),
            branch: branch.clone(),
            head_sha: head.to_string(),
            base_sha: String::new(),
            fork: false,
            author: String::new(),
            draft: false,
            labels: Vec::new(),
            opened_us: 0,
            config: self.config(scm, source, &repository.name, head.as_str()).await?,
        }))
    }

    /// Configuration at a commit. A commit never changes, so that it is read once.
    async fn config(
        &self,
        scm: &Scm,
        source: &Source,
        name: &str,
        sha: &str,
    ) -> Result<std::result::Result<Config, String>> {
        let key = format!("{}/{}/{sha}/{}", source.scm, source.repository_id, source.folder);
        if let Some(kept) = self.configs.get(&key) {
            return Ok(kept);
        }
        let path = FilePath::parse(&config::in_folder(&source.folder, config::PATH))?;
        let sha_at = Sha::parse(sha)?;
        let repo: Repo = scm.git_at(name, &sha_at).await?;
        let read = match repo.read_file(&sha_at, &path, config::BYTES_MAX as u64).await {
            Ok(None) => Err(format!("{}: there is no such file at commit {sha}", config::MISSING)),
            Ok(Some(bytes)) => match String::from_utf8(bytes) {
                Ok(text) => config::parse(&text),
                Err(_) => Err(format!("{path} is not UTF-8")),
            },
            Err(error) if error.is(&slipway_kit::files::FILE_TOO_LARGE) => Err(error.message().to_owned()),
            Err(error) => return Err(error),
        };
        self.configs.put(key, read.clone());
        Ok(read)
    }
}

fn hold(reason: &'static str, message: String) -> Reading {
    Reading::Unknown { reason, message }
}

fn repository(found: slipway_kit::scm::Repository) -> Repository {
    Repository { id: found.id, name: found.name, default_branch: found.default_branch, archived: found.archived }
}

#[async_trait]
impl Sources for ScmSources {
    fn connections(&self) -> Vec<String> {
        self.scms.shown().into_iter().map(|connection| connection.id).collect()
    }

    fn poll_us(&self, scm: &str) -> i64 {
        let interval = self.scms.scm(scm).map_or(std::time::Duration::from_secs(60), |scm| scm.poll_interval());
        i64::try_from(interval.as_micros()).unwrap_or(i64::MAX)
    }

    async fn read(&self, source: &Source) -> Reading {
        match self.try_read(source).await {
            Ok(reading) => reading,
            Err(error) => {
                tracing::warn!(error = ?error, repository = %source.repository, "the SCM gave no usable answer");
                let class = error.reason().name;
                let text = format!("The SCM connection {} gives no usable answer ({class}).", source.scm);
                hold("SCM_UNREACHABLE", text)
            }
        }
    }

    async fn repository(&self, scm: &str, name: &str) -> Result<Option<Repository>> {
        Ok(self.scm(scm)?.repository(name).await?.map(repository))
    }

    async fn repository_by_id(&self, scm: &str, id: &str) -> Result<Option<Repository>> {
        Ok(self.scm(scm)?.repository_by_id(id).await?.map(repository))
    }

    async fn repositories(&self, scm: &str) -> Result<Vec<Repository>> {
        Ok(self.scm(scm)?.repositories().await?.into_iter().map(repository).collect())
    }

    async fn open_pull_requests(&self, scm: &str, name: &str) -> Result<Vec<i64>> {
        Ok(self.scm(scm)?.open_pull_requests(name).await?.into_iter().map(|p| p.number).collect())
    }

    async fn components(&self, scm: &str, repository: &Repository) -> Result<Vec<String>> {
        let repo = self.scm(scm)?.git(&repository.name).await?;
        let Some(head) = repo.branch_head(&repository.default_branch).await? else { return Ok(Vec::new()) };
        let key = format!("{scm}/{}/{head}", repository.id);
        if let Some(kept) = self.components.get(&key) {
            return Ok(kept);
        }
        let mut found = Vec::new();
        let files = repo.list_tree(&head, None).await?;
        for file in files.iter().filter(|f| f.path.file_name() == CATALOG_INFO).take(CATALOG_INFO_MAX) {
            if let Some(bytes) = repo.read_file(&head, &file.path, config::BYTES_MAX as u64).await? {
                found.extend(catalog_info::components(&String::from_utf8_lossy(&bytes)));
            }
        }
        found.sort();
        found.dedup();
        self.components.put(key, found.clone());
        Ok(found)
    }

    async fn report(&self, scm: &str, repository: &str, report: &Report) -> Result<()> {
        self.scm(scm)?.report(repository, report).await
    }

    fn shown(&self) -> Vec<ScmConnection> {
        self.scms.shown()
    }

    async fn prepare(&self, connection: &ScmConnection) -> Result<()> {
        self.scms.prepare(connection).await.map(drop)
    }

    async fn follow(&self, stored: &[ScmConnection]) {
        self.scms.follow(stored).await;
    }

    async fn test_connection(&self, scm: &str) -> Result<Vec<Check>> {
        Ok(self.scm(scm)?.test_connection().await)
    }
}
