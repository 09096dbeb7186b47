//! Protobuf ↔ model, both ways.
//!
//! Owns every translation of the contract. Refuses decisions, and lets nothing untyped through.
pub mod budget;
pub mod cluster;
pub mod diagnosis;
pub mod environment;
pub mod event;
pub mod hold;
pub mod orphan;
pub mod policy;
pub mod receipt;
pub mod route;
pub mod scm_connection;

use prost_types::{Duration, Timestamp};

/// An instant in microseconds as a timestamp.
pub fn time(us: i64) -> Timestamp {
    Timestamp { seconds: us.div_euclid(1_000_000), nanos: (us.rem_euclid(1_000_000) * 1000) as i32 }
}

/// A timestamp in microseconds.
pub fn time_us(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1000)
}

/// A duration in microseconds.
pub fn duration_us(duration: &Duration) -> i64 {
    duration.seconds.saturating_mul(1_000_000).saturating_add(i64::from(duration.nanos) / 1000)
}

/// Microseconds as a duration.
pub fn duration(us: i64) -> Duration {
    Duration { seconds: us / 1_000_000, nanos: ((us % 1_000_000) * 1000) as i32 }
}
