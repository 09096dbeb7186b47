//! Everything the pretended cluster knows, what tests set of it, and its plans to fail.
//!
//! Owns creation through admission and the running of controllers. Refuses randomness and its own time: a test says both.
use std::collections::{BTreeMap, BTreeSet};

use futures::channel::mpsc::UnboundedSender;
use serde_json::{Value, json};
use slipway_kit::clock::Clock;

use super::{
    admission, controllers,
    fields::Managers,
    kinds::Kinds,
    network,
    objects::{self, Objects},
    workloads,
};
use crate::model::{
    manifest::{self, Doc},
    refusal::Refusal,
};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 429 with a wait in seconds; nothing happened.
    Busy(u64),
    /// 500; nothing happened.
    ServerError,
    /// No answer; nothing happened.
    TimeoutBefore,
    /// No answer; it happened.
    TimeoutAfter,
}

/// What goes wrong with pods whose image contains a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The image cannot be pulled.
    ImagePull,
    /// The container ends with this code again and again.
    CrashLoop(i64),
    /// The container is killed for its memory.
    OutOfMemory,
    /// No node has room.
    Unschedulable,
    /// It runs and never becomes ready.
    NotReady,
    /// A Secret or ConfigMap it needs is missing; the text says which.
    ConfigMissing(String),
}

/// What the pretended Gateway controller does with routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GatewayPlan {
    /// Accepts them.
    #[default]
    Accepts,
    /// Says nothing, as if there were none.
    Silent,
    /// Refuses them with this reason.
    Refuses(String),
}

/// What a cluster knows and what can be set.
pub struct State {
    /// The objects.
    pub objects: Objects,
    /// Served kinds.
    pub kinds: Kinds,
    /// Time.
    pub clock: Clock,
    /// Version of the API server.
    pub git_version: String,
    /// Controllers run only by `tick` and `settle`, not by themselves after each call.
    pub is_manual: bool,
    /// Calls by verb: `apply`, `dry_run`, `admit`, `get`, `list`, `remaining`, `delete`, `logs`, `changes`, `may`, `version`.
    pub calls: BTreeMap<&'static str, u64>,
    /// Failures by verb and its call, counted from 1.
    pub failures: BTreeMap<(&'static str, u64), Failure>,
    /// How every call fails until it is taken away.
    pub is_down: Option<Failure>,
    /// Verb, group and resource that we may not.
    pub denied: BTreeSet<(String, String, String)>,
    /// Troubles of pods by a text in the image of a container.
    pub troubles: Vec<(String, Trouble)>,
    /// What becomes of routes.
    pub gateway: GatewayPlan,
    /// Whether walls between namespaces cut what probes try to reach.
    pub enforces_policies: bool,
    /// Lines by namespace, beginning of the pod's name, and whether they are of the container before.
    pub logs: BTreeMap<(String, String, bool), Vec<String>>,
    pub(super) watchers: Vec<UnboundedSender<String>>,
    pub(super) counter: u64,
}

impl State {
    pub(super) fn new(clock: Clock) -> Self {
        let mut state = Self {
            objects: Objects::default(),
            kinds: Kinds::default(),
            clock,
            git_version: "v1.34.4".to_owned(),
            is_manual: false,
            calls: BTreeMap::new(),
            failures: BTreeMap::new(),
            is_down: None,
            denied: BTreeSet::new(),
            troubles: Vec::new(),
            gateway: GatewayPlan::default(),
            enforces_policies: false,
            logs: BTreeMap::new(),
            watchers: Vec::new(),
            counter: 0,
        };
        for name in ["default", "kube-system"] {
            let doc = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            // Nothing refuses it.
            let _ = state.create(doc, Managers::new());
        }
        state
    }

    /// The next number of names and addresses.
    pub(super) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Creates an object through admission.
    pub(super) fn create(&mut self, doc: Doc, managers: Managers) -> Result<Doc, Refusal> {
        let doc = self.admitted(doc)?;
        Ok(self.objects.create(doc, managers, &self.clock))
    }

    /// What would be created.
    pub(super) fn admitted(&self, mut doc: Doc) -> Result<Doc, Refusal> {
        let (api_version, kind) = (manifest::text(&doc, "/apiVersion"), manifest::kind(&doc).to_owned());
        let served = self.kinds.get(api_version, &kind).cloned().ok_or(Refusal::KindUnknown)?;
        let namespace = manifest::text(&doc, "/metadata/namespace");
        if served.is_namespaced {
            let Some(space) = self.objects.namespace(namespace) else { return Err(Refusal::NamespaceMissing) };
            if objects::is_going(space) {
                return Err(Refusal::NamespaceTerminating);
            }
        }
        validate(&doc)?;
        workloads::fill_in(&mut doc);
        if kind == "Namespace" {
            doc["metadata"]["labels"]["kubernetes.io/metadata.name"] = doc["metadata"]["name"].clone();
            doc["spec"] = json!({"finalizers": ["kubernetes"]});
            doc["status"] = json!({"phase": "Active"});
        }
        admission::admit(&self.objects, &self.kinds, &mut doc, &served.resource)?;
        Ok(doc)
    }

    /// Creates what a controller wants; the refusal as a controller logs it.
    pub(super) fn spawn(&mut self, doc: Doc) -> Result<Doc, String> {
        let title = manifest::title(&doc);
        self.create(doc, Managers::new()).map_err(|refusal| match refusal {
            Refusal::Quota(text) | Refusal::PodSecurity(text) | Refusal::Invalid(text) => text,
            other => other.sentence(&title),
        })
    }

    /// One step of every controller in every namespace that changed; whether anything changed.
    pub fn tick(&mut self) -> bool {
        let before = self.objects.version();
        for namespace in self.objects.dirty() {
            let version = self.objects.version();
            workloads::step(self, &namespace);
            network::step(self, &namespace);
            controllers::step(self, &namespace);
            if self.objects.version() == version {
                self.objects.clean(&namespace);
            }
        }
        self.tell();
        self.objects.version() != before
    }

    /// Steps until nothing changes any more.
    pub fn settle(&mut self) {
        for _ in 0..500 {
            if !self.tick() {
                return;
            }
        }
    }

    /// Tells watchers what changed.
    pub(super) fn tell(&mut self) {
        let changed = self.objects.take_changed();
        self.watchers.retain(|watcher| !watcher.is_closed());
        for watcher in &self.watchers {
            for label in &changed {
                let _ = watcher.unbounded_send(label.clone());
            }
        }
    }

    /// The trouble of a pod.
    pub(super) fn trouble(&self, pod: &Doc) -> Option<Trouble> {
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array)?;
        let image = |container: &Value| container["image"].as_str().unwrap_or_default().to_owned();
        let images: Vec<String> = containers.iter().map(image).collect();
        let hit = self.troubles.iter().find(|(text, _)| images.iter().any(|image| image.contains(text.as_str())));
        hit.map(|(_, trouble)| trouble.clone())
    }
}

/// What Kubernetes validates of the kinds that matter here.
fn validate(doc: &Doc) -> Result<(), Refusal> {
    let title = || format!("{} \"{}\" is invalid", manifest::kind(doc), manifest::name(doc));
    let name = manifest::name(doc);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let is_rbac = manifest::text(doc, "/apiVersion").starts_with("rbac.");
    if name.is_empty() || (!is_rbac && (name.len() > 253 || !name.chars().all(plain))) {
        return Err(Refusal::Invalid(format!("{}: metadata.name: Invalid value: \"{name}\"", title())));
    }
    if matches!(manifest::kind(doc), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") {
        let selector = doc.pointer("/spec/selector/matchLabels");
        if selector.is_none() {
            return Err(Refusal::Invalid(format!("{}: spec.selector: Required value", title())));
        }
        if !objects::selects(selector, &doc["spec"]["template"]) {
            let text = "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`";
            return Err(Refusal::Invalid(format!("{}: {text}", title())));
        }
    }
    if let Some((_, spec)) = manifest::pod_spec(doc) {
        let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        if containers.is_empty() {
            return Err(Refusal::Invalid(format!("{}: spec.containers: Required value", title())));
        }
    }
    Ok(())
}

/// What may not change once it is there.
pub(super) fn immutable(old: &Doc, new: &Doc) -> Result<(), Refusal> {
    let fixed: &[&str] = match manifest::kind(new) {
        "Deployment" | "DaemonSet" | "ReplicaSet" => &["/spec/selector"],
        "StatefulSet" => &["/spec/selector", "/spec/serviceName", "/spec/volumeClaimTemplates"],
        "Job" => &["/spec/template", "/spec/selector"],
        "PersistentVolumeClaim" => &["/spec/accessModes", "/spec/storageClassName"],
        _ => &[],
    };
    match fixed.iter().find(|path| old.pointer(path) != new.pointer(path)) {
        None => validate(new),
        Some(path) => {
            let (kind, name) = (manifest::kind(new), manifest::name(new));
            let field = path.trim_start_matches('/').replace('/', ".");
            Err(Refusal::Invalid(format!(
                "{kind}.{} \"{name}\" is invalid: {field}: Invalid value: field is immutable",
                manifest::text(new, "/apiVersion").split('/').next().unwrap_or_default()
            )))
        }
    }
}
