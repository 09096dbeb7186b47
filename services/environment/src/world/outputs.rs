//! GitOps repositories: one bare repository per cluster below a root (ENV-151, ENV-152).
//!
//! Owns the commits and their fencing: what a folder's last commit says in its trailers decides whether a write is new, done
//! already, or late; they also name the files that were written. Refuses to overwrite a newer generation, another life, or a removal,
//! and to touch files in the folder that somebody else put there.
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use slipway_kit::{
    error::{ALREADY_EXISTS, CONFLICT, Error, Result},
    files::FilePath,
    git::{Author, Commit, CommitRange, FileChange, Git, REF_MOVED, RefName, Repo, Sha},
    subprocess::Tool,
};

use super::{Landed, Output, Outputs};
use crate::{
    error::SUPERSEDED,
    model::layout::{REMOVE, TRAILER_ACTION, TRAILER_GENERATION, TRAILER_UID},
};

/// Branch that controllers follow.
const BRANCH: &str = "main";
/// Trailer that names one file of a publication; one for each.
const TRAILER_FILE: &str = "Slipway-File";
/// Commits on a folder that are looked through for our last publication; changes by others lie between.
const HISTORY_MAX: usize = 100;
/// How often a moved branch is read again.
const TRIES_MAX: usize = 20;

/// Bare repositories below a root, `<cluster>.git`.
pub struct GitOutputs {
    git: Git,
    /// One writer per repository in this process; other processes are met by compare-and-set.
    writers: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What the last commit on a folder says of itself.
struct Last {
    commit: Sha,
    parent: Option<Sha>,
    uid: Option<String>,
    generation: i64,
    is_removal: bool,
}

impl GitOutputs {
    /// Opens the root, which is made if missing.
    ///
    /// # Errors
    /// TOOL_MISSING without a fitting git.
    pub async fn open(git: Tool, root: &Path) -> Result<Self> {
        Ok(Self { git: Git::open(git, root).await?, writers: Mutex::default() })
    }

    fn writer(&self, cluster: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.entry(cluster.to_owned()).or_default().clone()
    }

    async fn repo(&self, cluster: &str) -> Result<Repo> {
        let path = FilePath::parse(&format!("{cluster}.git"))?;
        if let Ok(repo) = self.git.repository(&path) {
            return Ok(repo);
        }
        match self.git.init_bare(&path, BRANCH).await {
            Err(error) if error.is(&ALREADY_EXISTS) => self.git.repository(&path),
            made => made,
        }
    }

    async fn try_publish(&self, repo: &Repo, output: &Output<'_>, files: &[(String, String)]) -> Result<Landed> {
        let folder = FilePath::parse(output.folder)?;
        let head = repo.branch_head(BRANCH).await?;
        let names: Vec<String> = files.iter().map(|(name, _)| format!("{folder}/{name}")).collect();
        if let Some(last) = last(repo, head.as_ref(), &folder).await?
            && last.uid.as_deref() == Some(output.uid)
        {
            if last.is_removal || last.generation > output.generation {
                return Err(Error::new(&SUPERSEDED, "a newer commit of this environment is there already"));
            }
            if last.generation == output.generation {
                return Ok(landed(&last.commit, names));
            }
        }
        let ours = ours(repo, head.as_ref(), &folder, output.uid).await?;
        let mut changes = Vec::with_capacity(files.len());
        for gone in ours.mine.iter().filter(|name| !names.contains(name)) {
            changes.push(FileChange::Remove { path: FilePath::parse(gone)? });
        }
        let mut message = output.message.trim_end().to_owned();
        for (name, text) in files {
            changes.push(FileChange::write(folder.join(name)?, text.as_bytes()));
            message.push_str(&format!("\n{TRAILER_FILE}: {name}"));
        }
        message.push('\n');
        let made = commit(repo, head, changes, &Output { message: &message, ..*output }).await?;
        Ok(landed(&made, names))
    }

    async fn try_remove(&self, repo: &Repo, output: &Output<'_>) -> Result<Landed> {
        let folder = FilePath::parse(output.folder)?;
        let nothing = Landed { branch: BRANCH.to_owned(), commit: String::new(), files: Vec::new(), kept: Vec::new() };
        let Some(head) = repo.branch_head(BRANCH).await? else { return Ok(nothing) };
        let last = last(repo, Some(&head), &folder).await?;
        if let Some(last) = &last {
            match (last.uid.as_deref(), last.is_removal) {
                (Some(uid), true) if uid == output.uid => {
                    let mut before = match &last.parent {
                        Some(parent) => names(repo, parent, &folder).await?,
                        None => Vec::new(),
                    };
                    let kept = names(repo, &last.commit, &folder).await?;
                    before.retain(|name| !kept.contains(name));
                    return Ok(Landed { kept, ..landed(&last.commit, before) });
                }
                (Some(uid), _) if uid != output.uid => return Ok(nothing),
                _ => {}
            }
        }
        let Ours { mine, foreign } = ours(repo, Some(&head), &folder, output.uid).await?;
        if mine.is_empty() {
            return Ok(Landed { kept: foreign, ..nothing });
        }
        let remove = |name: &String| Ok(FileChange::Remove { path: FilePath::parse(name)? });
        let changes = mine.iter().map(remove).collect::<Result<Vec<_>>>()?;
        let made = commit(repo, Some(head), changes, output).await?;
        Ok(Landed { kept: foreign, ..landed(&made, mine) })
    }
}

fn landed(commit: &Sha, files: Vec<String>) -> Landed {
    Landed { branch: BRANCH.to_owned(), commit: commit.to_string(), files, kept: Vec::new() }
}

async fn commit(repo: &Repo, expected: Option<Sha>, files: Vec<FileChange>, output: &Output<'_>) -> Result<Sha> {
    let author = Author::new("Slipway", "slipway@localhost", output.now_us.div_euclid(1_000_000));
    let branch = RefName::branch(BRANCH)?;
    Ok(repo.commit(&Commit { branch, expected, files, message: output.message.to_owned(), author }).await?.sha)
}

async fn names(repo: &Repo, commit: &Sha, folder: &FilePath) -> Result<Vec<String>> {
    let entries = repo.list_tree(commit, Some(folder)).await?;
    Ok(entries.into_iter().map(|e| e.path.to_string()).collect())
}

/// Files that stand in a folder: those that the life's last publication wrote, and others.
#[derive(Default)]
struct Ours {
    mine: Vec<String>,
    foreign: Vec<String>,
}

/// Which files of a folder a life wrote. A publication that names none is older than their naming: everything is its own.
async fn ours(repo: &Repo, head: Option<&Sha>, folder: &FilePath, uid: &str) -> Result<Ours> {
    let Some(head) = head else { return Ok(Ours::default()) };
    let standing = names(repo, head, folder).await?;
    if standing.is_empty() {
        return Ok(Ours::default());
    }
    let range = CommitRange { from: None, to: head.clone(), path: Some(folder.clone()), limit: HISTORY_MAX };
    let commits = repo.commits(&range).await?;
    let Some(last) = commits.iter().find(|info| info.trailer(TRAILER_UID).as_deref() == Some(uid)) else {
        return Ok(Ours { mine: Vec::new(), foreign: standing });
    };
    let named = last.message.lines().filter_map(|line| line.strip_prefix(TRAILER_FILE)?.strip_prefix(": "));
    let written: Vec<String> = named.map(|name| format!("{folder}/{}", name.trim())).collect();
    let (mine, foreign) = standing.into_iter().partition(|name| written.is_empty() || written.contains(name));
    Ok(Ours { mine, foreign })
}

async fn last(repo: &Repo, head: Option<&Sha>, folder: &FilePath) -> Result<Option<Last>> {
    let Some(head) = head else { return Ok(None) };
    let range = CommitRange { from: None, to: head.clone(), path: Some(folder.clone()), limit: 1 };
    let Some(info) = repo.commits(&range).await?.into_iter().next() else { return Ok(None) };
    Ok(Some(Last {
        uid: info.trailer(TRAILER_UID),
        generation: info.trailer(TRAILER_GENERATION).and_then(|g| g.parse().ok()).unwrap_or(0),
        is_removal: info.trailer(TRAILER_ACTION).as_deref() == Some(REMOVE),
        parent: info.parents.into_iter().next(),
        commit: info.sha,
    }))
}

/// Whether the same call may succeed if it reads the branch again.
fn moved(error: &Error) -> bool {
    error.is(&REF_MOVED)
}

#[async_trait]
impl Outputs for GitOutputs {
    async fn publish(&self, output: &Output<'_>, files: &[(String, String)]) -> Result<Landed> {
        let writer = self.writer(output.cluster);
        let _turn = writer.lock().await;
        let repo = self.repo(output.cluster).await?;
        for _ in 0..TRIES_MAX {
            match self.try_publish(&repo, output, files).await {
                Err(error) if moved(&error) => {}
                done => return done,
            }
        }
        Err(Error::new(&CONFLICT, "the GitOps repository moves faster than it can be written"))
    }

    async fn remove(&self, output: &Output<'_>) -> Result<Landed> {
        let writer = self.writer(output.cluster);
        let _turn = writer.lock().await;
        let repo = self.repo(output.cluster).await?;
        for _ in 0..TRIES_MAX {
            match self.try_remove(&repo, output).await {
                Err(error) if moved(&error) => {}
                done => return done,
            }
        }
        Err(Error::new(&CONFLICT, "the GitOps repository moves faster than it can be written"))
    }
}
