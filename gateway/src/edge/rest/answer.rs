//! From a service's gRPC answer to JSON.
//!
//! Refuses an answer that is no single message: that is a defect of ours, told as INTERNAL.

use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use slipway_kit::{
    error::{DEADLINE_EXCEEDED, Error, Result},
    serve::Body,
};
use tokio::time::Instant;
use tonic::Code;

use crate::edge::respond;

/// Largest answer in bytes: a message of 4 MiB and its frame.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024 + 64;
/// Bytes before a message: whether it is compressed, and its length.
const FRAME_BYTES: usize = 5;

/// The JSON answer, or the status as JSON.
pub(super) async fn read(
    output: &MessageDescriptor,
    answer: Response<Body>,
    deadline: Instant,
) -> Result<Response<Body>> {
    let (head, body) = answer.into_parts();
    let read = tokio::time::timeout_at(deadline, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
    let body = read
        .map_err(|_| Error::new(&DEADLINE_EXCEEDED, "the time of the call ran out"))?
        .map_err(|error| Error::internal(format!("the answer ended early: {error}")))?;
    let status = respond::status_of(&head.headers, body.trailers());
    if status.code() != Code::Ok {
        let mut failed = respond::status_json(&status);
        if let Some(seconds) = pushback_seconds(&head.headers) {
            failed.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from(seconds));
        }
        return Ok(failed);
    }
    let bytes = body.to_bytes();
    let message = match bytes.get(..FRAME_BYTES) {
        Some([0, length @ ..]) if length_of(length) == bytes.len() - FRAME_BYTES => &bytes[FRAME_BYTES..],
        _ => return Err(Error::internal("the answer is not one plain message")),
    };
    let message = DynamicMessage::decode(output.clone(), message).map_err(Error::internal)?;
    let options = SerializeOptions::new();
    let document = message.serialize_with_options(serde_json::value::Serializer, &options).map_err(Error::internal)?;
    Ok(respond::body(StatusCode::OK, &document))
}

fn length_of(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b))
}

fn pushback_seconds(headers: &http::HeaderMap) -> Option<u64> {
    let ms: u64 = headers.get("grpc-retry-pushback-ms")?.to_str().ok()?.parse().ok()?;
    Some(ms.div_ceil(1_000))
}
