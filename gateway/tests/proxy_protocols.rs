//! What passes the proxy besides plain requests, and what happens when an end misbehaves: gRPC, tunnels, streams, TLS, deaths, time.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/proxied.rs"]
mod proxied;
mod support;

use std::{net::SocketAddr, time::Duration};

use futures::StreamExt as _;
use proxied::{HOST, Running, route, upstream};
use slipway_kit::serve::transport;
use slipway_proto::environment::v1 as pb;
use support::Wish;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

const SOON: Duration = Duration::from_secs(5);

fn open(endpoints: &[SocketAddr]) -> pb::Route {
    route(pb::RouteAccess::Public, pb::RouteState::Up, endpoints)
}

/// A server of bare sockets: each connection is handed over once its request's head has come.
async fn bare() -> (SocketAddr, mpsc::UnboundedReceiver<(TcpStream, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let (mut text, mut buffer) = (Vec::new(), [0; 65_536]);
                while !text.windows(4).any(|w| w == b"\r\n\r\n") {
                    match socket.read(&mut buffer).await {
                        Ok(n) if n > 0 => text.extend_from_slice(&buffer[..n]),
                        _ => return,
                    }
                }
                let _ = sender.send((socket, String::from_utf8_lossy(&text).to_lowercase()));
            });
        }
    });
    (address, receiver)
}

async fn write(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
}

/// Whether the other end closes in time.
async fn is_closed(socket: &mut TcpStream, time: Duration) -> bool {
    let mut rest = [0; 4096];
    loop {
        match timeout(time, socket.read(&mut rest)).await {
            Ok(Ok(n)) if n > 0 => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

#[tokio::test]
async fn grpc_passes_with_its_trailers_and_streams() {
    let running = Running::start().await;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("a", tonic_health::ServingStatus::Serving).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(transport::serve(
        listener,
        transport::Security::Plain,
        transport::Limits::default(),
        health,
        running.platform.shutdown.clone(),
    ));
    running.set(open(&[at])).await;
    let port = running.platform.address.port();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", running.platform.address)).unwrap();
    let channel = channel.origin(format!("http://{HOST}:{port}").parse().unwrap()).connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let answer = client.check(ask("a")).await.unwrap();
    assert_eq!(answer.metadata().get("x-slipway-env-uid").unwrap(), "uid-7");
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    let status = client.check(ask("b")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound, "the status of the trailers: {status:?}");
    let mut watch = client.watch(ask("a")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    reporter.set_service_status("a", tonic_health::ServingStatus::NotServing).await;
    let next = timeout(SOON, watch.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::NotServing, "each message as it comes");
}

#[tokio::test]
async fn a_stream_of_events_is_not_held_back_and_ends_with_its_reader() {
    let running = Running::start().await;
    let (at, mut came) = bare().await;
    set(&running, open(&[at])).await;
    let answer = tokio::spawn(running.get("/events").header("accept", "text/event-stream").send());
    let (mut socket, _) = next_of(&mut came, "/events").await;
    write(&mut socket, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut events = answer.await.unwrap().unwrap().bytes_stream();
    for n in 0..3 {
        write(&mut socket, &format!("9\r\ndata: {n}\n\n\r\n")).await;
        let event = timeout(SOON, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event, format!("data: {n}\n\n"));
    }
    drop(events);
    assert!(is_closed(&mut socket, SOON).await, "who reads no more costs nothing more");
}

/// The next connection with a request of this path; others are answered and closed.
async fn next_of(came: &mut mpsc::UnboundedReceiver<(TcpStream, String)>, path: &str) -> (TcpStream, String) {
    loop {
        let (mut socket, head) = timeout(SOON, came.recv()).await.unwrap().unwrap();
        if head.contains(&format!(" {path} ")) {
            return (socket, head);
        }
        write(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    }
}

/// A table without asking anything of what stands behind it.
async fn set(running: &Running, route: pb::Route) {
    running.stub.table.send_replace(vec![route]);
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn a_request_nobody_waits_for_is_ended_behind_the_proxy_too() {
    let running = Running::start().await;
    let (at, mut came) = bare().await;
    set(&running, open(&[at])).await;
    let mut client = TcpStream::connect(running.platform.address).await.unwrap();
    write(&mut client, &format!("GET /long HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let (mut socket, _) = next_of(&mut came, "/long").await;
    drop(client);
    assert!(is_closed(&mut socket, SOON).await);
}

async fn websocket(running: &Running) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(running.platform.address).await.unwrap();
    let ask = format!("GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    write(&mut socket, &ask).await;
    let mut found = vec![0; 4096];
    let read = timeout(SOON, socket.read(&mut found)).await.unwrap().unwrap();
    let head = String::from_utf8_lossy(&found[..read]).into_owned();
    (socket, head)
}

#[tokio::test]
async fn tunnels_are_counted_and_end_when_they_stand_still() {
    let running = Running::with(Wish::default(), |p| (p.tunnel_idle_seconds, p.tunnels) = (1, 1)).await;
    let (at, _task) = upstream("one").await;
    running.set(open(&[at])).await;
    let (mut tunnel, head) = websocket(&running).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let (_, refused) = websocket(&running).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.to_lowercase().contains("retry-after"), "{refused}");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_000) {
        write(&mut tunnel, "hello").await;
        let mut echo = [0; 5];
        timeout(SOON, tunnel.read_exact(&mut echo)).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let still = Instant::now();
    assert!(is_closed(&mut tunnel, SOON).await);
    assert!(still.elapsed() < Duration::from_secs(3), "{:?}", still.elapsed());
    let (_again, head) = websocket(&running).await;
    assert!(head.starts_with("HTTP/1.1 101"), "its place is free: {head}");
}

#[tokio::test]
async fn one_that_dies_before_it_answers_is_gone_around_where_that_is_safe() {
    let running = Running::start().await;
    let (dying, mut came) = bare().await;
    let (well, _task) = upstream("well").await;
    // Every connection to the first dies once its request was read.
    tokio::spawn(async move { while came.recv().await.is_some() {} });
    set(&running, open(&[dying, well])).await;
    for _ in 0..6 {
        let answer = running.get("/").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap().starts_with("well"));
    }
    set(&running, open(&[dying])).await;
    let address = format!("http://{HOST}:{}/", running.platform.address.port());
    let posted = running.client.post(&address).body("x").send().await.unwrap();
    assert_eq!(posted.status(), 502, "never twice");
    assert!(posted.text().await.unwrap().contains("environments/pr-7-x gave no answer"));
    let page = running.get("/").header("accept", "text/html").send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (502, &"text/html; charset=utf-8".parse().unwrap())
    );
}

#[tokio::test]
async fn one_that_dies_in_its_answer_leaves_no_clean_end() {
    let running = Running::start().await;
    let (at, mut came) = bare().await;
    set(&running, open(&[at])).await;
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let answer = tokio::spawn(running.get("/half").send());
        let (mut socket, _) = next_of(&mut came, "/half").await;
        write(&mut socket, &format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nhalf\r\n")).await;
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        drop(socket);
        assert!(
            timeout(SOON, answer.bytes()).await.unwrap().is_err(),
            "{head}: the client knows that something is missing"
        );
    }
}

#[tokio::test]
async fn one_that_is_slow_is_told_of_and_one_that_says_too_much_is_not_listened_to() {
    let running = Running::with(Wish::default(), |p| p.answer_seconds = 1).await;
    let (at, mut came) = bare().await;
    set(&running, open(&[at])).await;
    let began = Instant::now();
    let slow = tokio::spawn(running.get("/slow").send());
    let (mut socket, _) = next_of(&mut came, "/slow").await;
    let answer = slow.await.unwrap().unwrap();
    assert_eq!(answer.status(), 504);
    assert!(answer.text().await.unwrap().contains("within 1 seconds"));
    assert!(began.elapsed() < SOON);
    assert!(is_closed(&mut socket, SOON).await);
    tokio::spawn(async move {
        while let Some((mut socket, _)) = came.recv().await {
            let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
            let _ = socket.write_all(head.as_bytes()).await;
        }
    });
    let address = format!("http://{HOST}:{}/", running.platform.address.port());
    assert_eq!(running.client.post(&address).body("x").send().await.unwrap().status(), 502);
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let running = Running::start().await;
    let (at, _task) = upstream("one").await;
    running.set(open(&[at])).await;
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n\r\n0\r\n\r\n");
    for bytes in [
        post("Transfer-Encoding: chunked, identity"),
        post("Transfer-Encoding: xchunked"),
        post("Transfer-Encoding : chunked"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        post("Content-Length: 5\r\nContent-Length: 6"),
        post("Content-Length: +5"),
        post("Content-Length: 5, 6"),
        post("X: a\r\n folded"),
        format!("POST / HTTP/1.1\r\nHost: {HOST}\nX: y\r\nContent-Length: -1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {HOST}, localhost\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {HOST}/x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x@{HOST}\r\n\r\n"),
        format!("CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n\r\n"),
    ] {
        let answer = running.raw(&bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{bytes}\n{answer}");
    }
    // Two lengths of which one must be believed (RFC 9112, 6.1): the chunks are, the other goes no further, and no request after it.
    for lines in ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let answer = running.raw(&(post(lines) + &format!("GET /second HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))).await;
        assert!(answer.contains("connection: close") && answer.contains("transfer-encoding: chunked"), "{answer}");
        let seen = answer.split("\r\n\r\n").nth(1).unwrap();
        assert!(!seen.contains("content-length") && !answer.contains("/second"), "{answer}");
    }
    let huge = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let answer = running.raw(&huge).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn what_concerns_one_connection_stays_on_it() {
    let running = Running::start().await;
    let (at, mut came) = bare().await;
    set(&running, open(&[at])).await;
    let ask = format!(
        "GET /hop HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, x-mine\r\nKeep-Alive: 5\r\nX-Mine: 1\r\nX-Kept: 1\r\n\
         Proxy-Authorization: Basic x\r\nProxy-Connection: x\r\nTE: trailers, gzip\r\nX-Forwarded-For: 6.6.6.6\r\n\
         X-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\r\n"
    );
    let mut client = TcpStream::connect(running.platform.address).await.unwrap();
    write(&mut client, &ask).await;
    let (mut socket, head) = next_of(&mut came, "/hop").await;
    for gone in ["x-mine", "keep-alive", "proxy-", "gzip", "6.6.6.6", "evil", "forwarded: for", "x-real-ip"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    for there in ["x-kept: 1", "te: trailers", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http\r\n"] {
        assert!(head.contains(there), "{there} not in {head}");
    }
    assert!(head.contains(&format!("x-forwarded-host: {HOST}\r\n")), "{head}");
    let told = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x-own\r\nx-own: 1\r\nkeep-alive: 5\r\nx-slipway-env-uid: fake\r\nx-kept: 2\r\n\r\n";
    write(&mut socket, told).await;
    let mut found = vec![0; 4096];
    let read = timeout(SOON, client.read(&mut found)).await.unwrap().unwrap();
    let head = String::from_utf8_lossy(&found[..read]).to_lowercase();
    assert!(head.contains("x-kept: 2") && head.contains("x-slipway-env-uid: uid-7"), "{head}");
    assert!(!head.contains("x-own") && !head.contains("keep-alive") && !head.contains("fake"), "{head}");
}

#[tokio::test]
async fn where_the_gateway_speaks_tls_so_do_its_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "*.preview.localhost".into()]).unwrap();
    let (certificate_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate_file, made.cert.pem()).unwrap();
    std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    let tls = Some(slipway_gateway::config::Tls { certificate_file, key_file });
    let wish = Wish { tls, ..Wish::default() };
    let running = Running::with(wish, |p| p.platform_url = Some("https://localhost".to_owned())).await;
    let (at, _task) = upstream("one").await;
    set(&running, route(pb::RouteAccess::SignedIn, pb::RouteState::Up, &[at])).await;
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .resolve(HOST, running.platform.address)
        .build()
        .unwrap();
    let address = format!("https://{HOST}:{}/", running.platform.address.port());
    let seen = client.get(&address).bearer_auth(&running.platform.token).send().await.unwrap().text().await.unwrap();
    assert!(seen.contains("x-forwarded-proto: https"), "{seen}");
    let away = client.get(&address).header("accept", "text/html").send().await.unwrap();
    assert!(away.headers()["location"].to_str().unwrap().starts_with("https://localhost/sign-in?"));
    let cookie = away.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-slipway-sign-in=")
            && cookie.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
}

#[tokio::test]
async fn a_body_goes_up_while_it_is_made_and_one_that_stops_is_not_waited_for() {
    let running = Running::with(Wish::default(), |p| p.idle_seconds = 1).await;
    let (at, mut came) = bare().await;
    set(&running, open(&[at])).await;
    let (go_on, wait) = oneshot::channel::<()>();
    let mut client = TcpStream::connect(running.platform.address).await.unwrap();
    write(&mut client, &format!("POST /up HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"))
        .await;
    let (mut socket, mut seen) = next_of(&mut came, "/up").await;
    let mut buffer = [0; 4096];
    while !seen.contains("one") {
        let n = timeout(SOON, socket.read(&mut buffer)).await.unwrap().unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    go_on.send(()).unwrap();
    wait.await.unwrap();
    // Nothing more comes: the request is cut, never ended as if it were whole.
    let mut rest = String::new();
    while let Ok(Ok(n)) = timeout(SOON, socket.read(&mut buffer)).await {
        if n == 0 {
            break;
        }
        rest.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
}
