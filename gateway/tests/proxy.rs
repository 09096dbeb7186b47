//! The proxy over a stub of the route service and small servers behind it, on real sockets.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/proxied.rs"]
mod proxied;
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proxied::{HOST, Running, route, upstream};
use slipway_proto::environment::v1 as pb;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[tokio::test]
async fn requests_pass_as_they_are_and_credentials_stay_here() {
    let running = Running::start().await;
    let (at, _task) = upstream("one").await;
    running.set(route(pb::RouteAccess::SignedIn, pb::RouteState::Up, &[at])).await;
    assert_eq!(running.get("/").send().await.unwrap().status(), 401);
    assert_eq!(running.get("/").bearer_auth("slw_wrong").send().await.unwrap().status(), 401);
    let answer = running
        .get("/a?b=c")
        .bearer_auth(&running.platform.token)
        .header("x-slipway-user", "root")
        .header("x-forwarded-for", "6.6.6.6")
        .header("cookie", "slipway-session=x; own=1")
        .header("te", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-slipway-env-uid"], "uid-7");
    assert!(answer.headers()["x-robots-tag"].to_str().unwrap().contains("noindex"));
    assert_eq!(answer.headers()["set-cookie"], "a=b; Path=/");
    assert!(!answer.headers().contains_key("x-slipway-fake"));
    let seen = answer.text().await.unwrap();
    assert!(seen.starts_with("one\nget /a?b=c http/1.1"), "{seen}");
    for gone in ["authorization", "slw_", "x-slipway-user", "6.6.6.6", "slipway-session", "\nte: "] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    for there in ["cookie: own=1", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", &format!("host: {HOST}:")] {
        assert!(seen.contains(there), "{there} not in {seen}");
    }
    running.set(route(pb::RouteAccess::AllowList, pb::RouteState::Up, &[at])).await;
    assert_eq!(
        running.get("/").bearer_auth(&running.platform.token).send().await.unwrap().status(),
        200,
        "administrators"
    );
    running.set(route(pb::RouteAccess::Public, pb::RouteState::Up, &[at])).await;
    let open = running.get("/").header("authorization", "Basic b3du").send().await.unwrap().text().await.unwrap();
    assert!(open.contains("authorization: basic"), "the application's own: {open}");
    let open = running.get("/").bearer_auth(&running.platform.token).send().await.unwrap().text().await.unwrap();
    assert!(!open.contains("authorization"), "the platform's own: {open}");
}

#[tokio::test]
async fn a_host_has_one_meaning_or_none() {
    let running = Running::start().await;
    let (at, _task) = upstream("one").await;
    running.set(route(pb::RouteAccess::Public, pb::RouteState::Up, &[at])).await;
    let h = HOST;
    for (bytes, code) in [
        (format!("GET / HTTP/1.1\r\nHost: {}:80\r\n\r\n", h.to_uppercase()), "200"),
        (format!("GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n"), "200"),
        (format!("GET / HTTP/1.1\r\nHost: {h}\r\nHost: localhost\r\n\r\n"), "400"),
        (format!("GET http://localhost/healthz HTTP/1.1\r\nHost: {h}\r\n\r\n"), "400"),
        (format!("GET http://{h}/ HTTP/1.1\r\nHost: localhost\r\n\r\n"), "400"),
        (format!("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 4\r\nTransfer-Encoding: gzip, x\r\n\r\nabcd"), "400"),
        ("GET /healthz HTTP/1.1\r\nHost: pr-8-x.preview.localhost\r\n\r\n".to_owned(), "404"),
        ("GET /healthz HTTP/1.1\r\nHost: preview.localhost\r\n\r\n".to_owned(), "404"),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "200"),
    ] {
        let answer = running.raw(&bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{bytes}\n{answer}");
    }
}

#[tokio::test]
async fn a_protocol_is_changed_and_bytes_go_both_ways() {
    let running = Running::start().await;
    let (at, _task) = upstream("one").await;
    running.set(route(pb::RouteAccess::Public, pb::RouteState::Up, &[at])).await;
    let mut socket = TcpStream::connect(running.platform.address).await.unwrap();
    let ask = format!("GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    socket.write_all(ask.as_bytes()).await.unwrap();
    let mut found = vec![0; 4096];
    let read = socket.read(&mut found).await.unwrap();
    assert!(found[..read].starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&found[..read]));
    socket.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut echo)).await.unwrap().unwrap();
    assert_eq!(&echo, b"hello");
}

#[tokio::test]
async fn rolling_addresses_under_load_fail_no_request() {
    let running = Arc::new(Running::start().await);
    let (mut at, mut task) = upstream("v").await;
    running.set(route(pb::RouteAccess::Public, pb::RouteState::Up, &[at])).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (running, stop) = (running.clone(), stop.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while !stop.load(Ordering::SeqCst) {
                    let answer = running.get("/").send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    answer.bytes().await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    for _ in 0..5 {
        let (next, running_on) = upstream("v").await;
        running.stub.table.send_replace(vec![route(pb::RouteAccess::Public, pb::RouteState::Up, &[at, next])]);
        // The old door closes before the table says so.
        task.abort();
        tokio::time::sleep(Duration::from_millis(100)).await;
        running.stub.table.send_replace(vec![route(pb::RouteAccess::Public, pb::RouteState::Up, &[next])]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        (at, task) = (next, running_on);
    }
    stop.store(true, Ordering::SeqCst);
    let mut all = 0;
    for one in load {
        all += one.await.unwrap();
    }
    assert!(all > 50, "{all} requests");
}

#[tokio::test]
async fn a_sleeping_host_wakes_for_the_next_request() {
    let running = Running::start().await;
    let (at, _task) = upstream("awake").await;
    running.stub.table.send_replace(vec![route(pb::RouteAccess::Public, pb::RouteState::Asleep, &[])]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let page = running.get("/").header("accept", "text/html").send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.headers()["retry-after"].to_str().unwrap()), (503, "2"));
    assert!(page.text().await.unwrap().contains("http-equiv=\"refresh\""));
    assert!(running.stub.woken.load(Ordering::SeqCst));
    let table = running.stub.table.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        table.send_replace(vec![route(pb::RouteAccess::Public, pb::RouteState::Up, &[at])]);
    });
    let held = running.get("/").send().await.unwrap();
    assert_eq!(held.status(), 200);
    assert!(held.text().await.unwrap().starts_with("awake"));
    running.set(route(pb::RouteAccess::Public, pb::RouteState::None, &[])).await;
    let down = running.get("/").send().await.unwrap();
    assert_eq!(down.status(), 502);
    assert!(down.text().await.unwrap().contains("environments/pr-7-x"));
}

#[tokio::test]
async fn a_sibling_may_try_whether_a_host_answers() {
    use slipway_proto::access::v1::{ProbeHostRequest, ProbeOutcome, probe_service_client::ProbeServiceClient};
    let running = Running::start().await;
    let (at, _task) = upstream("one").await;
    let peers = running.platform.hub.peers("environment");
    let probe = async |host: &str| {
        let mut client = ProbeServiceClient::new(peers.as_service("gateway", Duration::from_secs(5)));
        let ask = ProbeHostRequest { host: host.to_owned(), path: "/probed".to_owned() };
        let told = client.probe_host(ask).await.unwrap().into_inner();
        (told.outcome(), told.code, told.uid)
    };
    running.set(route(pb::RouteAccess::SignedIn, pb::RouteState::Up, &[at])).await;
    assert_eq!(probe(HOST).await, (ProbeOutcome::Answered, 200, "uid-7".to_owned()));
    assert_eq!(probe("pr-9-x.preview.localhost").await.0, ProbeOutcome::Silent);
    running.stub.table.send_replace(vec![route(pb::RouteAccess::Public, pb::RouteState::Asleep, &[])]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(probe(HOST).await.0, ProbeOutcome::Silent);
    assert!(!running.stub.woken.load(Ordering::SeqCst), "a try wakes nothing");
    let empty = pb::Route { upstreams: Vec::new(), ..route(pb::RouteAccess::Public, pb::RouteState::Waking, &[]) };
    running.stub.table.send_replace(vec![empty]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(probe(HOST).await.0, ProbeOutcome::NotServed);
}
