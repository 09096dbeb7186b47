//! Reading repositories and pull requests.
//!
//! Owns what is asked for each. Refuses to conclude from a missing answer: that a pull request or a branch is gone is only said
//! when the provider shows its repository and says so.
use super::{
    super::{PullRequest, REPOSITORY_NAME_INVALID, Repository, unknown},
    Github,
    api::invalid,
    credential::Credential,
    shape,
};
use crate::{
    error::{Error, Result},
    git::RefName,
};

/// How much later than its making a pull request must have changed before it is asked whether it was reopened.
const FRESH_US: i64 = 2_000_000;

impl Github {
    pub(in crate::scm) async fn repository(&self, name: &str) -> Result<Option<Repository>> {
        let (owner, short) = parts(name)?;
        let url = self.api.url(&["repos", owner, short])?;
        Ok(self.api.get::<shape::Repo>(url).await?.map(Repository::from))
    }

    pub(in crate::scm) async fn repository_by_id(&self, id: &str) -> Result<Option<Repository>> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(None);
        }
        let url = self.api.url(&["repositories", id])?;
        Ok(self.api.get::<shape::Repo>(url).await?.map(Repository::from))
    }

    pub(in crate::scm) async fn repositories(&self) -> Result<Vec<Repository>> {
        let (mut url, key) = match &self.api.credential {
            Credential::App { .. } => (self.api.url(&["installation", "repositories"])?, Some("repositories")),
            Credential::Token(_) => (self.api.url(&["user", "repos"])?, None),
        };
        url.set_query(Some("per_page=100"));
        let found = self.api.list::<shape::Repo>(url, key).await?;
        let found = found.ok_or_else(|| invalid("the provider has no listing of repositories"))?;
        let mut all: Vec<Repository> = found.into_iter().map(Repository::from).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.id == b.id);
        Ok(all)
    }

    pub(in crate::scm) async fn pull_request(&self, name: &str, number: i64) -> Result<Option<PullRequest>> {
        let (owner, short) = parts(name)?;
        let url = self.api.url(&["repos", owner, short, "pulls", &number.to_string()])?;
        let Some(pull) = self.api.get::<shape::Pull>(url).await? else {
            self.need(name).await?;
            return Ok(None);
        };
        if pull.number != number {
            return Err(invalid(format!("asked for pull request {number}, got {}", pull.number)));
        }
        if !matches!(pull.state.as_str(), "open" | "closed") {
            return Err(invalid("a pull request is neither open nor closed"));
        }
        let is_open = pull.state == "open";
        let opened_us = if is_open { self.reopened_us(name, &pull).await? } else { None };
        let head_exists = match (is_open, pull.is_fork()) {
            (true, false) => self.has_branch(name, &pull.head.name).await?,
            _ => pull.head.repo.is_some(),
        };
        Ok(Some(pull.render(opened_us, head_exists)))
    }

    pub(in crate::scm) async fn open_pull_requests(&self, name: &str) -> Result<Vec<PullRequest>> {
        let (owner, short) = parts(name)?;
        let mut url = self.api.url(&["repos", owner, short, "pulls"])?;
        url.set_query(Some("state=open&sort=created&direction=asc&per_page=100"));
        let found = self.api.list::<shape::Pull>(url, None).await?.ok_or_else(|| unknown(name))?;
        let mut all: Vec<PullRequest> = found
            .into_iter()
            .map(|pull| {
                let (opened_us, head_exists) = (self.reopened.get(&seen(name, &pull)), pull.head.repo.is_some());
                pull.render(opened_us, head_exists)
            })
            .collect();
        all.sort_by_key(|pull| pull.number);
        all.dedup_by_key(|pull| pull.number);
        Ok(all)
    }

    /// The repository, which must be there.
    pub(super) async fn need(&self, name: &str) -> Result<Repository> {
        self.repository(name).await?.ok_or_else(|| unknown(name))
    }

    /// When an open pull request was last reopened; the pull request itself does not say.
    async fn reopened_us(&self, name: &str, pull: &shape::Pull) -> Result<Option<i64>> {
        let (created_us, updated_us) = (pull.created_at.as_microsecond(), pull.updated_at.as_microsecond());
        if updated_us - created_us < FRESH_US {
            return Ok(None);
        }
        let key = seen(name, pull);
        if let Some(at_us) = self.reopened.get(&key) {
            return Ok(Some(at_us));
        }
        let (owner, short) = parts(name)?;
        let mut url = self.api.url(&["repos", owner, short, "issues", &pull.number.to_string(), "events"])?;
        url.set_query(Some("per_page=100"));
        let events = self.api.list::<shape::IssueEvent>(url, None).await?.unwrap_or_default();
        let last =
            events.iter().filter(|event| event.event == "reopened").map(|event| event.created_at.as_microsecond());
        let at_us = last.max().unwrap_or(created_us);
        self.reopened.insert(key, at_us);
        Ok(Some(at_us))
    }

    /// Whether a branch of a repository that was just read exists. That it does not is believed only if git's own listing shows
    /// other branches and not this one.
    async fn has_branch(&self, name: &str, branch: &str) -> Result<bool> {
        let (owner, short) = parts(name)?;
        let mut path = vec!["repos", owner, short, "git", "ref", "heads"];
        path.extend(branch.split('/'));
        if self.api.get::<serde_json::Value>(self.api.url(&path)?).await?.is_some() {
            return Ok(true);
        }
        let refs = self.ls_refs(name).await?;
        if refs.is_empty() {
            return Err(invalid("git lists no branch of a repository that has an open pull request"));
        }
        Ok(refs.contains_key(&RefName::branch(branch)?))
    }
}

fn seen(name: &str, pull: &shape::Pull) -> String {
    format!("{name}/{}/{}", pull.number, pull.updated_at.as_microsecond())
}

/// Owner and short name; the provider's rules of names.
pub(super) fn parts(name: &str) -> Result<(&str, &str)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric());
    let fits = name.split_once('/').filter(|(owner, short)| {
        let owner_fits = begins(owner) && owner.len() <= 60 && owner.chars().all(plain) && !owner.contains("..");
        let short_fits = !short.is_empty() && short.len() <= 100 && short.chars().all(|c| plain(c) || c == '.');
        owner_fits && short_fits && !short.starts_with('.') && !short.ends_with(".git") && !short.ends_with('.')
    });
    fits.ok_or_else(|| {
        let text = format!("{name:?} is no repository name");
        Error::new(&REPOSITORY_NAME_INVALID, text).violation("repository", "owner/name")
    })
}
