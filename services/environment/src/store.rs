//! All SQL of the environment service.
//!
//! Owns rows and their uniqueness. Refuses decisions: a lost race is told as ALREADY_EXISTS or CONFLICT.
mod budgets;
mod clusters;
mod deletions;
mod environments;
mod holds;
mod orphans;
mod policies;
mod receipts;
mod routes;
mod scm_connections;

use slipway_kit::db::Db;

pub use deletions::OpenDeletion;
pub use environments::{FILTER, ListQuery, new_uid};
pub use holds::{HOLD_FILTER, Living};
pub use orphans::ORPHAN_FILTER;
pub use receipts::After;

static MIGRATIONS: slipway_kit::db::Migrations = slipway_kit::migrations!("../../migrations/environment");

/// The service's migrations.
pub fn migrations() -> &'static slipway_kit::db::Migrations {
    &MIGRATIONS
}

/// The store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// The database.
    pub db: Db,
}

impl Store {
    /// A store on an open, migrated database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}
