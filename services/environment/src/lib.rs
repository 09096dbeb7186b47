//! The environment service: environments of every tier, previews, rendering, guard rails, output to git, teardown.
//!
//! Rooms: [`config`] what it is told · [`model`] nouns and decisions, pure · [`store`] all SQL · [`world`] the outside · [`app`] the
//! verbs · [`reconcile`] and [`looks`] the loops · [`wire`] and [`api`] the contract · [`error`] its reasons. [`build`] wires them.
pub mod api;
pub mod app;
pub mod config;
pub mod error;
pub mod looks;
pub mod model;
pub mod reconcile;
pub mod store;
pub mod wire;
pub mod world;

use std::sync::Arc;

use futures::FutureExt as _;
use slipway_kit::{
    db::Db,
    error::Result,
    inbox, journal,
    page::Sealer,
    scm::Scm,
    serve::{Context, Service, Shutdown},
    subprocess::Tool,
    worker::Worker,
};
use slipway_proto::environment::v1::{
    budget_service_server::BudgetServiceServer, cluster_service_server::ClusterServiceServer,
    diagnosis_service_server::DiagnosisServiceServer, environment_service_server::EnvironmentServiceServer,
    hold_service_server::HoldServiceServer, manifest_policy_service_server::ManifestPolicyServiceServer,
    orphan_service_server::OrphanServiceServer, preview_service_server::PreviewServiceServer,
    route_service_server::RouteServiceServer, scm_connection_service_server::ScmConnectionServiceServer,
};

use crate::{
    api::Api,
    app::App,
    config::Config,
    store::Store,
    world::{
        Renderer, World,
        breaker::Guarded,
        clusters::Registered,
        connections::Connections,
        directory::CatalogDirectory,
        helm::{Helm, NoHelm},
        outputs::GitOutputs,
        prober::GatewayProber,
        secrets::SecretBindings,
        sources::ScmSources,
    },
};

/// Name of the service among its peers.
pub const NAME: &str = "environment";

/// Opens what the service stands on and wires it: the one place that knows every room.
///
/// # Errors
/// INVALID_FIELD for the configuration; TOOL_MISSING without git; DATABASE_UNAVAILABLE.
pub async fn build(config: Config, context: Context) -> Result<Service> {
    config.validate()?;
    let db = Db::open(&config.database).await?;
    db.migrate(store::migrations()).await?;
    let world = open(&config, &context).await?;
    let sealer = Sealer::load(&db).await?;
    let app = App::new(Store::new(db.clone()), world, config.platform(), context.clock.clone(), sealer);
    Ok(serve(app, &config, context))
}

async fn open(config: &Config, context: &Context) -> Result<World> {
    let mut configured = Vec::new();
    for (id, scm) in &config.scm {
        configured.push((scm.clone(), Scm::open_with(id, scm, context.clock.clone()).await?));
    }
    let scms = Connections::new(configured, config.scm_rules());
    let git = config.git.as_ref().map_or_else(|| Tool::find("git"), |path| Tool::at("git", path))?;
    Ok(World {
        renderer: renderer(config, scms.clone()).await?,
        sources: Arc::new(ScmSources::new(scms)),
        outputs: Arc::new(GitOutputs::open(git, &config.gitops_root).await?),
        bindings: Arc::new(SecretBindings(context.peers.clone())),
        directory: Arc::new(CatalogDirectory(context.peers.clone())),
        clusters: Arc::new(Guarded::new(
            Arc::new(Registered::new(config.credentials_root.clone())),
            context.clock.clone(),
        )),
        prober: Arc::new(GatewayProber(context.peers.clone())),
    })
}

/// Helm, or what says that it is missing: a platform without it serves everything else.
async fn renderer(config: &Config, scms: Connections) -> Result<Arc<dyn Renderer>> {
    let tool = match &config.helm {
        Some(path) => Tool::at("helm", path)?,
        None => match Tool::find("helm") {
            Ok(tool) => tool,
            Err(error) => {
                tracing::warn!(error = ?error, "no helm; environments wait at rendering");
                return Ok(Arc::new(NoHelm));
            }
        },
    };
    Ok(Arc::new(Helm::open(tool, scms).await?))
}

/// The servers and loops over ready verbs; tests begin here with a world of their own.
pub fn serve(app: App, config: &Config, context: Context) -> Service {
    let api = Api::new(app.clone());
    let (work, clusters, connections) = (worker(&app, config.workers), app.clone(), app.clone());
    let (first, drain, news) = (app.clone(), app.clone(), app.clone());
    let routes = app.clone();
    Service::new(NAME, app.db().clone())
        .add(EnvironmentServiceServer::new(api.clone()))
        .add(BudgetServiceServer::new(api.clone()))
        .add(ClusterServiceServer::new(api.clone()))
        .add(PreviewServiceServer::new(api.clone()))
        .add(HoldServiceServer::new(api.clone()))
        .add(OrphanServiceServer::new(api.clone()))
        .add(ScmConnectionServiceServer::new(api.clone()))
        .add(ManifestPolicyServiceServer::new(api.clone()))
        .add(RouteServiceServer::new(api.clone()))
        .add(DiagnosisServiceServer::new(api))
        .task("routes", move |shutdown| routes.keep_routes(shutdown))
        .task("clusters", move |shutdown| clusters.keep_clusters(shutdown))
        .task("work", move |shutdown| work.run(shutdown))
        .task("wake", move |shutdown| async move { first.keep_awake(shutdown).await })
        .task("connections", move |shutdown| looks::follow_scms(connections, shutdown))
        .task("drain", move |shutdown: Shutdown| async move {
            shutdown.wait().await;
            drain.drain();
        })
        .task("bindings", move |shutdown| async move {
            let db = news.db().clone();
            let peers = context.peers;
            journal::consume(peers, db, "secrets", "environment.bindings", shutdown, move |tx, event| {
                looks::apply_binding(news.clone(), tx, event)
            })
            .await;
        })
}

/// Least teardowns at one time, and those of them that are blocked: they have lanes of their own (ENV-47).
const LANE: usize = 4;
const BLOCKED_LANE: usize = 2;

/// The worker with every kind of work.
pub fn worker(app: &App, concurrency: usize) -> Worker {
    let hints = app.clone();
    let hint = move |delivery: inbox::Delivery| {
        let app = hints.clone();
        async move { app.hint(&delivery.source, &delivery.event, &delivery.body).await }.boxed()
    };
    Worker::new(app.db())
        .handle(app::WORK_ENVIRONMENT, concurrency, reconcile::Reconciler(app.clone()))
        .handle(app::WORK_TEARDOWN, concurrency.max(LANE), reconcile::Reconciler(app.clone()))
        .handle(app::WORK_BLOCKED, BLOCKED_LANE, reconcile::Reconciler(app.clone()))
        .handle(app::WORK_PULL_REQUEST, concurrency, looks::PullRequests(app.clone()))
        .handle(app::WORK_POLL, 1, looks::Polls(app.clone()))
        .handle(app::WORK_SWEEP, 4, looks::Sweeps(app.clone()))
        .handle(app::WORK_REPORT, 2, looks::Reports(app.clone()))
        .handle(app::WORK_PURGE, 1, looks::Purges(app.clone()))
        .handle(app::WORK_CHECK, 1, looks::ClusterChecks(app.clone()))
        .handle(inbox::KIND, concurrency, inbox::handler(app.db().clone(), hint))
}
