//! A service as a program of its own: its verbs, its configuration file, its signals, its admin port.
//!
//! Owns what `serve`, `migrate`, `config` and `doctor` mean for every service alike. Refuses to open anything before the whole
//! configuration was found valid.

mod admin;
mod doctor;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Arg, ArgMatches, Command, value_parser};
use futures::future::BoxFuture;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    caller::Verifier,
    check::Check,
    clock::Clock,
    config,
    db::{Db, DbConfig, Migrations},
    error::{Error, INVALID_CONFIG, Result, Violations},
    serve::{Context, Mesh, MeshConfig, Service, Shutdown, follow_keys},
    telemetry,
};
pub use doctor::tool;

/// Prefix of environment variables that stand above the file; `__` goes down a level.
const ENV_PREFIX: &str = "SLIPWAY_CONFIG__";

/// What a service's own configuration tells its program.
pub trait Configured: DeserializeOwned + Send + 'static {
    /// Where its data is.
    fn database(&self) -> &DbConfig;

    /// Everything that is wrong with it and the types cannot say.
    ///
    /// # Errors
    /// INVALID_FIELD with every violation.
    fn validate(&self) -> Result<()>;

    /// What it needs of the machine and of others, looked at now; nothing unless the service says more.
    fn examine(&self) -> BoxFuture<'_, Vec<Check>> {
        Box::pin(async { Vec::new() })
    }
}

/// What runs: the service, and what its process does besides.
pub struct Built {
    service: Service,
    beside: Option<Beside>,
}

type Beside = Box<dyn FnOnce(Shutdown) -> BoxFuture<'static, Result<()>> + Send>;

impl From<Service> for Built {
    fn from(service: Service) -> Self {
        Self { service, beside: None }
    }
}

impl Built {
    /// A service with something else that its process serves until the signal, for example a listener to the outside.
    pub fn with<F>(service: Service, beside: F) -> Self
    where
        F: FnOnce(Shutdown) -> BoxFuture<'static, Result<()>> + Send + 'static,
    {
        Self { service, beside: Some(Box::new(beside)) }
    }
}

/// A verb of one program alone.
pub struct Extra<C> {
    /// The word.
    pub verb: &'static str,
    /// What it does, for the help.
    pub about: &'static str,
    /// Does it.
    pub run: fn(C) -> BoxFuture<'static, Result<()>>,
}

/// One service's program.
pub struct Program<C: 'static> {
    /// Name of the service.
    pub name: &'static str,
    /// What it is, for the help.
    pub about: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its schema.
    pub migrations: fn() -> &'static Migrations,
    /// Puts it together.
    pub build: fn(C, Context, Shutdown) -> BoxFuture<'static, Result<Built>>,
    /// Verbs that only it has.
    pub extra: &'static [Extra<C>],
}

/// The whole configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings<C> {
    /// The process itself.
    #[serde(default)]
    process: Process,
    /// Its place among the other services.
    mesh: MeshConfig,
    /// The service's own.
    service: C,
}

/// The process itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Process {
    /// Where health is told over plain HTTP; of loopback, or of an address only the cluster reaches.
    admin_listen: Option<SocketAddr>,
    /// Collector of traces, for example `http://collector:4317`; none if absent.
    otlp_endpoint: Option<String>,
    /// Threads that run tasks; one per processor if absent.
    worker_threads: Option<usize>,
}

impl Default for Process {
    fn default() -> Self {
        Self { admin_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))), otlp_endpoint: None, worker_threads: None }
    }
}

impl<C: Configured> Program<C> {
    /// Runs the verb on the command line; tells errors on stderr.
    pub fn main(&self) -> ExitCode {
        // Once for the whole process, before anything opens a connection.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let matches = self.command().get_matches();
        let Some((verb, given)) = matches.subcommand() else { return ExitCode::FAILURE };
        match self.run(verb, given) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("error: {}", error.message());
                for (field, what) in error.violations() {
                    eprintln!("  {field}: {what}");
                }
                ExitCode::FAILURE
            }
        }
    }

    fn command(&self) -> Command {
        let file =
            Arg::new("config").long("config").required(true).value_name("FILE").value_parser(value_parser!(PathBuf));
        let file = file.help("Configuration, as TOML; variables SLIPWAY_CONFIG__<SECTION>__<KEY> stand above it");
        let verb = |name: &'static str, about: &'static str| Command::new(name).about(about).arg(file.clone());
        let own = self.extra.iter().map(|extra| verb(extra.verb, extra.about));
        Command::new(self.name)
            .bin_name(format!("slipway-{}", self.name))
            .about(self.about)
            .version(self.version)
            .subcommand_required(true)
            .subcommand(verb("serve", "Serves until SIGTERM or SIGINT, then drains"))
            .subcommand(verb(
                "migrate",
                "Makes the database if it is not there, and brings it to the schema of this build",
            ))
            .subcommand(verb(
                "config",
                "Tells whether the configuration is valid, and everything that is wrong with it",
            ))
            .subcommand(verb(
                "doctor",
                "Looks at the configuration and at everything the service needs, and says what to do",
            ))
            .subcommands(own)
    }

    fn run(&self, verb: &str, given: &ArgMatches) -> Result<ExitCode> {
        let settings = self.settings(given.get_one::<PathBuf>("config").map(PathBuf::as_path))?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        if let Some(threads) = settings.process.worker_threads {
            runtime.worker_threads(threads);
        }
        let runtime = runtime.enable_all().build().map_err(Error::internal)?;
        runtime.block_on(async {
            match verb {
                "serve" => self.serve(settings).await.map(|()| ExitCode::SUCCESS),
                "migrate" => self.migrate(&settings.service).await.map(|()| ExitCode::SUCCESS),
                "doctor" => Ok(self.doctor(&settings).await),
                "config" => {
                    println!("the configuration of slipway-{} is valid", self.name);
                    Ok(ExitCode::SUCCESS)
                }
                own => match self.extra.iter().find(|extra| extra.verb == own) {
                    Some(extra) => (extra.run)(settings.service).await.map(|()| ExitCode::SUCCESS),
                    None => Err(Error::internal("a verb without a meaning")),
                },
            }
        })
    }

    /// The configuration, with everything wrong told at once.
    fn settings(&self, path: Option<&Path>) -> Result<Settings<C>> {
        let settings: Settings<C> = config::load(path, ENV_PREFIX)?;
        let mut wrong = Violations::new();
        settings.mesh.validate("mesh", &mut wrong);
        let threads = settings.process.worker_threads.is_none_or(|threads| (1..=1_024).contains(&threads));
        wrong.check(threads, "process.worker_threads", "must be 1 to 1,024");
        if let Err(error) = settings.service.validate() {
            for (field, what) in error.violations() {
                wrong.check(false, format!("service.{field}"), what.clone());
            }
        }
        wrong.finish().map_err(|error| {
            let violations = error.violations().to_vec();
            let all = Error::new(&INVALID_CONFIG, "the configuration is not valid");
            violations.into_iter().fold(all, |all, (field, what)| all.violation(field, what))
        })?;
        Ok(settings)
    }

    async fn migrate(&self, service: &C) -> Result<()> {
        let db = Db::create(&service.database().clone().migrated_here()).await?;
        let pending = db.pending((self.migrations)()).await?.len();
        db.migrate((self.migrations)()).await?;
        println!("{pending} migrations applied to the {} database of slipway-{}", db.engine(), self.name);
        Ok(())
    }

    async fn serve(&self, settings: Settings<C>) -> Result<()> {
        let Settings { process, mesh: mesh_config, service } = settings;
        let _telemetry = telemetry::init(self.name, process.otlp_endpoint.as_deref())?;
        // Listening for the signals first, so that one that comes early ends the process in order too.
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let (mut terminate, mut interrupt) = (signals.0.map_err(Error::internal)?, signals.1.map_err(Error::internal)?);
        let (shutdown, verifier) = (Shutdown::new(), Verifier::new());
        let mesh = Mesh::join(self.name, &mesh_config)?;
        let listener = listen(mesh_config.listen).await?;
        let address = listener.local_addr().map_err(Error::internal)?;
        let context = Context { clock: Clock::system(), peers: mesh.peers(), verifier: verifier.clone() };
        let built = (self.build)(service, context, shutdown.clone()).await?;
        let admin = match process.admin_listen {
            Some(at) => Some(listen(at).await?),
            None => None,
        };
        let admin_address = admin.as_ref().and_then(|listener| listener.local_addr().ok());
        let admin = admin.map(|listener| tokio::spawn(admin::serve(listener, built.service.ready(), shutdown.clone())));
        // The gateway keeps its keys in its own database; the others ask it.
        let keys = (self.name != "gateway")
            .then(|| tokio::spawn(follow_keys(mesh.peers(), verifier.clone(), shutdown.clone())));
        let beside = built.beside.map(|beside| tokio::spawn(beside(shutdown.clone())));
        let served = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { mesh.serve(built.service, verifier, listener, shutdown).await }
        });
        println!("mesh: {address}");
        if let Some(admin) = admin_address {
            println!("admin: {admin}");
        }
        println!("ready");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.begin();
        let ends = async {
            served.await.map_err(Error::internal)?;
            if let Some(beside) = beside {
                beside.await.map_err(Error::internal)??;
            }
            for part in [admin, keys].into_iter().flatten() {
                part.await.map_err(Error::internal)?;
            }
            Ok(())
        };
        tokio::select! {
            ended = ends => ended,
            _ = terminate.recv() => Err(Error::internal("ended before the last calls did")),
            _ = interrupt.recv() => Err(Error::internal("ended before the last calls did")),
        }
    }
}

async fn listen(at: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(at).await.map_err(|e| Error::new(&INVALID_CONFIG, format!("cannot listen at {at}: {e}")))
}
