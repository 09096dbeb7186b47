//! Making a repository with a first commit.
//!
//! Owns the order: the repository with its marker in one call, then the commit by git's own protocol, made here so that its id is
//! the same as at `local`. Killed between the two, a repeat finds the marker and goes on. Refuses owners that are no
//! organisation: an App cannot make repositories of people.
use http::Method;
use serde_json::json;

use super::{
    super::{NewRepository, REPOSITORY_TAKEN, Repository, SCM_REFUSED, unknown},
    Github, pack,
    read::parts,
    shape,
};
use crate::{
    error::{Error, Result},
    git::{Commit, RefName},
};

/// Largest answer to a push.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

impl Github {
    pub(in crate::scm) async fn create_repository(&self, new: &NewRepository) -> Result<Repository> {
        let branch = RefName::branch(&new.default_branch)?;
        let made = match self.repository(&new.name).await? {
            Some(found) => found,
            None => self.make(new).await?,
        };
        if new.marker.is_empty() || made.marker != new.marker {
            let text = format!("repository {} exists", new.name);
            return Err(Error::new(&REPOSITORY_TAKEN, text).resource("repository", &new.name));
        }
        if !self.ls_refs(&new.name).await?.contains_key(&branch) {
            self.begin(&made, &branch, new).await?;
        }
        Ok(Repository { default_branch: new.default_branch.clone(), ..made })
    }

    async fn make(&self, new: &NewRepository) -> Result<Repository> {
        let (owner, short) = parts(&new.name)?;
        let body = json!({
            "name": short,
            "description": shape::mark(&new.description, &new.marker),
            "private": true,
            "auto_init": false,
        });
        let sent = self.api.send(Method::POST, self.api.url(&["orgs", owner, "repos"])?, &body).await;
        match sent {
            Ok(reply) if reply.status == 404 => {
                Err(Error::new(&SCM_REFUSED, format!("{owner} is no organisation that the connection can see")))
            }
            Ok(reply) => reply.read::<shape::Repo>().map(Repository::from),
            // Somebody was faster; the marker says whether that was us.
            Err(error) if error.is(&SCM_REFUSED) => self.repository(&new.name).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    async fn begin(&self, made: &Repository, branch: &RefName, new: &NewRepository) -> Result<()> {
        let mirror = self.mirror(made).await?;
        // A scratch ref of this run: what an earlier try left is made again, to the same commit.
        let scratch = RefName::full(&format!("refs/slipway/new/{}", crate::id::uuid4()))?;
        let commit = Commit {
            branch: scratch.clone(),
            expected: None,
            files: new.files.clone(),
            message: new.message.clone(),
            author: new.author.clone(),
        };
        let sha = mirror.commit(&commit).await?.sha;
        let body = pack::create_branch(branch, &sha, &mirror.pack(&sha).await?);
        let sent = self.ask_git(&made.name, "git-receive-pack", body.into(), ANSWER_BYTES_MAX).await;
        mirror.set_refs(&[(scratch, None)]).await?;
        let answer = sent.map_err(|error| if super::mirror::is_unknown(&error) { unknown(&made.name) } else { error });
        pack::pushed(&answer?.rest().await.map_err(super::api::unavailable)?)
    }
}
