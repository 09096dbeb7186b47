//! Services in processes of their own reaching each other: mutual TLS, and a peer known by its certificate (SAFE-23, SAFE-24).
//!
//! Owns the identity of a process, the doors it knocks at and the one it opens. Refuses plain connections, also on loopback, and a
//! peer whose certificate does not name it.

mod identity;
mod verify;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rustls::{ClientConfig, ServerConfig, client::Resumption, server::NoServerSessionStorage};
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Hub, Peers, Service, Shutdown,
    running::Running,
    transport::{self, Limits, Security},
};
use crate::{
    caller::Verifier,
    error::{Error, INVALID_CONFIG, Result, Violations},
};
use identity::Identity;

/// Time to reach a peer, in all: connection and handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Default trust domain.
const TRUST_DOMAIN: &str = "slipway.local";

/// How a process takes part.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshConfig {
    /// Address the other services reach this one at.
    pub listen: SocketAddr,
    /// Trust domain of the SPIFFE ids, `spiffe://<trust domain>/slipway/<service>`.
    #[serde(default = "trust_domain")]
    pub trust_domain: String,
    /// PEM file with this service's certificate and its chain; read again when it changes.
    pub certificate_file: PathBuf,
    /// PEM file with its private key.
    pub key_file: PathBuf,
    /// PEM file with the authorities whose certificates are accepted; two during a rotation.
    pub authorities_file: PathBuf,
    /// Where the other services are, `host:port` by name.
    pub peers: BTreeMap<String, String>,
}

fn trust_domain() -> String {
    TRUST_DOMAIN.to_owned()
}

impl MeshConfig {
    /// Tells what is wrong below `at`, all at once.
    pub fn validate(&self, at: &str, wrong: &mut Violations) {
        let domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
        let named = !self.trust_domain.is_empty() && self.trust_domain.chars().all(domain);
        wrong.check(named, format!("{at}.trust_domain"), "must be a trust domain such as slipway.example.org");
        for (name, address) in &self.peers {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            let whole = port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
            wrong.check(whole, format!("{at}.peers.{name}"), "must be host:port");
        }
    }
}

/// One process among the others; cheap to clone.
#[derive(Clone)]
pub struct Mesh(Arc<Inner>);

struct Inner {
    me: &'static str,
    identity: Arc<Identity>,
    peers: BTreeMap<String, String>,
    /// The way to what runs in this very process.
    hub: Hub,
}

impl Mesh {
    /// Takes part as `me`; the certificate must name it.
    ///
    /// # Errors
    /// INVALID_CONFIG when a file cannot be read, or certificate, key and authorities do not belong together.
    pub fn join(me: &'static str, config: &MeshConfig) -> Result<Self> {
        let identity = Arc::new(Identity::load(me, config)?);
        Ok(Self(Arc::new(Inner { me, identity, peers: config.peers.clone(), hub: Hub::new() })))
    }

    /// How this process reaches the others.
    pub fn peers(&self) -> Peers {
        Peers::over_mesh(self.clone(), self.0.me)
    }

    /// Serves on the listener until `shutdown`, then drains; calls of the process to itself take no socket.
    pub async fn serve(&self, service: Service, verifier: Verifier, listener: TcpListener, shutdown: Shutdown) {
        let running = Running::start(service, verifier, shutdown.clone()).await;
        let inside = self.0.hub.open(self.0.me, running.door(), shutdown.clone());
        let keeping = tokio::spawn(identity::keep(self.0.identity.clone(), shutdown.clone()));
        let security = Security::Mutual(self.clone());
        transport::serve(listener, security, Limits::between_services(), running.door(), shutdown).await;
        for part in [inside, keeping] {
            if let Err(error) = part.await {
                tracing::error!(panicked = error.is_panic(), "a part of the mesh ended early");
            }
        }
        running.finish().await;
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// A new connection to a service, proven to be that service.
    pub(super) async fn connect(&self, service: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
        let away = |text: String| std::io::Error::new(std::io::ErrorKind::ConnectionRefused, text);
        let address =
            self.0.peers.get(service).ok_or_else(|| away(format!("no address of {service} is configured")))?;
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| away(format!("{host} is no host name")))?;
        let connector = TlsConnector::from(Arc::new(self.client_config(service).map_err(std::io::Error::other)?));
        let reach = async {
            let socket = TcpStream::connect(address.as_str()).await?;
            socket.set_nodelay(true)?;
            connector.connect(name, socket).await
        };
        tokio::time::timeout(CONNECT_TIMEOUT, reach).await.map_err(|_| away(format!("{service} does not answer")))?
    }

    /// TLS settings for connections to one service.
    fn client_config(&self, service: &'static str) -> Result<ClientConfig> {
        let verifier = verify::Callee { identity: self.0.identity.clone(), service };
        let mut config = ClientConfig::builder_with_provider(identity::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::internal)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(self.0.identity.clone());
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would be trusted by what was true when it began.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// TLS settings of the listener: each side shows a certificate.
    pub(super) fn server_config(&self) -> Result<Arc<ServerConfig>> {
        let verifier = verify::Caller { identity: self.0.identity.clone() };
        let mut config = ServerConfig::builder_with_provider(identity::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::internal)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(self.0.identity.clone());
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The service that a checked certificate names, if any rule knows it.
    pub(super) fn named(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<&'static str> {
        let name = verify::service(chain?.first()?, self.0.identity.trust_domain()).ok()?;
        crate::authz::peer(&name)
    }
}

fn wrong(what: &str, why: impl std::fmt::Display) -> Error {
    Error::new(&INVALID_CONFIG, format!("{what}: {why}"))
}
