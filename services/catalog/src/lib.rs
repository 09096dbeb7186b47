//! The catalog service: entities, the locations they come from, and the relations between them.
//!
//! Rooms: `api` accepts and renders, `wire` translates, `app` holds the verbs, `model` the nouns and decisions (no time, no I/O),
//! `store` all SQL, `world` the repositories, files and sibling services.

mod api;
mod app;
pub mod config;
pub mod error;
pub mod model;
pub mod store;
pub mod wire;
mod world;

use std::time::Duration;

use futures::FutureExt as _;
use slipway_kit::{
    db::Db,
    error::Result,
    inbox, journal,
    page::Sealer,
    serve::{Context, Service, Shutdown},
    worker::Worker,
};
use slipway_proto::{
    access::v1::directory_service_server::DirectoryServiceServer,
    catalog::v1::{entity_service_server::EntityServiceServer, location_service_server::LocationServiceServer},
};

pub use config::Config;

use crate::{api::Api, app::App};

/// Locations read again at the same time in the background.
const REREADS_MAX: usize = 2;

/// Opens the store, brings it up to date, and puts the service together.
///
/// # Errors
/// INVALID_CONFIG's violations; DATABASE_UNAVAILABLE; TOOL_MISSING without git when a connection is configured.
pub async fn build(config: Config, context: Context) -> Result<Service> {
    config.validate()?;
    let db = Db::open(&config.database).await?;
    db.migrate(&store::MIGRATIONS).await?;
    let app = App {
        sources: world::Sources::open(&config).await?,
        siblings: world::Siblings::new(context.peers.clone()),
        sealer: Sealer::load(&db).await?.with_clock(context.clock.clone()),
        clock: context.clock,
        reread: Duration::from_secs(config.reread_interval_seconds),
        shutdown: Shutdown::new(),
        db: db.clone(),
    };
    app.ensure_organization().await?;
    let api = Api::new(app.clone());
    let (peers, streams) = (context.peers, app.shutdown.clone());
    Ok(Service::new("catalog", db.clone())
        .add(EntityServiceServer::new(api.clone()))
        .add(LocationServiceServer::new(api.clone()))
        .add(DirectoryServiceServer::new(api))
        .task("streams", move |shutdown| async move {
            shutdown.wait().await;
            streams.begin();
        })
        .task("worker", {
            let db = db.clone();
            move |shutdown| worker(&db, app).run(shutdown)
        })
        .task("deployments", move |shutdown| {
            journal::consume(peers, db, "metrics", "catalog", shutdown, |tx, event| {
                async move {
                    match wire::event::deployment(event)? {
                        Some(deployment) => store::put_deployment(tx, &deployment).await,
                        None => Ok(()),
                    }
                }
                .boxed()
            })
        }))
}

fn worker(db: &Db, app: App) -> Worker {
    let pushed = app.clone();
    let deliveries = inbox::handler(db.clone(), move |delivery| {
        let app = pushed.clone();
        async move { app.pushed(delivery).await }.boxed()
    });
    Worker::new(db).handle(app::LOCATION_WORK, REREADS_MAX, app).handle(inbox::KIND, 1, deliveries)
}
