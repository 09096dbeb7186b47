//! Whether the addresses of environments lead to something that answers for them: names and certificates.
//!
//! Owns one look-up and one handshake. Refuses to send anything over a connection that it looks at.
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use slipway_kit::id;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::model::cluster::{Check, CheckVerdict};

/// Longest look-up of a name, and longest handshake.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a certificate must still be good.
const GOOD_FOR: Duration = Duration::from_secs(14 * 86_400);

/// Where a host that nobody has lies; that it resolves at all is the wildcard's doing.
pub(super) async fn names(domain: &str, port: u16) -> (Check, Option<(String, SocketAddr)>) {
    let host = format!("slipway-check-{}.{domain}", id::h8(&id::uuid4()).to_lowercase());
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((host.as_str(), port))).await;
    match found.map(|found| found.map(|mut all| all.next())) {
        Ok(Ok(Some(address))) => {
            (Check::passed("WILDCARD_DNS", format!("*.{domain} resolves from here")), Some((host, address)))
        }
        _ => {
            let text = format!("{host} does not resolve from here");
            let remedy = format!(
                "Point one wildcard record, *.{domain}, at the gateway; browsers resolve *.localhost by themselves."
            );
            (Check::other("WILDCARD_DNS", CheckVerdict::Warning, text, remedy), None)
        }
    }
}

/// Whether the certificate at the addresses covers every host, is trusted, and stays good for two weeks.
pub(super) async fn certificate(domain: &str, scheme: &str, at: Option<(String, SocketAddr)>) -> Check {
    if scheme != "https" {
        if domain == "localhost" || domain.ends_with(".localhost") {
            return Check::passed("TLS", "addresses are http and stay on the machine of whoever looks");
        }
        let remedy = "Let a gateway with a certificate for the wildcard domain stand in front and set `preview_scheme` to https.";
        return Check::other(
            "TLS",
            CheckVerdict::Warning,
            "addresses are http: everybody on the way reads them",
            remedy,
        );
    }
    let Some((host, address)) = at else {
        let remedy = "Make the wildcard name resolve first.";
        return Check::other("TLS", CheckVerdict::Unknown, "there is no address to look at", remedy);
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    handshake(&host, address, roots).await
}

/// Looks at what a server shows for a host.
pub async fn handshake(host: &str, address: SocketAddr, roots: RootCertStore) -> Check {
    let shown = tokio::time::timeout(TIMEOUT, show(host, address)).await;
    let (chain, name) = match shown {
        Ok(Ok(shown)) => shown,
        Ok(Err(why)) => return failed(&format!("no TLS at {address} for {host}: {why}"), UNANSWERED),
        Err(_) => return failed(&format!("{address} does not answer in time"), UNANSWERED),
    };
    let now = UnixTime::now();
    let later = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + GOOD_FOR);
    match (judge(&chain, &name, &roots, now), judge(&chain, &name, &roots, later)) {
        (Ok(()), Ok(())) => {
            Check::passed("TLS", "the certificate covers the wildcard, is trusted here, and good for two weeks")
        }
        (Ok(()), Err(_)) => {
            failed("the certificate ends within 14 days", "Renew it, or look why its renewal does not run.")
        }
        (Err(why), _) => {
            let (text, remedy) = said(&why);
            failed(&format!("the certificate that {host} gets {text}"), remedy)
        }
    }
}

const UNANSWERED: &str = "Let the gateway listen there with a certificate for the wildcard domain.";

fn failed(text: &str, remedy: &str) -> Check {
    Check::other("TLS", CheckVerdict::Failed, text, remedy)
}

fn said(why: &TlsError) -> (&'static str, &'static str) {
    let TlsError::InvalidCertificate(why) = why else { return ("cannot be read", "Install another one.") };
    match why {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("is for other names", "Get one for the wildcard, `*.` and the preview domain.")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => ("is over", "Renew it."),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("is not good yet", "Check the clocks of the gateway and of this machine.")
        }
        // An authority of the same name with another key is another one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "has no chain to an authority that this machine trusts",
            "Let the gateway send the whole chain; for an authority of your own, add it to the machines that look.",
        ),
        _ => ("does not hold", "Install another one."),
    }
}

type Chain = Vec<CertificateDer<'static>>;

fn judge(chain: &Chain, name: &ServerName<'_>, roots: &RootCertStore, now: UnixTime) -> Result<(), TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), provider).build();
    // Without any root nothing is trusted.
    let verifier = verifier.map_err(|_| TlsError::InvalidCertificate(CertificateError::UnknownIssuer))?;
    let (first, rest) = chain.split_first().ok_or(TlsError::NoCertificatesPresented)?;
    verifier.verify_server_cert(first, rest, name, &[], now).map(drop)
}

/// The certificates that a server shows for a host.
async fn show(host: &str, address: SocketAddr) -> Result<(Chain, ServerName<'static>), String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
    let seen = Arc::new(Look::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|e| e.to_string())?.dangerous().with_custom_certificate_verifier(seen.clone());
    let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    drop(connector.connect(name.clone(), stream).await.map_err(|e| e.to_string())?);
    let chain = seen.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((chain, name))
}

/// Takes every certificate to look at it afterwards; the connection carries nothing.
#[derive(Debug, Default)]
struct Look(Mutex<Chain>);

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        first: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let chain = std::iter::once(first).chain(rest).map(|one| one.clone().into_owned()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let known = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let known = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
