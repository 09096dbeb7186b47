//! A world in memory for tests: sources that are set by hand, a renderer that always answers the same, repositories that count.
//!
//! Owns the same contracts as the real adapters, and planned failures before or after an effect, which is what a kill looks like
//! from outside. Refuses to be part of a running platform: nothing but tests builds it.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde_json::json;
use slipway_kit::error::{DEPENDENCY_UNAVAILABLE, Error, Kind, Reason, Result, SERVICE_UNKNOWN};

use super::{
    Bindings, Bound, Directory, Fault, Job, Landed, Output, Outputs, Place, Probed, Prober, Renderer, Repository,
    ServiceFacts, Sources, World,
};
use crate::{
    error::SUPERSEDED,
    model::{
        delivery::{Delivered, DeliveredSecret},
        environment::{Environment, Source},
        manifest::Doc,
        preview::Reading,
    },
};

/// What the secrets service answers when a bound key does not exist; it documents the reason.
const BINDING_NOT_READY: Reason =
    Reason { name: "BINDING_NOT_READY", kind: Kind::FailedPrecondition, cause: "", next: "" };

/// What it answers where something is bound and a fork asks.
const FORK_NO_SECRETS: Reason = Reason { name: "FORK_NO_SECRETS", kind: Kind::FailedPrecondition, cause: "", next: "" };

fn refuse_fork(env: &Environment, state: &State) -> Result<()> {
    if env.spec.source.fork && !state.secret_names.is_empty() {
        return Err(Error::new(&FORK_NO_SECRETS, "a binding holds for this fork's environment"));
    }
    Ok(())
}

/// A folder in the pretended repository.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// Uid of the life that wrote it last.
    pub uid: String,
    /// Generation written last.
    pub generation: i64,
    /// Files that stand there; none once removed.
    pub files: Vec<(String, String)>,
    /// Files that the removal took away.
    pub removed: Vec<String>,
    /// Commits by uid and generation; a removal is generation -1.
    pub commits: Vec<(String, i64)>,
}

/// Everything that can be set and seen.
#[derive(Default)]
pub struct State {
    /// Repositories.
    pub repositories: Vec<Repository>,
    /// Components by repository id.
    pub components: BTreeMap<String, Vec<String>>,
    /// Pull requests and branches as they are now, by `<repository id>/<number or branch>`.
    pub readings: BTreeMap<String, Reading>,
    /// Services by reference.
    pub services: BTreeMap<String, ServiceFacts>,
    /// Logins at the source provider by user.
    pub logins: BTreeMap<String, String>,
    /// Names of bound Secrets.
    pub secret_names: Vec<String>,
    /// What is bound and does not exist.
    pub secrets_missing: Vec<String>,
    /// Version of the bound secret.
    pub secret_version: i64,
    /// Names of the Secrets that stand, by namespace.
    pub delivered: BTreeMap<String, Vec<String>>,
    /// What probes get; nothing is tried if none is set.
    pub probed: Option<Probed>,
    /// Hosts and paths that were tried.
    pub probes: Vec<String>,
    /// What the renderer answers instead of documents.
    pub fault: Option<Fault>,
    /// Folders of the GitOps repository.
    pub folders: BTreeMap<String, Folder>,
    /// Effects that have begun.
    pub effects: u64,
    /// Effect at which the process is killed.
    pub kill_at: Option<(u64, Kill)>,
}

/// When a kill strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// The effect has not happened.
    Before,
    /// The effect has happened and nobody was told.
    After,
}

/// The world; cheap to clone.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// What can be set and seen.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This world as the service uses it.
    pub fn world(&self) -> World {
        World {
            sources: Arc::new(self.clone()),
            renderer: Arc::new(self.clone()),
            outputs: Arc::new(self.clone()),
            bindings: Arc::new(self.clone()),
            directory: Arc::new(self.clone()),
            clusters: Arc::new(super::cluster::NoClusters),
            prober: Arc::new(self.clone()),
        }
    }

    /// Adds a service with its own repository `acme/<name>`.
    pub fn add_service(&self, name: &str, id: &str, owner: &str) {
        let mut state = self.state();
        let repository = format!("acme/{name}");
        state.repositories.push(Repository {
            id: id.to_owned(),
            name: repository.clone(),
            default_branch: "main".to_owned(),
            archived: false,
        });
        let reference = format!("component:default/{name}");
        state.components.insert(id.to_owned(), vec![reference.clone()]);
        drop(state);
        self.add_entity(&reference, &repository, owner);
    }

    /// Adds an entity of the catalog that has this repository.
    pub fn add_entity(&self, reference: &str, repository: &str, owner: &str) {
        let facts = ServiceFacts {
            reference: reference.to_owned(),
            uid: slipway_kit::id::uuid4(),
            owner: owner.to_owned(),
            tier: "standard".to_owned(),
            scm: "local".to_owned(),
            repository: repository.to_owned(),
            folder: String::new(),
        };
        self.state().services.insert(reference.to_owned(), facts);
    }

    /// Sets what a pull request or branch is now.
    pub fn set(&self, repository_id: &str, what: &str, reading: Reading) {
        self.state().readings.insert(format!("{repository_id}/{what}"), reading);
    }

    /// Counts one more effect; how it is killed, if that is planned.
    pub(super) fn strike(&self) -> Option<Kill> {
        let mut state = self.state();
        state.effects += 1;
        state.kill_at.filter(|(at, _)| *at == state.effects).map(|(_, kill)| kill)
    }

    fn effect<T>(&self, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let kill = self.strike();
        let killed = || Err(Error::new(&DEPENDENCY_UNAVAILABLE, "killed"));
        if kill == Some(Kill::Before) {
            return killed();
        }
        let done = act(&mut self.state());
        if kill == Some(Kill::After) { killed() } else { done }
    }
}

#[async_trait]
impl Sources for Fake {
    fn connections(&self) -> Vec<String> {
        vec!["local".to_owned()]
    }

    fn poll_us(&self, _: &str) -> i64 {
        60_000_000
    }

    async fn read(&self, source: &Source) -> Reading {
        let branch = if source.branch.is_empty() { "main" } else { &source.branch };
        let what = source.pull_request.map_or_else(|| branch.to_owned(), |n| n.to_string());
        let unknown = || Reading::Unknown { reason: "PULL_REQUEST_UNKNOWN", message: "there is none".to_owned() };
        self.state().readings.get(&format!("{}/{what}", source.repository_id)).cloned().unwrap_or_else(unknown)
    }

    async fn repository(&self, _: &str, name: &str) -> Result<Option<Repository>> {
        Ok(self.state().repositories.iter().find(|r| r.name == name).cloned())
    }

    async fn repository_by_id(&self, _: &str, id: &str) -> Result<Option<Repository>> {
        Ok(self.state().repositories.iter().find(|r| r.id == id).cloned())
    }

    async fn repositories(&self, _: &str) -> Result<Vec<Repository>> {
        Ok(self.state().repositories.clone())
    }

    async fn open_pull_requests(&self, _: &str, name: &str) -> Result<Vec<i64>> {
        let state = self.state();
        let Some(id) = state.repositories.iter().find(|r| r.name == name).map(|r| r.id.clone()) else {
            return Ok(Vec::new());
        };
        let open = state.readings.iter().filter(|(_, reading)| matches!(reading, Reading::Open(_)));
        Ok(open.filter_map(|(key, _)| key.strip_prefix(&format!("{id}/"))?.parse().ok()).collect())
    }

    async fn components(&self, _: &str, repository: &Repository) -> Result<Vec<String>> {
        Ok(self.state().components.get(&repository.id).cloned().unwrap_or_default())
    }
}

#[async_trait]
impl Renderer for Fake {
    async fn render(&self, job: &Job<'_>) -> Result<std::result::Result<Vec<Doc>, Fault>> {
        self.effect(|state| {
            if let Some(fault) = &state.fault {
                return Ok(Err(fault.clone()));
            }
            let image = format!("ghcr.io/{}@sha256:{}", job.source.repository, "a".repeat(64));
            Ok(Ok(vec![
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": job.release}, "spec": {"ports": [{"port": 80}]}}),
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": job.release, "annotations": {"sha": job.source.head_sha}},
                    "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}),
            ]))
        })
    }
}

#[async_trait]
impl Outputs for Fake {
    async fn publish(&self, output: &Output<'_>, files: &[(String, String)]) -> Result<Landed> {
        self.effect(|state| {
            let folder = state.folders.entry(output.folder.to_owned()).or_default();
            if folder.uid == output.uid {
                let is_removed = folder.files.is_empty() && !folder.commits.is_empty();
                if is_removed || folder.generation > output.generation {
                    return Err(Error::new(&SUPERSEDED, "a newer commit is there"));
                }
            }
            if folder.uid != output.uid || folder.generation < output.generation {
                folder.commits.push((output.uid.to_owned(), output.generation));
            }
            (folder.uid, folder.generation) = (output.uid.to_owned(), output.generation);
            folder.files = files.to_vec();
            let commit = format!("{}-{}", output.uid, output.generation);
            Ok(Landed {
                kept: Vec::new(),
                branch: "main".to_owned(),
                commit,
                files: files.iter().map(|(name, _)| name.clone()).collect(),
            })
        })
    }

    async fn remove(&self, output: &Output<'_>) -> Result<Landed> {
        self.effect(|state| {
            let folder = state.folders.entry(output.folder.to_owned()).or_default();
            let nothing =
                Landed { branch: "main".to_owned(), commit: String::new(), files: Vec::new(), kept: Vec::new() };
            if folder.uid != output.uid {
                return Ok(nothing);
            }
            if !folder.files.is_empty() {
                folder.removed = folder.files.drain(..).map(|(name, _)| name).collect();
                folder.commits.push((output.uid.to_owned(), -1));
            }
            Ok(Landed { commit: format!("{}-removed", output.uid), files: folder.removed.clone(), ..nothing })
        })
    }
}

#[async_trait]
impl Bindings for Fake {
    async fn bound(&self, env: &Environment) -> Result<Bound> {
        self.effect(|state| {
            refuse_fork(env, state)?;
            Ok(Bound { names: state.secret_names.clone(), missing: state.secrets_missing.clone() })
        })
    }

    async fn deliver(&self, env: &Environment, _: &Place, pull_secrets: &[String]) -> Result<Delivered> {
        self.effect(|state| {
            refuse_fork(env, state)?;
            if !state.secrets_missing.is_empty() {
                return Err(Error::new(&BINDING_NOT_READY, state.secrets_missing.join("; ")));
            }
            let secret = |name: &String| DeliveredSecret {
                name: name.clone(),
                uid: format!("{name}-{}", env.uid),
                generation: 1,
                versions: vec![("secrets/payments".to_owned(), state.secret_version)],
            };
            let pull = |file: &String| DeliveredSecret {
                name: slipway_credentials::pull_secret_name(file),
                uid: format!("{file}-{}", env.uid),
                ..DeliveredSecret::default()
            };
            let secrets = state.secret_names.iter().map(secret).collect();
            let delivered = Delivered { secrets, pull: pull_secrets.iter().map(pull).collect() };
            state.delivered.insert(env.namespace.clone(), state.secret_names.clone());
            Ok(delivered)
        })
    }

    async fn withdraw(&self, env: &Environment, _: &Place) -> Result<Vec<String>> {
        self.effect(|state| Ok(state.delivered.remove(&env.namespace).unwrap_or_default()))
    }
}

#[async_trait]
impl Prober for Fake {
    async fn probe(&self, host: &str, path: &str) -> Result<Probed> {
        let mut state = self.state();
        state.probes.push(format!("{host}{path}"));
        Ok(state.probed.clone().unwrap_or_else(|| Probed::NotTried("nobody tries it".to_owned())))
    }
}

#[async_trait]
impl Directory for Fake {
    async fn service(&self, reference: &str) -> Result<ServiceFacts> {
        let unknown = || Error::new(&SERVICE_UNKNOWN, format!("the catalog knows no {reference}"));
        self.state().services.get(reference).cloned().ok_or_else(unknown)
    }

    async fn login(&self, user: &str) -> Result<String> {
        Ok(self.state().logins.get(user).cloned().unwrap_or_default())
    }
}
