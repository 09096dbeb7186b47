//! The platform as six processes: each with its configuration file, its certificate and its own database on the tests' Postgres.
//!
//! Owns files and ports of one such platform below its home. Refuses to know what the services do.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use slipway_standalone::certificates::{self, AUTHORITIES, Certificates, SERVICES};
use slipway_standalone::layout::{Layout, SCM};

use crate::program;

/// Files and ports of the six.
pub struct Apart {
    home: PathBuf,
    programs: PathBuf,
    ports: BTreeMap<&'static str, u16>,
    listen: u16,
}

impl Apart {
    /// Lays everything out below `home` and brings the databases, named after `database_url`, to their schema.
    pub fn lay_out(home: &Path, database_url: &str) -> Result<Self> {
        let programs = crate::platform::slipway()?.parent().context("the programs have no directory")?.to_path_buf();
        let ports = SERVICES.iter().map(|service| Ok((*service, free_port()?))).collect::<Result<_>>()?;
        let this = Self { home: home.to_path_buf(), programs, ports, listen: free_port()? };
        let layout = Layout::open(&home.join("data"))?;
        certificates::make(&Certificates {
            out: this.certificates(),
            trust_domain: "story.slipway.local".to_owned(),
            days: 1,
            new_authority: false,
        })?;
        slipway_secrets::engine::create_key_file(&layout.key("secrets"))?;
        let (server, prefix) = database_url.rsplit_once('/').context("the database URL names no database")?;
        for service in SERVICES {
            let database = format!("{prefix}_{service}");
            let text = this.config(service, &layout, &format!("{server}/{database}"))?;
            std::fs::write(this.config_file(service), text)?;
            program::run(
                this.program(service),
                &["migrate", "--config", this.config_file(service).to_str().context("path")?],
                home,
            )?;
        }
        layout.write_address(this.address())?;
        Ok(this)
    }

    /// Where the gateway listens to the outside.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.listen))
    }

    /// Directory of the certificates.
    pub fn certificates(&self) -> PathBuf {
        self.home.join("certificates")
    }

    /// The first administrator's token.
    pub fn first_token(&self) -> Result<String> {
        let file = self.config_file("gateway");
        let said = program::run(
            self.program("gateway"),
            &["first-token", "--config", file.to_str().context("path")?],
            &self.home,
        )?;
        Ok(said.trim().to_owned())
    }

    /// Starts one of the six; its standard output is piped, its log goes to `log`.
    pub fn start(&self, service: &str) -> Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.home.join("log"))?;
        let mut command = Command::new(self.program(service));
        command.arg("serve").arg("--config").arg(self.config_file(service));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        command.spawn().with_context(|| format!("cannot start {service}"))
    }

    fn program(&self, service: &str) -> PathBuf {
        self.programs.join(format!("slipway-{service}"))
    }

    /// The configuration file of one.
    pub fn config_file(&self, service: &str) -> PathBuf {
        self.home.join(format!("{service}.toml"))
    }

    fn config(&self, service: &str, layout: &Layout, database_url: &str) -> Result<String> {
        let certificates = self.certificates();
        let at = |path: PathBuf| path.display().to_string();
        let scm = format!(
            "[service.scm.{SCM}]\nkind = \"local\"\nroot = {:?}\npoll_interval_seconds = 5\n",
            at(layout.scm())
        );
        let own = match service {
            "gateway" => format!(
                "listen = \"{}\"\ntoken_key_file = {:?}\n[service.webhooks.{SCM}]\nsecret_files = [{:?}]\n\
                 [service.proxy]\ndomain = \"preview.localhost\"\n",
                self.address(),
                at(layout.key("tokens")),
                at(layout.webhook_secret_file()?),
            ),
            "catalog" => format!("file_root = {:?}\n{scm}", at(layout.files())),
            "environment" => format!(
                "gitops_root = {:?}\ncredentials_root = {:?}\ncredentials_dir = {:?}\nmirrors_root = {:?}\n\
                 preview_port = {}\n{scm}",
                at(layout.gitops()),
                at(layout.credentials()),
                at(layout.credentials()),
                at(layout.mirrors("stored")),
                self.listen,
            ),
            "secrets" => format!(
                "key_file = {:?}\nwitness_file = {:?}\ncredentials_root = {:?}\n",
                at(layout.key("secrets")),
                at(layout.key("secrets-witness")),
                at(layout.credentials()),
            ),
            _ => scm.clone(),
        };
        let (port, peers) = (self.ports[service], self.peers());
        Ok(format!(
            "[mesh]\nlisten = \"127.0.0.1:{port}\"\ntrust_domain = \"story.slipway.local\"\ncertificate_file = {:?}\n\
             key_file = {:?}\nauthorities_file = {:?}\n[mesh.peers]\n{peers}\n[service]\n\
             database = {{ engine = \"postgres\", url = {database_url:?}, expect_migrated = true }}\n{own}",
            at(certificates.join(format!("{service}.pem"))),
            at(certificates.join(format!("{service}-key.pem"))),
            at(certificates.join(AUTHORITIES)),
        ))
    }

    fn peers(&self) -> String {
        let line = |(service, port): (&&str, &u16)| format!("{service} = \"127.0.0.1:{port}\"\n");
        self.ports.iter().map(line).collect()
    }
}

/// A port that nothing listens at now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
