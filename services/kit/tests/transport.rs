//! The listener over real sockets: both protocols, TLS, limits, age and drain.
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use slipway_kit::serve::{
    Body, Peer, Shutdown,
    transport::{self, Limits, Security},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const SLOW: Duration = Duration::from_millis(400);

/// Answers protocol and peer; `/slow` takes a while.
async fn answer(request: Request<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/slow" {
        tokio::time::sleep(SLOW).await;
    }
    let peer = request.extensions().get::<Peer>().expect("always there");
    let text = format!("{:?} tls={} known={}", request.version(), peer.tls, peer.address.is_some());
    Ok(Response::new(Full::new(Bytes::from(text))))
}

async fn start(tls: Option<Arc<ServerConfig>>, limits: Limits) -> (SocketAddr, Shutdown, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, shutdown) = (listener.local_addr().expect("bound"), Shutdown::new());
    let serving = transport::serve(
        listener,
        tls.map_or(Security::Plain, Security::Tls),
        limits,
        tower::service_fn(answer),
        shutdown.clone(),
    );
    (address, shutdown, tokio::spawn(serving))
}

async fn http1(mut socket: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, extra: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{extra}\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut text = Vec::new();
    // A server that cuts the connection after its answer is as good as one that ends it.
    let _ = socket.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http2(socket: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) -> Http2 {
    let io = TokioIo::new(socket);
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

async fn get(client: &mut Http2, path: &str) -> Result<String, hyper::Error> {
    let request = Request::get(format!("http://x{path}")).body(Full::default()).expect("well formed");
    let body = client.send_request(request).await?.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Settings of a server with a certificate of its own, and a client's that trusts it and offers one protocol.
fn tls() -> (Arc<ServerConfig>, impl Fn(&str) -> tokio_rustls::TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let dir = tempfile::tempdir().expect("a directory");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let server = transport::server_config(&cert, &key).expect("valid");
    let trusted = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).expect("a certificate");
    let client = move |protocol: &str| {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        tokio_rustls::TlsConnector::from(Arc::new(config))
    };
    (server, client)
}

#[tokio::test]
async fn both_protocols_on_one_port() {
    let (address, _, _) = start(None, Limits::default()).await;
    let text = http1(TcpStream::connect(address).await.expect("open"), "").await;
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("HTTP/1.1 tls=false known=true"), "{text}");
    let mut client = http2(TcpStream::connect(address).await.expect("open")).await;
    assert_eq!(get(&mut client, "/").await.expect("answer"), "HTTP/2.0 tls=false known=true");
}

#[tokio::test]
async fn both_protocols_over_tls_by_negotiation() {
    let (server, client) = tls();
    let (address, _, _) = start(Some(server), Limits::default()).await;
    let connect = async |protocol: &str| {
        let name = ServerName::try_from("localhost").expect("a name");
        client(protocol).connect(name, TcpStream::connect(address).await.expect("open")).await.expect("a handshake")
    };
    let text = http1(connect("http/1.1").await, "").await;
    assert!(text.contains("HTTP/1.1 tls=true"), "{text}");
    let stream = connect("h2").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert!(get(&mut http2(stream).await, "/").await.expect("answer").starts_with("HTTP/2.0 tls=true"));
}

#[tokio::test]
async fn silence_is_not_waited_for() {
    let quick = Limits {
        first_request: Duration::from_millis(200),
        handshake: Duration::from_millis(200),
        ..Limits::default()
    };
    for secured in [None, Some(tls().0)] {
        let (address, _, _) = start(secured, quick.clone()).await;
        let mut socket = TcpStream::connect(address).await.expect("open");
        let began = Instant::now();
        let _ = socket.read_to_end(&mut Vec::new()).await;
        assert!(
            began.elapsed() >= Duration::from_millis(150) && began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn headers_above_sixteen_kibibytes_are_refused() {
    let (address, _, _) = start(None, Limits::default()).await;
    let large = format!("x-large: {}\r\n", "x".repeat(17 * 1024));
    let text = http1(TcpStream::connect(address).await.expect("open"), &large).await;
    assert!(!text.contains(" 200 "), "{text}");
    let mut client = http2(TcpStream::connect(address).await.expect("open")).await;
    let request =
        Request::get("http://x/").header("x-large", "x".repeat(17 * 1024)).body(Full::default()).expect("well formed");
    let refused = client.send_request(request).await.map(|answer| answer.status());
    assert!(refused.as_ref().is_ok_and(|status| *status == 431) || refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn connections_of_one_source_are_counted() {
    let (address, _, _) = start(None, Limits { connections_per_source: 2, ..Limits::default() }).await;
    let mut first = http2(TcpStream::connect(address).await.expect("open")).await;
    let mut second = http2(TcpStream::connect(address).await.expect("open")).await;
    assert!(get(&mut first, "/").await.is_ok() && get(&mut second, "/").await.is_ok());
    let mut third = TcpStream::connect(address).await.expect("the system accepts it");
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0, "and it is closed");
    assert!(get(&mut first, "/").await.is_ok());
}

#[tokio::test]
async fn an_old_connection_ends_after_its_calls() {
    let (address, _, _) = start(None, Limits { connection_age: Duration::from_millis(150), ..Limits::default() }).await;
    let mut client = http2(TcpStream::connect(address).await.expect("open")).await;
    assert!(get(&mut client, "/slow").await.expect("finished in the grace").starts_with("HTTP/2.0"));
    tokio::time::timeout(Duration::from_secs(5), async {
        while client.ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    })
    .await
    .expect("the connection ends");
}

#[tokio::test]
async fn a_drain_lets_calls_end_and_no_new_ones_begin() {
    let (address, shutdown, serving) = start(None, Limits::default()).await;
    let mut client = http2(TcpStream::connect(address).await.expect("open")).await;
    assert!(get(&mut client, "/").await.is_ok());
    let mut busy = client.clone();
    let call = tokio::spawn(async move { get(&mut busy, "/slow").await });
    tokio::time::sleep(SLOW / 4).await;
    shutdown.begin();
    assert!(call.await.expect("no panic").is_ok(), "the call in flight ends well");
    tokio::time::timeout(Duration::from_secs(5), serving).await.expect("then the server ends").expect("in order");
    assert!(TcpStream::connect(address).await.is_err());
}
