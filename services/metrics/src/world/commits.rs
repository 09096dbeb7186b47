//! Commits as the source provider has them, read when a push is told of (SAFE-28). Refuses authors: only whether one is a bot.
use std::collections::BTreeMap;

use slipway_kit::{
    error::Result,
    git::{CommitInfo, CommitRange, Sha},
    scm::{Scm, ScmConfig},
};

use crate::model::fact::Change;

/// Most commits read at once.
pub const COMMITS_MAX: usize = 10_000;
const SECOND_US: i64 = 1_000_000;

/// The source providers by connection.
#[derive(Clone, Default)]
pub struct Commits {
    providers: BTreeMap<String, Scm>,
}

impl Commits {
    /// Opens the configured providers.
    pub async fn open(config: &BTreeMap<String, ScmConfig>) -> Result<Self> {
        let mut providers = BTreeMap::new();
        for (id, one) in config {
            providers.insert(id.clone(), Scm::open(id, one).await?);
        }
        Ok(Self { providers })
    }

    /// Whether the connection can be asked.
    pub fn has(&self, connection: &str) -> bool {
        self.providers.contains_key(connection)
    }

    /// The newest `limit` commits that `to` has and `from` has not; of all of `to` if `from` is empty or gone.
    pub async fn read(&self, connection: &str, name: &str, from: &str, to: &str, limit: usize) -> Result<Vec<Change>> {
        let Some(provider) = self.providers.get(connection) else { return Ok(Vec::new()) };
        let repo = provider.git(name).await?;
        let to = Sha::parse(to)?;
        let from = Sha::parse(from).ok();
        let range = |from| CommitRange { from, to: to.clone(), path: None, limit: limit.min(COMMITS_MAX) };
        let commits = match repo.commits(&range(from.clone())).await {
            Err(_) if from.is_some() => repo.commits(&range(None)).await?,
            other => other?,
        };
        Ok(commits.iter().map(|commit| change(&format!("{connection}/{name}"), commit)).collect())
    }
}

fn change(repository: &str, commit: &CommitInfo) -> Change {
    let picked = commit.message.lines().rev().find_map(|line| line.trim().strip_prefix("(cherry picked from commit "));
    Change {
        repository: repository.to_owned(),
        sha: commit.sha.as_str().to_owned(),
        parents: commit.parents.iter().map(|sha| sha.as_str().to_owned()).collect(),
        committed_us: commit.committed_seconds * SECOND_US,
        bot: Some(commit.author_name.ends_with("[bot]")),
        picked_from: picked.map(|rest| rest.trim_end_matches(')').to_owned()).unwrap_or_default(),
        patch_id: String::new(),
    }
}
