//! The platform in one process: every service on its own database, joined by the hub, behind the gateway.
//!
//! Owns the wiring of the embedded default. Refuses to know anything of a service beyond its configuration: only that and the
//! world differ from five separate processes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use slipway_gateway::app::rates::Rates;
use slipway_kit::args;
use slipway_kit::caller::{Signer, Verifier};
use slipway_kit::clock::Clock;
use slipway_kit::db::{Db, DbConfig};
use slipway_kit::scm::ScmConfig;
use slipway_kit::serve::{Context, Hub, Service, Shutdown};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::layout::{Layout, Lock, SCM};
use crate::settings::Settings;

/// How often open pull requests of the local repositories are looked at, in seconds: looking is cheap here.
const POLL_INTERVAL_SECONDS: u64 = 5;

/// What the embedded platform is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of all data.
    pub data: PathBuf,
    /// Address to listen at; of loopback, port 0 for any.
    pub listen: SocketAddr,
    /// Postgres to keep the data in, instead of SQLite files.
    pub database_url: Option<String>,
    /// Helm's program; found on PATH if absent.
    pub helm: Option<PathBuf>,
    /// Domain of the previews.
    pub preview_domain: String,
    /// What the file given with `--config` says.
    pub settings: Settings,
    /// How often a principal may call.
    pub limits: Rates,
}

impl Options {
    /// The defaults on a data directory, with any free port.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            database_url: None,
            helm: None,
            preview_domain: "preview.localhost".to_owned(),
            settings: Settings::default(),
            limits: Rates::default(),
        }
    }
}

/// A running platform.
pub struct Platform {
    /// Where the gateway listens.
    pub address: SocketAddr,
    /// The first administrator token, until it was used.
    pub first_token: Option<String>,
    /// Where everything lies.
    pub layout: Layout,
    /// How the services reach each other; a benchmark calls a service directly through it.
    pub hub: Hub,
    /// What signs assertions; for the same benchmark.
    pub signer: Arc<Signer>,
    shutdown: Shutdown,
    services: Vec<JoinHandle<()>>,
    edge: JoinHandle<slipway_kit::error::Result<()>>,
    _lock: Lock,
}

impl Platform {
    /// Builds and starts everything; it answers calls when this returns.
    pub async fn start(options: Options) -> Result<Self> {
        if !options.listen.ip().is_loopback() {
            bail!("{} is not a loopback address: the embedded platform serves this machine alone", options.listen);
        }
        let layout = Layout::open(&options.data)?;
        let lock = layout.lock()?;
        let listener =
            TcpListener::bind(options.listen).await.with_context(|| format!("cannot listen at {}", options.listen))?;
        let address = listener.local_addr()?;
        let parts = Parts {
            databases: Databases::open(&options, &layout).await?,
            options,
            layout,
            hub: Hub::new(),
            verifier: Verifier::new(),
        };
        let shutdown = Shutdown::new();
        let gateway_config = parts.gateway(address).await?;
        let (context, signer) = (parts.context("gateway"), Signer::generate());
        let first_token = slipway_gateway::first_token(&gateway_config).await?;
        let gateway = slipway_gateway::build(gateway_config, context, signer, shutdown.child()).await?;
        let mut services = Vec::new();
        for service in parts.services(address).await? {
            services.push(parts.hub.serve(service, parts.verifier.clone(), shutdown.clone()));
        }
        let slipway_gateway::Gateway { service, edge, signer, .. } = gateway;
        services.push(parts.hub.serve(service, parts.verifier.clone(), shutdown.clone()));
        let edge = tokio::spawn(slipway_gateway::serve(edge, listener, None, shutdown.child()));
        parts.layout.write_address(address)?;
        let Parts { layout, hub, .. } = parts;
        Ok(Self { address, first_token, layout, hub, signer, shutdown, services, edge, _lock: lock })
    }

    /// Drains and ends everything; calls that run may finish.
    pub async fn stop(self) -> Result<()> {
        self.shutdown.begin();
        self.edge.await?.context("the gateway's listener")?;
        let mut ends = JoinSet::new();
        self.services.into_iter().for_each(|service| drop(ends.spawn(service)));
        while let Some(ended) = ends.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// What every service is built from.
struct Parts {
    options: Options,
    layout: Layout,
    databases: Databases,
    hub: Hub,
    verifier: Verifier,
}

impl Parts {
    fn context(&self, service: &'static str) -> Context {
        Context { clock: Clock::system(), peers: self.hub.peers(service), verifier: self.verifier.clone() }
    }

    fn scm(&self) -> BTreeMap<String, ScmConfig> {
        let config = ScmConfig { poll_interval_seconds: POLL_INTERVAL_SECONDS, ..ScmConfig::local(self.layout.scm()) };
        let mut all = BTreeMap::from([(SCM.to_owned(), config)]);
        for (id, configured) in &self.options.settings.scm {
            let mut configured = configured.clone();
            if configured.root.as_os_str().is_empty() {
                configured.root = self.layout.mirrors(id);
            }
            all.insert(id.clone(), configured);
        }
        all
    }

    async fn gateway(&self, address: SocketAddr) -> Result<slipway_gateway::config::Config> {
        let webhook = slipway_gateway::config::Webhook { secret_files: vec![self.layout.webhook_secret_file()?] };
        let mut webhooks = self.options.settings.webhooks.clone();
        webhooks.insert(SCM.to_owned(), webhook);
        let config = slipway_gateway::config::Config {
            database: self.databases.of("gateway").await?,
            listen: address,
            tls: None,
            token_key_file: self.layout.key("tokens"),
            issuers: self.options.settings.issuers.clone(),
            issuer_hosts: self.options.settings.issuer_hosts.clone(),
            webhooks,
            limits: self.options.limits.clone(),
            proxy: Some(slipway_gateway::config::Proxy {
                platform_url: Some(format!("http://localhost:{}", address.port())),
                ..slipway_gateway::config::Proxy::new(self.options.preview_domain.clone())
            }),
        };
        Ok(config)
    }

    async fn services(&self, address: SocketAddr) -> Result<Vec<Service>> {
        let catalog = slipway_catalog::Config {
            database: self.databases.of("catalog").await?,
            scm: self.scm(),
            file_root: Some(self.layout.files()),
            ..Default::default()
        };
        let key_file = self.layout.key("secrets");
        if !key_file.exists() {
            slipway_secrets::engine::create_key_file(&key_file)?;
        }
        let secrets = slipway_secrets::Config {
            database: self.databases.of("secrets").await?,
            key_file,
            witness_file: Some(self.layout.key("secrets-witness")),
            credentials_root: Some(self.layout.credentials()),
        };
        let mut environment = slipway_environment::config::Config::new(
            self.databases.of("environment").await?,
            self.scm(),
            self.layout.gitops(),
        );
        environment.credentials_dir = Some(self.layout.credentials());
        environment.mirrors_root = Some(self.layout.mirrors("stored"));
        if let Some(hosts) = &self.options.settings.scm_hosts {
            environment.scm_hosts.clone_from(hosts);
        }
        environment.helm = self.options.helm.clone();
        environment.credentials_root = Some(self.layout.credentials());
        environment.preview_domain = self.options.preview_domain.clone();
        environment.preview_port = Some(address.port());
        let scaffolding = slipway_scaffolding::Config::new(self.databases.of("scaffolding").await?, self.scm());
        let metrics = slipway_metrics::Config {
            scm: self.scm(),
            ..slipway_metrics::Config::new(self.databases.of("metrics").await?)
        };
        Ok(vec![
            slipway_catalog::build(catalog, self.context("catalog")).await?,
            slipway_secrets::build(secrets, self.context("secrets")).await?,
            slipway_environment::build(environment, self.context("environment")).await?,
            slipway_scaffolding::build(scaffolding, self.context("scaffolding")).await?,
            slipway_metrics::build(metrics, self.context("metrics")).await?,
        ])
    }
}

/// One database per service: files, or databases on one server.
enum Databases {
    Files(Layout),
    Server { admin: Db, base: String, prefix: String },
}

impl Databases {
    async fn open(options: &Options, layout: &Layout) -> Result<Self> {
        let Some(url) = &options.database_url else { return Ok(Self::Files(layout.clone())) };
        let (base, name) =
            url.rsplit_once('/').context("the database URL names no database: postgres://host/slipway")?;
        let (name, query) = name.split_once('?').unwrap_or((name, ""));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
            bail!("{name:?} cannot prefix database names: use up to 40 lower case letters, digits and _");
        }
        if !query.is_empty() {
            bail!("the database URL takes no options");
        }
        let admin = Db::open(&DbConfig::postgres(format!("{base}/postgres"))).await?;
        Ok(Self::Server { admin, base: base.to_owned(), prefix: name.to_owned() })
    }

    async fn of(&self, service: &str) -> Result<DbConfig> {
        match self {
            Self::Files(layout) => Ok(DbConfig::Sqlite { path: layout.database(service) }),
            Self::Server { admin, base, prefix } => {
                let name = format!("{prefix}_{service}");
                let known = "SELECT 1 AS one FROM pg_database WHERE datname = $1";
                if admin.fetch_optional(known, args![name.clone()]).await?.is_none() {
                    admin.execute(&format!("CREATE DATABASE {name}"), args![]).await?;
                }
                Ok(DbConfig::postgres(format!("{base}/{name}")))
            }
        }
    }
}
