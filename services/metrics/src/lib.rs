//! The metrics service: facts of delivery, the DORA measures computed from them by published rules, and pipeline history.
//!
//! Rooms: `api` accepts and renders, `wire` translates, `app` orders, `model` decides, `store` keeps, `world` is the catalog and the
//! source providers, `reconcile` follows deliveries and events. Refuses measures of people (MET-2).

pub mod api;
pub mod app;
pub mod config;
pub mod error;
pub mod model;
pub mod reconcile;
pub mod store;
pub mod wire;
pub mod world;

use slipway_kit::{
    db::Db,
    error::Result,
    page::Sealer,
    serve::{Context, Service},
};
use slipway_proto::metrics::v1::{
    dora_service_server::DoraServiceServer, fact_service_server::FactServiceServer,
    pipeline_service_server::PipelineServiceServer,
};

pub use config::Config;

/// Services whose events become facts.
const PRODUCERS: [(&str, &str); 3] =
    [("catalog", "follow-catalog"), ("scaffolding", "follow-scaffolding"), ("environment", "follow-environment")];

/// Wires the service.
pub async fn build(config: Config, context: Context) -> Result<Service> {
    let db = Db::open(&config.database).await?;
    db.migrate(&store::MIGRATIONS).await?;
    let app = app::App::new(app::Parts {
        sealer: Sealer::load(&db).await?.with_clock(context.clock.clone()),
        clock: context.clock,
        directory: world::directory::Directory::new(context.peers.clone()),
        commits: world::commits::Commits::open(&config.scm).await?,
        default_connection: config.default_connection,
        time_zone: config.time_zone,
        db: db.clone(),
    });
    let api = api::Api::new(app.clone());
    let mut service = Service::new("metrics", db)
        .add(FactServiceServer::new(api.clone()))
        .add(PipelineServiceServer::new(api.clone()))
        .add(DoraServiceServer::new(api));
    for (producer, task) in PRODUCERS {
        let (app, peers) = (app.clone(), context.peers.clone());
        service = service.task(task, move |shutdown| reconcile::follow(app, peers, producer, shutdown));
    }
    Ok(service.task("work", move |shutdown| reconcile::work(app, shutdown)))
}
