//! Protobuf and webhooks to the model and back; nothing untyped survives it.
use prost_types::Timestamp;
use slipway_proto::resource::v1::TotalMode;

use crate::app::deployments::{ESTIMATE_MAX, Total};

pub mod correction;
pub mod dora;
pub mod event;
pub mod fact;
pub mod github;
pub mod measure;
pub mod pipeline;

/// Microseconds of a timestamp; out-of-range parts are cut.
pub fn micros(t: &Timestamp) -> i64 {
    t.seconds.saturating_mul(1_000_000).saturating_add(i64::from(t.nanos) / 1_000)
}

/// Timestamp of microseconds.
pub fn timestamp(us: i64) -> Timestamp {
    Timestamp { seconds: us.div_euclid(1_000_000), nanos: (us.rem_euclid(1_000_000) * 1_000) as i32 }
}

/// How a total is wanted.
pub fn total(mode: i32) -> Total {
    match TotalMode::try_from(mode) {
        Ok(TotalMode::Exact) => Total::Exact,
        Ok(TotalMode::Estimate) => Total::Estimate,
        _ => Total::No,
    }
}

/// A total as it is answered, and whether there are more.
pub fn totals(total: Option<i64>, mode: i32) -> (Option<i64>, bool) {
    let estimate = mode == TotalMode::Estimate as i32;
    match total {
        Some(n) if estimate && n > ESTIMATE_MAX => (Some(ESTIMATE_MAX), true),
        other => (other, false),
    }
}
