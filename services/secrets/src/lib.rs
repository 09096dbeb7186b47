//! The secrets service: metadata, versions and bindings of secrets, and the embedded engine that seals their values.
//!
//! Rooms: `api` accepts and renders, `wire` translates, `app` orders, `model` decides, `store` keeps, `world` is the catalog,
//! clusters, and the engine with its files, `reconcile` follows ownership and looks for the key. Refuses to let a value anywhere but into the
//! engine's ciphertext, the answer of RevealSecret and the Secret of a cluster (SEC-1).

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod api;
pub mod app;
pub mod config;
pub mod error;
pub mod model;
pub mod reconcile;
pub mod store;
pub mod wire;
pub mod world;

use std::sync::{Arc, Mutex};

use slipway_kit::{
    db::Db,
    error::Result,
    page::Sealer,
    serve::{Context, Service},
};
use slipway_proto::secrets::v1::{
    delivery_service_server::DeliveryServiceServer,
    engine_service_server::EngineServiceServer,
    secret_binding_service_server::SecretBindingServiceServer,
    secret_service_server::{SERVICE_NAME, SecretServiceServer},
};

pub use config::Config;
pub use world::engine;

use crate::world::cluster::{Clusters, Kubernetes};

/// Wires the service. It starts without a usable key file, too: sealed, with metadata working (SEC-73).
pub async fn build(config: Config, context: Context) -> Result<Service> {
    let clusters = Arc::new(Kubernetes::new(config.credentials_root.clone()));
    build_with(config, context, clusters).await
}

/// Wires the service over given clusters; tests bring one in memory.
pub async fn build_with(config: Config, context: Context, clusters: Arc<dyn Clusters>) -> Result<Service> {
    let db = Db::open(&config.database).await?;
    db.migrate(&store::MIGRATIONS).await?;
    let app = app::App::new(app::Parts {
        engine: engine::Engine::new(&config.key_file, config.witness_file.as_deref()),
        clusters,
        directory: world::directory::Directory::new(context.peers.clone()),
        sealer: Sealer::load(&db).await?.with_clock(context.clock.clone()),
        clock: context.clock,
        findings: Mutex::default(),
        db: db.clone(),
    });
    app.unseal().await?;
    let api = api::Api::new(app.clone());
    let (peers, own, opened) = (context.peers, db.clone(), app.engine.opened());
    Ok(Service::new("secrets", db)
        .add(SecretServiceServer::new(api.clone()))
        .add(SecretBindingServiceServer::new(api.clone()))
        .add(DeliveryServiceServer::new(api.clone()))
        .add(EngineServiceServer::new(api))
        .health(SERVICE_NAME, opened)
        .task("owners", move |shutdown| reconcile::follow_owners(peers, own, shutdown))
        .task("seal", move |shutdown| reconcile::keep_unsealed(app, shutdown)))
}
