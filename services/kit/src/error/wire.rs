//! Errors on the wire: answers made by our layers, answers of libraries made ours, and answers of siblings read back.
//!
//! Owns the rule that every error answer carries an ErrorInfo. Refuses to pass on what a library or a sibling says of itself.
use std::{collections::BTreeMap, sync::Mutex};

use http::{HeaderMap, HeaderValue, Response};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    CANCELLED, DEADLINE_EXCEEDED, DEPENDENCY_UNAVAILABLE, Error, INTERNAL, Kind, MALFORMED_CALL, MESSAGE_TOO_LARGE,
    METHOD_UNKNOWN, REASONS, Reason,
};

/// Most reasons of siblings that are told apart.
const SIBLING_REASONS_MAX: usize = 1_024;

/// A whole answer that says the error; with the time to come back, where it has one (REL-32).
pub(crate) fn response(error: Error) -> Response<Body> {
    let pushback_ms = error.details.retry_after_ms.map(HeaderValue::from);
    let mut response = Status::from(error).into_http();
    if let Some(pushback_ms) = pushback_ms {
        response.headers_mut().insert("grpc-retry-pushback-ms", pushback_ms);
    }
    response
}

/// The trailers that end a stream with the error.
pub(crate) fn trailers(error: Error) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if Status::from(error).add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", HeaderValue::from_static("13"));
    }
    trailers
}

/// Code and reason in headers or trailers; `None` without a status.
pub(crate) fn outcome(headers: &HeaderMap) -> Option<(Code, String)> {
    let status = Status::from_header_map(headers)?;
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default();
    Some((status.code(), reason))
}

/// Replaces an error that a library put into headers or trailers by ours, so that each carries a documented reason (REL-13).
pub(crate) fn repair(headers: &mut HeaderMap) {
    if headers.contains_key("grpc-status-details-bin") {
        return;
    }
    let Some(status) = Status::from_header_map(headers).filter(|status| status.code() != Code::Ok) else { return };
    for name in ["grpc-status", "grpc-message"] {
        headers.remove(name);
    }
    headers.extend(trailers(of_library(&status)));
}

/// What the gRPC library means by a status without details.
fn of_library(status: &Status) -> Error {
    let message = status.message().to_owned();
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            Error::new(&MESSAGE_TOO_LARGE, "the message is larger than 4 MiB")
        }
        Code::Cancelled => Error::new(&CANCELLED, "the call was cancelled"),
        Code::DeadlineExceeded => Error::new(&DEADLINE_EXCEEDED, "the time of the call ran out"),
        Code::Internal if message == "Missing request message." => {
            Error::new(&METHOD_UNKNOWN, "the call carries no message")
        }
        Code::Internal | Code::InvalidArgument if is_codec(&message) => {
            Error::new(&MALFORMED_CALL, "the message is not a valid protobuf message of this method")
        }
        Code::Unimplemented => Error::new(&METHOD_UNKNOWN, "there is no such method, or the encoding is not supported"),
        _ => Error::internal(message),
    }
}

/// Whether the library complains of bytes that the caller sent.
fn is_codec(message: &str) -> bool {
    [
        "failed to decode Protobuf",
        "protocol error",
        "Error decompressing",
        "compressed flag",
        "invalid compression flag",
    ]
    .iter()
    .any(|start| message.contains(start))
}

/// A failure below gRPC: the channel's own time-out, which it calls a cancellation, or a peer that is away.
pub(crate) fn of_channel(error: tonic::transport::Error) -> Status {
    let status = Status::from_error(Box::new(error));
    match (status.code(), status.message()) {
        (Code::Cancelled, "Timeout expired") => Error::new(&DEADLINE_EXCEEDED, "the time of the call ran out").into(),
        // A connection that could not be made, or ended: nobody is told whose fault the other side's certificate is.
        _ => away(status).into(),
    }
}

/// A sibling's answer as our error: the caller's mistakes keep reason and details, everything else means that it is away (REL-12).
pub fn error_from(status: Status) -> Error {
    let kind = match status.code() {
        Code::InvalidArgument => Kind::InvalidArgument,
        Code::PermissionDenied => Kind::PermissionDenied,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::FailedPrecondition => Kind::FailedPrecondition,
        Code::Aborted => Kind::Aborted,
        Code::OutOfRange => Kind::OutOfRange,
        Code::ResourceExhausted => Kind::ResourceExhausted,
        Code::DeadlineExceeded => return Error::new(&DEADLINE_EXCEEDED, "the time of the call ran out"),
        _ => return away(status),
    };
    let details = status.get_error_details();
    match details.error_info().and_then(|info| intern(&info.reason, kind)) {
        Some(reason) => with_details(Error::new(reason, status.message()), &details),
        None => away(status),
    }
}

fn away(status: Status) -> Error {
    Error::new(&DEPENDENCY_UNAVAILABLE, "a service this call needs is away").source(status)
}

fn with_details(mut error: Error, details: &ErrorDetails) -> Error {
    for (key, value) in details.error_info().into_iter().flat_map(|info| &info.metadata) {
        error = error.meta(key, value);
    }
    for violation in details.bad_request().into_iter().flat_map(|bad| &bad.field_violations) {
        error = error.violation(&violation.field, &violation.description);
    }
    for failed in details.precondition_failure().into_iter().flat_map(|failure| &failure.violations) {
        error = error.precondition(&failed.r#type, &failed.subject, &failed.description);
    }
    for used in details.quota_failure().into_iter().flat_map(|failure| &failure.violations) {
        error = error.quota(&used.subject, &used.description);
    }
    if let Some(info) = details.resource_info() {
        error = error.resource(&info.resource_type, &info.resource_name);
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        error = error.retry_after_ms(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    }
    error
}

/// The reason of that name: ours, or one that a sibling documents, remembered once.
fn intern(name: &str, kind: Kind) -> Option<&'static Reason> {
    static SIBLINGS: Mutex<BTreeMap<String, &'static Reason>> = Mutex::new(BTreeMap::new());
    if let Some(own) = REASONS.iter().find(|reason| reason.name == name && reason.kind == kind) {
        return Some(own);
    }
    let key = format!("{name}/{kind:?}");
    let mut known = SIBLINGS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(reason) = known.get(&key) {
        return Some(reason);
    }
    if known.len() >= SIBLING_REASONS_MAX {
        return None;
    }
    let reason: &'static Reason =
        Box::leak(Box::new(Reason { name: name.to_owned().leak(), kind, cause: INTERNAL.cause, next: INTERNAL.next }));
    known.insert(key, reason);
    Some(reason)
}

#[cfg(test)]
mod tests;
