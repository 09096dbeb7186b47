//! The layers seen from the wire: raw headers and bodies, as no client of ours would send them.
use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use slipway_kit::{
    audit::Recorder,
    caller::Signer,
    db::{Migrations, scratch},
    serve::{Body, Guard, Peer, Shutdown, accept},
};
use slipway_proto::access::v1::{
    ListMembershipsRequest, ListMembershipsResponse, Ownership, ResolveOwnerRequest,
    directory_service_server::{DirectoryService, DirectoryServiceServer},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

const METHOD: &str = "/slipway.access.v1.DirectoryService/ResolveOwner";

struct Directory;

#[tonic::async_trait]
impl DirectoryService for Directory {
    async fn resolve_owner(
        &self,
        request: tonic::Request<ResolveOwnerRequest>,
    ) -> Result<tonic::Response<Ownership>, Status> {
        let (call, message) = accept(request)?;
        let left_ms = call.remaining().as_millis().to_string();
        Ok(tonic::Response::new(Ownership { r#ref: message.r#ref, owner: left_ms, ..Ownership::default() }))
    }

    async fn list_memberships(
        &self,
        _: tonic::Request<ListMembershipsRequest>,
    ) -> Result<tonic::Response<ListMembershipsResponse>, Status> {
        panic!("not called")
    }
}

/// Sends one raw call; answers headers, body bytes and the final status.
async fn send(
    path: &str,
    peer: Option<&'static str>,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (HeaderMap, Bytes, Status) {
    let scratch = scratch::sqlite(&Migrations::none()).await;
    let (verifier, recorder) = (Signer::generate().verifier(), Recorder::new(&scratch.db));
    let inner = tower::service_fn(|request: Request<Body>| async {
        let answer: Result<Response<Body>, Infallible> = DirectoryServiceServer::new(Directory).oneshot(request).await;
        answer
    });
    let guard = Guard::new(inner, "catalog", verifier, recorder, Shutdown::new());
    let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::new(Full::new(Bytes::copy_from_slice(body)))).expect("well formed");
    request.extensions_mut().insert(Peer { service: peer, ..Peer::default() });
    let (parts, body) = guard.oneshot(request).await.expect("infallible").into_parts();
    let whole = body.collect().await.expect("an answer");
    let last = whole.trailers().cloned().unwrap_or_else(|| parts.headers.clone());
    let status = Status::from_header_map(&last).expect("a status");
    (parts.headers, whole.to_bytes(), status)
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_error_details().error_info().expect("every error has one").reason.clone())
}

/// `ref: "x"` in its frame.
const ONE: &[u8] = &[0, 0, 0, 0, 3, 0x0a, 1, b'x'];

#[tokio::test]
async fn a_plain_call_has_the_default_time_and_a_capped_one_the_cap() {
    for (timeout, most_ms, least_ms) in [(None, 10_000, 8_000), (Some("1H"), 60_000, 58_000), (Some("2S"), 2_000, 500)]
    {
        let headers = timeout.map(|timeout| ("grpc-timeout", timeout));
        let (_, body, status) = send(METHOD, Some("environment"), headers.as_slice(), ONE).await;
        assert_eq!(status.code(), Code::Ok);
        let ownership = <Ownership as prost::Message>::decode(&body[5..]).expect("an answer");
        let left_ms: u64 = ownership.owner.parse().expect("a number");
        assert!((least_ms..=most_ms).contains(&left_ms), "{timeout:?}: {left_ms}");
    }
}

#[tokio::test]
async fn times_that_cannot_be_read_or_are_over_are_refused() {
    for timeout in ["10", "S", "123456789S", "-1S", "1s", "1 S"] {
        let (_, _, status) = send(METHOD, Some("environment"), &[("grpc-timeout", timeout)], ONE).await;
        assert_eq!(reason(&status), (Code::InvalidArgument, "MALFORMED_CALL".to_owned()), "{timeout}");
    }
    let twice = [("grpc-timeout", "1S"), ("grpc-timeout", "1S")];
    assert_eq!(send(METHOD, Some("environment"), &twice, ONE).await.2.code(), Code::InvalidArgument);
    let (_, _, status) = send(METHOD, Some("environment"), &[("grpc-timeout", "0m")], ONE).await;
    assert_eq!(reason(&status), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned()));
}

#[tokio::test]
async fn none_or_two_messages_are_unimplemented() {
    let two = [ONE, ONE].concat();
    for body in [&[][..], &two] {
        let (_, _, status) = send(METHOD, Some("environment"), &[], body).await;
        assert_eq!(reason(&status), (Code::Unimplemented, "METHOD_UNKNOWN".to_owned()), "{} bytes", body.len());
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_mistake() {
    for body in
        [&[0, 0, 0, 0, 3, 0xff, 0xff, 0xff][..], &[0, 0, 0, 0, 3, 0x0a, 9, b'x'], &[0, 0, 0, 0, 2, 0x0a, 0xc0, 0xc0]]
    {
        let (_, _, status) = send(METHOD, Some("environment"), &[], body).await;
        assert_eq!(reason(&status), (Code::InvalidArgument, "MALFORMED_CALL".to_owned()), "{body:?}");
    }
    let (_, _, status) = send(METHOD, Some("environment"), &[], &[0, 0xff, 0xff, 0xff, 0xff]).await;
    assert_eq!(reason(&status), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()), "a lying length");
}

#[tokio::test]
async fn a_peer_without_a_name_calls_nothing() {
    for peer in [None, Some(""), Some("nobody")] {
        let headers = [("slipway-peer", "environment"), ("x-forwarded-for", "environment")];
        let (_, _, status) = send(METHOD, peer, &headers, ONE).await;
        assert_eq!(reason(&status), (Code::PermissionDenied, "PERMISSION_DENIED".to_owned()), "{peer:?}");
    }
}

#[tokio::test]
async fn a_plain_request_id_is_kept_and_any_other_replaced() {
    for (id, is_kept) in [("run-7.a:b_c", true), ("", false), ("a b", false), (&"x".repeat(65), false)] {
        let (headers, _, _) = send(METHOD, Some("environment"), &[("x-request-id", id)], ONE).await;
        let echo = headers.get("x-request-id").expect("always").to_str().expect("ascii");
        assert_eq!(echo == id, is_kept, "{id}");
        assert!(!echo.is_empty());
    }
    let (headers, _, status) = send("/slipway.x.v1.X/Y", Some("environment"), &[], ONE).await;
    assert!(headers.contains_key("x-request-id"), "on errors too");
    assert_eq!(reason(&status), (Code::Unimplemented, "METHOD_UNKNOWN".to_owned()));
}
