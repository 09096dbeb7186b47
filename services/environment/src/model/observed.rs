//! What one look at a cluster showed, and how it is read from the objects (ENV-51, ENV-52, ENV-60, ENV-102).
//!
//! Owns the reading. Refuses to decide what follows from it: `rollout` and `teardown` do.
use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    config::Probe,
    environment::{Held, ObjectRef},
    health::Health,
    hook,
    manifest::{self, Doc},
    quantity,
};

const UID_LABEL: &str = "/metadata/labels/slipway.dev~1env-uid";

/// What a look showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Nothing has changed since the last look, which left nothing to do.
    Unchanged,
    /// The cluster gives no answer; in words.
    Silent(String),
    /// A living environment.
    Live(Box<Live>),
    /// What is left of one that ends.
    Remains(Remains),
}

/// The namespace of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// It is not there.
    Absent,
    /// Somebody else's of the same name.
    Foreign,
    /// Ours.
    Ours {
        /// Its uid.
        uid: String,
    },
    /// Ours, being deleted.
    Terminating {
        /// Its uid.
        uid: String,
    },
}

/// A living environment in its cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Its namespace.
    pub space: Space,
    /// Guard rails that are missing or were changed, as `Kind/name`.
    pub rails_broken: Vec<String>,
    /// Whether the cluster counts the quota already.
    pub is_quota_counted: bool,
    /// Objects of the inventory that are not there any more, as `Kind/name`.
    pub missing: Vec<String>,
    /// Health of the workloads.
    pub health: Health,
    /// Whether requests find their way.
    pub routing: Routing,
    /// Whether its address answers.
    pub reach: Reach,
    /// Pods that run or are about to.
    pub pods: usize,
    /// Replicas of the workloads by `Kind/name`.
    pub replicas: BTreeMap<String, i64>,
    /// Hooks that may run, by `Kind/name`.
    pub hooks: BTreeMap<String, hook::Seen>,
}

/// Whether requests find their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// There is no route object: the built-in preview proxy knows the host.
    Proxy,
    /// Every route is accepted.
    Accepted,
    /// One is not yet, in words.
    Waiting(String),
}

/// Whether the address of an environment answers (ENV-102).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It could not be tried, in words.
    Unknown(String),
    /// It answers as wanted, in words.
    Answers(String),
    /// It does not, in words.
    Silent(String),
}

/// What a probe of an address got: the code of the answer, and of whose life it said it was.
pub fn reach(probe: &Probe, uid: &str, answer: Result<(u16, &str), &str>) -> Reach {
    let path = &probe.path;
    let wants = probe.code.map_or("anything below 500".to_owned(), |code| code.to_string());
    match answer {
        Err(text) => Reach::Silent(text.to_owned()),
        Ok((_, found)) if found != uid => Reach::Silent("Another environment answers at the address.".to_owned()),
        Ok((code, _)) if probe.code.map_or(code < 500, |wanted| wanted == code) => {
            Reach::Answers(format!("{path} answered {code}."))
        }
        Ok((code, _)) => Reach::Silent(format!("{path} answered {code}; {wants} is wanted.")),
    }
}

/// What is left of an environment that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// Its namespace.
    pub space: Space,
    /// Objects in it.
    pub left: Vec<Left>,
    /// What the namespace says about its deletion.
    pub told: Vec<String>,
    /// Hooks that may run, by `Kind/name`.
    pub hooks: BTreeMap<String, hook::Seen>,
}

/// An object that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Which.
    pub object: ObjectRef,
    /// What holds it.
    pub finalizers: Vec<String>,
}

impl Left {
    /// `Kind/name`, with what holds it.
    pub fn title(&self) -> String {
        let ObjectRef { kind, name, .. } = &self.object;
        if self.finalizers.is_empty() {
            return format!("{kind}/{name}");
        }
        format!("{kind}/{name} held by {}", self.finalizers.join(", "))
    }
}

/// The environment an object says it belongs to; empty if it says nothing.
pub fn owner(doc: &Doc) -> &str {
    manifest::text(doc, UID_LABEL)
}

/// What a namespace is to an environment.
pub fn space(found: Option<&Doc>, env_uid: &str) -> Space {
    let Some(doc) = found else { return Space::Absent };
    if owner(doc) != env_uid {
        return Space::Foreign;
    }
    let uid = manifest::text(doc, "/metadata/uid").to_owned();
    let is_going = !manifest::text(doc, "/metadata/deletionTimestamp").is_empty();
    if is_going { Space::Terminating { uid } } else { Space::Ours { uid } }
}

/// Guard rails that are missing among the live objects, or do not say any more what they must.
pub fn broken(rails: &[Doc], live: &[Doc]) -> Vec<String> {
    let stands = |rail: &Doc| find(live, rail).is_some_and(|found| holds(rail, found));
    rails.iter().filter(|rail| !stands(rail)).map(manifest::title).collect()
}

fn find<'a>(live: &'a [Doc], wanted: &Doc) -> Option<&'a Doc> {
    live.iter()
        .find(|doc| manifest::kind(doc) == manifest::kind(wanted) && manifest::name(doc) == manifest::name(wanted))
}

/// Whether an object says all that a guard rail says; annotations tell a story and guard nothing.
fn holds(rail: &Doc, found: &Doc) -> bool {
    let Some(fields) = rail.as_object() else { return false };
    fields.iter().all(|(key, want)| match key.as_str() {
        "apiVersion" | "kind" => true,
        "metadata" => covers(&want["labels"], &found["metadata"]["labels"]),
        _ => covers(want, &found[key.as_str()]),
    })
}

/// Whether a value has everything that is wanted; what a server adds does not matter, nor how it writes a quantity.
fn covers(want: &Value, have: &Value) -> bool {
    match (want, have) {
        (Value::Null, _) => true,
        (Value::Object(want), Value::Object(have)) => {
            want.iter().all(|(key, value)| covers(value, have.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Object(want), Value::Null) => want.is_empty(),
        (Value::Array(want), Value::Array(have)) => {
            want.len() == have.len() && want.iter().zip(have).all(|(want, have)| covers(want, have))
        }
        (Value::String(want), Value::String(have)) if want != have => {
            quantity::parse(want).is_some_and(|milli| quantity::parse(have) == Some(milli))
        }
        _ => want == have,
    }
}

/// Whether the cluster counts every quota that it was given (ENV-60).
pub fn is_quota_counted(live: &[Doc]) -> bool {
    live.iter().filter(|doc| manifest::kind(doc) == "ResourceQuota").all(|quota| {
        let wanted = quota.pointer("/spec/hard").and_then(Value::as_object);
        let counted = quota.pointer("/status/hard").and_then(Value::as_object);
        wanted.is_none_or(|wanted| wanted.keys().all(|key| counted.is_some_and(|c| c.contains_key(key))))
    })
}

/// Objects of the inventory whose kinds were listed and that are not there any more.
pub fn missing(inventory: &[Held], kinds: &[&str], live: &[Doc]) -> Vec<String> {
    let is_there = |held: &Held| {
        live.iter().any(|doc| manifest::kind(doc) == held.object.kind && manifest::name(doc) == held.object.name)
    };
    let wanted = inventory.iter().filter(|held| !held.uid.is_empty() && kinds.contains(&held.object.kind.as_str()));
    wanted.filter(|held| !is_there(held)).map(|held| format!("{}/{}", held.object.kind, held.object.name)).collect()
}

/// Pods that run or are about to.
pub fn pods(live: &[Doc]) -> usize {
    let pods = live.iter().filter(|doc| manifest::kind(doc) == "Pod");
    pods.filter(|pod| !matches!(manifest::text(pod, "/status/phase"), "Succeeded" | "Failed")).count()
}

/// Replicas that the workloads have now.
pub fn replicas(live: &[Doc]) -> BTreeMap<String, i64> {
    let scaled = live.iter().filter(|doc| matches!(manifest::kind(doc), "Deployment" | "StatefulSet"));
    scaled.filter_map(|doc| Some((manifest::title(doc), doc.pointer("/spec/replicas")?.as_i64()?))).collect()
}

/// Whether the routes that are wanted are accepted (ENV-102).
pub fn routing(wanted: &[Held], live: &[Doc]) -> Routing {
    let routes: Vec<&ObjectRef> =
        wanted.iter().map(|held| &held.object).filter(|o| manifest::is_route(&o.kind)).collect();
    if routes.is_empty() {
        return Routing::Proxy;
    }
    for route in routes {
        let title = format!("{}/{}", route.kind, route.name);
        let found = live.iter().find(|d| manifest::kind(d) == route.kind && manifest::name(d) == route.name);
        let Some(doc) = found else { return Routing::Waiting(format!("{title} is not there.")) };
        if let Some(text) = unrouted(doc) {
            return Routing::Waiting(format!("{title}: {text}"));
        }
    }
    Routing::Accepted
}

/// What a route waits for; `None` if it is accepted.
fn unrouted(doc: &Doc) -> Option<String> {
    if manifest::kind(doc) == "Ingress" {
        let addresses = doc.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
        return addresses.is_none_or(Vec::is_empty).then(|| "it has no address yet.".to_owned());
    }
    let generation = doc.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let parents = doc.pointer("/status/parents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if parents.is_empty() {
        return Some("no Gateway has answered yet.".to_owned());
    }
    for parent in parents {
        let conditions = parent["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        for wanted in ["Accepted", "ResolvedRefs"] {
            let found = conditions.iter().find(|c| c["type"] == wanted);
            let is_now = found.is_some_and(|c| c["observedGeneration"].as_i64().unwrap_or(0) >= generation);
            if !is_now {
                return Some(format!("the Gateway has not yet said {wanted} of this version."));
            }
            if let Some(told) = found.filter(|c| c["status"] != "True") {
                return Some(format!("not {wanted}: {}", told["message"].as_str().unwrap_or_default()));
            }
        }
    }
    None
}

/// What is left in a namespace that shall go.
pub fn remains(namespace: Option<&Doc>, env_uid: &str, objects: &[Doc]) -> Remains {
    let strings = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let mut left: Vec<Left> = objects
        .iter()
        .map(|doc| Left { object: manifest::object(doc), finalizers: strings(doc.pointer("/metadata/finalizers")) })
        .collect();
    left.sort_by(|a, b| a.object.cmp(&b.object));
    let conditions = namespace.and_then(|doc| doc.pointer("/status/conditions")?.as_array()).into_iter().flatten();
    let told = conditions
        .filter(|c| c["status"] == "True")
        .map(|c| format!("{}: {}", c["type"].as_str().unwrap_or("?"), c["message"].as_str().unwrap_or_default()))
        .collect();
    Remains { space: space(namespace, env_uid), left, told, hooks: BTreeMap::new() }
}

#[cfg(test)]
#[path = "observed_tests.rs"]
mod tests;
