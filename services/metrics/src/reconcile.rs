//! What happens without a caller: deliveries, events of the other services, pushes to read, services to look up.
//!
//! Owns the loops. Refuses to answer anyone.
use async_trait::async_trait;
use futures::future::BoxFuture;
use slipway_kit::{
    db::Tx,
    error::Result,
    inbox::{self, Delivery},
    journal::{self, Stored},
    serve::{Peers, Shutdown},
    worker::{self, Claim, Handler, Next, Worker},
};

use crate::{
    app::{
        App,
        record::{self, Incoming},
    },
    model::fact::{Deployment, Fact},
    store::{derived, ledger, services},
    wire::{event, github},
};

/// Kind of work: look a service up in the catalog.
pub const SERVICE: &str = "service";
/// Kind of work: read the commits of a push.
pub const COMMITS: &str = "commits";

/// Works on deliveries, services and pushes until shutdown.
pub async fn work(app: App, shutdown: Shutdown) {
    let deliveries = app.clone();
    let inbox = inbox::handler(app.db.clone(), move |delivery| -> BoxFuture<'static, Result<()>> {
        let app = deliveries.clone();
        Box::pin(async move { app.deliver(delivery).await })
    });
    Worker::new(&app.db)
        .handle(inbox::KIND, 1, inbox)
        .handle(SERVICE, 2, Services(app.clone()))
        .handle(COMMITS, 2, Pushes(app.clone()))
        .run(shutdown)
        .await;
}

/// Applies the events of one other service until shutdown.
pub async fn follow(app: App, peers: Peers, producer: &'static str, shutdown: Shutdown) {
    let db = app.db.clone();
    journal::consume(peers, db, producer, "metrics", shutdown, move |tx, event| {
        let app = app.clone();
        Box::pin(async move { app.apply(tx, event).await })
    })
    .await;
}

impl App {
    /// Takes in the facts of a verified delivery.
    pub async fn deliver(&self, delivery: Delivery) -> Result<()> {
        let Ok(body) = serde_json::from_slice(&delivery.body) else {
            tracing::warn!(source = delivery.source, event = delivery.event, "a delivery is no JSON");
            return Ok(());
        };
        let push = github::push(&delivery.event, &body).filter(|_| self.commits.has(&delivery.source));
        let mut tx = self.db.begin().await?;
        if let Some(push) = push {
            let id = format!("{}/{}@{}..{}", delivery.source, push.name, push.before, push.after);
            worker::enqueue(&mut tx, COMMITS, &id, 0).await?;
            return tx.commit().await;
        }
        let told = github::facts(&delivery.source, &delivery.event, &body);
        let principal = format!("webhook:{}", delivery.source);
        let incoming = told
            .into_iter()
            .map(|one| Incoming {
                occurred_us: one.occurred_us,
                sequence: one.sequence,
                hint: one.hint,
                ..Incoming::trusted(one.fact, &delivery.event, &principal)
            })
            .collect();
        record::record_all(&mut tx, self.clock.now_us(), incoming).await?;
        tx.commit().await
    }

    /// Applies one event of another service.
    pub async fn apply(&self, tx: &mut Tx, stored: &Stored) -> Result<()> {
        if let Some(service) = event::component_changed(stored)? {
            return worker::enqueue(tx, SERVICE, &service, 0).await;
        }
        let fact = match (event::created(stored)?, event::rollout(stored)?) {
            (Some(fact), _) => fact,
            (None, Some(rollout)) => Fact::Deployment(located(tx, rollout).await?),
            (None, None) => return Ok(()),
        };
        let incoming = Incoming::trusted(fact, &stored.subject, "system");
        record::record_all(tx, self.clock.now_us(), vec![incoming]).await.map(drop)
    }
}

/// Fills in the repository of a rollout's commit.
async fn located(tx: &mut Tx, mut rollout: Deployment) -> Result<Deployment> {
    let service = rollout.service.clone().unwrap_or_default();
    let known = services::get(tx, &service).await?;
    for part in &mut rollout.parts {
        part.repository =
            known.as_ref().map(|s| s.repository.clone()).filter(|r| !r.is_empty()).unwrap_or_else(|| service.clone());
    }
    Ok(rollout)
}

/// Looks services up.
struct Services(App);

#[async_trait]
impl Handler for Services {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        let app = &self.0;
        let found = app.directory.resolve(&claim.id).await?;
        let mut tx = app.db.begin().await?;
        // The ledger first, as everywhere: two transactions never wait for each other.
        let seq = ledger::take_numbers(&mut tx, 1).await?;
        claim.guard(&mut tx).await?;
        let before = services::get(&mut tx, &claim.id).await?;
        let Some(now) = found.or_else(|| before.map(|s| services::Service { known: false, ..s })) else {
            return Ok(Next::Done);
        };
        if services::put(&mut tx, &now).await? {
            services::touch(&mut tx, &now.service, seq).await?;
        }
        if now.known && !now.repository.is_empty() {
            derived::adopt(&mut tx, &now.repository, &now.owner).await?;
            let released = record::release(&mut tx, &now.repository, app.clock.now_us()).await?;
            tracing::debug!(service = now.service, released, "the catalog told of a service");
        }
        tx.commit().await?;
        Ok(Next::Done)
    }
}

/// Reads the commits of pushes.
struct Pushes(App);

#[async_trait]
impl Handler for Pushes {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        let app = &self.0;
        let parsed = claim.id.split_once('/').and_then(|(connection, rest)| {
            let (name, range) = rest.rsplit_once('@')?;
            let (before, after) = range.split_once("..")?;
            Some((connection, name, before, after))
        });
        let Some((connection, name, before, after)) = parsed else { return Ok(Next::Done) };
        let changes = app.commits.read(connection, name, before, after).await?;
        let principal = format!("webhook:{connection}");
        let incoming: Vec<Incoming> =
            changes.into_iter().map(|c| Incoming::trusted(Fact::Change(c), "push", &principal)).collect();
        let changes = incoming.len();
        let mut tx = app.db.begin().await?;
        let first = ledger::take_numbers(&mut tx, changes).await?;
        claim.guard(&mut tx).await?;
        record::record(&mut tx, first, app.clock.now_us(), incoming).await?;
        tx.commit().await?;
        Ok(Next::Done)
    }

    fn parks(&self) -> bool {
        true
    }
}
