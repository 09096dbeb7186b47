//! The registered clusters as they can be reached, each opened once.
//!
//! Owns the clients and the directory of credentials. Refuses names that leave that directory.
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use slipway_credentials::Credentials;
use slipway_kit::error::{Error, INVALID_CONFIG, Result};

use super::{
    cluster::{Cluster, Clusters, Credential},
    kubernetes::Kubernetes,
};
use crate::error::CLUSTER_UNKNOWN;

/// A cluster that is known, and its client once it was opened.
struct Known {
    credential: Credential,
    client: Option<Opened>,
}

/// A client, and the state of the kubeconfig that it was made of.
#[derive(Clone)]
struct Opened {
    client: Arc<dyn Cluster>,
    stamp: Stamp,
}

/// When a file was changed last and how long it was; nothing for what has none.
type Stamp = Option<(SystemTime, u64)>;

/// Clusters by id; what is known is set by whoever keeps them.
pub struct Registered {
    credentials: Option<Credentials>,
    known: Mutex<BTreeMap<String, Known>>,
}

impl Registered {
    /// None yet; kubeconfig files are looked for below `credentials_root`.
    #[must_use]
    pub fn new(credentials_root: Option<PathBuf>) -> Self {
        Self { credentials: credentials_root.map(Credentials::new), known: Mutex::default() }
    }

    /// The file of a credential, if its name stays in the directory.
    fn file(&self, credential: &Credential) -> Option<PathBuf> {
        let Credential::KubeconfigFile(name) = credential else { return None };
        self.credentials.as_ref()?.path(name)
    }

    /// A kubeconfig that is written anew, with a new token for example, has another stamp.
    async fn stamp(&self, credential: &Credential) -> Stamp {
        let file = tokio::fs::metadata(self.file(credential)?).await.ok()?;
        Some((file.modified().ok()?, file.len()))
    }

    async fn connect(&self, credential: &Credential) -> Result<Arc<dyn Cluster>> {
        let name = match credential {
            Credential::InCluster => return Ok(Arc::new(Kubernetes::in_cluster()?)),
            Credential::KubeconfigFile(name) => name,
        };
        let Some(credentials) = &self.credentials else {
            return Err(Error::new(&INVALID_CONFIG, "`credentials_root` is not set: no kubeconfig can be read here"));
        };
        Ok(Arc::new(Kubernetes::of(credentials, name).await?))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(id: &str) -> Error {
    let text = format!("no cluster {id:?} is registered; environments of it are published to git");
    Error::new(&CLUSTER_UNKNOWN, text)
}

#[async_trait]
impl Clusters for Registered {
    async fn open(&self, id: &str) -> Result<Arc<dyn Cluster>> {
        let found = self.known().get(id).map(|known| (known.credential.clone(), known.client.clone()));
        let (credential, opened) = found.ok_or_else(|| unknown(id))?;
        let stamp = self.stamp(&credential).await;
        if let Some(opened) = opened.filter(|opened| opened.stamp == stamp) {
            return Ok(opened.client);
        }
        let client = self.connect(&credential).await?;
        if let Some(known) = self.known().get_mut(id).filter(|known| known.credential == credential) {
            known.client = Some(Opened { client: client.clone(), stamp });
        }
        Ok(client)
    }

    async fn credential(&self, id: &str) -> Result<Credential> {
        self.known().get(id).map(|known| known.credential.clone()).ok_or_else(|| unknown(id))
    }

    async fn probe(&self, credential: &Credential) -> Result<Arc<dyn Cluster>> {
        self.connect(credential).await
    }

    async fn registries(&self, file: &str) -> Result<Vec<String>> {
        let Some(credentials) = &self.credentials else {
            return Err(Error::new(&INVALID_CONFIG, "`credentials_root` is not set: no login can be read here"));
        };
        let logins = credentials.registry_logins(file).await;
        logins.map(|logins| logins.registries().to_vec()).map_err(|e| Error::new(&INVALID_CONFIG, e.why()))
    }

    fn register(&self, all: BTreeMap<String, Credential>) {
        let mut known = self.known();
        known.retain(|id, old| all.get(id) == Some(&old.credential));
        for (id, credential) in all {
            known.entry(id).or_insert(Known { credential, client: None });
        }
    }
}
