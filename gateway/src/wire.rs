//! Protobuf of access ↔ the gateway's nouns, both ways.
//!
//! Refuses defaults that mean nothing: an unnamed role never reaches the model.

use crate::app::lists::Total;

mod role_binding;
mod token;
mod trust_entry;

pub use role_binding::{bound_role, role, role_binding};
pub use token::{scopes, token, token_scopes, who_am_i};
pub use trust_entry::{new_trust_entry, trust_change, trust_entry};

/// A time on the wire; absent for 0.
fn time(us: i64) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(us.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
    (us != 0).then(|| prost_types::Timestamp { seconds: us.div_euclid(1_000_000), nanos })
}

/// The etag of a version.
fn etag(version: i64) -> String {
    format!("v{version}")
}

/// A span of time in whole microseconds.
#[must_use]
pub fn span_us(duration: &prost_types::Duration) -> i64 {
    duration.seconds.saturating_mul(1_000_000).saturating_add(i64::from(duration.nanos) / 1_000)
}

/// The moment an assertion ends.
#[must_use]
pub fn moment(us: i64) -> Option<prost_types::Timestamp> {
    time(us)
}

/// How a total is counted: not at all, whole, or up to a thousand.
#[must_use]
pub fn total(mode: slipway_proto::resource::v1::TotalMode) -> Total {
    use slipway_proto::resource::v1::TotalMode;
    match mode {
        TotalMode::Unspecified => Total::None,
        TotalMode::Exact => Total::Exact,
        TotalMode::Estimate => Total::Estimate,
    }
}
