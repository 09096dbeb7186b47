//! The outside: source providers, helm, GitOps repositories, and the two services this one asks.
//!
//! Owns one small trait per neighbour, each with its real adapter and a fake. Refuses decisions: what comes back is a reading.
pub mod breaker;
mod catalog_info;
pub mod cluster;
pub mod cluster_checks;
pub mod clusters;
pub mod connections;
pub mod directory;
pub mod fake;
pub mod fake_cluster;
pub mod helm;
pub mod kubernetes;
mod kubernetes_watch;
pub mod log_lines;
pub mod outputs;
pub mod prober;
pub mod rego;
pub mod secrets;
pub mod sources;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;
use slipway_kit::{
    error::Result,
    scm::{Check, Report},
};

use crate::model::{
    config::Config,
    delivery::Delivered,
    environment::{Environment, Source},
    manifest::Doc,
    preview::Reading,
    scm_connection::ScmConnection,
    tier::Tier,
};

/// Everything outside, as the service uses it; cheap to clone.
#[derive(Clone)]
pub struct World {
    /// Source providers.
    pub sources: Arc<dyn Sources>,
    /// Rendering.
    pub renderer: Arc<dyn Renderer>,
    /// GitOps repositories.
    pub outputs: Arc<dyn Outputs>,
    /// Bound secrets, by name.
    pub bindings: Arc<dyn Bindings>,
    /// Owners of services.
    pub directory: Arc<dyn Directory>,
    /// Kubernetes clusters.
    pub clusters: Arc<dyn cluster::Clusters>,
    /// What tries addresses.
    pub prober: Arc<dyn Prober>,
}

/// A repository of a source provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The provider's id.
    pub id: String,
    /// `owner/name`.
    pub name: String,
    /// Branch that HEAD names.
    pub default_branch: String,
    /// Whether it takes no changes any more.
    pub archived: bool,
}

/// Source providers by connection.
#[async_trait]
pub trait Sources: Send + Sync {
    /// Ids of the connections.
    fn connections(&self) -> Vec<String>;

    /// How often open pull requests of a connection are looked at, in microseconds.
    fn poll_us(&self, scm: &str) -> i64;

    /// The source as it is now. Never an error: what cannot be read is [`Reading::Unknown`].
    async fn read(&self, source: &Source) -> Reading;

    /// A repository by name; `None` if there is none.
    async fn repository(&self, scm: &str, name: &str) -> Result<Option<Repository>>;

    /// A repository by the provider's id; `None` if there is none.
    async fn repository_by_id(&self, scm: &str, id: &str) -> Result<Option<Repository>>;

    /// Every repository of a connection.
    async fn repositories(&self, scm: &str) -> Result<Vec<Repository>>;

    /// Numbers of the open pull requests; complete or an error.
    async fn open_pull_requests(&self, scm: &str, name: &str) -> Result<Vec<i64>>;

    /// References of the components that the default branch declares.
    async fn components(&self, scm: &str, repository: &Repository) -> Result<Vec<String>>;

    /// Brings comment and deployment of an environment at the provider up to date; nothing where there is nobody to tell.
    async fn report(&self, _scm: &str, _repository: &str, _report: &Report) -> Result<()> {
        Ok(())
    }

    /// Every open connection as it is shown.
    fn shown(&self) -> Vec<ScmConnection> {
        Vec::new()
    }

    /// Checks that a stored connection could be opened; nothing is asked of the provider.
    ///
    /// # Errors
    /// INVALID_FIELD.
    async fn prepare(&self, _connection: &ScmConnection) -> Result<()> {
        Ok(())
    }

    /// Opens and closes connections as they are stored now.
    async fn follow(&self, _stored: &[ScmConnection]) {}

    /// Tries an open connection at its provider.
    ///
    /// # Errors
    /// SCM_UNKNOWN.
    async fn test_connection(&self, _scm: &str) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }
}

/// What is rendered.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Where the chart is.
    pub source: &'a Source,
    /// How the service wants it.
    pub config: &'a Config,
    /// Tier of the environment.
    pub tier: Tier,
    /// Whether it is a preview.
    pub is_preview: bool,
    /// Name of the release.
    pub release: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// Values over all others.
    pub overlay: &'a Value,
    /// Whether something is published or applied already.
    pub is_upgrade: bool,
    /// The cluster that charts are rendered for; a platform's default if none is observed (ENV-73).
    pub cluster: Option<&'a cluster::Version>,
}

/// A chart that does not render: the user must act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable word for the condition.
    pub reason: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Renders charts.
#[async_trait]
pub trait Renderer: Send + Sync {
    /// The documents, rendered twice and equal; the inner error is the user's.
    async fn render(&self, job: &Job<'_>) -> Result<std::result::Result<Vec<Doc>, Fault>>;
}

/// Manifests to be committed, or to be removed when there are none.
#[derive(Clone, Debug)]
pub struct Output<'a> {
    /// Cluster whose repository it is.
    pub cluster: &'a str,
    /// Folder of the environment.
    pub folder: &'a str,
    /// Uid of the life.
    pub uid: &'a str,
    /// Generation.
    pub generation: i64,
    /// The whole message with its trailers.
    pub message: &'a str,
    /// The instant, in microseconds.
    pub now_us: i64,
}

/// A commit in a GitOps repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Branch committed to.
    pub branch: String,
    /// The commit; empty if there was nothing to do.
    pub commit: String,
    /// Files written or removed.
    pub files: Vec<String>,
    /// Files of the folder that no commit of this environment wrote; they stay.
    pub kept: Vec<String>,
}

/// GitOps repositories, one per cluster.
#[async_trait]
pub trait Outputs: Send + Sync {
    /// Commits the files of a generation, once however often it is called.
    ///
    /// # Errors
    /// SUPERSEDED if a newer generation or the removal of this life is there already.
    async fn publish(&self, output: &Output<'_>, files: &[(String, String)]) -> Result<Landed>;

    /// Removes the folder if this life wrote it, once however often it is called.
    async fn remove(&self, output: &Output<'_>) -> Result<Landed>;
}

/// Bound Secrets: which there are, and their delivery into a namespace. Values never pass this service.
#[async_trait]
pub trait Bindings: Send + Sync {
    /// The Secrets that the environment's manifests refer to, and what they lack.
    async fn bound(&self, env: &Environment) -> Result<Bound>;

    /// Has every bound Secret and every image pull secret (names of files) written into the environment's namespace, and those that are
    /// no longer meant removed. After the guard rails, before workloads (ENV-60); may be repeated at any time.
    ///
    /// # Errors
    /// FAILED_PRECONDITION (`BINDING_NOT_READY`, `FORK_NO_SECRETS`, `SECRET_TAKEN`, `NAMESPACE_CHANGED`): the user must act.
    /// UNAVAILABLE (`SEALED`, `CLUSTER_UNREACHABLE`) and others: transient; nothing is to start without its secrets (SEC-3).
    async fn deliver(&self, env: &Environment, place: &Place, pull_secrets: &[String]) -> Result<Delivered>;

    /// Has every Secret that was delivered removed; answers the names that this call removed. A namespace that is gone has none.
    async fn withdraw(&self, env: &Environment, place: &Place) -> Result<Vec<String>>;
}

/// Where bound Secrets go; cluster and namespace are the environment's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How the cluster is reached.
    pub credential: cluster::Credential,
    /// Uid of the namespace; one of the same name with another uid is never written to.
    pub namespace_uid: String,
}

/// What is bound to an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Names of the Secrets, sorted.
    pub names: Vec<String>,
    /// Each secret and key that is bound and does not exist; never a value.
    pub missing: Vec<String>,
}

/// Tries whether addresses answer.
#[async_trait]
pub trait Prober: Send + Sync {
    /// One request to a host for a path, by the way that requests from outside take.
    ///
    /// # Errors
    /// UNAVAILABLE when what tries does not answer.
    async fn probe(&self, host: &str, path: &str) -> Result<Probed>;
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// An answer with this code, and the uid of the life that it named.
    Answered(u16, String),
    /// No answer, in words.
    Silent(String),
    /// It could not be tried, in words.
    NotTried(String),
}

/// A service as the catalog knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Canonical reference.
    pub reference: String,
    /// Uid of the entity.
    pub uid: String,
    /// Owning group; empty if nobody owns it.
    pub owner: String,
    /// Tier of the service.
    pub tier: String,
    /// SCM connection; empty if unknown.
    pub scm: String,
    /// Repository as `owner/name`; empty if unknown.
    pub repository: String,
    /// Folder inside the repository; empty for its root.
    pub folder: String,
}

/// Who owns what.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Facts of a service.
    ///
    /// # Errors
    /// SERVICE_UNKNOWN; UNAVAILABLE.
    async fn service(&self, reference: &str) -> Result<ServiceFacts>;

    /// Login of a user at the source provider, as the catalog knows it; empty if it does not.
    async fn login(&self, user: &str) -> Result<String>;
}

/// Values kept by an immutable key; emptied when full.
pub(crate) struct Kept<T>(std::sync::Mutex<BTreeMap<String, T>>);

impl<T: Clone> Kept<T> {
    /// Most values kept.
    const MAX: usize = 2000;

    pub(crate) fn new() -> Self {
        Self(std::sync::Mutex::new(BTreeMap::new()))
    }

    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, T>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &str) -> Option<T> {
        self.map().get(key).cloned()
    }

    pub(crate) fn put(&self, key: String, value: T) {
        let mut map = self.map();
        if map.len() >= Self::MAX {
            map.clear();
        }
        map.insert(key, value);
    }
}
