//! Pull requests of the adapter `local`: reading them, and the writers behind `slipway dev pr`.
//!
//! Owns the state files and the order of writes: refs first, the state file last, so that a pull request exists when its file
//! does. Refuses to change one without the repository's lock. The head of an open pull request is its branch, as at any provider.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    super::{
        ClosePullRequest, Filed, NOTHING_TO_COMPARE, OpenPullRequest, PULL_REQUEST_CLOSED, PULL_REQUEST_UNKNOWN,
        PullRequest, PushTo,
    },
    Local, file,
};
use crate::{
    error::{Error, Result},
    files::{Mode, WorkDir},
    git::{Commit, Merge, REVISION_UNKNOWN, RefName, Repo, Sha},
};

const FOLDER: &str = "slipway-pulls";
const STATE_BYTES_MAX: u64 = 256 << 10;
/// Most pull requests of one repository that are looked at.
const PULL_REQUESTS_MAX: usize = 10_000;

/// Pull requests whose refs are asked for at one time.
const LISTED_MAX: usize = 200;

/// What the state file holds; the commits are refs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    open: bool,
    draft: bool,
    title: String,
    labels: Vec<String>,
    author: String,
    head_ref: String,
    /// `None` for the same repository.
    head_repository: Option<String>,
    base_ref: String,
    created_us: i64,
    opened_us: i64,
    updated_us: i64,
    closed_us: Option<i64>,
    merged_us: Option<i64>,
    merge_sha: Option<String>,
    /// What is told about environments, by environment.
    #[serde(default)]
    pub(super) reports: BTreeMap<String, Filed>,
}

impl Local {
    /// The pull request as it is now; `None` if there is none of that number.
    ///
    /// # Errors
    /// REPOSITORY_UNKNOWN; errors of the disk.
    pub(in crate::scm) async fn pull_request(&self, name: &str, number: i64) -> Result<Option<PullRequest>> {
        let dir = self.dir(name)?;
        let Some(state) = read_state(&dir, number)? else { return Ok(None) };
        self.render(name, number, state).await.map(Some)
    }

    /// Every open pull request, in order of number.
    ///
    /// # Errors
    /// As [`Local::pull_request`]; a listing is complete or an error.
    pub(in crate::scm) async fn open_pull_requests(&self, name: &str) -> Result<Vec<PullRequest>> {
        let dir = self.dir(name)?;
        let mut open = Vec::new();
        for number in numbers(&dir)? {
            open.extend(read_state(&dir, number)?.filter(|state| state.open).map(|state| (number, state)));
        }
        let (repo, mut found) = (self.git(name).await?, Vec::new());
        // One look at the refs of many: a process for each would be most of the work.
        for some in open.chunks(LISTED_MAX) {
            let names = some.iter().map(|(number, state)| refs_of(*number, state)).collect::<Result<Vec<_>>>()?;
            let shas = repo.resolve_all(&names.iter().flatten().collect::<Vec<_>>()).await?;
            for ((number, state), refs) in some.iter().zip(shas.chunks_exact(3)) {
                let refs = [refs[0].clone(), refs[1].clone(), refs[2].clone()];
                found.push(self.shown(name, *number, state.clone(), refs).await?);
            }
        }
        Ok(found)
    }

    /// Opens a pull request; one that is open for the same two branches is answered instead, after its files are committed.
    ///
    /// # Errors
    /// REPOSITORY_UNKNOWN, REVISION_UNKNOWN for the base, NOTHING_TO_COMPARE without a head.
    pub(in crate::scm) async fn open_pull_request(&self, name: &str, new: &OpenPullRequest) -> Result<PullRequest> {
        let repository = self.repository(name).await?.ok_or_else(|| super::super::unknown(name))?;
        let base_ref = new.base.clone().unwrap_or(repository.default_branch);
        let head_name = new.head_repository.clone().unwrap_or_else(|| name.to_owned());
        let _lock = self.lock(name).await?;
        let (dir, repo, head_repo) = (self.dir(name)?, self.git(name).await?, self.git(&head_name).await?);
        let base = repo.need(&RefName::branch(&base_ref)?).await?;
        let head = grow(&head_repo, new, &base).await?;
        let same = |s: &State| {
            s.open && s.head_ref == new.branch && s.head_repository == new.head_repository && s.base_ref == base_ref
        };
        let mut next = 1;
        for number in numbers(&dir)? {
            next = number + 1;
            if let Some(state) = read_state(&dir, number)?.filter(|s| same(s)) {
                self.follow(&repo, &dir, number, state.clone()).await?;
                return self.render(name, number, read_state(&dir, number)?.unwrap_or(state)).await;
            }
        }
        if new.head_repository.is_some() {
            repo.fetch(&head_repo, &RefName::branch(&new.branch)?, &pull_ref(next, "head")?).await?;
        } else {
            set_ref(&repo, &pull_ref(next, "head")?, &head).await?;
        }
        set_ref(&repo, &pull_ref(next, "base")?, &base).await?;
        let now_us = self.now_us();
        let state = State {
            open: true,
            draft: new.draft,
            title: new.title.clone(),
            labels: new.labels.clone(),
            author: new.author.name.clone(),
            head_ref: new.branch.clone(),
            head_repository: new.head_repository.clone(),
            base_ref,
            created_us: now_us,
            opened_us: now_us,
            updated_us: now_us,
            closed_us: None,
            merged_us: None,
            merge_sha: None,
            reports: BTreeMap::new(),
        };
        write_state(&dir, next, &state)?;
        self.render(name, next, state).await
    }

    /// Commits files to a branch, and brings the open pull requests of the branch up to it. Answers the new head.
    ///
    /// # Errors
    /// REVISION_UNKNOWN without such a branch; REF_MOVED if somebody pushes at the same instant.
    pub(in crate::scm) async fn push_to(&self, name: &str, push: &PushTo) -> Result<Sha> {
        let _lock = self.lock(name).await?;
        let (dir, repo) = (self.dir(name)?, self.git(name).await?);
        let branch = RefName::branch(&push.branch)?;
        let old = repo.need(&branch).await?;
        let mut commit = Commit {
            branch: branch.clone(),
            expected: Some(old.clone()),
            files: push.files.clone(),
            message: push.message.clone(),
            author: push.author.clone(),
        };
        let new = if push.force {
            let default = self.repository(name).await?.map(|r| r.default_branch).unwrap_or_default();
            let default = repo.need(&RefName::branch(&default)?).await?;
            let base = repo.merge_base(&old, &default).await?.unwrap_or(default);
            let scratch = RefName::full("refs/slipway/force")?;
            set_ref(&repo, &scratch, &base).await?;
            (commit.branch, commit.expected) = (scratch.clone(), Some(base));
            let made = repo.commit(&commit).await?.sha;
            repo.update_ref(&branch, Some(&made), Some(&old)).await?;
            repo.update_ref(&scratch, None, Some(&made)).await?;
            made
        } else if push.files.is_empty() {
            old
        } else {
            repo.commit(&commit).await?.sha
        };
        for number in numbers(&dir)? {
            let state = read_state(&dir, number)?;
            let ours = |s: &State| s.open && s.head_repository.is_none() && s.head_ref == push.branch;
            if let Some(state) = state.filter(ours) {
                self.follow(&repo, &dir, number, state).await?;
            }
        }
        Ok(new)
    }

    /// Brings an open pull request, also one of a fork, up to the head of its branch and of its base.
    ///
    /// # Errors
    /// PULL_REQUEST_UNKNOWN; PULL_REQUEST_CLOSED.
    pub(in crate::scm) async fn refresh_pull_request(&self, name: &str, number: i64) -> Result<PullRequest> {
        let _lock = self.lock(name).await?;
        let (dir, repo) = (self.dir(name)?, self.git(name).await?);
        let state = need_open(&dir, number)?;
        self.follow(&repo, &dir, number, state.clone()).await?;
        self.render(name, number, read_state(&dir, number)?.unwrap_or(state)).await
    }

    /// Sets title, labels and draft of an open pull request.
    ///
    /// # Errors
    /// PULL_REQUEST_UNKNOWN; PULL_REQUEST_CLOSED.
    pub(in crate::scm) async fn retarget_pull_request(
        &self,
        name: &str,
        number: i64,
        base: &str,
    ) -> Result<PullRequest> {
        let _lock = self.lock(name).await?;
        let (dir, repo) = (self.dir(name)?, self.git(name).await?);
        let mut state = need_open(&dir, number)?;
        let at = repo.need(&RefName::branch(base)?).await?;
        base.clone_into(&mut state.base_ref);
        self.touch(&mut state);
        write_state(&dir, number, &state)?;
        set_ref(&repo, &pull_ref(number, "base")?, &at).await?;
        self.render(name, number, state).await
    }

    pub(in crate::scm) async fn label_pull_request(
        &self,
        name: &str,
        number: i64,
        labels: &[String],
        draft: bool,
    ) -> Result<PullRequest> {
        let _lock = self.lock(name).await?;
        let dir = self.dir(name)?;
        let mut state = need_open(&dir, number)?;
        (state.labels, state.draft) = (labels.to_vec(), draft);
        self.touch(&mut state);
        write_state(&dir, number, &state)?;
        self.render(name, number, state).await
    }

    /// Closes a pull request, merged or not; one that is closed is answered as it is.
    ///
    /// # Errors
    /// PULL_REQUEST_UNKNOWN; MERGE_CONFLICT; REF_MOVED if the base moves at the same instant.
    pub(in crate::scm) async fn close_pull_request(&self, name: &str, close: &ClosePullRequest) -> Result<PullRequest> {
        let _lock = self.lock(name).await?;
        let (dir, repo) = (self.dir(name)?, self.git(name).await?);
        let mut state = read_state(&dir, close.number)?.ok_or_else(|| no_such(close.number))?;
        if !state.open {
            return self.render(name, close.number, state).await;
        }
        self.follow(&repo, &dir, close.number, state.clone()).await?;
        state = need_open(&dir, close.number)?;
        if close.merge {
            let merged = merge(&repo, close, &state).await?;
            state.merge_sha = Some(merged.to_string());
        }
        self.touch(&mut state);
        state.open = false;
        state.closed_us = Some(state.updated_us);
        state.merged_us = close.merge.then_some(state.updated_us);
        write_state(&dir, close.number, &state)?;
        self.render(name, close.number, state).await
    }

    /// Opens a closed pull request again; one that is open is answered as it is.
    ///
    /// # Errors
    /// PULL_REQUEST_UNKNOWN; PULL_REQUEST_CLOSED if it was merged.
    pub(in crate::scm) async fn reopen_pull_request(&self, name: &str, number: i64) -> Result<PullRequest> {
        let _lock = self.lock(name).await?;
        let dir = self.dir(name)?;
        let mut state = read_state(&dir, number)?.ok_or_else(|| no_such(number))?;
        if state.merged_us.is_some() {
            return Err(Error::new(&PULL_REQUEST_CLOSED, format!("pull request {number} is merged")));
        }
        if !state.open {
            self.touch(&mut state);
            (state.open, state.closed_us, state.opened_us) = (true, None, state.updated_us);
            write_state(&dir, number, &state)?;
        }
        self.render(name, number, state).await
    }

    /// Points the refs of an open pull request at its branches, and stamps it if anything moved.
    async fn follow(&self, repo: &Repo, dir: &WorkDir, number: i64, mut state: State) -> Result<()> {
        let head_ref = pull_ref(number, "head")?;
        let before = (repo.resolve(&head_ref).await?, repo.resolve(&pull_ref(number, "base")?).await?);
        match &state.head_repository {
            None => {
                if let Some(head) = repo.branch_head(&state.head_ref).await? {
                    set_ref(repo, &head_ref, &head).await?;
                }
            }
            Some(fork) => match repo.fetch(&self.git(fork).await?, &RefName::branch(&state.head_ref)?, &head_ref).await
            {
                Ok(_) => {}
                Err(error) if error.is(&REVISION_UNKNOWN) => {}
                Err(error) => return Err(error),
            },
        }
        if let Some(base) = repo.branch_head(&state.base_ref).await? {
            set_ref(repo, &pull_ref(number, "base")?, &base).await?;
        }
        if before != (repo.resolve(&head_ref).await?, repo.resolve(&pull_ref(number, "base")?).await?) {
            self.touch(&mut state);
            write_state(dir, number, &state)?;
        }
        Ok(())
    }

    /// Time of change; it always grows.
    fn touch(&self, state: &mut State) {
        state.updated_us = self.now_us().max(state.updated_us + 1);
    }

    async fn render(&self, name: &str, number: i64, state: State) -> Result<PullRequest> {
        let [head, base, branch] = refs_of(number, &state)?;
        let refs = self.git(name).await?.resolve_all(&[&head, &base, &branch]).await?;
        let [head, base, branch] = refs.as_slice() else { return Err(no_commits(name, number)) };
        self.shown(name, number, state, [head.clone(), base.clone(), branch.clone()]).await
    }

    /// A pull request by its state and what its refs point at: the kept head, the base, the branch.
    async fn shown(
        &self,
        name: &str,
        number: i64,
        state: State,
        [kept, base, own]: [Option<Sha>; 3],
    ) -> Result<PullRequest> {
        let (Some(kept), Some(base)) = (kept, base) else { return Err(no_commits(name, number)) };
        let branch = match &state.head_repository {
            None => own,
            // The commits of a fork are here only as far as they were fetched.
            Some(fork) => match self.git(fork).await {
                Ok(fork) => fork.branch_head(&state.head_ref).await?,
                Err(_) => None,
            },
        };
        let follows = state.open && state.head_repository.is_none();
        let head = branch.clone().filter(|_| follows).unwrap_or(kept);
        let fork = state.head_repository.as_deref().is_some_and(|other| other != name);
        Ok(PullRequest {
            number,
            open: state.open,
            draft: state.draft,
            title: state.title,
            labels: state.labels,
            author: state.author,
            head_exists: branch.is_some(),
            head_repository: state.head_repository.unwrap_or_else(|| name.to_owned()),
            head_ref: state.head_ref,
            head_sha: head.to_string(),
            base_ref: state.base_ref,
            base_sha: base.to_string(),
            fork,
            created_us: state.created_us,
            opened_us: state.opened_us,
            updated_us: state.updated_us,
            closed_us: state.closed_us,
            merged_us: state.merged_us,
            merge_sha: state.merge_sha,
        })
    }
}

/// The refs of a pull request: its kept head, its base, its branch.
fn refs_of(number: i64, state: &State) -> Result<[RefName; 3]> {
    Ok([pull_ref(number, "head")?, pull_ref(number, "base")?, RefName::branch(&state.head_ref)?])
}

fn no_commits(name: &str, number: i64) -> Error {
    Error::internal(format!("pull request {number} of {name} has a state file and no commits"))
}

/// Makes the branch if it is missing, commits the files if there are any, and answers the head.
async fn grow(repo: &Repo, new: &OpenPullRequest, base: &Sha) -> Result<Sha> {
    let branch = RefName::branch(&new.branch)?;
    let head = match repo.resolve(&branch).await? {
        Some(head) => head,
        None if new.files.is_empty() => {
            return Err(Error::new(&NOTHING_TO_COMPARE, format!("there is no branch {}", new.branch)));
        }
        None => {
            repo.update_ref(&branch, Some(base), None).await?;
            base.clone()
        }
    };
    if new.files.is_empty() {
        return Ok(head);
    }
    let commit = Commit {
        branch,
        expected: Some(head),
        files: new.files.clone(),
        message: format!("{}\n", new.title),
        author: new.author.clone(),
    };
    Ok(repo.commit(&commit).await?.sha)
}

/// Merges into the base; a merge that a killed process made is found again.
async fn merge(repo: &Repo, close: &ClosePullRequest, state: &State) -> Result<Sha> {
    let branch = RefName::branch(&state.base_ref)?;
    let expected = repo.need(&branch).await?;
    let head = repo.need(&pull_ref(close.number, "head")?).await?;
    if repo.is_ancestor(&head, &expected).await? {
        return Ok(expected);
    }
    let message = format!("Merge pull request #{} from {}\n\n{}\n", close.number, state.head_ref, state.title);
    repo.merge(&Merge { branch, expected, head, message, author: close.author.clone() }).await
}

async fn set_ref(repo: &Repo, name: &RefName, to: &Sha) -> Result<()> {
    let now = repo.resolve(name).await?;
    if now.as_ref() == Some(to) { Ok(()) } else { repo.update_ref(name, Some(to), now.as_ref()).await }
}

fn pull_ref(number: i64, end: &str) -> Result<RefName> {
    RefName::full(&format!("refs/pull/{number}/{end}"))
}

pub(super) fn no_such(number: i64) -> Error {
    Error::new(&PULL_REQUEST_UNKNOWN, format!("there is no pull request {number}"))
}

fn need_open(dir: &WorkDir, number: i64) -> Result<State> {
    let state = read_state(dir, number)?.ok_or_else(|| no_such(number))?;
    if state.open {
        return Ok(state);
    }
    Err(Error::new(&PULL_REQUEST_CLOSED, format!("pull request {number} is closed")))
}

pub(super) fn read_state(dir: &WorkDir, number: i64) -> Result<Option<State>> {
    let path = file(&format!("{FOLDER}/{number}.json"))?;
    if !dir.exists(&path) {
        return Ok(None);
    }
    serde_json::from_slice(&dir.read(&path, STATE_BYTES_MAX)?).map(Some).map_err(Error::internal)
}

pub(super) fn write_state(dir: &WorkDir, number: i64, state: &State) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(state).map_err(Error::internal)?;
    dir.write(&file(&format!("{FOLDER}/{number}.json"))?, &bytes, Mode::Private)
}

fn numbers(dir: &WorkDir) -> Result<Vec<i64>> {
    let folder = file(FOLDER)?;
    if !dir.exists(&folder) {
        return Ok(Vec::new());
    }
    let mut found: Vec<i64> = dir
        .open_dir(&folder)?
        .list()?
        .iter()
        .filter_map(|entry| entry.path.as_str().strip_suffix(".json")?.parse().ok())
        .take(PULL_REQUESTS_MAX)
        .collect();
    found.sort_unstable();
    Ok(found)
}
