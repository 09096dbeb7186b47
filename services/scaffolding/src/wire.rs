//! Protobuf to model and back; nothing untyped survives it.
pub mod event;
mod json;
mod run;
mod template;

use prost_types::Timestamp;
use slipway_proto::resource::v1::TotalMode;

use crate::app::{List, Total};

pub use json::{to_map, to_struct};
pub use run::{action, dry_run, new_run, rehearsal, run as run_message, run_event};
pub use template::{publication, revision, template};

/// A time as the contract has it.
fn time(us: i64) -> Option<Timestamp> {
    let nanos = i32::try_from(us.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    Some(Timestamp { seconds: us.div_euclid(1_000_000), nanos })
}

/// A list request.
#[must_use]
pub fn list(filter: String, order_by: String, page_size: i32, page_token: String, total: TotalMode) -> List {
    let total = match total {
        TotalMode::Unspecified => Total::None,
        TotalMode::Exact => Total::Exact,
        TotalMode::Estimate => Total::Estimate,
    };
    List { filter, order_by, page_size, page_token, total }
}
