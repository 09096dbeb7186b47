//! The gateway: who calls, whether the rule of the RPC lets them in, and where the call goes.
//!
//! Owns the nouns of access (platform tokens, role bindings, trust entries) and the edge of the platform; refuses every other noun, and never
//! decodes a call it forwards. Rooms: `config` is what it is told; `edge` is the outside's door, in place of an api; `api` serves
//! access to the edge and the services; `app` holds the verbs, `model` the decisions, `store` the SQL, `world` what is outside.

pub mod api;
pub mod app;
pub mod config;
pub mod edge;
pub mod error;
pub mod model;
pub mod store;
pub mod wire;
pub mod world;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use slipway_kit::{
    caller::Signer,
    clock::Clock,
    db::Db,
    error::{Error, INVALID_CONFIG, Result},
    fetch::Fetcher,
    page::Sealer,
    program::Built,
    serve::{
        Context, Peers, Service, Shutdown,
        transport::{self, Security},
    },
};
use slipway_proto::access::v1::{
    delegation_service_server::DelegationServiceServer, probe_service_server::ProbeServiceServer,
    role_binding_service_server::RoleBindingServiceServer, token_service_server::TokenServiceServer,
    trust_entry_service_server::TrustEntryServiceServer,
};
use tokio::net::TcpListener;

use app::{
    access::Access, assertion_keys::AssertionKeys, authentication::Authentication, doubts::Doubts, jobs::Jobs,
    lists::Lists, rates::Limits, role_bindings::RoleBindings, sessions::Sessions, tokens::Tokens,
    trust_entries::TrustEntries,
};
pub use config::Config;
use edge::{Edge, Parts, Proxy, Webhooks};
use store::{MIGRATIONS, Store};
use world::{directory::Catalog, issuer::Issuer, key_file, key_source::Remote, routes::Routes};

/// The gateway, built and not yet listening.
pub struct Gateway {
    /// Its side towards the services: AccessService and DelegationService, under the name `gateway`.
    pub service: Service,
    /// Its side towards the outside.
    pub edge: Edge,
    /// What signs assertions; a benchmark makes its own with it.
    pub signer: Arc<Signer>,
    config: Config,
    shutdown: Shutdown,
}

/// Wires the gateway: database, facts, authentication, access services, edge.
///
/// # Errors
/// As the configuration, the database and the key files.
pub async fn build(config: Config, context: Context, signer: Signer, shutdown: Shutdown) -> Result<Gateway> {
    config.validate()?;
    let db = Db::open(&config.database).await?;
    db.migrate(&MIGRATIONS).await?;
    let (store, clock, signer) = (Store::new(db.clone()), context.clock.clone(), Arc::new(signer));
    let key = key_file::load_or_create(&config.token_key_file)?;
    let webhooks = Webhooks::new(secrets(&config)?);
    let issuers = issuers(&config, &clock)?;
    let assertion_keys =
        AssertionKeys::begin(store.clone(), clock.clone(), signer.clone(), context.verifier.clone()).await?;

    let limits = Arc::new(Limits::new(config.limits.clone()));
    let catalog = Catalog::new(context.peers.clone());
    let (access, owners) = (Access::new(store.clone(), Box::new(catalog.clone())), Arc::new(catalog));
    let jobs = Jobs::new(store.clone(), owners.clone());
    let authentication =
        Authentication::new(access.clone(), store.clone(), clock.clone(), key, issuers, jobs, limits.clone());
    let lists = Lists::new(Sealer::load(&db).await?);
    let sessions = Sessions::load(store.clone(), authentication.clone(), clock.clone()).await?;
    let tokens = Tokens::new(store.clone(), access.clone(), clock.clone(), key, lists.clone());
    let (doubts, of_tokens) = (Doubts::new(owners.clone()), Doubts::new(owners.clone()));
    let (workflows, of_trust) = (config.protected_workflows(), lists.clone());
    let trust = TrustEntries::new(store.clone(), access.clone(), owners, clock.clone(), of_trust, workflows);
    let bindings = RoleBindings::new(store, access.clone(), clock.clone(), lists);
    let delegations = api::DelegationApi {
        authentication: authentication.clone(),
        signer: signer.clone(),
        keys: assertion_keys.clone(),
        clock,
    };
    let (facts, keys) = (access.clone(), authentication.clone());
    let service = Service::new("gateway", db)
        .add(TokenServiceServer::new(api::TokenApi(tokens, of_tokens)))
        .add(RoleBindingServiceServer::new(api::RoleBindingApi(bindings, doubts)))
        .add(TrustEntryServiceServer::new(api::TrustEntryApi(trust)))
        .add(DelegationServiceServer::new(delegations))
        .task("access facts", move |shutdown| facts.keep(shutdown))
        .task("assertion keys", move |shutdown| assertion_keys.keep(shutdown))
        .task("issuer keys", move |shutdown| keys.keep_keys(shutdown));
    let (peers, recorder, down) = (context.peers, service.recorder(), shutdown.clone());
    let (service, proxy) = with_proxy(service, config.proxy.as_ref(), &peers);
    let parts = Parts {
        access,
        authentication,
        sessions,
        signer: signer.clone(),
        peers,
        limits,
        webhooks,
        proxy,
        recorder,
        shutdown: down,
    };
    let edge = Edge::new(parts)?;
    Ok(Gateway { service, edge, signer, config, shutdown })
}

/// The first administrator's token, until it was used once; to be printed and nowhere kept. Each call makes a new one and voids the
/// last.
///
/// # Errors
/// As the configuration, the database and the key files.
pub async fn first_token(config: &Config) -> Result<Option<String>> {
    let db = Db::open(&config.database).await?;
    db.migrate(&MIGRATIONS).await?;
    let key = key_file::load_or_create(&config.token_key_file)?;
    let first = app::start::begin(&Store::new(db), &Clock::system(), &key).await?;
    Ok(first.map(|token| token.expose().to_owned()))
}

/// Wires the gateway as a program of its own: its side towards the services, and the listener to the outside beside it.
///
/// # Errors
/// As [`build`]; INVALID_CONFIG when the address cannot be listened at.
pub async fn start(config: Config, context: Context, shutdown: Shutdown) -> Result<Built> {
    let (at, tls) = (config.listen, config.tls.clone());
    let taken = |e| Error::new(&INVALID_CONFIG, format!("service.listen: cannot listen at {at}: {e}"));
    let listener = TcpListener::bind(at).await.map_err(taken)?;
    let address = listener.local_addr().map_err(Error::internal)?;
    let Gateway { service, edge, .. } = build(config, context, Signer::generate(), shutdown).await?;
    println!("address: {address}");
    Ok(Built::with(service, move |shutdown| {
        Box::pin(async move { serve(edge, listener, tls.as_ref(), shutdown).await })
    }))
}

/// The proxy, if there is to be one, with the loops that keep its table.
fn with_proxy(service: Service, config: Option<&config::Proxy>, peers: &Peers) -> (Service, Option<Arc<Proxy>>) {
    let Some(config) = config else { return (service.add(ProbeServiceServer::new(api::ProbeApi(None))), None) };
    let routes = Routes::new(peers.clone());
    let (table, use_of_hosts) = (routes.clone(), routes.clone());
    let proxy = Arc::new(Proxy::new(config, routes));
    let service = service
        .add(ProbeServiceServer::new(api::ProbeApi(Some(proxy.clone()))))
        .task("routes", move |shutdown| table.keep(shutdown))
        .task("use of hosts", move |shutdown| use_of_hosts.keep_reporting(shutdown));
    (service, Some(proxy))
}

/// Serves the outside on a listener until shutdown; calls that run may end.
///
/// # Errors
/// INVALID_CONFIG when the listener is not of loopback and there is no TLS, INTERNAL when the certificate cannot be used.
pub async fn serve(edge: Edge, listener: TcpListener, tls: Option<&config::Tls>, shutdown: Shutdown) -> Result<()> {
    let address = listener.local_addr().map_err(Error::internal)?;
    if tls.is_none() && !address.ip().is_loopback() {
        return Err(Error::new(&INVALID_CONFIG, "a listener beyond loopback needs tls"));
    }
    let file = |tls: &config::Tls| transport::server_config(Path::new(&tls.certificate_file), Path::new(&tls.key_file));
    let security = tls.map(file).transpose()?.map_or(Security::Plain, Security::Tls);
    edge.set_serving().await;
    let (health, down) = (edge.clone(), shutdown.clone());
    let drain = tokio::spawn(async move {
        down.wait().await;
        health.set_not_serving().await;
    });
    transport::serve(listener, security, transport::Limits::default(), edge, shutdown).await;
    drain.abort();
    Ok(())
}

impl Gateway {
    /// What the gateway was told.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The signal that ends it.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }
}

fn secrets(config: &Config) -> Result<BTreeMap<String, model::webhook::Secrets>> {
    let read = |(source, webhook): (&String, &config::Webhook)| {
        let secrets = webhook.secret_files.iter().map(|file| key_file::secret(file)).collect::<Result<Vec<_>>>()?;
        let usable = model::webhook::Secrets::new(secrets);
        let usable = usable.map_err(|why| {
            let text = format!("webhooks.{source}.secret_files: {why}");
            Error::new(&INVALID_CONFIG, text)
        })?;
        Ok((source.clone(), usable))
    };
    config.webhooks.iter().map(read).collect()
}

fn issuers(config: &Config, clock: &Clock) -> Result<Vec<Issuer>> {
    // Public hosts that the configuration names are allowed by that; others need an entry with their network.
    let named = config.issuers.values().flat_map(|i| std::iter::once(&i.issuer).chain(&i.jwks_url));
    let https = |url: url::Url| (url.scheme() == "https").then(|| url.origin().ascii_serialization());
    let hosts = named.filter_map(|address| url::Url::parse(address).ok().and_then(https));
    let fetcher = Fetcher::new(&config.issuer_hosts.iter().cloned().chain(hosts).collect::<Vec<_>>())?;
    let make = |(id, issuer): (&String, &config::Issuer)| {
        let source = Remote::new(fetcher.clone(), issuer.issuer.clone(), issuer.jwks_url.clone());
        Issuer::new(id.clone(), issuer.rules(), issuer.speaks(), Box::new(source), clock.clone())
    };
    Ok(config.issuers.iter().map(make).collect())
}
