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
    model::fact::{Change, Deployment, Fact},
    store::{derived, ledger, services},
    wire::{event, github},
    world::commits::{COMMITS_MAX, Commits},
};

/// Kind of work: look a service up in the catalog.
pub const SERVICE: &str = "service";
/// Kind of work: read the commits of a push.
pub const COMMITS: &str = "commits";

/// Commits read at first for one push.
const COMMITS_FEW: usize = 300;

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
        for one in &told {
            want_commits(&mut tx, &self.commits, &one.fact).await?;
        }
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
        want_commits(tx, &self.commits, &fact).await?;
        let incoming = Incoming::trusted(fact, &stored.subject, "system");
        record::record_all(tx, self.clock.now_us(), vec![incoming]).await.map(drop)
    }
}

impl App {
    /// Commits behind `after`: a few first, and the whole history only if none of them was known.
    async fn read(&self, connection: &str, name: &str, before: &str, after: &str) -> Result<Vec<Change>> {
        let few = self.commits.read(connection, name, before, after, COMMITS_FEW).await?;
        if few.len() < COMMITS_FEW {
            return Ok(few);
        }
        for change in &few {
            if derived::has_change(&self.db, &change.repository, &change.sha).await? {
                return Ok(few);
            }
        }
        self.commits.read(connection, name, before, after, COMMITS_MAX).await
    }
}

/// Wants the commits behind a deployment read, where its provider can be asked and has not told of them yet.
pub async fn want_commits(tx: &mut Tx, commits: &Commits, fact: &Fact) -> Result<()> {
    let Fact::Deployment(deployment) = fact else { return Ok(()) };
    for part in &deployment.parts {
        let Some((connection, name)) = part.repository.split_once('/') else { continue };
        let full = matches!(part.sha.len(), 40 | 64) && part.sha.bytes().all(|b| b.is_ascii_hexdigit());
        if full && commits.has(connection) && !derived::has_change(&mut *tx, &part.repository, &part.sha).await? {
            worker::enqueue(tx, COMMITS, &format!("{connection}/{name}@..{}", part.sha), 0).await?;
        }
    }
    Ok(())
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
        let changes = match app.read(connection, name, before, after).await {
            Err(error) if error.kind().is_definite() => {
                tracing::warn!(repository = name, commit = after, %error, "the provider has no such commit");
                return Ok(Next::Done);
            }
            other => other?,
        };
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
