//! The objects of the pretended cluster: uids, resource versions, generations, deletion with finalizers, what changed.
//!
//! Owns the rules every kind shares. Refuses to know what a kind means: that is the controllers'.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use slipway_kit::clock::Clock;

use super::fields::Managers;
use crate::model::{
    environment::ObjectRef,
    manifest::{self, Doc},
};

/// Label whose values are told when something changes.
const UID_LABEL: &str = "/metadata/labels/slipway.dev~1env-uid";

/// An object and who owns its fields.
#[derive(Clone, Debug)]
pub struct Object {
    /// As it is answered.
    pub doc: Doc,
    /// Fields by manager.
    pub managers: Managers,
}

/// Kind and name inside a namespace.
type Id = (String, String, String);

/// All objects.
#[derive(Debug, Default)]
pub struct Objects {
    namespaces: BTreeMap<String, BTreeMap<Id, Object>>,
    version: u64,
    uids: u64,
    dirty: BTreeSet<String>,
    changed: Vec<String>,
}

/// Which object a document is.
pub fn reference(doc: &Doc) -> ObjectRef {
    ObjectRef {
        api_version: manifest::text(doc, "/apiVersion").to_owned(),
        kind: manifest::kind(doc).to_owned(),
        namespace: manifest::text(doc, "/metadata/namespace").to_owned(),
        name: manifest::name(doc).to_owned(),
    }
}

fn id(object: &ObjectRef) -> Id {
    (object.api_version.clone(), object.kind.clone(), object.name.clone())
}

/// Whether an object is being deleted.
pub fn is_going(doc: &Doc) -> bool {
    doc.pointer("/metadata/deletionTimestamp").is_some()
}

/// Finalizers of an object.
pub fn finalizers(doc: &Doc) -> Vec<&str> {
    let list = doc.pointer("/metadata/finalizers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

/// The uid of an object.
pub fn uid(doc: &Doc) -> &str {
    manifest::text(doc, "/metadata/uid")
}

/// An instant as Kubernetes writes it: whole seconds.
pub fn instant(clock: &Clock) -> String {
    Clock::manual(clock.now_us() / 1_000_000 * 1_000_000).now().to_string()
}

impl Objects {
    /// Counts every change; equal before and after means that nothing happened.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// An object.
    pub fn get(&self, object: &ObjectRef) -> Option<&Object> {
        self.namespaces.get(&object.namespace)?.get(&id(object))
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<&Doc> {
        let id = ("v1".to_owned(), "Namespace".to_owned(), name.to_owned());
        self.namespaces.get("")?.get(&id).map(|object| &object.doc)
    }

    /// Everything in a namespace; what has no namespace if it is empty.
    pub fn all(&self, namespace: &str) -> impl Iterator<Item = &Doc> {
        self.namespaces.get(namespace).into_iter().flat_map(BTreeMap::values).map(|object| &object.doc)
    }

    /// Objects of a kind in a namespace, cloned, for controllers that change others meanwhile.
    pub fn of_kind(&self, namespace: &str, api_version: &str, kind: &str) -> Vec<Doc> {
        let from = (api_version.to_owned(), kind.to_owned(), String::new());
        let objects = self.namespaces.get(namespace).into_iter().flat_map(|objects| objects.range(from.clone()..));
        let of_kind = objects.take_while(|((a, k, _), _)| a == api_version && k == kind);
        of_kind.map(|(_, object)| object.doc.clone()).collect()
    }

    /// Names of the namespaces that have objects; empty for what has none.
    pub fn namespaces(&self) -> Vec<String> {
        self.namespaces.keys().cloned().collect()
    }

    /// Namespaces whose controllers have to look.
    pub fn dirty(&self) -> Vec<String> {
        self.dirty.iter().cloned().collect()
    }

    /// Nothing is to be done in a namespace.
    pub fn clean(&mut self, namespace: &str) {
        self.dirty.remove(namespace);
    }

    /// Controllers have to look at a namespace.
    pub fn soil(&mut self, namespace: &str) {
        self.dirty.insert(namespace.to_owned());
    }

    /// Labels of environments whose objects changed since the last call.
    pub fn take_changed(&mut self) -> Vec<String> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort();
        changed.dedup();
        changed
    }

    fn touch(&mut self, doc: &Doc) {
        let namespace = match manifest::kind(doc) {
            "Namespace" => manifest::name(doc),
            _ => manifest::text(doc, "/metadata/namespace"),
        };
        let of_namespace = self.namespace(namespace).map(|doc| manifest::text(doc, UID_LABEL).to_owned());
        let labels = [manifest::text(doc, UID_LABEL).to_owned(), of_namespace.unwrap_or_default()];
        self.changed.extend(labels.into_iter().filter(|label| !label.is_empty()));
        self.dirty.insert(namespace.to_owned());
    }

    /// A new object: uid, versions and time are given to it.
    pub fn create(&mut self, mut doc: Doc, managers: Managers, clock: &Clock) -> Doc {
        self.uids += 1;
        self.version += 1;
        let metadata = &mut doc["metadata"];
        metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", self.uids));
        metadata["resourceVersion"] = json!(self.version.to_string());
        metadata["generation"] = json!(1);
        metadata["creationTimestamp"] = json!(instant(clock));
        self.touch(&doc);
        let object = reference(&doc);
        let space = self.namespaces.entry(object.namespace.clone()).or_default();
        space.insert(id(&object), Object { doc: doc.clone(), managers });
        doc
    }

    /// Stores a changed object if it differs; a changed spec is a new generation. What is going and has no finalizers left is gone.
    pub fn write(&mut self, mut doc: Doc, managers: Option<Managers>) -> Doc {
        let object = reference(&doc);
        let version = self.version + 1;
        let space = self.namespaces.entry(object.namespace.clone()).or_default();
        let Some(old) = space.get_mut(&id(&object)) else { return doc };
        if let Some(managers) = managers {
            old.managers = managers;
        }
        if old.doc == doc {
            return doc;
        }
        if old.doc.get("spec") != doc.get("spec") && manifest::kind(&doc) != "Namespace" {
            let generation = old.doc.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
            doc["metadata"]["generation"] = json!(generation + 1);
        }
        doc["metadata"]["resourceVersion"] = json!(version.to_string());
        old.doc = doc.clone();
        self.version = version;
        self.touch(&doc);
        self.bury(&object);
        doc
    }

    /// Changes an object in place.
    pub fn edit(&mut self, object: &ObjectRef, change: impl FnOnce(&mut Doc)) {
        if let Some(found) = self.get(object) {
            let mut doc = found.doc.clone();
            change(&mut doc);
            self.write(doc, None);
        }
    }

    /// Sets the status of an object.
    pub fn set_status(&mut self, doc: &Doc, status: Value) {
        self.edit(&reference(doc), |doc| doc["status"] = status);
    }

    /// Begins to delete an object; whether it is gone already. Pods stay until their containers have stopped.
    pub fn delete(&mut self, object: &ObjectRef, clock: &Clock) -> bool {
        let Some(found) = self.get(object) else { return true };
        let is_pod = object.kind == "Pod" && manifest::text(&found.doc, "/status/phase") != "Succeeded";
        if is_going(&found.doc) {
            return false;
        }
        if finalizers(&found.doc).is_empty() && !is_pod && object.kind != "Namespace" {
            self.remove(object);
            return true;
        }
        let now = instant(clock);
        self.edit(object, |doc| {
            doc["metadata"]["deletionTimestamp"] = json!(now);
            if doc["kind"] == "Namespace" {
                doc["status"]["phase"] = json!("Terminating");
            }
        });
        false
    }

    /// Takes an object away at once.
    pub fn remove(&mut self, object: &ObjectRef) {
        let Some(space) = self.namespaces.get_mut(&object.namespace) else { return };
        if let Some(gone) = space.get(&id(object)).map(|object| object.doc.clone()) {
            self.version += 1;
            self.touch(&gone);
            if let Some(space) = self.namespaces.get_mut(&object.namespace) {
                space.remove(&id(object));
            }
        }
        self.namespaces.retain(|_, objects| !objects.is_empty());
    }

    fn bury(&mut self, object: &ObjectRef) {
        let done = |doc: &Doc| is_going(doc) && finalizers(doc).is_empty();
        let waits = matches!(object.kind.as_str(), "Pod" | "Namespace");
        if !waits && self.get(object).is_some_and(|found| done(&found.doc)) {
            self.remove(object);
        }
    }
}

/// Whether labels are among those of an object.
pub fn has_labels(doc: &Doc, labels: &[(&str, &str)]) -> bool {
    let own = doc.pointer("/metadata/labels");
    labels.iter().all(|(key, value)| own.and_then(|own| own.get(*key)).and_then(Value::as_str) == Some(*value))
}

/// Whether a map of labels (`matchLabels`, a Service's selector) selects an object; an empty one selects nothing.
pub fn selects(selector: Option<&Value>, doc: &Doc) -> bool {
    let Some(selector) = selector.and_then(Value::as_object).filter(|map| !map.is_empty()) else { return false };
    let empty = Map::new();
    let own = doc.pointer("/metadata/labels").and_then(Value::as_object).unwrap_or(&empty);
    selector.iter().all(|(key, value)| own.get(key) == Some(value))
}

/// Uid of the object's controller; empty if it has none.
pub fn owner(doc: &Doc) -> &str {
    manifest::text(doc, "/metadata/ownerReferences/0/uid")
}
