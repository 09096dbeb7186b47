//! Opening the engine, checking its chains, and accepting a database that was set back.
//!
//! Owns the state SEALED from the inside (SEC-73, SEC-74). Refuses to open over a rollback nobody accepted.
use std::sync::{Arc, PoisonError};

use slipway_kit::{
    audit::Change,
    authz,
    error::{Error, Result},
    id, journal,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::App;
use crate::{
    error::NOT_ROLLED_BACK,
    model::name::Path,
    store::{engine, secrets, services, versions},
    wire::event,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Why it is sealed; `None` while it is open.
    pub seal: Option<Seal>,
    /// What the last check of the chains found.
    pub findings: Vec<Finding>,
}

impl App {
    /// State of the engine, for those who run the platform.
    pub fn get_engine(&self, call: &Call) -> Result<Status> {
        call.check(&authz::Facts::default())?;
        Ok(self.engine_status())
    }

    pub(crate) fn engine_status(&self) -> Status {
        let findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status { seal: self.engine.seal(), findings }
    }

    /// Opens the engine over a database that was set back.
    pub async fn accept_rollback(&self, call: &Call, reason: &str) -> Result<Status> {
        call.check(&authz::Facts::default())?;
        let Some(Seal::RolledBack { known, witnessed }) = self.engine.seal() else {
            return Err(Error::new(&NOT_ROLLED_BACK, "no rollback is waiting to be accepted"));
        };
        let (ring, writes) = match self.unwitnessed().await? {
            Ok(found) => found,
            Err(seal) => return Err(seal.error()),
        };
        // A repeat whose first try stopped before the effect goes on to it.
        if let Begun::Fresh(mut change) = Mutation::begin::<()>(&self.db, call).await? {
            let who = &call.caller.principal;
            let told = event::rollback_accepted(ring.engine_id(), who, reason.trim(), known, witnessed);
            journal::append(change.tx(), told).await?;
            let about = Change { resource: "secretsEngine", uid: ring.engine_id(), fields: &["witness"] };
            change.commit(&(), about).await?;
        }
        if let Some(witness) = self.engine.witness() {
            witness.reset(&ring, writes).map_err(Error::internal)?;
        }
        self.engine.set(Ok(ring));
        Ok(self.engine_status())
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
        Ok(self.unwitnessed().await?.and_then(|(ring, writes)| match self.engine.witness() {
            Some(witness) => witness.check(&ring, writes).map(|()| ring),
            None => Ok(ring),
        }))
    }

    /// The keys by key file and database alone, with the writes the database knows of.
    async fn unwitnessed(&self) -> Result<std::result::Result<(Ring, i64), Seal>> {
        let master = match self.engine.master() {
            Ok(master) => master,
            Err(seal) => return Ok(Err(seal)),
        };
        if engine::identity(&self.db).await?.is_none() {
            engine::found(&self.db, &master.identity(&id::uuid4()), self.clock.now_us()).await?;
        }
        let Some((identity, writes)) = engine::identity(&self.db).await? else { return Ok(Err(Seal::EngineDamaged)) };
        Ok(master.ring(&identity).map(|ring| (ring, writes)))
    }

    /// Checks every chain: versions without gaps, each linked to the one before, none cut off at the end.
    pub async fn verify(&self) -> Result<()> {
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
        *self.findings.lock().unwrap_or_else(PoisonError::into_inner) = findings;
        Ok(())
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
