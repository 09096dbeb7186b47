//! Logs and traces: one JSON line per event on stderr, W3C context in and out, OTLP when a collector is configured.
//!
//! Owns how a call is named in logs. Refuses secrets: headers and messages are never logged, and a panic tells its place only.
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use opentelemetry::{
    propagation::{Extractor, TextMapPropagator as _},
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    error::{Error, INTERNAL, INVALID_CONFIG, Result},
    id,
};

/// Header of the W3C trace context.
pub const TRACE_HEADER: &str = "traceparent";
/// What is logged unless `RUST_LOG` says otherwise.
const FILTER: &str = "info,h2=warn,hyper=warn,sqlx=warn,tower=warn";

tokio::task_local! {
    static CURRENT: String;
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Sends what is left when dropped.
pub struct Telemetry(Option<SdkTracerProvider>);

/// Starts JSON logs on stderr, and traces to `otlp_endpoint` if given; once per process.
pub fn init(name: &'static str, otlp_endpoint: Option<&str>) -> Result<Telemetry> {
    let wrong = |error: &dyn std::fmt::Display| Error::new(&INVALID_CONFIG, format!("telemetry: {error}"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let logs =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).with_filter(filter);
    let provider = otlp_endpoint.map(|endpoint| exporter(name, endpoint)).transpose().map_err(|error| wrong(&error))?;
    let traces =
        provider.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("slipway")));
    let subscriber = tracing_subscriber::registry().with(traces.with_filter(EnvFilter::new(FILTER))).with(logs);
    subscriber.try_init().map_err(|error| wrong(&error))?;
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "panic");
    }));
    Ok(Telemetry(provider))
}

fn exporter(
    name: &'static str,
    endpoint: &str,
) -> std::result::Result<SdkTracerProvider, opentelemetry_otlp::ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let resource = Resource::builder().with_service_name(name).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(error = %error, "the last spans were not sent");
        }
    }
}

/// Panics since the process started, where [`init`] counts them.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// The span of one call and its trace context: a child of what the caller sent, else of a new trace.
pub fn call_span(method: &str, request_id: &str, headers: &HeaderMap) -> (Span, String) {
    let parent = headers.get(TRACE_HEADER).and_then(|value| value.to_str().ok()).filter(|text| is_traceparent(text));
    let span = tracing::info_span!("call", method, request_id, trace_id = tracing::field::Empty);
    if parent.is_some() {
        // Fails only when no collector is configured, and then the context is made below.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Carrier(headers)));
    }
    let context = span.context();
    let exported = context.span().span_context().clone();
    let traceparent = if exported.is_valid() {
        format!("00-{}-{}-{:02x}", exported.trace_id(), exported.span_id(), exported.trace_flags().to_u8())
    } else {
        let trace_id = parent.map_or_else(|| id::uuid4().replace('-', ""), |text| text[3..35].to_owned());
        let span_id = &id::uuid4().replace('-', "")[..16];
        format!("00-{trace_id}-{span_id}-{}", parent.map_or("01", |text| &text[53..55]))
    };
    span.record("trace_id", &traceparent[3..35]);
    (span, traceparent)
}

/// Runs a future as part of a trace, so that calls and log lines made in it belong there.
pub async fn within<F: Future>(traceparent: String, future: F) -> F::Output {
    CURRENT.scope(traceparent, future).await
}

/// The trace context of the current call; empty if there is none.
pub fn current_traceparent() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// The error of a panic in a method; the panic hook has logged where.
pub(crate) fn panicked() -> Error {
    Error::new(&INTERNAL, "internal error")
}

struct Carrier<'a>(&'a HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACE_HEADER]
    }
}

fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, n: usize| {
        part.len() == n
            && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && part.bytes().any(|b| b != b'0')
    };
    let flags = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    match text.split('-').collect::<Vec<_>>().as_slice() {
        ["00", trace, span, last] => hex(trace, 32) && hex(span, 16) && flags(last),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_call_continues_the_trace_it_comes_with() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACE_HEADER, PARENT.parse().expect("ascii"));
        let (_, child) = call_span("/x", "r", &headers);
        assert!(is_traceparent(&child) && child.starts_with(&PARENT[..36]) && child != PARENT, "{child}");
        for bad in [
            "",
            "garbage",
            "00-0-0-0",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &PARENT.to_uppercase(),
        ] {
            headers.insert(TRACE_HEADER, bad.parse().expect("ascii"));
            let (_, fresh) = call_span("/x", "r", &headers);
            assert!(is_traceparent(&fresh) && !fresh.starts_with(&PARENT[..36]), "{bad}: {fresh}");
        }
    }

    #[tokio::test]
    async fn what_runs_within_a_trace_knows_it() {
        assert_eq!(current_traceparent(), "");
        assert_eq!(within(PARENT.to_owned(), async { current_traceparent() }).await, PARENT);
    }
}
