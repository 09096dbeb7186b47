//! Errors of the edge as answers: gRPC trailers, or google.rpc.Status as JSON with its HTTP code.
//!
//! Refuses a second mapping of codes: kit's table is asked.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use prost_reflect::{DynamicMessage, SerializeOptions};
use slipway_kit::{
    error::{Error, Kind},
    serve::{Body, REQUEST_ID_HEADER},
};
use tonic::{Code, Status};

/// Metadata that tells a gRPC client when to repeat.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// Metadata with the details of an error.
const DETAILS: &str = "grpc-status-details-bin";

/// An error as a gRPC answer.
pub(super) fn grpc(error: Error, request_id: Option<&str>) -> Response<Body> {
    let pushback = error.retry_after();
    let mut answer = Status::from(error).into_http::<Body>();
    if let Some(value) = pushback.map(HeaderValue::from) {
        answer.headers_mut().insert(PUSHBACK, value);
    }
    named(&mut answer, request_id);
    answer
}

/// An error as the trailers of a stream.
pub(super) fn trailers(error: Error) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if Status::from(error).add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", HeaderValue::from_static("13"));
    }
    trailers
}

/// An error as JSON.
pub(super) fn json(error: Error, request_id: Option<&str>) -> Response<Body> {
    let retry_ms = error.retry_after();
    let mut answer = status_json(&Status::from(error));
    if let Some(ms) = retry_ms {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    named(&mut answer, request_id);
    answer
}

/// A gRPC status as JSON.
pub(super) fn status_json(status: &Status) -> Response<Body> {
    let mut answer = body(http_of(status.code()), &document(status));
    if status.code() == Code::Unauthenticated {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

/// A JSON answer.
pub(super) fn body(code: StatusCode, document: &serde_json::Value) -> Response<Body> {
    bytes(code, document.to_string().into())
}

/// JSON that was rendered before.
pub(super) fn bytes(code: StatusCode, json: bytes::Bytes) -> Response<Body> {
    let mut answer = Response::new(Body::new(http_body_util::Full::new(json)));
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// An answer without a body.
pub(super) fn empty(code: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = code;
    answer
}

/// Says which call an answer is to.
pub(super) fn named(answer: &mut Response<Body>, request_id: Option<&str>) {
    if let Some(value) = request_id.and_then(|id| HeaderValue::from_str(id).ok()) {
        answer.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
}

/// google.rpc.Status in its JSON form.
fn document(status: &Status) -> serde_json::Value {
    let plain = || serde_json::json!({ "code": status.code() as i32, "message": status.message() });
    let details = status.details();
    let Some(descriptor) = slipway_proto::pool().get_message_by_name("google.rpc.Status") else { return plain() };
    let Ok(message) = DynamicMessage::decode(descriptor, details) else { return plain() };
    let options = SerializeOptions::new();
    match message.serialize_with_options(serde_json::value::Serializer, &options) {
        Ok(document) if !details.is_empty() => document,
        _ => plain(),
    }
}

/// The HTTP code of a gRPC code.
fn http_of(code: Code) -> StatusCode {
    let kind = match code {
        Code::Ok => return StatusCode::OK,
        Code::InvalidArgument => Kind::InvalidArgument,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::PermissionDenied => Kind::PermissionDenied,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::FailedPrecondition => Kind::FailedPrecondition,
        Code::Aborted => Kind::Aborted,
        Code::ResourceExhausted => Kind::ResourceExhausted,
        Code::OutOfRange => Kind::OutOfRange,
        Code::Unimplemented => Kind::Unimplemented,
        Code::DeadlineExceeded => Kind::DeadlineExceeded,
        Code::Cancelled => Kind::Cancelled,
        Code::Unavailable => Kind::Unavailable,
        Code::Unknown | Code::Internal | Code::DataLoss => Kind::Internal,
    };
    StatusCode::from_u16(kind.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The status in an answer's headers or trailers, with details.
pub(super) fn status_of(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> Status {
    let found = trailers.and_then(Status::from_header_map).or_else(|| Status::from_header_map(headers));
    found.unwrap_or_else(|| Status::from(Error::internal(format!("an answer without a status or {DETAILS}"))))
}
