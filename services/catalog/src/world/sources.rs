//! Reading documents where they are: a repository at the head of its default branch, or below the configured root.
//!
//! Owns the difference between "not there" and "cannot be read" (CAT-39). Refuses paths and links that leave the origin.

use std::{collections::BTreeMap, sync::Arc};

use slipway_kit::{
    error::{Error, Kind, NOT_FOUND, Result},
    files::{FilePath, WorkDir},
    git::{Repo, Sha},
    scm::{Scm, ScmConfig},
};

use crate::{config::Config, error::LOCATION_UNREADABLE, model::location::Target};

/// Largest file read; one larger is reported as a broken document.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// The organisation built into the platform (SAFE-30).
const ORGANIZATION: &str = include_str!("organization.yaml");

/// The configured origins; cheap to clone.
#[derive(Clone)]
pub struct Sources {
    scms: Arc<BTreeMap<String, Scm>>,
    root: Option<Arc<WorkDir>>,
}

/// One state of one origin: every read of it sees the same commit.
pub struct Snapshot {
    commit: String,
    from: From,
}

enum From {
    Git(Repo, Sha),
    Files(Arc<WorkDir>),
    Builtin,
}

impl Sources {
    /// Opens the connections and the root.
    pub async fn open(config: &Config) -> Result<Self> {
        let mut scms = BTreeMap::new();
        for (id, scm) in &config.scm {
            let scm: &ScmConfig = scm;
            scms.insert(id.clone(), Scm::open(id, scm).await?);
        }
        let root = config.file_root.as_deref().map(WorkDir::open).transpose()?.map(Arc::new);
        Ok(Self { scms: Arc::new(scms), root })
    }

    /// Ids of the connections.
    pub fn connections(&self) -> Vec<&str> {
        self.scms.keys().map(String::as_str).collect()
    }

    /// Whether files can be read at all.
    pub fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// The present state of an origin; LOCATION_UNREADABLE if it cannot be had.
    pub async fn snapshot(&self, target: &Target) -> Result<Snapshot> {
        match target {
            Target::Builtin => Ok(Snapshot { commit: String::new(), from: From::Builtin }),
            Target::File { .. } => {
                let root = self.root.clone().ok_or_else(|| unreadable("no directory for files is configured"))?;
                Ok(Snapshot { commit: String::new(), from: From::Files(root) })
            }
            Target::Git { scm, repository, .. } => {
                let connection =
                    self.scms.get(scm).ok_or_else(|| unreadable(&format!("there is no SCM connection `{scm}`")))?;
                let known = connection.repository(repository).await?;
                let known = known.ok_or_else(|| unreadable(&format!("there is no repository `{repository}`")))?;
                let repo = connection.git(repository).await?;
                let head = repo.branch_head(&known.default_branch).await?;
                let head = head
                    .ok_or_else(|| unreadable(&format!("`{repository}` has no branch `{}`", known.default_branch)))?;
                Ok(Snapshot { commit: head.as_str().to_owned(), from: From::Git(repo, head) })
            }
        }
    }
}

fn unreadable(why: &str) -> Error {
    Error::new(&LOCATION_UNREADABLE, why)
}

impl Snapshot {
    /// The commit, if the origin has commits.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// A file; `None` only if it is positively not there.
    pub async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Ok(name) = FilePath::parse(path) else { return Ok(None) };
        match &self.from {
            From::Builtin => Ok((path == Target::Builtin.path()).then(|| ORGANIZATION.as_bytes().to_vec())),
            From::Git(repo, commit) => repo.read_file(commit, &name, FILE_BYTES_MAX).await,
            From::Files(root) => {
                let root = root.clone();
                let read = tokio::task::spawn_blocking(move || {
                    if root.exists(&name) { root.read(&name, FILE_BYTES_MAX).map(Some) } else { Ok(None) }
                });
                match read.await.map_err(Error::internal)? {
                    Err(error) if error.is(&NOT_FOUND) || error.kind() == Kind::NotFound => Ok(None),
                    other => other,
                }
            }
        }
    }
}
