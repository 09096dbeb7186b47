//! The sweep over a source: what its repositories and open pull requests say about the previews that live (ENV-40, ENV-41).
//!
//! Owns which answers are doubted and which are believed again. Refuses to delete: an environment ends by its own reading alone, seen twice
//! where no webhook told of it; what the sweep adds is the hold that keeps it from ending on an answer nobody should believe.
use std::collections::BTreeMap;

use slipway_kit::error::{Error, Result};

use super::{App, holds::Doubt};
use crate::{
    error::SCM_UNKNOWN,
    model::hold::{Cause, Hold},
    store::Living,
    world::Repository,
};

/// One look through a source, before any answer.
pub(super) struct Sweep<'a> {
    scm: &'a str,
    /// Holds that stood when it began.
    standing: Vec<Hold>,
    /// Living previews by repository id.
    living: BTreeMap<String, Living>,
}

impl App {
    /// Begins to look through a source.
    pub(super) async fn begin_sweep<'a>(&self, scm: &'a str) -> Result<Sweep<'a>> {
        let standing = self.store.standing_of(&self.store.db, scm).await?;
        let living = self.store.living_previews(scm).await?.into_iter().collect();
        Ok(Sweep { scm, standing, living })
    }

    /// The repositories of a source; an answer that cannot be believed holds the whole source.
    pub(super) async fn sweep_source(&self, sweep: &Sweep<'_>) -> Result<Vec<Repository>> {
        match self.world.sources.repositories(sweep.scm).await {
            Ok(found) => {
                self.lift(&sweep.standing, "").await?;
                for (id, _) in sweep.living.iter().filter(|(id, _)| !found.iter().any(|r| r.id == **id && !r.archived))
                {
                    self.sweep_lost(sweep, id).await?;
                }
                Ok(found)
            }
            // A connection that this process has not opened yet gave no answer.
            Err(error) if error.is(&SCM_UNKNOWN) || sweep.living.is_empty() => Err(error),
            Err(error) => {
                let text = format!("The repositories of {} cannot be listed. {}", sweep.scm, said(&error));
                self.doubt_once(sweep, ("", ""), Cause::WrongAnswer, text).await?;
                Err(error)
            }
        }
    }

    /// A repository with living previews that a complete list does not show, or shows as archived.
    async fn sweep_lost(&self, sweep: &Sweep<'_>, id: &str) -> Result<()> {
        let (name, cause, text) = match self.world.sources.repository_by_id(sweep.scm, id).await {
            Ok(Some(found)) if found.archived => {
                let text = format!("The repository {} is archived.", found.name);
                (found.name, Cause::RepositoryLost, text)
            }
            Ok(Some(found)) => {
                let text = format!("The source lists the repository {} no more.", found.name);
                (found.name, Cause::RepositoryLost, text)
            }
            Ok(None) => {
                let text = format!("The source has no repository {id} any more, or the connection may not see it.");
                (String::new(), Cause::RepositoryLost, text)
            }
            Err(error) => {
                let text = format!("The repository {id} is not listed and cannot be read. {}", said(&error));
                (String::new(), Cause::WrongAnswer, text)
            }
        };
        self.doubt_once(sweep, (id, &name), cause, text).await
    }

    /// What a repository's open pull requests say about its previews: doubted, or believed again.
    pub(super) async fn sweep_listing(
        &self,
        sweep: &Sweep<'_>,
        repository: &Repository,
        open: &Result<Vec<i64>>,
    ) -> Result<()> {
        let Some(living) = sweep.living.get(&repository.id) else {
            return self.lift(&sweep.standing, &repository.id).await;
        };
        let (cause, text) = match open {
            Ok(open) if open.is_empty() && living.trusted > 0 => {
                let text = format!(
                    "The source lists no open pull request of {}, where {} previews live that were not read as ended.",
                    repository.name, living.trusted
                );
                (Cause::EmptyListing, text)
            }
            Ok(_) => return self.lift(&sweep.standing, &repository.id).await,
            Err(error) => {
                let text = format!("The open pull requests of {} cannot be listed. {}", repository.name, said(error));
                (Cause::WrongAnswer, text)
            }
        };
        self.doubt_once(sweep, (&repository.id, &repository.name), cause, text).await
    }

    async fn doubt_once(
        &self,
        sweep: &Sweep<'_>,
        (repository_id, repository): (&str, &str),
        cause: Cause,
        evidence: String,
    ) -> Result<()> {
        if sweep.standing.iter().any(|hold| hold.repository_id == repository_id && hold.cause == cause) {
            return Ok(());
        }
        self.doubt(Doubt { scm: sweep.scm, repository_id, repository, cause, evidence }).await
    }
}

/// What went wrong, without the provider's own words: those stay in the log.
fn said(error: &Error) -> String {
    format!("{}: {}", error.reason().name, error.reason().cause)
}
