//! Protobuf and model, both ways; nothing untyped survives here.

pub mod entity;
pub mod event;
pub mod location;
pub mod overview;

use prost_types::Timestamp;

/// A time in µs as the contract writes it; 0 is no time.
fn time(us: i64) -> Option<Timestamp> {
    let nanos = i32::try_from(us.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    (us != 0).then(|| Timestamp { seconds: us.div_euclid(1_000_000), nanos })
}

fn micros(time: Option<&Timestamp>) -> i64 {
    time.map_or(0, |t| t.seconds * 1_000_000 + i64::from(t.nanos) / 1_000)
}
