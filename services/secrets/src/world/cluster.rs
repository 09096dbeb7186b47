//! Clusters that bound secrets are delivered to (SEC-41): Secrets of one namespace, by metadata, and their writing.
//!
//! Owns the words of a cluster's refusals: reasons and names, never its text, for an admission webhook may repeat a value in it.
//! Refuses to read a value: every answer is asked for as metadata only. Adapter and fake pass one contract suite
//! (`tests/delivery.rs`).
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use slipway_kit::error::Result;

use crate::model::delivery::{Access, Stored, Wanted};

pub mod fake;
mod kubernetes;

pub use kubernetes::Kubernetes;

/// The one field manager of values (SEC-41).
pub const FIELD_MANAGER: &str = "slipway-secrets";

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Uid.
    pub uid: String,
    /// Whether it is being deleted.
    pub is_ending: bool,
}

/// Clusters by how they are reached.
#[async_trait]
pub trait Clusters: Send + Sync {
    /// A cluster.
    ///
    /// # Errors
    /// CREDENTIAL_UNUSABLE if there is no such credential, or one that would run programs.
    async fn open(&self, access: &Access) -> Result<Arc<dyn Cluster>>;

    /// A Docker configuration of the directory of credentials, as its text.
    ///
    /// # Errors
    /// CREDENTIAL_UNUSABLE if there is none, or none that a pull secret can be made of.
    async fn registry_logins(&self, file: &str) -> Result<SecretString>;
}

/// Secrets of one cluster.
///
/// # Errors
/// Of every method: DELIVERY_UNREACHABLE if no usable answer came, DELIVERY_DENIED if the credential lacks a right.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// A namespace; `None` if there is none.
    async fn namespace(&self, name: &str) -> Result<Option<Namespace>>;

    /// Every Secret of a namespace with this label; complete or an error.
    async fn secrets(&self, namespace: &str, label: (&str, &str)) -> Result<Vec<Stored>>;

    /// A Secret; `None` if there is none.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Stored>>;

    /// Takes a free name with a Secret that holds no value yet; `None` if the name is taken.
    ///
    /// # Errors
    /// NAMESPACE_CHANGED if the namespace is gone or going; DELIVERY_REFUSED.
    async fn claim(&self, namespace: &str, wanted: &Wanted) -> Result<Option<Stored>>;

    /// Writes labels, annotation and values of the Secret that was read; keys that we wrote before and that are not wanted go.
    ///
    /// # Errors
    /// CONFLICT if another wrote it or it is gone since; NAMESPACE_CHANGED; DELIVERY_REFUSED.
    async fn write(&self, namespace: &str, wanted: &Wanted, at: &Stored) -> Result<Stored>;

    /// Deletes a Secret if it has this uid; answers whether it was there.
    async fn delete(&self, namespace: &str, name: &str, uid: &str) -> Result<bool>;
}
