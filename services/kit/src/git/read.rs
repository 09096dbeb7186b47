//! Reading a repository at a commit: files, trees, checkouts, history.
//!
//! Owns the parsing of git's machine formats. Refuses names and links that SAFE-52 refuses, and submodules, which it leaves out.
use super::{FILE_BYTES_MAX, LINK_REFUSED, REVISION_UNKNOWN, RefName, Repo, Sha, TREE_BYTES_MAX, trailers};
use crate::{
    error::{Error, Result},
    files::{ENTRIES_MAX, FILE_TOO_LARGE, FilePath, Mode, PathSet, WorkDir, stays_inside},
    subprocess::{self, Limits, Output, Run, STDOUT_BYTES_MAX},
};

/// Most bytes of blobs one `cat-file` answers, below the launcher's limit of output.
const BATCH_BYTES_MAX: u64 = (STDOUT_BYTES_MAX as u64) / 2;
/// Longest target of a symbolic link.
const LINK_BYTES_MAX: u64 = 1024;
/// Most commits one call of [`Repo::commits`] answers.
pub const COMMITS_MAX: usize = 10_000;

/// What an entry of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// A regular file.
    File,
    /// A file with the executable bit.
    Executable,
    /// A symbolic link; its target is the content.
    Link,
}

/// One file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Name from the top of the repository.
    pub path: FilePath,
    /// What it is.
    pub kind: TreeKind,
    /// Object id of the content.
    pub sha: Sha,
    /// Size of the content in bytes.
    pub size_bytes: u64,
}

/// What a checkout wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// Number of files.
    pub files: usize,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// Which commits are wanted: those reachable from `to` and not from `from`, newest first.
#[derive(Clone, Debug)]
pub struct CommitRange {
    /// Commits reachable from here are left out.
    pub from: Option<Sha>,
    /// The newest commit.
    pub to: Sha,
    /// Only commits that touch this path.
    pub path: Option<FilePath>,
    /// Most commits answered, at most 10,000.
    pub limit: usize,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub sha: Sha,
    /// Ids of its parents, first parent first.
    pub parents: Vec<Sha>,
    /// Name of the author.
    pub author_name: String,
    /// Mail address of the author.
    pub author_email: String,
    /// When it was written, seconds since the Unix epoch.
    pub authored_seconds: i64,
    /// When it was committed, seconds since the Unix epoch.
    pub committed_seconds: i64,
    /// The whole message.
    pub message: String,
}

impl CommitInfo {
    /// Value of the last trailer of that key, compared without case.
    pub fn trailer(&self, key: &str) -> Option<String> {
        trailers(&self.message).into_iter().rev().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }
}

impl Repo {
    /// Every file of a commit below `under`, in order of name; submodules are left out.
    ///
    /// # Errors
    /// REVISION_UNKNOWN without such a commit; PATH_REFUSED for names SAFE-52 refuses; FILE_TOO_LARGE beyond 20,000 files.
    pub async fn list_tree(&self, commit: &Sha, under: Option<&FilePath>) -> Result<Vec<TreeEntry>> {
        let mut run = self.git(&["ls-tree", "-r", "-z", "--full-tree", "--long"]).arg(commit.as_str()).arg("--");
        if let Some(under) = under {
            run = run.operand(under.as_str());
        }
        let out = self.success_at(run, &[commit]).await?;
        let mut entries = Vec::new();
        for line in out.split(|b| *b == 0).filter(|line| !line.is_empty()) {
            entries.extend(tree_entry(line)?);
            if entries.len() > ENTRIES_MAX {
                return Err(Error::new(&FILE_TOO_LARGE, format!("more than {ENTRIES_MAX} files in the tree")));
            }
        }
        Ok(entries)
    }

    /// Content of one file at a commit; `None` if the commit has no such file.
    ///
    /// # Errors
    /// FILE_TOO_LARGE beyond `bytes_max`; REVISION_UNKNOWN without such a commit.
    pub async fn read_file(&self, commit: &Sha, path: &FilePath, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let found = self.list_tree(commit, Some(path)).await?.into_iter().find(|entry| entry.path == *path);
        let Some(entry) = found.filter(|entry| entry.kind != TreeKind::Link) else { return Ok(None) };
        if entry.size_bytes > bytes_max.min(FILE_BYTES_MAX) {
            return Err(Error::new(&FILE_TOO_LARGE, format!("{path} is larger than {bytes_max} bytes")));
        }
        Ok(self.blobs(std::slice::from_ref(&entry)).await?.pop())
    }

    /// Writes the files of a commit below `under` into an empty directory, with the names as in the repository below `under`.
    ///
    /// # Errors
    /// As [`Repo::list_tree`]; LINK_REFUSED for a link that leads outside; PATH_COLLISION; FILE_TOO_LARGE beyond 200 MiB in all.
    pub async fn checkout(&self, commit: &Sha, under: Option<&FilePath>, into: &WorkDir) -> Result<Checkout> {
        let entries = self.list_tree(commit, under).await?;
        let prefix = under.map_or_else(String::new, |u| format!("{u}/"));
        let mut names = PathSet::default();
        let mut targets = Vec::with_capacity(entries.len());
        for entry in &entries {
            // A file named exactly `under` is not below it.
            let Some(name) = entry.path.as_str().strip_prefix(&prefix) else { continue };
            let name = FilePath::parse(name)?;
            names.insert(&name)?;
            targets.push((entry.clone(), name));
        }
        check_sizes(&entries)?;
        let bytes = entries.iter().map(|entry| entry.size_bytes).sum();
        let mut rest = targets.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch_len(rest));
            let wanted = now.iter().map(|(entry, _)| entry.clone()).collect::<Vec<_>>();
            for ((entry, name), content) in now.iter().zip(self.blobs(&wanted).await?) {
                place(into, entry, name, &content)?;
            }
            rest = later;
        }
        Ok(Checkout { files: targets.len(), bytes })
    }

    /// Contents of entries, in their order.
    async fn blobs(&self, entries: &[TreeEntry]) -> Result<Vec<Vec<u8>>> {
        let list = entries.iter().map(|entry| format!("{}\n", entry.sha)).collect::<String>();
        let limits = Limits { wall: super::WALL, cpu_seconds: 60, ..Limits::default() };
        let run = self.git(&["cat-file", "--batch"]).limits(limits).stdin(list);
        let out = run.success().await?;
        let mut rest = out.as_slice();
        let mut blobs = Vec::with_capacity(entries.len());
        for entry in entries {
            let (blob, after) = next_blob(rest, entry).ok_or_else(|| unreadable("blob"))?;
            blobs.push(blob.to_vec());
            rest = after;
        }
        Ok(blobs)
    }

    /// The commits of a range with their parents and times.
    ///
    /// # Errors
    /// REVISION_UNKNOWN if an end of the range is missing.
    pub async fn commits(&self, range: &CommitRange) -> Result<Vec<CommitInfo>> {
        let limit = range.limit.min(COMMITS_MAX);
        let format = "--format=%H%x00%P%x00%an%x00%ae%x00%at%x00%ct%x00%B";
        let mut run = self.git(&["log", "-z", "--topo-order", "--no-color", "--no-show-signature", format]);
        run = run.arg(format!("--max-count={limit}")).arg(range.to.as_str());
        if let Some(from) = &range.from {
            run = run.arg(format!("^{from}"));
        }
        run = run.arg("--");
        if let Some(path) = &range.path {
            run = run.operand(path.as_str());
        }
        let ends = [Some(&range.to), range.from.as_ref()];
        let out = self.success_at(run, &ends.into_iter().flatten().collect::<Vec<_>>()).await?;
        let text = String::from_utf8_lossy(&out);
        let fields = text.split('\0').collect::<Vec<_>>();
        fields.chunks_exact(7).map(commit_info).collect()
    }

    /// One commit.
    ///
    /// # Errors
    /// REVISION_UNKNOWN without it.
    pub async fn commit_info(&self, sha: &Sha) -> Result<CommitInfo> {
        let range = CommitRange { from: None, to: sha.clone(), path: None, limit: 1 };
        self.commits(&range).await?.pop().ok_or_else(|| unknown(sha.as_str()))
    }

    /// Best common ancestor; `None` if the histories share nothing.
    pub async fn merge_base(&self, a: &Sha, b: &Sha) -> Result<Option<Sha>> {
        let output = self.git(&["merge-base"]).arg(a.as_str()).arg(b.as_str()).output().await?;
        match output.code {
            0 => super::sha_line(&output.stdout).map(Some),
            1 => Ok(None),
            _ => Err(self.explain(&output, &[a, b]).await?),
        }
    }

    /// Whether `ancestor` is reachable from `descendant`; a commit is its own ancestor.
    pub async fn is_ancestor(&self, ancestor: &Sha, descendant: &Sha) -> Result<bool> {
        let run = self.git(&["merge-base", "--is-ancestor"]).arg(ancestor.as_str()).arg(descendant.as_str());
        let output = run.output().await?;
        match output.code {
            0 => Ok(true),
            1 => Ok(false),
            _ => Err(self.explain(&output, &[ancestor, descendant]).await?),
        }
    }

    /// As [`Repo::resolve`], but a missing ref is an error.
    ///
    /// # Errors
    /// REVISION_UNKNOWN.
    pub async fn need(&self, name: &RefName) -> Result<Sha> {
        self.resolve(name).await?.ok_or_else(|| unknown(name.as_str()))
    }

    /// Demands code 0; if one of `needed` is missing, that is what the error says.
    pub(super) async fn success_at(&self, run: Run<'_>, needed: &[&Sha]) -> Result<Vec<u8>> {
        let output = run.output().await?;
        if output.code == 0 { Ok(output.stdout) } else { Err(self.explain(&output, needed).await?) }
    }

    pub(super) async fn explain(&self, output: &Output, needed: &[&Sha]) -> Result<Error> {
        for sha in needed {
            if !self.has_commit(sha).await? {
                return Ok(unknown(sha.as_str()));
            }
        }
        Ok(subprocess::failed("git", output))
    }
}

fn unknown(what: &str) -> Error {
    Error::new(&REVISION_UNKNOWN, format!("the repository has no {what}"))
}

fn unreadable(what: &str) -> Error {
    Error::internal(format!("git answered an unreadable {what}"))
}

/// `<mode> SP <type> SP <sha> SP+ <size> TAB <path>`; `None` for a submodule.
fn tree_entry(line: &[u8]) -> Result<Option<TreeEntry>> {
    let text = std::str::from_utf8(line)
        .map_err(|_| Error::new(&crate::files::PATH_REFUSED, "a file name in the repository is not UTF-8"))?;
    let (meta, path) = text.split_once('\t').ok_or_else(|| unreadable("tree"))?;
    let words = meta.split_whitespace().collect::<Vec<_>>();
    let [mode, kind, sha, size] = words[..] else { return Err(unreadable("tree")) };
    if kind != "blob" {
        return Ok(None);
    }
    let kind = match mode {
        "100755" => TreeKind::Executable,
        "120000" => TreeKind::Link,
        _ => TreeKind::File,
    };
    let size_bytes = size.parse().map_err(|_| unreadable("size"))?;
    Ok(Some(TreeEntry { path: FilePath::parse(path)?, kind, sha: Sha::parse(sha)?, size_bytes }))
}

fn commit_info(fields: &[&str]) -> Result<CommitInfo> {
    let seconds = |text: &str| text.parse::<i64>().map_err(|_| unreadable("time"));
    Ok(CommitInfo {
        sha: Sha::parse(fields[0])?,
        parents: fields[1].split_whitespace().map(Sha::parse).collect::<Result<_>>()?,
        author_name: fields[2].to_owned(),
        author_email: fields[3].to_owned(),
        authored_seconds: seconds(fields[4])?,
        committed_seconds: seconds(fields[5])?,
        message: fields[6].trim_end_matches('\n').to_owned(),
    })
}

fn check_sizes(entries: &[TreeEntry]) -> Result<()> {
    let total: u64 = entries.iter().map(|entry| entry.size_bytes).sum();
    if total > TREE_BYTES_MAX {
        return Err(Error::new(&FILE_TOO_LARGE, format!("the tree has {total} bytes, more than {TREE_BYTES_MAX}")));
    }
    match entries.iter().find(|entry| entry.size_bytes > FILE_BYTES_MAX) {
        Some(big) => Err(Error::new(&FILE_TOO_LARGE, format!("{} is larger than {FILE_BYTES_MAX} bytes", big.path))),
        None => Ok(()),
    }
}

/// How many of the next entries fit one batch; at least one.
fn batch_len(rest: &[(TreeEntry, FilePath)]) -> usize {
    let mut sum = 0;
    let fits = rest.iter().take_while(|(entry, _)| {
        sum += entry.size_bytes;
        sum <= BATCH_BYTES_MAX
    });
    fits.count().max(1)
}

/// `<sha> SP blob SP <size> LF <content> LF`.
fn next_blob<'a>(rest: &'a [u8], entry: &TreeEntry) -> Option<(&'a [u8], &'a [u8])> {
    let end = rest.iter().position(|b| *b == b'\n')?;
    let header = format!("{} blob {}", entry.sha, entry.size_bytes);
    if &rest[..end] != header.as_bytes() {
        return None;
    }
    let content = &rest[end + 1..];
    let size = usize::try_from(entry.size_bytes).ok()?;
    (content.len() > size).then(|| (&content[..size], &content[size + 1..]))
}

fn place(into: &WorkDir, entry: &TreeEntry, name: &FilePath, content: &[u8]) -> Result<()> {
    match entry.kind {
        TreeKind::File => into.write_scratch(name, content, Mode::Plain),
        TreeKind::Executable => into.write_scratch(name, content, Mode::Executable),
        TreeKind::Link => {
            let refused = || Error::new(&LINK_REFUSED, format!("link {} leads outside", entry.path));
            let target = std::str::from_utf8(content).map_err(|_| refused())?;
            if content.len() as u64 > LINK_BYTES_MAX || !stays_inside(name, target) {
                return Err(refused());
            }
            into.link(target, name)
        }
    }
}
