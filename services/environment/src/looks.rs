//! Work beside the reconcile loop: looking at pull requests, polling connections, dropping what is kept long enough.
//!
//! Owns the translation from queue items to verbs. Refuses to decide anything.
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt as _, future::BoxFuture};
use slipway_kit::{
    db::Tx,
    error::{Error, Result, SERVICE_UNKNOWN},
    journal::Stored,
    serve::Shutdown,
    worker::{Claim, Handler, Next},
};

use crate::{
    app::{App, Told},
    wire,
};

const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// How often a look waits for the catalog before it is left to the poll; about two minutes.
const TRIES_MAX: i64 = 7;

/// Takes one event of the secrets service.
pub fn apply_binding<'a>(app: App, tx: &'a mut Tx, event: &'a Stored) -> BoxFuture<'a, Result<()>> {
    async move {
        match wire::event::binding(event)? {
            Some(change) => app.rebind(tx, &change).await,
            None => Ok(()),
        }
    }
    .boxed()
}

/// Looks at one pull request.
pub struct PullRequests(pub App);

#[async_trait]
impl Handler for PullRequests {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        let mut parts = claim.id.splitn(3, '/');
        let (scm, repository, number) = (parts.next(), parts.next(), parts.next().and_then(|n| n.parse().ok()));
        let (Some(scm), Some(repository), Some(number)) = (scm, repository, number) else { return Ok(Next::Done) };
        match self.0.look(scm, repository, number).await {
            // The catalog may be about to read the repository; after some tries the poll goes on.
            Ok(false) if claim.attempts <= TRIES_MAX => {
                Err(Error::new(&SERVICE_UNKNOWN, format!("the catalog does not know every service of {}", claim.id)))
            }
            done => done.map(|_| Next::Done),
        }
    }
}

/// Looks through one connection.
pub struct Polls(pub App);

#[async_trait]
impl Handler for Polls {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        // A connection that was deleted is looked through no more; one that is about to be opened is looked at again.
        if !self.0.has_scm(&claim.id).await? {
            return Ok(Next::Done);
        }
        self.0.poll(&claim.id).await?;
        let every_us = self.0.world.sources.poll_us(&claim.id).max(1_000_000);
        Ok(Next::After(Duration::from_micros(every_us.unsigned_abs())))
    }
}

/// Compares one cluster with the environments; the claim sees to it that one process does.
pub struct Sweeps(pub App);

#[async_trait]
impl Handler for Sweeps {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        let is_reached = self.0.sweep_cluster(&claim.id).await?;
        Ok(if is_reached { Next::After(self.0.sweep_again()) } else { Next::Done })
    }
}

/// Tells source providers about environments.
pub struct Reports(pub App);

#[async_trait]
impl Handler for Reports {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        Ok(match self.0.report(&claim.id).await? {
            Told::Done => Next::Done,
            Told::After(wait) => Next::After(wait),
        })
    }
}

/// How often it is looked whether another process changed connections.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// Keeps the open connections as they are stored.
pub async fn follow_scms(app: App, shutdown: Shutdown) {
    loop {
        if let Err(error) = app.follow_scms().await {
            tracing::warn!(error = ?error, "stored SCM connections cannot be read");
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
            () = shutdown.wait() => return,
        }
    }
}

/// Runs the checks of clusters.
pub struct ClusterChecks(pub App);

#[async_trait]
impl Handler for ClusterChecks {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        Ok(self.0.recheck(claim).await?.map_or(Next::Done, Next::After))
    }
}

/// Drops what is kept long enough.
pub struct Purges(pub App);

#[async_trait]
impl Handler for Purges {
    async fn handle(&self, _: &Claim) -> Result<Next> {
        self.0.purge().await?;
        Ok(Next::After(PURGE_EVERY))
    }
}
