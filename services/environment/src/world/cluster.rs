//! A Kubernetes cluster as the service uses it: objects by server-side apply, deletes with uid preconditions, logs, watches.
//!
//! Owns the words in which a cluster answers, so that decisions rest on a typed refusal and never on a text. Refuses typed
//! resources: what is applied are the documents that were rendered. The adapter on kube-rs is `kubernetes`, the cluster in memory is
//! `fake_cluster`; both pass the same contract suite.
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use slipway_kit::error::{Error, INVALID_CONFIG, Result};

use crate::{error::CLUSTER_UNKNOWN, model::manifest::Doc};

/// The one field manager (ENV-80); another name would orphan every field.
pub const FIELD_MANAGER: &str = "slipway-environment";

pub use crate::model::{environment::ObjectRef, refusal::Refusal};

/// How a document is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apply {
    /// Only ask what would happen.
    pub dry_run: bool,
    /// Take fields over from other managers; only for objects that carry our label and uid (ENV-80).
    pub force: bool,
}

/// What a cluster answers to a change: the object, or why not. What gave no answer is an outer error (UNAVAILABLE, RESOURCE_EXHAUSTED with
/// the wait the cluster asked for).
pub type Answer<T> = Result<std::result::Result<T, Refusal>>;

/// What came of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is not there, or there under another uid.
    Gone,
    /// It is being deleted: finalizers or the objects it owns are still there.
    Going,
}

/// What a cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// `v1.34.4`.
    pub git_version: String,
    /// Every served `group/version/Kind`, sorted; also what charts see as capabilities (ENV-73).
    pub apis: Vec<String>,
}

/// Which lines of a pod are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Container; the only one if empty.
    pub container: String,
    /// Lines of the container that ran before this one.
    pub previous: bool,
    /// Go on with new lines until the stream is dropped or the pod ends.
    pub follow: bool,
    /// Most lines from the end; at least 1.
    pub tail_lines: i64,
}

/// One cluster.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Version and served kinds; remembered for a minute.
    async fn version(&self) -> Result<Version>;

    /// Applies a document server-side under [`FIELD_MANAGER`]; answers the object with its uid.
    async fn apply(&self, doc: &Doc, how: Apply) -> Answer<Doc>;

    /// Creates an object as a dry run, to see admission refuse it (ENV-66).
    async fn admit(&self, doc: &Doc) -> Answer<()>;

    /// The object; `None` if it is not there.
    async fn get(&self, object: &ObjectRef) -> Result<Option<Doc>>;

    /// Every object of a kind in a namespace (all if empty) whose labels are these; complete, over all pages, or an error. A kind
    /// that is not served has none.
    async fn list(&self, api_version: &str, kind: &str, namespace: &str, labels: &[(&str, &str)]) -> Result<Vec<Doc>>;

    /// Every object in a namespace, of every kind that we may list, without events; what a teardown waits for. A kind that we may not
    /// list hides nothing for good: the namespace itself ends after its last object.
    async fn remaining(&self, namespace: &str) -> Result<Vec<Doc>>;

    /// Deletes an object if it has this uid, with what it owns in the background.
    async fn delete(&self, object: &ObjectRef, uid: &str) -> Answer<Deleted>;

    /// The log of a pod, a line an item; ends with the pod, with the tail unless `follow`. A line longer than `log_lines` allows is told
    /// by its beginning, before it ends.
    async fn logs(&self, namespace: &str, pod: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<String>>>;

    /// Values of the label `slipway.dev/env-uid` of objects that changed, or of whose namespace's objects changed, as long as the stream
    /// is held. A broken watch is begun anew (410 and all else), with one empty text to say that changes may have been missed.
    async fn changes(&self) -> Result<BoxStream<'static, String>>;

    /// Whether we may: each (verb, group, resource, namespace), answered by the cluster's own review.
    async fn may(&self, verb: &str, group: &str, resource: &str, namespace: &str) -> Result<bool>;
}

/// A platform that only publishes to git.
pub struct NoClusters;

#[async_trait]
impl Clusters for NoClusters {
    async fn open(&self, id: &str) -> Result<Arc<dyn Cluster>> {
        let text = format!("no cluster {id:?} is registered; environments of it are published to git");
        Err(Error::new(&CLUSTER_UNKNOWN, text))
    }
}

/// How a cluster is reached: a reference that means the same to every service, never a credential itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Name of a kubeconfig file below `credentials_root`.
    KubeconfigFile(String),
    /// The ServiceAccount of the pod.
    InCluster,
}

/// Clusters by id.
#[async_trait]
pub trait Clusters: Send + Sync {
    /// The cluster with this id.
    ///
    /// # Errors
    /// CLUSTER_UNKNOWN if none has it; UNAVAILABLE if its configuration cannot be read.
    async fn open(&self, id: &str) -> Result<Arc<dyn Cluster>>;

    /// What the cluster with this id is reached with, for the secrets service.
    ///
    /// # Errors
    /// CLUSTER_UNKNOWN if none has it, or if it is reached by no reference.
    async fn credential(&self, id: &str) -> Result<Credential> {
        Err(Error::new(&CLUSTER_UNKNOWN, format!("no reference is known by which the cluster {id:?} is reached")))
    }

    /// A cluster that is not registered, to be checked.
    ///
    /// # Errors
    /// INVALID_CONFIG if the credential cannot be used.
    async fn probe(&self, _: &Credential) -> Result<Arc<dyn Cluster>> {
        Err(Error::new(&CLUSTER_UNKNOWN, "clusters cannot be registered here"))
    }

    /// The registries that a Docker configuration of the directory of credentials logs in to; never a login.
    ///
    /// # Errors
    /// INVALID_CONFIG if no pull secret can be made of it.
    async fn registries(&self, _: &str) -> Result<Vec<String>> {
        Err(Error::new(&INVALID_CONFIG, "there is no directory of credentials"))
    }

    /// Makes these the registered ones.
    fn register(&self, _: std::collections::BTreeMap<String, Credential>) {}
}
