//! Verbs of the catalog: authorise on the stored row, read outside, open one transaction, ask the model, save, append the events.

mod content;
mod directory;
mod entities;
mod ingest;
mod locations;
mod overview;
mod refresh;
mod watch;

use std::time::Duration;

use slipway_kit::{clock::Clock, db::Db, page::Sealer, serve::Shutdown};

use crate::world::{Siblings, Sources};

pub use directory::Memberships;
pub use entities::{ListAsk, Listed};
pub use locations::Refreshed;
pub use overview::{Overview, Part};
pub use watch::{Change, WatchAsk};

/// Kind of the work that reads a location again.
pub const LOCATION_WORK: &str = "location";

/// The catalog's verbs and what they stand on; cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Database.
    pub db: Db,
    /// Origins of documents.
    pub sources: Sources,
    /// Services an overview asks.
    pub siblings: Siblings,
    /// Seals page tokens.
    pub sealer: Sealer,
    /// Current time.
    pub clock: Clock,
    /// How often a location is read again without a trigger.
    pub reread: Duration,
    /// Ends streams when the service ends.
    pub shutdown: Shutdown,
}
