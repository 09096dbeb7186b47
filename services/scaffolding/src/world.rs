//! The outside: the source provider new repositories are made at, and the sibling services.
//!
//! Owns two small traits and their real clients; `fake` has the same world in memory. Refuses rights of its own: whatever is done
//! for a run is done with its initiator's present rights (SCF-61).
pub mod fake;
mod forge;
mod siblings;

use async_trait::async_trait;
use slipway_kit::{caller::Caller, error::Result, scm::NewRepository, serve::Call};

pub use forge::ScmForge;
pub use siblings::PeerSiblings;

/// Whose work a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initiator {
    /// Principal.
    pub principal: String,
    /// Credential the run was started with.
    pub credential: String,
}

/// A repository as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What its maker left.
    pub marker: String,
    /// Its first commit; none if it has none yet.
    pub first_commit: Option<String>,
}

/// A location to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `scm://<connection>/<owner>/<name>`.
    pub target: String,
    /// Catalog file in it.
    pub path: String,
    /// Group that may refresh and delete it.
    pub owner: String,
    /// Equal for every attempt.
    pub request_id: String,
}

/// A registered location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Its name; empty if somebody else registered it before.
    pub location: String,
    /// What the catalog found wrong, one sentence each.
    pub problems: Vec<String>,
}

/// Whether the catalog serves an entity, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// It does not.
    No,
    /// From the location asked about.
    Here,
    /// From another location, whose target this is: the name is somebody else's.
    Elsewhere(String),
}

/// The source provider.
#[async_trait]
pub trait Forge: Send + Sync + 'static {
    /// Id of the connection.
    fn connection(&self) -> &str;
    /// Clone URL of a repository.
    fn url(&self, name: &str) -> String;
    /// The repository of that name, if there is one.
    async fn find(&self, name: &str) -> Result<Option<Found>>;
    /// Makes a repository with its first commit, or completes one with the same marker.
    async fn create(&self, new: &NewRepository) -> Result<()>;
}

/// The sibling services.
#[async_trait]
pub trait Siblings: Send + Sync + 'static {
    /// Whether the catalog has this group.
    async fn knows_group(&self, call: &Call, group: &str) -> Result<bool>;
    /// The initiator with its present rights; AUTHORIZATION_LOST if there are none.
    async fn rights(&self, who: &Initiator) -> Result<Caller>;
    /// Registers a location for the initiator.
    async fn register(&self, who: &Initiator, registration: &Registration) -> Result<Registered>;
    /// Whether the catalog serves an entity from the location with this target.
    async fn serves(&self, who: &Initiator, entity_ref: &str, target: &str) -> Result<Served>;
}
