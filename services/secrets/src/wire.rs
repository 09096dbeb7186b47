//! Protobuf to model and back.
//!
//! Owns both directions. Refuses to let anything untyped through, and to copy a value where a move does.
use slipway_kit::error::{Result, Violations};
use slipway_proto::{environment::v1 as environment, resource::v1::TotalMode};

use crate::{
    app::Listed,
    model::name::{BindingName, Path, Tier},
    store::Count,
};

pub mod bindings;
pub mod delivery;
pub mod engine;
pub mod event;
pub mod secrets;

fn time(us: i64) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(us.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    (us != 0).then(|| prost_types::Timestamp { seconds: us.div_euclid(1_000_000), nanos })
}

fn tier(number: i32) -> Option<Tier> {
    use environment::EnvironmentTier as Pb;
    match Pb::try_from(number).ok()? {
        Pb::Unspecified => None,
        Pb::Development => Some(Tier::Development),
        Pb::Staging => Some(Tier::Staging),
        Pb::Production => Some(Tier::Production),
    }
}

fn tier_number(tier: Tier) -> i32 {
    use environment::EnvironmentTier as Pb;
    match tier {
        Tier::Development => Pb::Development,
        Tier::Staging => Pb::Staging,
        Tier::Production => Pb::Production,
    }
    .into()
}

fn count(mode: i32) -> Count {
    match TotalMode::try_from(mode).unwrap_or_default() {
        TotalMode::Unspecified => Count::No,
        TotalMode::Exact => Count::Exact,
        TotalMode::Estimate => Count::Estimate,
    }
}

fn total<T>(listed: &Listed<T>) -> (Option<i64>, bool) {
    (listed.total.map(|(n, _)| n), listed.total.is_some_and(|(_, over)| over))
}

/// The path that a resource name says.
pub fn path(name: &str) -> Result<Path> {
    named(
        Path::parse(name),
        "name",
        "must be `secrets/<service segment>/<tier>`, with `/env/<uid>` for one environment",
    )
}

/// The binding that a resource name says.
pub fn binding_name(name: &str) -> Result<BindingName> {
    named(BindingName::parse(name), "name", "must be `secretBindings/<service segment>/<tier>/<id>`")
}

fn named<T>(found: Option<T>, field: &str, rule: &str) -> Result<T> {
    let mut violations = Violations::new();
    violations.check(found.is_some(), field, rule);
    violations.finish()?;
    found.ok_or_else(|| slipway_kit::error::Error::internal("a violation was told"))
}
