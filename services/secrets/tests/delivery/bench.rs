//! Clusters to test against, with what only a test does: namespaces, Secrets of others, looking at values.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use slipway_kit::id;
use slipway_secrets::{
    model::delivery::{Access, Stored},
    world::cluster::{Clusters, Kubernetes, fake::Fake},
};

/// Values by key.
pub type Data = BTreeMap<String, Vec<u8>>;

#[async_trait]
pub trait Bench: Send + Sync {
    fn clusters(&self) -> Arc<dyn Clusters>;
    fn access(&self) -> Access;
    fn credentials_root(&self) -> Option<PathBuf>;
    async fn make_namespace(&self, name: &str) -> String;
    async fn drop_namespace(&self, name: &str);
    async fn put_foreign(&self, namespace: &str, name: &str, labels: &[(&str, &str)], data: &[(&str, &str)]);
    async fn delete_secret(&self, namespace: &str, name: &str);
    async fn data(&self, namespace: &str, name: &str) -> Option<Data>;
}

/// A free name for a namespace.
pub fn free_name() -> String {
    format!("secrets-test-{}", &id::uuid4()[..8])
}

/// The cluster in memory, and the real one if there is one.
pub async fn all() -> Vec<Box<dyn Bench>> {
    let mut all: Vec<Box<dyn Bench>> = vec![Box::new(Fake::default())];
    match std::env::var("SLIPWAY_TEST_KUBECONFIG") {
        Ok(path) => all.push(Box::new(Real::open(Path::new(&path)).await)),
        Err(_) => println!("skipped: real cluster, SLIPWAY_TEST_KUBECONFIG is not set"),
    }
    all
}

#[async_trait]
impl Bench for Fake {
    fn clusters(&self) -> Arc<dyn Clusters> {
        Arc::new(self.clone())
    }

    fn access(&self) -> Access {
        Access::KubeconfigFile("main".to_owned())
    }

    fn credentials_root(&self) -> Option<PathBuf> {
        None
    }

    async fn make_namespace(&self, name: &str) -> String {
        self.add_namespace(name)
    }

    async fn drop_namespace(&self, name: &str) {
        self.state().namespaces.remove(name);
    }

    async fn put_foreign(&self, namespace: &str, name: &str, labels: &[(&str, &str)], data: &[(&str, &str)]) {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.add_secret(namespace, Stored { name: name.to_owned(), labels, ..Stored::default() }, data);
    }

    async fn delete_secret(&self, namespace: &str, name: &str) {
        self.state().secrets.remove(&(namespace.to_owned(), name.to_owned()));
    }

    async fn data(&self, namespace: &str, name: &str) -> Option<Data> {
        self.state().secrets.get(&(namespace.to_owned(), name.to_owned())).map(|held| held.data.clone())
    }
}

/// A real cluster, by its kubeconfig.
pub struct Real {
    client: Client,
    root: PathBuf,
    file: String,
}

impl Real {
    async fn open(path: &Path) -> Self {
        let found = Kubeconfig::read_from(path).unwrap();
        let config = kube::Config::from_custom_kubeconfig(found, &KubeConfigOptions::default()).await.unwrap();
        Self {
            client: Client::try_from(config).unwrap(),
            root: path.parent().unwrap().to_owned(),
            file: path.file_name().unwrap().to_str().unwrap().to_owned(),
        }
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

#[async_trait]
impl Bench for Real {
    fn clusters(&self) -> Arc<dyn Clusters> {
        Arc::new(Kubernetes::new(Some(self.root.clone())))
    }

    fn access(&self) -> Access {
        Access::KubeconfigFile(self.file.clone())
    }

    fn credentials_root(&self) -> Option<PathBuf> {
        Some(self.root.clone())
    }

    async fn make_namespace(&self, name: &str) -> String {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let made = Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        made.metadata.uid.unwrap()
    }

    async fn drop_namespace(&self, name: &str) {
        Api::<Namespace>::all(self.client.clone()).delete(name, &DeleteParams::default()).await.unwrap();
    }

    async fn put_foreign(&self, namespace: &str, name: &str, labels: &[(&str, &str)], data: &[(&str, &str)]) {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect();
        let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        let secret = Secret { metadata, data: Some(data), ..Secret::default() };
        self.secrets(namespace).create(&PostParams::default(), &secret).await.unwrap();
    }

    async fn delete_secret(&self, namespace: &str, name: &str) {
        self.secrets(namespace).delete(name, &DeleteParams::default()).await.unwrap();
    }

    async fn data(&self, namespace: &str, name: &str) -> Option<Data> {
        let found = self.secrets(namespace).get_opt(name).await.unwrap()?;
        Some(found.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect())
    }
}
