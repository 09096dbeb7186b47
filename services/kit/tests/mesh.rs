//! Services in processes of their own: who is let in by certificate, and that certificates change without a dropped call (SAFE-23, SAFE-24).

#[path = "serve/fakes.rs"]
#[allow(dead_code, reason = "shared with the calls over the hub")]
mod fakes;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use fakes::{Directory, info};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use slipway_kit::{
    caller::Verifier,
    db::{
        Migrations,
        scratch::{self, Scratch},
    },
    serve::{Mesh, MeshConfig, Service, Shutdown},
};
use slipway_proto::access::v1::{
    ResolveOwnerRequest, directory_service_client::DirectoryServiceClient,
    directory_service_server::DirectoryServiceServer,
};
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpListener, task::JoinHandle};
use tonic::Code;

const DOMAIN: &str = "test.slipway.local";
const TIMEOUT: Duration = Duration::from_secs(10);
const ROTATIONS: usize = 60;
/// By then changed files are in use.
const TAKEN_OVER: Duration = Duration::from_secs(2);

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("random");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Certificate and key with these URIs, changed by `change`.
    fn issue(&self, uris: &[String], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().expect("ascii"))).collect();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("random");
        (params.signed_by(&key, &self.0).expect("signed").pem(), key.serialize_pem())
    }
}

fn id(service: &str) -> String {
    format!("spiffe://{DOMAIN}/slipway/{service}")
}

/// The files of one service below `dir`.
fn write(dir: &Path, service: &str, (certificate, key): &(String, String), authorities: &str) {
    for (name, text) in [("cert", certificate.as_str()), ("key", key), ("authorities", authorities)] {
        let draft = dir.join("draft");
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(&draft, dir.join(format!("{service}.{name}"))).expect("renamed");
    }
}

fn config(dir: &Path, service: &str, peers: &[(&str, SocketAddr)]) -> MeshConfig {
    let file = |name: &str| dir.join(format!("{service}.{name}"));
    MeshConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        trust_domain: DOMAIN.to_owned(),
        certificate_file: file("cert"),
        key_file: file("key"),
        authorities_file: file("authorities"),
        peers: peers
            .iter()
            .map(|(name, address)| ((*name).to_owned(), address.to_string()))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// The catalog behind its certificate, and a folder for everybody's files.
struct Rig {
    dir: tempfile::TempDir,
    authority: Authority,
    address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
    _scratch: Scratch,
}

impl Rig {
    async fn start() -> Self {
        let (dir, authority) = (tempfile::tempdir().expect("a folder"), Authority::new("first"));
        write(dir.path(), "catalog", &authority.issue(&[id("catalog")], |_| {}), &authority.1);
        let mesh = Mesh::join("catalog", &config(dir.path(), "catalog", &[])).expect("its own certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, shutdown) = (listener.local_addr().expect("bound"), Shutdown::new());
        let scratch = scratch::sqlite(&Migrations::none()).await;
        let service = Service::new("catalog", scratch.db.clone()).add(DirectoryServiceServer::new(Directory));
        let down = shutdown.clone();
        let serving = tokio::spawn(async move { mesh.serve(service, Verifier::new(), listener, down).await });
        Self { dir, authority, address, shutdown, serving, _scratch: scratch }
    }

    /// Calls the catalog as whoever the files of `name` say, joining as `me`.
    async fn call(&self, me: &'static str) -> Result<(), tonic::Status> {
        let mesh = Mesh::join(me, &config(self.dir.path(), me, &[("catalog", self.address)])).expect("joins");
        let mut directory = DirectoryServiceClient::new(mesh.peers().as_service("catalog", TIMEOUT));
        directory.resolve_owner(ResolveOwnerRequest { r#ref: "component:default/x".to_owned() }).await.map(|_| ())
    }
}

#[tokio::test]
async fn a_service_is_known_by_its_certificate_and_may_call_what_the_rule_says() {
    let rig = Rig::start().await;
    for me in ["gateway", "environment"] {
        write(rig.dir.path(), me, &rig.authority.issue(&[id(me)], |_| {}), &rig.authority.1);
        rig.call(me).await.expect("a caller of the rule");
    }
    let me = "catalog";
    let refused =
        rig.call(me).await.expect_err("the catalog itself is no caller of the rule; its hub has no such door");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    rig.shutdown.begin();
    rig.serving.await.expect("drained");
}

#[tokio::test]
async fn a_stranger_is_refused_at_the_handshake() {
    let rig = Rig::start().await;
    let other = Authority::new("other");
    let good = &rig.authority;
    let long_ago = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    };
    let far_off = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2090, 1, 1);
        params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    };
    let cases = [
        ("another authority", other.issue(&[id("gateway")], |_| {})),
        ("expired", good.issue(&[id("gateway")], long_ago)),
        ("not valid yet", good.issue(&[id("gateway")], far_off)),
        (
            "only for servers",
            good.issue(&[id("gateway")], |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
    ];
    for (what, files) in cases {
        write(rig.dir.path(), "gateway", &files, &rig.authority.1);
        let refused = rig.call("gateway").await.expect_err(what);
        assert_eq!(refused.code(), Code::Unavailable, "{what}: {refused:?}");
        assert!(!format!("{refused:?}").contains("PERMISSION"), "{what} ends before any rule");
    }
    write(rig.dir.path(), "gateway", &good.issue(&[id("gateway")], |_| {}), &good.1);
    rig.call("gateway").await.expect("the same door, a good certificate");
}

#[tokio::test]
async fn a_certificate_that_names_nobody_or_several_is_refused_by_its_owner_already_and_by_the_other_side() {
    let rig = Rig::start().await;
    let good = &rig.authority;
    let cases = [
        ("no URI", Vec::new()),
        ("two URIs", vec![id("gateway"), id("secrets")]),
        ("another trust domain", vec!["spiffe://elsewhere/slipway/gateway".to_owned()]),
        ("another path", vec![format!("spiffe://{DOMAIN}/ns/default/sa/gateway")]),
        ("another service", vec![id("secrets")]),
        ("a trust domain that goes on", vec![format!("spiffe://{DOMAIN}.evil/slipway/gateway")]),
    ];
    for (what, uris) in cases {
        write(rig.dir.path(), "gateway", &good.issue(&uris, |_| {}), &good.1);
        assert!(Mesh::join("gateway", &config(rig.dir.path(), "gateway", &[])).is_err(), "{what}");
        // The same shown by a program that does not look: by hand, over the library alone.
        let shown = handshake(&rig, &rig.dir.path().join("gateway.cert"), &rig.dir.path().join("gateway.key")).await;
        let lets_in = what == "another service";
        assert_eq!(shown, lets_in, "{what}");
    }
    let authority = good.issue(&[id("gateway")], |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    write(rig.dir.path(), "gateway", &authority, &good.1);
    assert!(!handshake(&rig, &rig.dir.path().join("gateway.cert"), &rig.dir.path().join("gateway.key")).await);
}

/// Whether the door opens to whoever shows this certificate.
async fn handshake(rig: &Rig, certificate: &Path, key: &Path) -> bool {
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
    let chain = CertificateDer::pem_file_iter(certificate).expect("pem").collect::<Result<Vec<_>, _>>().expect("pem");
    let key = PrivateKeyDer::from_pem_file(key).expect("pem");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(Anyone(provider)))
        .with_client_auth_cert(chain, key)
        .expect("fits");
    let socket = tokio::net::TcpStream::connect(rig.address).await.expect("listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let Ok(mut stream) = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, socket).await
    else {
        return false;
    };
    // In TLS 1.3 the client is through before the server has looked at it: HTTP/2 settings come only from an open door.
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
    let mut first = [0_u8; 9];
    matches!(tokio::time::timeout(TIMEOUT, stream.read_exact(&mut first)).await, Ok(Ok(_)))
}

/// Believes every server; the door under test is the server's.
#[derive(Debug)]
struct Anyone(std::sync::Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        m: &[u8],
        c: &rustls_pki_types::CertificateDer<'_>,
        d: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(m, c, d, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        m: &[u8],
        c: &rustls_pki_types::CertificateDer<'_>,
        d: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(m, c, d, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn without_a_certificate_or_without_tls_the_door_stays_shut() {
    let rig = Rig::start().await;
    let mut plain = tokio::net::TcpStream::connect(rig.address).await.expect("listens");
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut said = Vec::new();
    let _ = tokio::time::timeout(TIMEOUT, plain.read_to_end(&mut said)).await;
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
}

#[tokio::test]
async fn a_server_that_is_another_service_is_not_believed() {
    let rig = Rig::start().await;
    let me = "gateway";
    write(rig.dir.path(), me, &rig.authority.issue(&[id(me)], |_| {}), &rig.authority.1);
    let mesh = Mesh::join(me, &config(rig.dir.path(), me, &[("secrets", rig.address)])).expect("joins");
    let mut secrets = DirectoryServiceClient::new(mesh.peers().as_service("secrets", TIMEOUT));
    let refused = secrets.resolve_owner(ResolveOwnerRequest { r#ref: "x".to_owned() }).await.expect_err("the catalog");
    assert_eq!((refused.code(), info(&refused).as_str()), (Code::Unavailable, "DEPENDENCY_UNAVAILABLE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_authorities_change_under_calls_and_none_fails() {
    let rig = Rig::start().await;
    let second = Authority::new("second");
    let both = format!("{}{}", rig.authority.1, second.1);
    write(rig.dir.path(), "gateway", &rig.authority.issue(&[id("gateway")], |_| {}), &both);
    write(rig.dir.path(), "catalog", &rig.authority.issue(&[id("catalog")], |_| {}), &both);
    tokio::time::sleep(TAKEN_OVER).await;
    for round in 0..ROTATIONS {
        // New connections each time: every join reads the files that stand there now.
        let issuer = if round % 2 == 0 { &second } else { &rig.authority };
        write(rig.dir.path(), "catalog", &issuer.issue(&[id("catalog")], |_| {}), &both);
        write(rig.dir.path(), "gateway", &issuer.issue(&[id("gateway")], |_| {}), &both);
        rig.call("gateway").await.unwrap_or_else(|refused| panic!("round {round}: {refused:?}"));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    // Once the first authority is taken away everywhere, its certificates open nothing any more.
    write(rig.dir.path(), "catalog", &second.issue(&[id("catalog")], |_| {}), &second.1);
    tokio::time::sleep(TAKEN_OVER).await;
    write(rig.dir.path(), "gateway", &rig.authority.issue(&[id("gateway")], |_| {}), &both);
    rig.call("gateway").await.expect_err("an authority nobody believes any more");
    write(rig.dir.path(), "gateway", &second.issue(&[id("gateway")], |_| {}), &both);
    rig.call("gateway").await.expect("the new one");
}
