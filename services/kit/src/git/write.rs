//! Changing a bare repository without a work tree.
//!
//! Owns commits made from a list of file changes, merges, and the compare-and-swap that puts a branch on them. Equal input makes
//! equal commits, so that a repeated call is seen to be done. Refuses to move a branch that is not where the caller saw it.
use std::time::{Duration, SystemTime};

use super::{Author, MERGE_CONFLICT, REF_MOVED, RefName, Repo, Sha, sha_line};
use crate::{
    error::{Error, Result},
    files::{FilePath, PathSet},
    subprocess,
};

/// Age after which a lock file can only be left over from a killed process: no call lives as long.
const LOCK_STALE: Duration = Duration::from_secs(150);

/// One change to one path; changes apply in order.
#[derive(Clone, Debug)]
pub enum FileChange {
    /// The file has these bytes afterwards.
    Write {
        /// Name from the top of the repository.
        path: FilePath,
        /// The whole content.
        bytes: Vec<u8>,
        /// Whether it gets the executable bit.
        executable: bool,
    },
    /// The file or directory is gone afterwards; fine if it was never there.
    Remove {
        /// Name from the top of the repository.
        path: FilePath,
    },
}

impl FileChange {
    /// Writes a plain file.
    pub fn write(path: FilePath, bytes: impl Into<Vec<u8>>) -> Self {
        Self::Write { path, bytes: bytes.into(), executable: false }
    }
}

/// A commit to be made on a branch.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Branch that moves to the commit.
    pub branch: RefName,
    /// Where the branch was seen, the parent of the commit; `None` makes a first commit on a branch that must not exist.
    pub expected: Option<Sha>,
    /// What changes.
    pub files: Vec<FileChange>,
    /// The whole message.
    pub message: String,
    /// Author and committer.
    pub author: Author,
}

/// Outcome of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where the branch is now.
    pub sha: Sha,
    /// False if the files were so already: no commit was made.
    pub changed: bool,
}

/// A merge commit to be made on a branch.
#[derive(Clone, Debug)]
pub struct Merge {
    /// Branch that moves to the merge.
    pub branch: RefName,
    /// Where the branch was seen.
    pub expected: Sha,
    /// What is merged in.
    pub head: Sha,
    /// The whole message.
    pub message: String,
    /// Author and committer.
    pub author: Author,
}

impl Repo {
    /// Makes a commit and moves its branch there if the branch still is where it was expected. A repeat of a call that was done
    /// already answers the same commit.
    ///
    /// # Errors
    /// REF_MOVED with the present head in metadata `head`; REVISION_UNKNOWN if `expected` is no commit here; PATH_COLLISION.
    pub async fn commit(&self, commit: &Commit) -> Result<Committed> {
        let needed = commit.expected.iter().collect::<Vec<_>>();
        let run = self.git(&["fast-import", "--quiet", "--done", "--date-format=raw"]).stdin(import_stream(commit)?);
        let sha = sha_line(&self.success_at(run, &needed).await?)?;
        if let Some(expected) = &commit.expected
            && self.same_tree(&sha, expected).await?
        {
            self.check_head(&commit.branch, Some(expected)).await?;
            return Ok(Committed { sha: expected.clone(), changed: false });
        }
        self.update_ref(&commit.branch, Some(&sha), commit.expected.as_ref()).await?;
        Ok(Committed { sha, changed: true })
    }

    /// Merges without a work tree and moves the branch to the merge commit.
    ///
    /// # Errors
    /// MERGE_CONFLICT; REF_MOVED; REVISION_UNKNOWN.
    pub async fn merge(&self, merge: &Merge) -> Result<Sha> {
        let run = self.git(&["merge-tree", "--write-tree", "--no-messages", "--name-only"]);
        let output = run.arg(merge.expected.as_str()).arg(merge.head.as_str()).output().await?;
        match output.code {
            0 => {}
            1 => {
                return Err(Error::new(
                    &MERGE_CONFLICT,
                    format!("{} does not merge into {}", merge.head, merge.branch),
                ));
            }
            _ => return Err(self.explain(&output, &[&merge.expected, &merge.head]).await?),
        }
        let tree = sha_line(&output.stdout)?;
        let when = format!("{} +0000", merge.author.time_seconds);
        let made = self
            .git(&["commit-tree", "-F", "-", "-p"])
            .arg(merge.expected.as_str())
            .arg("-p")
            .arg(merge.head.as_str())
            .arg(tree.as_str())
            .env("GIT_AUTHOR_NAME", &merge.author.name)
            .env("GIT_AUTHOR_EMAIL", &merge.author.email)
            .env("GIT_AUTHOR_DATE", &when)
            .env("GIT_COMMITTER_NAME", &merge.author.name)
            .env("GIT_COMMITTER_EMAIL", &merge.author.email)
            .env("GIT_COMMITTER_DATE", &when)
            .stdin(merge.message.clone());
        let sha = sha_line(&made.success().await?)?;
        self.update_ref(&merge.branch, Some(&sha), Some(&merge.expected)).await?;
        Ok(sha)
    }

    /// Moves a ref from `expected` to `new` in one step; `None` means that the ref does not exist. Fine if it is done already.
    ///
    /// # Errors
    /// REF_MOVED with the present value in metadata `head` (empty if there is none).
    pub async fn update_ref(&self, name: &RefName, new: Option<&Sha>, expected: Option<&Sha>) -> Result<()> {
        let Some(known) = new.or(expected) else { return self.check_head(name, None).await };
        let (to, from) = (new.cloned().unwrap_or(known.zero()), expected.cloned().unwrap_or(known.zero()));
        for is_last in [false, true] {
            let run = self.git(&["update-ref", "--no-deref"]).arg(name.as_str()).arg(to.as_str()).arg(from.as_str());
            let output = run.output().await?;
            if output.code == 0 || self.resolve(name).await?.as_ref() == new {
                return Ok(());
            }
            self.check_head(name, expected).await?;
            if is_last || !self.remove_stale_locks(name) {
                return Err(self.explain(&output, &new.into_iter().collect::<Vec<_>>()).await?);
            }
        }
        Ok(())
    }

    /// Copies the commits of a ref of another repository of the same root, and points a ref here at them.
    ///
    /// # Errors
    /// REVISION_UNKNOWN if the other repository has no such ref.
    pub async fn fetch(&self, from: &Repo, theirs: &RefName, ours: &RefName) -> Result<Sha> {
        let sha = from.need(theirs).await?;
        let run = self
            .git(&["-c", "protocol.file.allow=always", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--"])
            .arg(from.dir())
            .arg(format!("+{theirs}:{ours}"));
        let output = run.output().await?;
        if output.code != 0 {
            return Err(subprocess::failed("git", &output));
        }
        // The other ref may have moved meanwhile: what arrived counts.
        self.resolve(ours).await.map(|found| found.unwrap_or(sha))
    }

    async fn same_tree(&self, a: &Sha, b: &Sha) -> Result<bool> {
        let out = self.git(&["rev-parse"]).arg(format!("{a}^{{tree}}")).arg(format!("{b}^{{tree}}")).success().await?;
        let text = String::from_utf8_lossy(&out).into_owned();
        let mut lines = text.lines();
        Ok(lines.next() == lines.next())
    }

    async fn check_head(&self, name: &RefName, expected: Option<&Sha>) -> Result<()> {
        let head = self.resolve(name).await?;
        if head.as_ref() == expected {
            return Ok(());
        }
        let head = head.map_or_else(String::new, |sha| sha.to_string());
        Err(Error::new(&REF_MOVED, format!("{name} moved")).meta("head", head))
    }

    /// Removes locks that a killed process left; whether there were any.
    fn remove_stale_locks(&self, name: &RefName) -> bool {
        let mut removed = false;
        for file in [format!("{name}.lock"), "packed-refs.lock".to_owned()] {
            let path = self.dir().join(file);
            let age = std::fs::metadata(&path)
                .and_then(|found| found.modified())
                .map(|at| SystemTime::now().duration_since(at));
            if age.is_ok_and(|age| age.is_ok_and(|age| age > LOCK_STALE)) {
                tracing::warn!(lock = %path.display(), "removing a lock that a killed git left");
                removed |= std::fs::remove_file(&path).is_ok();
            }
        }
        removed
    }
}

/// The stream of `git fast-import`: contents are counted, names quoted, so neither can be read as a command. The commit is made
/// under a name that is reset to nothing before the stream ends: only [`Repo::update_ref`] moves a branch.
fn import_stream(commit: &Commit) -> Result<Vec<u8>> {
    const SCRATCH: &str = "refs/slipway/import";
    let author = commit.author.line();
    let message = commit.message.replace('\0', "");
    let mut out =
        format!("commit {SCRATCH}\nmark :1\nauthor {author}\ncommitter {author}\ndata {}\n{message}\n", message.len())
            .into_bytes();
    if let Some(parent) = &commit.expected {
        out.extend_from_slice(format!("from {parent}\n").as_bytes());
    }
    let mut names = PathSet::default();
    for change in &commit.files {
        match change {
            FileChange::Remove { path } => out.extend_from_slice(format!("D {}\n", quoted(path)).as_bytes()),
            FileChange::Write { path, bytes, executable } => {
                names.insert(path)?;
                let mode = if *executable { "100755" } else { "100644" };
                out.extend_from_slice(format!("M {mode} inline {}\ndata {}\n", quoted(path), bytes.len()).as_bytes());
                out.extend_from_slice(bytes);
                out.push(b'\n');
            }
        }
    }
    out.extend_from_slice(format!("\nget-mark :1\nreset {SCRATCH}\nfrom {}\n\ndone\n", "0".repeat(40)).as_bytes());
    Ok(out)
}

fn quoted(path: &FilePath) -> String {
    format!("\"{}\"", path.as_str().replace('"', "\\\""))
}
