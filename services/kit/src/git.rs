//! Git by its command line, hardened (SAFE-59).
//!
//! Owns bare repositories below one root: reading trees at commits, and changing branches without a work tree. Every call runs
//! with empty configuration, no hooks, no protocols, full object names and checked ref names. Refuses repositories outside the
//! root, submodules, and any transport but `file` between two repositories of the same root.
mod names;
mod read;
mod transfer;
mod write;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use names::{Author, RefName, Sha, is_valid_ref, trailers};
pub use read::{Checkout, CommitInfo, CommitRange, TreeEntry, TreeKind};
pub use write::{Commit, Committed, FileChange, Merge};

use crate::{
    error::{Error, NOT_FOUND, Result},
    files::{FilePath, WorkDir},
    subprocess::{Limits, Network, Run, TOOL_MISSING, Tool},
};

crate::reasons! {
    REVISION_UNKNOWN: NotFound, "The repository has no such branch, commit or file.", "Check the name, or push the commit first.";
    REF_INVALID: InvalidArgument, "A branch or ref name breaks git's rules, or a commit id is not full length.", "Use a name that `git check-ref-format` accepts, or all 40 characters of the commit.";
    REF_MOVED: Aborted, "The branch moved since it was read.", "Read the branch again and repeat.";
    MERGE_CONFLICT: FailedPrecondition, "The two branches change the same lines.", "Bring the branch up to date with its base and resolve the conflicts.";
    LINK_REFUSED: FailedPrecondition, "A symbolic link in the repository leads outside of it.", "Remove the link, or make it relative and inside.";
}

/// Oldest git that has everything used here.
const VERSION_MIN: (u32, u32) = (2, 39);
/// Largest tree one checkout may have, in bytes (SAFE-59).
pub const TREE_BYTES_MAX: u64 = 200 << 20;
/// Largest single file in bytes (SAFE-53).
pub const FILE_BYTES_MAX: u64 = 25 << 20;
/// Time of one git process (SAFE-59).
const WALL: Duration = Duration::from_secs(60);

/// Git and the root all its repositories live below; cheap to clone.
#[derive(Clone)]
pub struct Git(Arc<Inner>);

struct Inner {
    tool: Tool,
    root: PathBuf,
}

impl Git {
    /// Takes the program and the data root, which is made if missing, and checks git's version.
    ///
    /// # Errors
    /// TOOL_MISSING if git is absent or older than 2.39.
    pub async fn open(tool: Tool, root: &Path) -> Result<Self> {
        let root = WorkDir::open_or_create(root)?.path().to_owned();
        let git = Self(Arc::new(Inner { tool, root }));
        let text = git.run(None, &["version"]).success().await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < VERSION_MIN {
            return Err(Error::new(&TOOL_MISSING, format!("git 2.39 or newer is needed, found {}", text.trim())));
        }
        Ok(git)
    }

    /// The directory all repositories are below.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Makes an empty bare repository whose HEAD names `default_branch`.
    ///
    /// # Errors
    /// ALREADY_EXISTS if something stands there; a half-made repository never does.
    pub async fn init_bare(&self, path: &FilePath, default_branch: &str) -> Result<Repo> {
        self.init_bare_with(path, default_branch, &[]).await
    }

    /// As [`Git::init_bare`], with private files put beside git's own before the repository becomes visible.
    pub async fn init_bare_with(&self, path: &FilePath, branch: &str, files: &[(&str, &[u8])]) -> Result<Repo> {
        RefName::branch(branch)?;
        let root = WorkDir::open(&self.0.root)?;
        let temporary = FilePath::parse(&format!(".new-{}", crate::id::uuid4()))?;
        let at = self.0.root.join(temporary.as_str());
        let made = self
            .run(None, &["init", "--bare", "--quiet", "--template="])
            .arg(format!("--initial-branch={branch}"))
            .arg(at)
            .success()
            .await;
        let placed = made.and_then(|_| {
            let inner = root.open_dir(&temporary)?;
            for (name, bytes) in files {
                inner.write(&FilePath::parse(name)?, bytes, crate::files::Mode::Private)?;
            }
            if let Some(parent) = path.parent() {
                root.create_dir(&parent)?;
            }
            // A directory is renamed only onto nothing or an empty directory: of two makers one wins.
            if root.exists(path) || root.rename(&temporary, path).is_err() {
                let text = format!("repository {path} exists");
                return Err(Error::new(&crate::error::ALREADY_EXISTS, text).resource("repository", path.as_str()));
            }
            Ok(())
        });
        if placed.is_err() {
            let _ = root.remove(&temporary);
        }
        placed?;
        self.repository(path)
    }

    /// A bare repository below the root.
    ///
    /// # Errors
    /// NOT_FOUND if there is none, or if the path leads outside the root.
    pub fn repository(&self, path: &FilePath) -> Result<Repo> {
        let missing =
            || Error::new(&NOT_FOUND, format!("there is no repository {path}")).resource("repository", path.as_str());
        let dir = self.0.root.join(path.as_str()).canonicalize().map_err(|_| missing())?;
        if !dir.starts_with(&self.0.root) || !dir.join("HEAD").is_file() {
            return Err(missing());
        }
        Ok(Repo { git: self.clone(), dir })
    }

    fn run(&self, dir: Option<&Path>, args: &[&str]) -> Run<'_> {
        let mut all: Vec<OsString> = Vec::new();
        if let Some(dir) = dir {
            let mut option = OsString::from("--git-dir=");
            option.push(dir);
            all.push(option);
        }
        for setting in SETTINGS {
            all.push("-c".into());
            all.push((*setting).into());
        }
        all.extend(args.iter().map(OsString::from));
        let limits = Limits { wall: WALL, cpu_seconds: 60, file_bytes: TREE_BYTES_MAX * 2, ..Limits::default() };
        Run::new(&self.0.tool)
            .args(all)
            .limits(limits)
            // No protocol is allowed, so the cost of a namespace per object read buys nothing.
            .network(Network::Host)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_LITERAL_PATHSPECS", "1")
    }
}

/// Configuration of every call, stronger than what a repository says of itself.
const SETTINGS: &[&str] = &[
    "protocol.allow=never",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=false",
    "core.attributesFile=/dev/null",
    "core.quotePath=false",
    "core.fsync=committed",
    "core.fsyncMethod=batch",
    "credential.helper=",
    "transfer.fsckObjects=true",
    "http.followRedirects=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "log.showSignature=false",
    "safe.directory=*",
];

/// One bare repository below the root of its [`Git`]; cheap to clone.
#[derive(Clone)]
pub struct Repo {
    git: Git,
    dir: PathBuf,
}

impl Repo {
    /// The repository's directory, for handing to people and children.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a branch, tag or full ref points at, peeled to a commit; `None` if there is no such ref.
    pub async fn resolve(&self, name: &RefName) -> Result<Option<Sha>> {
        let out =
            self.git(&["rev-parse", "--verify", "--quiet", "--end-of-options"]).operand(&format!("{name}^{{commit}}"));
        let out = out.output().await?;
        if out.code != 0 { Ok(None) } else { sha_line(&out.stdout).map(Some) }
    }

    /// As [`Repo::resolve`] for several full refs at once, in their order; only for refs that point at commits.
    pub async fn resolve_all(&self, names: &[&RefName]) -> Result<Vec<Option<Sha>>> {
        let mut run = self.git(&["for-each-ref", "--format=%(objectname) %(refname)"]);
        for name in names {
            run = run.operand(name.as_str());
        }
        let out = run.success().await?;
        let text = String::from_utf8_lossy(&out).into_owned();
        let found = |name: &RefName| {
            let line = text.lines().filter_map(|line| line.split_once(' ')).find(|(_, found)| *found == name.as_str());
            line.map(|(sha, _)| Sha::parse(sha)).transpose()
        };
        names.iter().map(|name| found(name)).collect()
    }

    /// Head of a branch; `None` if there is no such branch.
    pub async fn branch_head(&self, branch: &str) -> Result<Option<Sha>> {
        self.resolve(&RefName::branch(branch)?).await
    }

    /// All refs whose full name begins with `prefix`, for example `refs/heads/`, in order of name.
    pub async fn refs(&self, prefix: &str) -> Result<Vec<(RefName, Sha)>> {
        if !prefix.starts_with("refs/") || prefix.contains(['*', '?', '[']) {
            return Err(Error::new(&REF_INVALID, format!("{prefix:?} is no prefix of refs")));
        }
        let out = self.git(&["for-each-ref", "--format=%(objectname) %(refname)"]).operand(prefix).success().await?;
        String::from_utf8_lossy(&out)
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(sha, name)| Ok((RefName::full(name)?, Sha::parse(sha)?)))
            .collect()
    }

    /// Whether the repository has this commit.
    pub async fn has_commit(&self, sha: &Sha) -> Result<bool> {
        let out = self.git(&["cat-file", "-e"]).operand(&format!("{sha}^{{commit}}")).output().await?;
        Ok(out.code == 0)
    }

    fn git(&self, args: &[&str]) -> Run<'_> {
        self.git.run(Some(&self.dir), args)
    }
}

fn sha_line(stdout: &[u8]) -> Result<Sha> {
    Sha::parse(String::from_utf8_lossy(stdout).trim())
}

#[cfg(test)]
#[path = "git/tests.rs"]
mod tests;
