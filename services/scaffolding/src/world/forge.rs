//! The source provider through kit's port.
use async_trait::async_trait;
use slipway_kit::{
    error::Result,
    git::CommitRange,
    scm::{NewRepository, Scm},
};

use super::{Forge, Found};

/// Commits looked through for the first one of a repository that this run made.
const HISTORY_MAX: usize = 10_000;

/// Repositories of one connection.
pub struct ScmForge(Scm);

impl ScmForge {
    /// The forge behind an open connection.
    #[must_use]
    pub fn new(scm: Scm) -> Self {
        Self(scm)
    }
}

#[async_trait]
impl Forge for ScmForge {
    fn connection(&self) -> &str {
        self.0.id()
    }

    fn url(&self, name: &str) -> String {
        self.0.url(name)
    }

    async fn find(&self, name: &str) -> Result<Option<Found>> {
        let Some(repository) = self.0.repository(name).await? else { return Ok(None) };
        let repo = self.0.git(name).await?;
        let first_commit = match repo.branch_head(&repository.default_branch).await? {
            None => None,
            Some(head) => {
                let range = CommitRange { from: None, to: head, path: None, limit: HISTORY_MAX };
                repo.commits(&range).await?.into_iter().find(|c| c.parents.is_empty()).map(|c| c.sha.to_string())
            }
        };
        Ok(Some(Found { marker: repository.marker, first_commit }))
    }

    async fn create(&self, new: &NewRepository) -> Result<()> {
        self.0.create_repository(new).await.map(drop)
    }
}
