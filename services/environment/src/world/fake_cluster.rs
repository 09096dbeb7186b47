//! A cluster in memory that behaves like Kubernetes for what this service does.
//!
//! Owns server-side apply with owners of fields, namespaces that end, quotas, Pod Security, rollouts and routes, planned failures and
//! kills. Refuses to be part of a running platform: nothing but tests builds it; `tests/cluster.rs` holds it against a real one.
mod admission;
mod controllers;
mod fields;
mod kinds;
mod network;
mod objects;
mod rollouts;
mod state;
mod workloads;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::{
    StreamExt as _,
    channel::mpsc,
    stream::{self, BoxStream},
};
use serde_json::json;
use slipway_kit::{
    clock::Clock,
    error::{Error, Result},
};

pub use self::state::{Failure, GatewayPlan, State, Trouble};
use self::{
    kinds::{Served, group},
    objects::reference,
};
use super::{
    cluster::{
        Answer, Apply, Cluster, Clusters, Credential, Deleted, FIELD_MANAGER, LogQuery, ObjectRef, Refusal, Version,
    },
    fake::{Fake, Kill},
    log_lines,
};
use crate::{
    error::{CLUSTER_BUSY, CLUSTER_FORBIDS, CLUSTER_UNKNOWN, CLUSTER_UNREACHABLE},
    model::manifest::{self, Doc},
};

/// The cluster; cheap to clone.
#[derive(Clone)]
pub struct FakeCluster {
    state: Arc<Mutex<State>>,
    /// Counts effects and kills, together with the rest of the pretended world.
    world: Fake,
}

/// What happens around an effect.
enum Strike {
    Nothing,
    Before(Error),
    After(Error),
}

impl FakeCluster {
    /// A cluster with a clock and a world of its own.
    pub fn new(clock: Clock) -> Self {
        Self::beside(&Fake::default(), clock)
    }

    /// A cluster whose changes are counted among the effects of a pretended world, so that one number kills in either.
    pub fn beside(world: &Fake, clock: Clock) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(clock))), world: world.clone() }
    }

    /// What can be set and seen.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step of every controller; whether anything changed.
    pub fn tick(&self) -> bool {
        self.state().tick()
    }

    /// Runs the controllers until nothing changes any more.
    pub fn settle(&self) {
        self.state().settle();
    }

    /// Has every controller look again, after a plan was changed, and settles.
    pub fn look_again(&self) {
        let mut state = self.state();
        for namespace in state.objects.namespaces() {
            state.objects.soil(&namespace);
        }
        state.settle();
    }

    /// An object, past all failures and counters.
    pub fn peek(&self, object: &ObjectRef) -> Option<Doc> {
        self.state().objects.get(object).map(|found| found.doc.clone())
    }

    /// Every object of a namespace, past all failures and counters; what has no namespace if it is empty.
    pub fn everything(&self, namespace: &str) -> Vec<Doc> {
        self.state().objects.all(namespace).cloned().collect()
    }

    /// Fields of an object by manager, as Kubernetes writes them.
    pub fn managers(&self, object: &ObjectRef) -> BTreeMap<String, Vec<String>> {
        let state = self.state();
        let managers = state.objects.get(object).map(|found| found.managers.clone()).unwrap_or_default();
        managers.into_iter().map(|(manager, fields)| (manager, fields.iter().map(fields::text).collect())).collect()
    }

    /// Somebody else applies a document.
    pub fn apply_as(&self, manager: &str, doc: &Doc, force: bool) -> std::result::Result<Doc, Refusal> {
        let mut state = self.state();
        let applied = apply(&mut state, manager, doc, Apply { dry_run: false, force });
        after(&mut state);
        applied
    }

    /// Somebody else changes an object in place, its finalizers for example.
    pub fn edit(&self, object: &ObjectRef, change: impl FnOnce(&mut Doc)) {
        let mut state = self.state();
        state.objects.edit(object, change);
        after(&mut state);
    }

    /// Somebody else deletes an object.
    pub fn delete_as_other(&self, object: &ObjectRef) {
        let mut state = self.state();
        let clock = state.clock.clone();
        state.objects.delete(object, &clock);
        after(&mut state);
    }

    /// Every watch breaks, as with 410: whoever holds one is told that it may have missed something.
    pub fn break_watches(&self) {
        for watcher in &self.state().watchers {
            let _ = watcher.unbounded_send(String::new());
        }
    }

    /// Sets the log of the pods of a namespace whose names begin so.
    pub fn set_logs(&self, namespace: &str, pod: &str, previous: bool, lines: &[&str]) {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        self.state().logs.insert((namespace.to_owned(), pod.to_owned(), previous), lines);
    }

    /// A CronJob's time has come: it makes a Job unless it is suspended.
    pub fn trigger(&self, object: &ObjectRef) {
        let mut state = self.state();
        let cron = state.objects.get(object).map(|found| found.doc.clone());
        if let Some(cron) = cron.filter(|cron| cron["spec"]["suspend"] != true) {
            let template = &cron["spec"]["jobTemplate"];
            let name = format!("{}-{}", object.name, state.next());
            let labels = template["metadata"]["labels"].clone();
            let job = workloads::owned(&cron, "batch/v1", "Job", &name, labels, template["spec"].clone());
            let _ = state.spawn(job);
        }
        after(&mut state);
    }

    /// Counts a call and answers its planned failure.
    fn begin(&self, verb: &'static str) -> Result<Option<Error>> {
        let mut state = self.state();
        let n = state.calls.entry(verb).or_default();
        *n += 1;
        let n = *n;
        let failure = state.is_down.or_else(|| state.failures.get(&(verb, n)).copied());
        match failure {
            None => Ok(None),
            Some(Failure::TimeoutAfter) => Ok(Some(error(Failure::TimeoutAfter))),
            Some(other) => Err(error(other)),
        }
    }

    /// Begins a change: one more effect of the world, killed if so planned.
    fn strike(&self, planned: Option<Error>) -> Strike {
        match (self.world.strike(), planned) {
            (Some(Kill::Before), _) => Strike::Before(Error::new(&CLUSTER_UNREACHABLE, "killed")),
            (Some(Kill::After), _) => Strike::After(Error::new(&CLUSTER_UNREACHABLE, "killed")),
            (None, Some(error)) => Strike::After(error),
            (None, None) => Strike::Nothing,
        }
    }

    fn change<T>(&self, verb: &'static str, act: impl FnOnce(&mut State) -> T) -> Result<T> {
        let planned = self.begin(verb)?;
        let strike = self.strike(planned);
        if let Strike::Before(error) = strike {
            return Err(error);
        }
        let mut state = self.state();
        let done = act(&mut state);
        after(&mut state);
        if let Strike::After(error) = strike { Err(error) } else { Ok(done) }
    }

    fn read(&self, verb: &'static str) -> Result<MutexGuard<'_, State>> {
        match self.begin(verb)? {
            Some(error) => Err(error),
            None => Ok(self.state()),
        }
    }
}

fn error(failure: Failure) -> Error {
    match failure {
        Failure::Busy(seconds) => {
            Error::new(&CLUSTER_BUSY, "the cluster sheds load").retry_after_ms(seconds.saturating_mul(1_000))
        }
        Failure::ServerError => Error::new(&CLUSTER_UNREACHABLE, "the cluster answered 500"),
        Failure::TimeoutBefore | Failure::TimeoutAfter => {
            Error::new(&CLUSTER_UNREACHABLE, "the cluster did not answer in time")
        }
    }
}

/// Controllers run by themselves unless a test runs them.
fn after(state: &mut State) {
    if state.is_manual { state.tell() } else { state.settle() }
}

fn forbids(verb: &str, served: &Served, api_version: &str) -> String {
    format!("cannot {verb} resource \"{}\" in API group \"{}\"", served.resource, group(api_version))
}

fn may(state: &State, verb: &str, served: &Served, api_version: &str) -> std::result::Result<(), Refusal> {
    let key = (verb.to_owned(), group(api_version).to_owned(), served.resource.clone());
    if state.denied.contains(&key) { Err(Refusal::Rbac(forbids(verb, served, api_version))) } else { Ok(()) }
}

fn may_read(state: &State, verb: &str, served: &Served, api_version: &str) -> Result<()> {
    may(state, verb, served, api_version)
        .map_err(|_| Error::new(&CLUSTER_FORBIDS, format!("the cluster says: {}", forbids(verb, served, api_version))))
}

/// A document with the namespace where its kind lives.
fn placed(doc: &Doc, served: &Served) -> Doc {
    let mut doc = doc.clone();
    if !served.is_namespaced {
        if let Some(metadata) = doc["metadata"].as_object_mut() {
            metadata.shift_remove("namespace");
        }
    } else if manifest::text(&doc, "/metadata/namespace").is_empty() {
        doc["metadata"]["namespace"] = json!("default");
    }
    doc
}

fn apply(state: &mut State, manager: &str, doc: &Doc, how: Apply) -> std::result::Result<Doc, Refusal> {
    let api_version = manifest::text(doc, "/apiVersion");
    let served = state.kinds.get(api_version, manifest::kind(doc)).cloned().ok_or(Refusal::KindUnknown)?;
    may(state, "patch", &served, api_version)?;
    let doc = placed(doc, &served);
    let object = reference(&doc);
    let old = state.objects.get(&object).cloned();
    let wanted = |pointer: &str| Some(manifest::text(&doc, pointer)).filter(|text| !text.is_empty());
    let is_as_wanted = |pointer: &str| match (wanted(pointer), &old) {
        (None, _) => true,
        (Some(wanted), Some(old)) => manifest::text(&old.doc, pointer) == wanted,
        (Some(_), None) => false,
    };
    if !is_as_wanted("/metadata/uid") || !is_as_wanted("/metadata/resourceVersion") {
        return Err(Refusal::Precondition);
    }
    let mut metadata = json!({"name": object.name});
    if served.is_namespaced {
        metadata["namespace"] = json!(object.namespace);
    }
    let blank = json!({"apiVersion": object.api_version, "kind": object.kind, "metadata": metadata});
    let (mut live, mut managers) =
        old.as_ref().map_or((blank, BTreeMap::new()), |old| (old.doc.clone(), old.managers.clone()));
    fields::apply(&mut live, &mut managers, manager, &doc, how.force)
        .map_err(|conflict| Refusal::Conflict { managers: conflict.managers, fields: conflict.fields })?;
    let Some(old) = old else {
        may(state, "create", &served, api_version)?;
        return if how.dry_run { state.admitted(live) } else { state.create(live, managers) };
    };
    workloads::fill_in(&mut live);
    state::immutable(&old.doc, &live)?;
    Ok(if how.dry_run { live } else { state.objects.write(live, Some(managers)) })
}

#[async_trait]
impl Cluster for FakeCluster {
    async fn version(&self) -> Result<Version> {
        let state = self.read("version")?;
        Ok(Version { git_version: state.git_version.clone(), apis: state.kinds.names() })
    }

    async fn apply(&self, doc: &Doc, how: Apply) -> Answer<Doc> {
        if how.dry_run {
            let mut state = self.read("dry_run")?;
            return Ok(apply(&mut state, FIELD_MANAGER, doc, how));
        }
        self.change("apply", |state| apply(state, FIELD_MANAGER, doc, how))
    }

    async fn admit(&self, doc: &Doc) -> Answer<()> {
        let state = self.read("admit")?;
        let api_version = manifest::text(doc, "/apiVersion");
        let Some(served) = state.kinds.get(api_version, manifest::kind(doc)) else {
            return Ok(Err(Refusal::KindUnknown));
        };
        if let Err(refusal) = may(&state, "create", served, api_version) {
            return Ok(Err(refusal));
        }
        Ok(state.admitted(placed(doc, served)).map(drop))
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Doc>> {
        let state = self.read("get")?;
        let Some(served) = state.kinds.get(&object.api_version, &object.kind) else { return Ok(None) };
        may_read(&state, "get", served, &object.api_version)?;
        Ok(state.objects.get(object).map(|found| found.doc.clone()))
    }

    async fn list(&self, api_version: &str, kind: &str, namespace: &str, labels: &[(&str, &str)]) -> Result<Vec<Doc>> {
        let state = self.read("list")?;
        let Some(served) = state.kinds.get(api_version, kind) else { return Ok(Vec::new()) };
        may_read(&state, "list", served, api_version)?;
        let namespaces = if namespace.is_empty() || !served.is_namespaced {
            state.objects.namespaces()
        } else {
            vec![namespace.to_owned()]
        };
        let docs = namespaces.iter().flat_map(|namespace| state.objects.of_kind(namespace, api_version, kind));
        let found: Vec<Doc> = docs.filter(|doc| objects::has_labels(doc, labels)).collect();
        Ok(found.into_iter().map(|doc| network::as_reached(&state, doc)).collect())
    }

    async fn remaining(&self, namespace: &str) -> Result<Vec<Doc>> {
        let state = self.read("remaining")?;
        if namespace.is_empty() {
            return Ok(Vec::new());
        }
        Ok(state.objects.all(namespace).filter(|doc| manifest::kind(doc) != "Event").cloned().collect())
    }

    async fn delete(&self, object: &ObjectRef, uid: &str) -> Answer<Deleted> {
        self.change("delete", |state| {
            let Some(served) = state.kinds.get(&object.api_version, &object.kind).cloned() else {
                return Ok(Deleted::Gone);
            };
            may(state, "delete", &served, &object.api_version)?;
            let found = state.objects.get(object).map(|found| objects::uid(&found.doc).to_owned());
            if found.as_deref() != Some(uid) {
                return Ok(Deleted::Gone);
            }
            let clock = state.clock.clone();
            Ok(if state.objects.delete(object, &clock) { Deleted::Gone } else { Deleted::Going })
        })
    }

    async fn logs(&self, namespace: &str, pod: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<String>>> {
        let state = self.read("logs")?;
        let object = ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: namespace.to_owned(),
            name: pod.to_owned(),
        };
        if state.objects.get(&object).is_none() {
            return Ok(stream::empty().boxed());
        }
        let fits = |(space, name, previous): &(String, String, bool)| {
            space == namespace && pod.starts_with(name.as_str()) && *previous == query.previous
        };
        let lines = state.logs.iter().find(|(key, _)| fits(key)).map(|(_, lines)| lines.clone()).unwrap_or_default();
        let tail = usize::try_from(query.tail_lines.max(1)).unwrap_or(usize::MAX);
        let skip = lines.len().saturating_sub(tail);
        let tail = stream::iter(lines.into_iter().skip(skip).map(|line| Ok(log_lines::bounded(&line))));
        Ok(if query.follow { tail.chain(stream::pending()).boxed() } else { tail.boxed() })
    }

    async fn changes(&self) -> Result<BoxStream<'static, String>> {
        let mut state = self.read("changes")?;
        let (sender, receiver) = mpsc::unbounded();
        state.watchers.push(sender);
        Ok(receiver.boxed())
    }

    async fn may(&self, verb: &str, group: &str, resource: &str, _: &str) -> Result<bool> {
        let state = self.read("may")?;
        Ok(!state.denied.contains(&(verb.to_owned(), group.to_owned(), resource.to_owned())))
    }
}

/// Clusters in memory by id; cheap to clone.
#[derive(Clone, Default)]
pub struct FakeClusters(Arc<Mutex<BTreeMap<String, FakeCluster>>>);

impl FakeClusters {
    /// One cluster under an id.
    pub fn of(id: &str, cluster: &FakeCluster) -> Self {
        let clusters = Self::default();
        clusters.add(id, cluster);
        clusters
    }

    /// One more.
    pub fn add(&self, id: &str, cluster: &FakeCluster) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), cluster.clone());
    }

    fn find(&self, id: &str) -> Result<FakeCluster> {
        let clusters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || Error::new(&CLUSTER_UNKNOWN, format!("no cluster {id:?} is registered"));
        clusters.get(id).cloned().ok_or_else(unknown)
    }
}

#[async_trait]
impl Clusters for FakeClusters {
    async fn open(&self, id: &str) -> Result<Arc<dyn Cluster>> {
        Ok(Arc::new(self.find(id)?))
    }

    async fn credential(&self, id: &str) -> Result<Credential> {
        self.find(id).map(|_| Credential::KubeconfigFile(format!("{id}.yaml")))
    }
}
