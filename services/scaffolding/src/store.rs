//! All SQL of the service.
//!
//! Owns rows and their shapes. Refuses decisions.
mod blobs;
mod runs;
mod templates;
mod trees;

use std::sync::Arc;

use slipway_kit::db::{Db, Migrations};
use tokio::sync::watch;

pub use runs::{Effect, RunPage};
pub use templates::{Revision, RevisionPage, TemplatePage, TemplateRow, sort_key};
pub use trees::{Tree, Trees};

/// Schema of this service's database.
pub static MIGRATIONS: Migrations = slipway_kit::migrations!("../../migrations/scaffolding");

/// The database, and a signal that wakes streams of this process.
#[derive(Clone)]
pub struct Store {
    db: Db,
    changed: Arc<watch::Sender<u64>>,
}

impl Store {
    /// The store on an open, migrated database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, changed: Arc::new(watch::Sender::new(0)) }
    }

    /// The database.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Wakes who waits for changes of runs; called after a commit.
    pub fn wake(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Changes whenever a run of this process did.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
