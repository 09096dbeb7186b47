//! All SQL of the metrics service: the ledger of facts and what is derived from it. Refuses decisions: those are the model's.
use slipway_kit::{db::Migrations, error::Error};

pub mod deployments;
pub mod derived;
pub mod ledger;
pub mod runs;
pub mod services;

/// Schema of the service's database.
pub static MIGRATIONS: Migrations = slipway_kit::migrations!("../../migrations/metrics");

/// JSON form of what is kept as text.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::internal)
}
