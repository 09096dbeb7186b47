//! The limits of a listener (REL-14).
use std::time::Duration;

/// Everything that is bounded about connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Concurrent HTTP/2 streams per connection.
    pub streams: u32,
    /// Bytes of a request's header list.
    pub header_list_bytes: u32,
    /// Silence after which a peer is asked whether it is there; `None` never asks.
    pub keepalive_interval: Option<Duration>,
    /// Time it has to answer.
    pub keepalive_timeout: Duration,
    /// Age at which a connection is asked to end, ±10 %.
    pub connection_age: Duration,
    /// Time its calls have to end then.
    pub age_grace: Duration,
    /// Time calls have to end when the process stops (REL-68).
    pub drain: Duration,
    /// Time a TLS handshake may take.
    pub handshake: Duration,
    /// Handshakes going on at once.
    pub handshakes: usize,
    /// Time until the first request's header.
    pub first_request: Duration,
    /// Silence after which an HTTP/1.1 connection ends.
    pub http1_idle: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 128,
            header_list_bytes: 16 * 1024,
            keepalive_interval: Some(Duration::from_secs(30)),
            keepalive_timeout: Duration::from_secs(10),
            connection_age: Duration::from_secs(15 * 60),
            age_grace: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            handshake: Duration::from_secs(5),
            handshakes: 512,
            first_request: Duration::from_secs(10),
            http1_idle: Duration::from_secs(60),
            connections: 4_096,
            connections_per_source: 256,
        }
    }
}

impl Limits {
    /// For the door to the other services: few connections that carry all calls of a sibling.
    pub fn between_services() -> Self {
        Self { streams: 1_024, header_list_bytes: 64 * 1024, ..Self::default() }
    }

    /// For a pipe inside the process: the other end is as old and as well as this one.
    pub fn in_process() -> Self {
        Self {
            streams: 1_024,
            header_list_bytes: 64 * 1024,
            keepalive_interval: None,
            connection_age: Duration::from_secs(365 * 24 * 3600),
            first_request: Duration::from_secs(365 * 24 * 3600),
            ..Self::default()
        }
    }
}
