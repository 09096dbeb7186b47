//! What a gateway shows at the addresses of environments, and what is said of it.
#![allow(clippy::unwrap_used, missing_docs)]
use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use slipway_environment::{model::cluster::CheckVerdict, world::cluster_checks::addresses};
use tokio::net::TcpListener;

const HOST: &str = "slipway-check-x.preview.example.org";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        roots
    }

    /// A gateway with a certificate for a name, good until the first of a year, or for ten days.
    async fn gateway(&self, name: &str, until: Option<i32>) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let soon = (jiff::Zoned::now() + jiff::ToSpan::days(10)).date();
        params.not_after = match until {
            Some(year) => date_time_ymd(year, 1, 1),
            None => date_time_ymd(soon.year().into(), soon.month().unsigned_abs(), soon.day().unsigned_abs()),
        };
        let cert = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
        let (acceptor, listener) =
            (tokio_rustls::TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        address
    }
}

#[tokio::test]
async fn a_certificate_covers_is_trusted_and_lasts_or_it_is_said_what_it_lacks() {
    let (ours, other) = (Authority::new(), Authority::new());
    let good = ours.gateway("*.preview.example.org", Some(2099)).await;
    let passed = addresses::handshake(HOST, good, ours.roots()).await;
    assert_eq!(passed.verdict, CheckVerdict::Passed, "{passed:?}");
    for (address, roots, says) in [
        (ours.gateway("preview.example.org", Some(2099)).await, ours.roots(), "other names"),
        (ours.gateway("*.preview.example.org", Some(2020)).await, ours.roots(), "is over"),
        (ours.gateway("*.preview.example.org", None).await, ours.roots(), "within 14 days"),
        (good, other.roots(), "no chain"),
    ] {
        let said = addresses::handshake(HOST, address, roots).await;
        assert!(said.verdict == CheckVerdict::Failed && said.message.contains(says), "{says}: {said:?}");
        assert!(!said.remedy.is_empty());
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let said = addresses::handshake(HOST, closed, ours.roots()).await;
    assert!(said.message.contains("no TLS"), "{said:?}");
}
