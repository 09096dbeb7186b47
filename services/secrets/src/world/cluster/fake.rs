//! A cluster in memory for tests, with planned kills before or after a change.
//!
//! Owns the same contract as the real one. Refuses to be part of a running platform: nothing but tests builds it.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::SecretString;
use slipway_kit::{
    error::{CONFLICT, Error, Result},
    id,
};

use super::{Cluster, Clusters, Namespace};
use crate::{
    error::{CREDENTIAL_UNUSABLE, DELIVERY_UNREACHABLE, NAMESPACE_CHANGED},
    model::delivery::{Access, Stored, Wanted},
};

/// When a kill strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// The change has not happened.
    Before,
    /// The change has happened and nobody was told.
    After,
}

/// A Secret with what it holds.
#[derive(Clone, Default)]
pub struct Held {
    /// Metadata.
    pub stored: Stored,
    /// Values by key.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Keys that we wrote.
    ours: Vec<String>,
}

/// Everything that can be set and seen.
#[derive(Default)]
pub struct State {
    /// Namespaces by name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Secrets by namespace and name.
    pub secrets: BTreeMap<(String, String), Held>,
    /// Docker configurations by the name of their file.
    pub logins: BTreeMap<String, String>,
    /// Changes that have begun.
    pub changes: u64,
    /// Change at which the process is killed.
    pub kill_at: Option<(u64, Kill)>,
    /// Whether nothing answers.
    pub is_down: bool,
    versions: u64,
}

impl State {
    fn next_version(&mut self) -> String {
        self.versions += 1;
        self.versions.to_string()
    }
}

/// The cluster; cheap to clone.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// What can be set and seen.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a namespace; answers its uid.
    pub fn add_namespace(&self, name: &str) -> String {
        let uid = id::uuid4();
        self.state().namespaces.insert(name.to_owned(), Namespace { uid: uid.clone(), is_ending: false });
        uid
    }

    /// Adds a Secret that another wrote.
    pub fn add_secret(&self, namespace: &str, stored: Stored, data: &[(&str, &str)]) {
        let mut state = self.state();
        let resource_version = state.next_version();
        let stored = Stored { uid: id::uuid4(), resource_version, ..stored };
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect();
        state.secrets.insert((namespace.to_owned(), stored.name.clone()), Held { stored, data, ours: Vec::new() });
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T> {
        let state = self.state();
        if state.is_down { Err(down()) } else { Ok(look(&state)) }
    }

    fn change<T>(&self, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        state.changes += 1;
        let kill = state.kill_at.filter(|(at, _)| *at == state.changes).map(|(_, kill)| kill);
        if state.is_down || kill == Some(Kill::Before) {
            return Err(down());
        }
        let done = act(&mut state);
        if kill == Some(Kill::After) { Err(down()) } else { done }
    }
}

fn down() -> Error {
    Error::new(&DELIVERY_UNREACHABLE, "the cluster gives no usable answer")
}

fn living(state: &State, namespace: &str) -> Result<()> {
    match state.namespaces.get(namespace) {
        Some(found) if !found.is_ending => Ok(()),
        _ => Err(Error::new(&NAMESPACE_CHANGED, "the namespace is gone or going")),
    }
}

#[async_trait]
impl Clusters for Fake {
    async fn open(&self, access: &Access) -> Result<Arc<dyn Cluster>> {
        match access {
            Access::KubeconfigFile(name) if name == "none" => Err(Error::new(&CREDENTIAL_UNUSABLE, "there is none")),
            _ => Ok(Arc::new(self.clone())),
        }
    }

    async fn registry_logins(&self, file: &str) -> Result<SecretString> {
        let found = self.state().logins.get(file).map(|text| SecretString::from(text.as_str()));
        found.ok_or_else(|| Error::new(&CREDENTIAL_UNUSABLE, format!("there is no file {file}")))
    }
}

#[async_trait]
impl Cluster for Fake {
    async fn namespace(&self, name: &str) -> Result<Option<Namespace>> {
        self.read(|state| state.namespaces.get(name).cloned())
    }

    async fn secrets(&self, namespace: &str, (key, value): (&str, &str)) -> Result<Vec<Stored>> {
        self.read(|state| {
            let here = state.secrets.iter().filter(|((at, _), _)| at == namespace).map(|(_, held)| &held.stored);
            here.filter(|stored| stored.labels.get(key).is_some_and(|v| v == value)).cloned().collect()
        })
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Stored>> {
        self.read(|state| state.secrets.get(&(namespace.to_owned(), name.to_owned())).map(|held| held.stored.clone()))
    }

    async fn claim(&self, namespace: &str, wanted: &Wanted) -> Result<Option<Stored>> {
        self.change(|state| {
            living(state, namespace)?;
            let at = (namespace.to_owned(), wanted.name.clone());
            if state.secrets.contains_key(&at) {
                return Ok(None);
            }
            let (uid, resource_version) = (id::uuid4(), state.next_version());
            let stored = meta(&wanted.claim(), uid, resource_version)?;
            state.secrets.insert(at, Held { stored: stored.clone(), ..Held::default() });
            Ok(Some(stored))
        })
    }

    async fn write(&self, namespace: &str, wanted: &Wanted, at: &Stored) -> Result<Stored> {
        let body = wanted.body(at)?;
        self.change(|state| {
            living(state, namespace)?;
            let resource_version = state.next_version();
            let held = state.secrets.get_mut(&(namespace.to_owned(), wanted.name.clone()));
            let same =
                |held: &Held| (&held.stored.uid, &held.stored.resource_version) == (&at.uid, &at.resource_version);
            let Some(held) = held.filter(|held| same(held)) else {
                return Err(Error::new(&CONFLICT, "the Secret changed while it was written; deliver again"));
            };
            held.stored = meta(&body, at.uid.clone(), resource_version)?;
            let data = data(&body)?;
            held.data.retain(|key, _| !held.ours.contains(key));
            held.ours = data.keys().cloned().collect();
            held.data.extend(data);
            Ok(held.stored.clone())
        })
    }

    async fn delete(&self, namespace: &str, name: &str, uid: &str) -> Result<bool> {
        self.change(|state| {
            let at = (namespace.to_owned(), name.to_owned());
            let is_it = state.secrets.get(&at).is_some_and(|held| held.stored.uid == uid);
            Ok(is_it && state.secrets.remove(&at).is_some())
        })
    }
}

fn meta(body: &[u8], uid: String, resource_version: String) -> Result<Stored> {
    let doc: serde_json::Value = serde_json::from_slice(body).map_err(Error::internal)?;
    let texts = |field: &str| {
        let map = doc["metadata"][field].as_object().into_iter().flatten();
        map.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect()
    };
    let name = doc["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(Stored { name, uid, resource_version, labels: texts("labels"), annotations: texts("annotations") })
}

fn data(body: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let doc: serde_json::Value = serde_json::from_slice(body).map_err(Error::internal)?;
    let pairs = doc["data"].as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).map_err(Error::internal)?;
            Ok((key.clone(), bytes))
        })
        .collect()
}
