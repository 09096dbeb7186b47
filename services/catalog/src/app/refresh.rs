//! Reading a registered location again, whoever asks: an RPC, a push, or the clock.
//!
//! Owns what unreadable content, unchanged content and mass removal mean (CAT-33, CAT-39, CAT-40).

use std::time::Duration;

use async_trait::async_trait;
use slipway_kit::{
    db::Tx,
    error::{CONFLICT, Error, Result},
    inbox::Delivery,
    worker::{self, Claim, Handler, Next},
};

use super::{
    App, LOCATION_WORK,
    content::{self, Content},
    ingest,
};
use crate::{
    error::MASS_REMOVAL,
    model::location::{Location, State, Tally},
    store,
};

/// Most references listed in an error.
const LISTED_MAX: usize = 20;

impl App {
    /// Reads what a location declares now.
    pub(super) async fn content(&self, location: &Location) -> Result<Content> {
        let snapshot = self.sources.snapshot(&location.target).await?;
        content::read(&snapshot, location.target.path()).await
    }

    /// Applies content to a location that the transaction has read, and saves the location.
    pub(super) async fn apply(
        &self,
        tx: &mut Tx,
        mut location: Location,
        content: &Content,
        allow_mass_removal: bool,
    ) -> Result<(Location, Tally)> {
        let now_us = self.clock.now_us();
        let (tally, gone) = ingest::apply(tx, &location, content, now_us).await?;
        if !allow_mass_removal && tally.is_mass_removal(location.entity_count) {
            return Err(mass_removal(&gone));
        }
        let version = location.version;
        let fresh = location.content_hash != content.hash || location.state != State::Ready;
        if fresh || location.commit != content.commit {
            location.version += 1;
            location.updated_us = now_us;
        }
        location.state = State::Ready;
        location.reason.clear();
        location.message.clear();
        location.commit.clone_from(&content.commit);
        location.content_hash.clone_from(&content.hash);
        location.refreshed_us = now_us;
        self.save(tx, &location, version).await?;
        let location = store::location(&mut *tx, &location.uid).await?.unwrap_or(location);
        Ok((location, tally))
    }

    pub(super) async fn save(&self, tx: &mut Tx, location: &Location, version: i64) -> Result<()> {
        if store::save_location(tx, location, version).await? {
            return Ok(());
        }
        Err(conflict())
    }

    /// Marks a location as stale for the reason of an error; true if that is news.
    pub(super) fn mark_stale(&self, location: &mut Location, error: &Error) -> bool {
        let news = location.state != State::Stale || location.reason != error.reason().name;
        location.state = State::Stale;
        error.reason().name.clone_into(&mut location.reason);
        error.message().clone_into(&mut location.message);
        if news {
            location.version += 1;
            location.updated_us = self.clock.now_us();
        }
        news
    }

    /// Reads a location again in the background; writes nothing if nothing changed.
    pub async fn reread(&self, claim: &Claim) -> Result<Next> {
        let Some(location) = store::location(&self.db, &claim.id).await? else { return Ok(Next::Done) };
        let outcome = match self.content(&location).await {
            Ok(content) if content.hash == location.content_hash && location.state == State::Ready => {
                return Ok(self.next(claim));
            }
            Ok(content) => self.apply_alone(claim, &location, &content).await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return Ok(self.next(claim)) };
        if error.kind().is_definite() && !error.is(&CONFLICT) {
            self.note_stale(claim, &error).await?;
        }
        Err(error)
    }

    /// Applies content unless another read came between, whose content may be newer: CONFLICT, and so another try.
    async fn apply_alone(&self, claim: &Claim, seen: &Location, content: &Content) -> Result<()> {
        let mut tx = self.db.begin().await?;
        claim.guard(&mut tx).await?;
        store::take_turn(&mut tx).await?;
        let Some(location) = store::location(&mut tx, &claim.id).await? else { return Ok(()) };
        if location.version != seen.version {
            return Err(conflict());
        }
        self.apply(&mut tx, location, content, false).await?;
        tx.commit().await
    }

    async fn note_stale(&self, claim: &Claim, error: &Error) -> Result<()> {
        let mut tx = self.db.begin().await?;
        claim.guard(&mut tx).await?;
        let Some(mut location) = store::location(&mut tx, &claim.id).await? else { return Ok(()) };
        let version = location.version;
        if !self.mark_stale(&mut location, error) {
            return Ok(());
        }
        self.save(&mut tx, &location, version).await?;
        tx.commit().await
    }

    /// The next safety read, ±10 % by the item's own name so that locations do not come all at once.
    fn next(&self, claim: &Claim) -> Next {
        let spread = claim.id.bytes().fold(0u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b))) % 201;
        Next::After(self.reread * u32::try_from(900 + spread).unwrap_or(1000) / 1000)
    }

    /// A push makes every location of the repository due; what it says is only a hint.
    pub async fn pushed(&self, delivery: Delivery) -> Result<()> {
        let body: serde_json::Value = serde_json::from_slice(&delivery.body).unwrap_or_default();
        let Some(repository) = body["repository"]["full_name"].as_str() else { return Ok(()) };
        let mut tx = self.db.begin().await?;
        for uid in store::with_repository(&mut tx, &delivery.source, repository).await? {
            worker::enqueue(&mut tx, LOCATION_WORK, &uid, 0).await?;
        }
        tx.commit().await
    }

    pub(super) async fn enqueue_reread(&self, tx: &mut Tx, uid: &str, delay: Duration) -> Result<()> {
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        worker::enqueue(tx, LOCATION_WORK, uid, delay_ms).await
    }
}

#[async_trait]
impl Handler for App {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        self.reread(claim).await
    }
}

fn conflict() -> Error {
    Error::new(&CONFLICT, "the location changed meanwhile")
}

fn mass_removal(gone: &[String]) -> Error {
    let listed = gone.iter().take(LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if gone.len() > LISTED_MAX { ", …" } else { "" };
    let message = format!("the read would remove {} entities: {listed}{more}", gone.len());
    let error = Error::new(&MASS_REMOVAL, message);
    gone.iter().take(LISTED_MAX).fold(error, |e, r| e.precondition("REMOVAL", r.clone(), "would be removed"))
}
