//! The scaffolding service: templates, their revisions, and durable runs that turn them into repositories.
//!
//! Rooms: `api` accepts and renders, `wire` translates, `app` orders, `model` decides and holds the template language, `store`
//! keeps, `world` is the source provider and the siblings, `reconcile` executes runs step by step.
//! Refuses to execute anything a template brings: no code, no hooks, no shell.

pub mod api;
pub mod app;
pub mod config;
pub mod error;
pub mod model;
pub mod reconcile;
pub mod store;
pub mod wire;
pub mod world;

use std::{sync::Arc, time::Duration};

use slipway_kit::{
    clock::Clock,
    db::Db,
    error::Result,
    page::Sealer,
    scm::Scm,
    serve::{Context, Service, Shutdown},
    worker::Worker,
};
use slipway_proto::scaffolding::v1::{
    action_service_server::ActionServiceServer, run_service_server::RunServiceServer,
    template_service_server::TemplateServiceServer,
};

pub use config::Config;

/// How often ended workspaces are looked for.
const SWEEP: Duration = Duration::from_secs(600);
/// How long the workspace of an ended run is kept, and that of a failed one (SCF-54).
const KEPT_US: (i64, i64) = (3600 * 1_000_000, 7 * 24 * 3600 * 1_000_000);

/// Wires the service and publishes the golden paths that ship with it.
pub async fn build(config: Config, context: Context) -> Result<Service> {
    let forge = world::ScmForge::new(Scm::open(&config.publish_connection, config.validate()?).await?);
    let siblings = world::PeerSiblings::new(context.peers, context.verifier);
    let db = Db::open(&config.database).await?;
    assemble(db, context.clock, Arc::new(forge), Arc::new(siblings), config.workers).await
}

/// Wires the service on an open database and any world.
pub async fn assemble(
    db: Db,
    clock: Clock,
    forge: Arc<dyn world::Forge>,
    siblings: Arc<dyn world::Siblings>,
    workers: usize,
) -> Result<Service> {
    db.migrate(&store::MIGRATIONS).await?;
    let (store, trees) = (store::Store::new(db.clone()), store::Trees::default());
    let sealer = Sealer::load(&db).await?.with_clock(clock.clone());
    let app = app::App {
        store: store.clone(),
        sealer,
        forge: Arc::clone(&forge),
        siblings: Arc::clone(&siblings),
        trees: trees.clone(),
        clock: clock.clone(),
    };
    app.publish_golden_paths().await?;
    let runs = reconcile::Reconciler { store: store.clone(), forge, siblings, trees, clock: clock.clone() };
    let worker = Worker::new(&db).handle(reconcile::KIND, workers, runs);
    let api = api::Api::new(app);
    Ok(Service::new("scaffolding", db)
        .add(TemplateServiceServer::new(api.clone()))
        .add(RunServiceServer::new(api.clone()))
        .add(ActionServiceServer::new(api))
        .task("runs", move |shutdown| worker.run(shutdown))
        .task("sweep", move |shutdown| sweep(store, clock, shutdown)))
}

/// Removes workspaces of runs that ended long ago.
async fn sweep(store: store::Store, clock: Clock, shutdown: Shutdown) {
    loop {
        tokio::select! { () = tokio::time::sleep(SWEEP) => {}, () = shutdown.wait() => return }
        if let Err(error) = store.sweep(clock.now_us(), KEPT_US.0, KEPT_US.1).await {
            tracing::warn!(?error, "ended workspaces could not be removed");
        }
    }
}
