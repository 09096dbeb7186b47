//! Webhooks, health, reflection, gRPC-web and TLS of the gateway, on real sockets.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use slipway_kit::args;
use support::{Platform, SECRET, Wish};
use tokio_stream::StreamExt as _;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

fn sign(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

struct Hook<'a> {
    path: &'a str,
    event: &'a str,
    delivery: &'a str,
    signature: Option<String>,
    body: Vec<u8>,
}

impl Hook<'_> {
    fn signed(body: &[u8]) -> Self {
        Hook {
            path: "/webhooks/local",
            event: "push",
            delivery: "d-1",
            signature: Some(sign(&SECRET, body)),
            body: body.to_vec(),
        }
    }
}

async fn post(platform: &Platform, hook: Hook<'_>) -> u16 {
    let (code, body) = told(platform, hook).await;
    assert!(body.is_empty(), "no body in an answer to a webhook: {body}");
    code
}

async fn told(platform: &Platform, hook: Hook<'_>) -> (u16, String) {
    let mut request = reqwest::Client::new().post(platform.url(hook.path)).body(hook.body);
    for (name, value) in [("x-github-event", hook.event), ("x-github-delivery", hook.delivery)] {
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    if let Some(signature) = hook.signature {
        request = request.header("x-hub-signature-256", signature);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn stored(platform: &Platform) -> i64 {
    let row = platform.catalog.db.fetch_one("SELECT COUNT(*) AS n FROM inbox", args![]).await.unwrap();
    row.int("n").unwrap()
}

#[tokio::test]
async fn signed_deliveries_are_stored_once_and_others_never() {
    let platform = Platform::start().await;
    let body = br#"{"ref":"refs/heads/main","repository":{"id":1}}"#;
    let bad = [
        Hook { signature: None, ..Hook::signed(body) },
        Hook { signature: Some(sign(&[b'x'; 40], body)), ..Hook::signed(body) },
        Hook { signature: Some(sign(&SECRET, b"other")), ..Hook::signed(body) },
        Hook { signature: Some(sign(&SECRET, body).to_uppercase()), ..Hook::signed(body) },
        Hook { path: "/webhooks/unknown", ..Hook::signed(body) },
        Hook { path: "/webhooks/", ..Hook::signed(body) },
        Hook { path: "/webhooks/local/", ..Hook::signed(body) },
    ];
    for hook in bad {
        let path = hook.path.to_owned();
        assert_eq!(post(&platform, hook).await, 401, "{path}");
    }
    assert_eq!(stored(&platform).await, 0);
    // Metrics and environment do not run here, so an event they want is not stored everywhere and must come again.
    let wanted_elsewhere = post(&platform, Hook::signed(body)).await;
    assert!(matches!(wanted_elsewhere, 200 | 503));
    assert_eq!(stored(&platform).await, 1);
    post(&platform, Hook::signed(body)).await;
    assert_eq!(stored(&platform).await, 1, "a repeated delivery is one");
    assert_eq!(post(&platform, Hook { event: "star", ..Hook::signed(body) }).await, 202, "nobody wants it");
    assert_eq!(post(&platform, Hook { event: "", ..Hook::signed(body) }).await, 400);
    assert_eq!(post(&platform, Hook { delivery: "", ..Hook::signed(body) }).await, 400);
    assert_eq!(post(&platform, Hook { delivery: "d-2", ..Hook::signed(b"payload=%7B%7D") }).await, 400, "no JSON");
    assert_eq!(stored(&platform).await, 1);
}

#[tokio::test]
async fn a_body_that_nobody_could_read_is_answered_in_words() {
    let platform = Platform::start().await;
    for (event, body, fields) in [
        ("push", "[]", vec!["body"]),
        ("push", "null", vec!["body"]),
        ("push", r#"{"ref": 7, "repository": "acme/shop"}"#, vec!["ref", "repository"]),
        ("pull_request", r#"{"number": "three", "repository": {"id": 1}}"#, vec!["number"]),
        ("deployment_status", r#"{"repository": {"id": 1}}"#, vec!["deployment_status"]),
    ] {
        let hook = Hook { event, delivery: "shape", ..Hook::signed(body.as_bytes()) };
        let (code, answer) = told(&platform, hook).await;
        if code == 503 {
            // Only services that do not run here want this event.
            assert_ne!(event, "push");
            continue;
        }
        assert_eq!(code, 400, "{event} {body}: {answer}");
        for field in fields {
            assert!(answer.contains(&format!("\"field\":\"{field}\"")), "{field}: {answer}");
        }
    }
    assert_eq!(stored(&platform).await, 0);
    let ping = br#"{"zen": "Keep it logically awesome.", "hook_id": 1}"#;
    assert_eq!(post(&platform, Hook { event: "ping", delivery: "p-1", ..Hook::signed(ping) }).await, 200);
    assert_eq!(post(&platform, Hook { event: "star", delivery: "s-1", ..Hook::signed(b"{}") }).await, 202);
}

#[tokio::test]
async fn large_deliveries_pass_to_the_limit_and_no_further() {
    let platform = Platform::start().await;
    let room = " ".repeat(6 * 1024 * 1024);
    let fits = format!(r#"{{"ref":"refs/heads/main","repository":{{"id":1}},"a":"{room}"}}"#).into_bytes();
    let hook = Hook { delivery: "large", ..Hook::signed(&fits) };
    assert!(matches!(post(&platform, hook).await, 200 | 503));
    assert_eq!(stored(&platform).await, 1);
    let over = vec![b' '; 25 * 1024 * 1024 + 1];
    let sent = reqwest::Client::new()
        .post(platform.url("/webhooks/local"))
        .header("x-hub-signature-256", sign(&SECRET, &over))
        .body(over)
        .send()
        .await;
    // The answer comes before the body is read, which may break the sender's connection.
    if let Ok(answer) = sent {
        assert_eq!(answer.status(), 413);
    }
    let get = reqwest::get(platform.url("/webhooks/local")).await.unwrap();
    assert_eq!(get.status(), 405);
}

#[tokio::test]
async fn health_is_told_in_both_ways() {
    let platform = Platform::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(reqwest::get(platform.url(path)).await.unwrap().status(), 200, "{path}");
    }
    let mut health = HealthClient::new(platform.channel().await);
    for service in ["", "slipway.catalog.v1.EntityService", "slipway.access.v1.TokenService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service}");
    }
    let internal = HealthCheckRequest { service: "slipway.access.v1.DirectoryService".into() };
    assert_eq!(health.check(internal).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn drain_ends_with_open_connections_and_refuses_new_ones() {
    let platform = Platform::start().await;
    let client = reqwest::Client::new();
    assert_eq!(client.get(platform.url("/healthz")).send().await.unwrap().status(), 200);
    platform.shutdown.begin();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(reqwest::Client::new().get(platform.url("/healthz")).send().await.is_err());
}

#[tokio::test]
async fn reflection_shows_the_outside_and_the_error_details() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let platform = Platform::start().await;
    let mut client = ServerReflectionClient::new(platform.channel().await);
    let ask = |request: MessageRequest| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let requests = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".into())),
        ask(MessageRequest::FileContainingSymbol("slipway.catalog.v1.EntityService".into())),
        ask(MessageRequest::FileContainingSymbol("slipway.access.v1.DirectoryService".into())),
    ]);
    let answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let answers: Vec<_> = answers.collect().await;
    // A symbol nobody has ends the stream.
    assert!(answers.len() == 4 && answers[3].is_err(), "no INTERNAL service");
    let answers: Vec<MessageResponse> = answers.into_iter().flatten().map(|a| a.message_response.unwrap()).collect();
    let MessageResponse::ListServicesResponse(list) = &answers[0] else { panic!("{answers:?}") };
    let names: Vec<&str> = list.service.iter().map(|s| s.name.as_str()).collect();
    assert!(names.contains(&"slipway.catalog.v1.EntityService") && names.contains(&"slipway.access.v1.TokenService"));
    for internal in ["slipway.access.v1.DirectoryService", "slipway.journal.v1.JournalService"] {
        assert!(!names.contains(&internal));
    }
    assert!(matches!(answers[1], MessageResponse::FileDescriptorResponse(_)));
    assert!(matches!(answers[2], MessageResponse::FileDescriptorResponse(_)));
    let mut old =
        tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient::new(platform.channel().await);
    let request = tonic_reflection::pb::v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut answers = old.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    assert!(answers.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn grpc_web_gets_its_trailers_in_the_body_over_http_1() {
    use prost::Message as _;
    let platform = Platform::start().await;
    let request = slipway_proto::catalog::v1::GetEntityRequest {
        name: "entities/component/default/payments".into(),
        ..Default::default()
    };
    let message = request.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    let send = |token: String| {
        let request = reqwest::Client::builder().http1_only().build().unwrap();
        let request = request.post(platform.url("/slipway.catalog.v1.EntityService/GetEntity"));
        let request = request.header("content-type", "application/grpc-web+proto").header("x-grpc-web", "1");
        request.bearer_auth(token).body(frame.clone()).send()
    };
    let answer = send(platform.token.clone()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/grpc-web+proto");
    assert!(answer.headers().get("access-control-allow-origin").is_none());
    let body = answer.bytes().await.unwrap();
    assert_eq!(body[0], 0, "a message first");
    assert!(String::from_utf8_lossy(&body).contains("grpc-status:0"));
    let text = reqwest::Client::builder().http1_only().build().unwrap();
    let text = text.post(platform.url("/slipway.access.v1.TokenService/WhoAmI")).bearer_auth(&platform.token);
    let text = text.header("content-type", "application/grpc-web-text").header("accept", "application/grpc-web-text");
    let text = text.body("AAAAAAA=").send().await.unwrap();
    assert_eq!((text.status().as_u16(), text.headers().get("grpc-status")), (200, None), "base64 as well");
    assert!(text.text().await.unwrap().starts_with("AAAA"), "a message first");
    let refused = send("a.b.c".into()).await.unwrap();
    let header = refused.headers().get("grpc-status").map(|v| v.to_str().unwrap().to_owned());
    let body = refused.bytes().await.unwrap();
    assert!(header.as_deref() == Some("16") || String::from_utf8_lossy(&body).contains("grpc-status:16"));
}

#[tokio::test]
async fn tls_offers_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (certificate_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate_file, made.cert.pem()).unwrap();
    std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    let tls = Some(slipway_gateway::config::Tls { certificate_file, key_file });
    let platform = Platform::with(Wish { tls, ..Wish::default() }).await;
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let url = format!("https://localhost:{}/healthz", platform.address.port());
    let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    for (offered, chosen) in [(vec!["h2", "http/1.1"], "h2"), (vec!["http/1.1"], "http/1.1")] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|p| p.as_bytes().to_vec()).collect();
        let socket = tokio::net::TcpStream::connect(platform.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen.as_bytes()));
    }
    assert!(reqwest::get(platform.url("/healthz")).await.is_err(), "no plain text beside TLS");
}

#[tokio::test]
async fn a_listener_beyond_loopback_needs_tls() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = support::config(folder.path());
    config.listen = "0.0.0.0:8080".parse().unwrap();
    assert!(config.validate().is_err());
    config.listen = "[::1]:8080".parse().unwrap();
    config.validate().unwrap();
}
