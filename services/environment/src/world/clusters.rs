//! The registered clusters as they can be reached, each opened once.
//!
//! Owns the clients and the directory of credentials. Refuses names that leave that directory.
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use slipway_kit::error::{Error, INVALID_CONFIG, Result};

use super::{
    cluster::{Cluster, Clusters, Credential},
    kubernetes::Kubernetes,
};
use crate::error::CLUSTER_UNKNOWN;

/// A cluster that is known, and its client once it was opened.
struct Known {
    credential: Credential,
    client: Option<Arc<dyn Cluster>>,
}

/// Clusters by id; what is known is set by whoever keeps them.
pub struct Registered {
    credentials_root: Option<PathBuf>,
    known: Mutex<BTreeMap<String, Known>>,
}

impl Registered {
    /// None yet; kubeconfig files are looked for below `credentials_root`.
    #[must_use]
    pub fn new(credentials_root: Option<PathBuf>) -> Self {
        Self { credentials_root, known: Mutex::default() }
    }

    async fn connect(&self, credential: &Credential) -> Result<Arc<dyn Cluster>> {
        let name = match credential {
            Credential::InCluster => return Ok(Arc::new(Kubernetes::in_cluster()?)),
            Credential::KubeconfigFile(name) => name,
        };
        let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        let Some(root) = self.credentials_root.as_ref().filter(|_| is_plain) else {
            return Err(Error::new(&INVALID_CONFIG, format!("no kubeconfig {name:?} can be read here")));
        };
        Ok(Arc::new(Kubernetes::from_file(&root.join(name)).await?))
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
        let credential = match self.known().get(id) {
            None => return Err(unknown(id)),
            Some(Known { client: Some(client), .. }) => return Ok(client.clone()),
            Some(Known { credential, .. }) => credential.clone(),
        };
        let client = self.connect(&credential).await?;
        if let Some(known) = self.known().get_mut(id).filter(|known| known.credential == credential) {
            known.client = Some(client.clone());
        }
        Ok(client)
    }

    async fn credential(&self, id: &str) -> Result<Credential> {
        self.known().get(id).map(|known| known.credential.clone()).ok_or_else(|| unknown(id))
    }

    async fn probe(&self, credential: &Credential) -> Result<Arc<dyn Cluster>> {
        self.connect(credential).await
    }

    fn register(&self, all: BTreeMap<String, Credential>) {
        let mut known = self.known();
        known.retain(|id, old| all.get(id) == Some(&old.credential));
        for (id, credential) in all {
            known.entry(id).or_insert(Known { credential, client: None });
        }
    }
}
