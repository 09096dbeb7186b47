//! Reports to the source provider: one comment and one deployment per environment, kept up to date (ENV-29).
//!
//! Owns when one is due and what it says. Refuses to hold a rollout up: a report is work of its own, tried again until it is told,
//! and it always tells what is so when it is told, not what was so when it became due.
use std::time::Duration;

use slipway_kit::{
    db::Tx,
    error::{Error, Kind, Result},
    scm::{DeployState, Report},
    worker,
};

use super::App;
use crate::model::{
    environment::Environment,
    expiry,
    report::{self, Outcome},
};

/// Kind of work: tell the provider about an environment, by uid.
pub const WORK_REPORT: &str = "report";
/// How long a report waits for what follows at once, so that one telling covers several steps.
const GATHER_MS: i64 = 500;
/// Longest wait that a provider's answer brings about.
const WAIT_MAX_MS: u64 = 900_000;

/// What a report came to.
pub enum Told {
    /// It was told, or there is nobody to tell.
    Done,
    /// The provider wants it later.
    After(Duration),
}

impl App {
    /// Makes a report due if something changed that it tells.
    pub(crate) async fn report_later(
        &self,
        tx: &mut Tx,
        before: Option<&Environment>,
        env: &Environment,
    ) -> Result<()> {
        let told = |env: &Environment| {
            let (sha, warned) = (env.spec.source.head_sha.clone(), env.status.warned);
            (env.state(), sha, expiry::ends_at_us(env), env.retire.is_some(), warned)
        };
        if !env.is_preview() || before.is_some_and(|before| told(before) == told(env)) {
            return Ok(());
        }
        worker::enqueue(tx, WORK_REPORT, &env.uid, GATHER_MS).await
    }

    /// Tells the provider how an environment is now.
    ///
    /// # Errors
    /// What may go later.
    pub async fn report(&self, uid: &str) -> Result<Told> {
        let Some(env) = self.store.by_uid(&self.store.db, uid).await? else { return Ok(Told::Done) };
        // Under the name of an environment its newest life is told of, whatever comes late.
        let newest = self.store.by_label(&self.store.db, &env.label_id).await?;
        if newest.is_some_and(|newest| newest.uid != env.uid) {
            return Ok(Told::Done);
        }
        let source = &env.spec.source;
        match self.world.sources.report(&source.scm, &source.repository, &self.reported(&env)).await {
            Ok(()) => Ok(Told::Done),
            Err(error) => after(&env, error),
        }
    }

    fn reported(&self, env: &Environment) -> Report {
        let url = self.platform.url(env);
        let expires = expiry::ends_at_us(env).and_then(|us| jiff::Timestamp::from_second(us / 1_000_000).ok());
        let expires = expires.map(|at| at.to_string());
        let outcome = report::outcome(env.state());
        Report {
            environment: env.label_id.clone(),
            number: env.spec.source.pull_request,
            sha: env.spec.source.head_sha.clone(),
            state: deploy_state(outcome),
            comment: report::comment(env, &url, expires.as_deref()),
            url: if outcome == Outcome::Gone { String::new() } else { url },
            summary: report::summary(env.state()).to_owned(),
        }
    }
}

fn deploy_state(outcome: Outcome) -> DeployState {
    match outcome {
        Outcome::Waits => DeployState::Queued,
        Outcome::Runs => DeployState::InProgress,
        Outcome::Answers => DeployState::Success,
        Outcome::Fails => DeployState::Failure,
        Outcome::Gone => DeployState::Inactive,
    }
}

/// A provider that will never take it is told nothing; one that is away or limits is told later.
fn after(env: &Environment, error: Error) -> Result<Told> {
    if let Some(wait_ms) = error.retry_after() {
        return Ok(Told::After(Duration::from_millis(wait_ms.clamp(1000, WAIT_MAX_MS))));
    }
    if matches!(error.kind(), Kind::NotFound | Kind::InvalidArgument) {
        tracing::warn!(error = ?error, environment = %env.label_id, "nobody takes the report");
        return Ok(Told::Done);
    }
    Err(error)
}
