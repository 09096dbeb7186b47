//! Opening the engine, checking its chains, and accepting a database that was set back.
//!
//! Owns the state SEALED from the inside (SEC-73, SEC-74). Refuses to open over a rollback nobody accepted.
use std::sync::Arc;

use slipway_kit::{error::Result, id};

use super::App;
use crate::{
    model::name::Path,
    store::{engine, secrets, services, versions},
    world::engine::{Ring, Seal},
};

/// Something wrong with a stored chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The path.
    pub path: Path,
    /// What is wrong.
    pub what: &'static str,
}

/// State of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Why it is sealed; `None` while it is open.
    pub seal: Option<Seal>,
}

impl App {
    /// State of the engine.
    pub fn engine_status(&self) -> Status {
        Status { seal: self.engine.seal() }
    }

    /// Looks at key file, database and witness, and opens or seals the engine accordingly.
    pub async fn unseal(&self) -> Result<()> {
        let found = self.ring().await?;
        let outcome = found.as_ref().err().copied();
        if self.engine.set(found) {
            match outcome {
                Some(seal) => tracing::error!(cause = seal.word(), "the engine is sealed: values cannot be had"),
                None => tracing::info!("the engine is open"),
            }
        }
        Ok(())
    }

    async fn ring(&self) -> Result<std::result::Result<Ring, Seal>> {
        let master = match self.engine.master() {
            Ok(master) => master,
            Err(seal) => return Ok(Err(seal)),
        };
        if engine::identity(&self.db).await?.is_none() {
            engine::found(&self.db, &master.identity(&id::uuid4()), self.clock.now_us()).await?;
        }
        let Some((identity, writes)) = engine::identity(&self.db).await? else { return Ok(Err(Seal::EngineDamaged)) };
        Ok(master.ring(&identity).and_then(|ring| match self.engine.witness() {
            Some(witness) => witness.check(&ring, writes).map(|()| ring),
            None => Ok(ring),
        }))
    }

    /// Checks every chain: versions without gaps, each linked to the one before, none cut off at the end.
    pub async fn verify(&self) -> Result<Vec<Finding>> {
        let ring = self.engine.ring()?;
        let mut findings = Vec::new();
        for service in services::all(&self.db).await? {
            for (path, newest) in secrets::heads(&self.db, &service.segment).await? {
                let links = versions::links(&self.db, &path).await?;
                let what = broken(&ring, &path, newest, &links);
                findings.extend(what.map(|what| Finding { path, what }));
            }
        }
        for finding in &findings {
            tracing::error!(path = %finding.path, what = finding.what, "the chain of a secret is broken");
        }
        Ok(findings)
    }

    /// Tells the witness of a write; a failure only weakens the detection of rollbacks.
    pub(super) async fn witness(&self, ring: Arc<Ring>, writes: i64) {
        let engine = self.engine.clone();
        let saw = move || engine.witness().map_or(Ok(()), |witness| witness.saw(&ring, writes));
        match tokio::task::spawn_blocking(saw).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the witness file cannot be written"),
            Err(error) => tracing::warn!(%error, "the witness file was not written"),
        }
    }
}

fn broken(ring: &Ring, path: &Path, newest: i64, links: &[versions::Link]) -> Option<&'static str> {
    let mut previous: &[u8] = &[];
    for (link, number) in links.iter().zip(1..) {
        if link.version != number {
            return Some("a version is missing");
        }
        if link.chain != ring.link(path, link.version, &link.sealed, previous) {
            return Some("a version was changed");
        }
        previous = &link.chain;
    }
    let last = links.last().map_or(0, |link| link.version);
    (last != newest).then_some("the newest version is missing or not known")
}
