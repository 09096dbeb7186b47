//! Who owns which field: server-side apply over JSON documents.
//!
//! Owns sets of fields, conflicts, the merge and the removal of what a manager leaves out. Refuses schemas but for the lists and maps
//! of built-in kinds that are merged in a way of their own; every other list is one value.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::{Map, Value};

use crate::model::manifest::Doc;

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A key of a map.
    Field(String),
    /// The item of a list with these keys and values (as JSON).
    Keyed(Vec<(&'static str, String)>),
    /// The item of a set that is this value (as JSON).
    Member(String),
}

/// Where a field is.
pub type Path = Vec<Step>;
/// The fields of one manager.
pub type Fields = BTreeSet<Path>;
/// Fields by manager.
pub type Managers = BTreeMap<String, Fields>;

/// Two managers want one field.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it.
    pub managers: Vec<String>,
    /// Which fields.
    pub fields: Vec<String>,
}

/// A path as Kubernetes writes it: `.spec.template.spec.containers[name="app"].image`.
pub fn text(path: &Path) -> String {
    let mut text = String::new();
    for step in path {
        let _ = match step {
            Step::Field(name) => write!(text, ".{name}"),
            Step::Keyed(keys) => {
                let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(text, "[{}]", keys.join(","))
            }
            Step::Member(value) => write!(text, "[={value}]"),
        };
    }
    text
}

/// The fields that a document sets; identity and status are nobody's.
pub fn of(doc: &Doc) -> Fields {
    let mut fields = Fields::new();
    collect(doc, &mut Vec::new(), &mut fields);
    fields
}

fn is_nobodys(path: &[Step]) -> bool {
    let names: Vec<&str> = path.iter().filter_map(field).collect();
    match names.as_slice() {
        ["apiVersion" | "kind" | "status", ..] => true,
        ["metadata", name, ..] => !matches!(*name, "labels" | "annotations" | "finalizers" | "ownerReferences"),
        _ => false,
    }
}

fn field(step: &Step) -> Option<&str> {
    if let Step::Field(name) = step { Some(name) } else { None }
}

/// How a list is merged.
enum Merged {
    Whole,
    Set,
    By(&'static [&'static str]),
}

fn list(path: &[Step], items: &[Value]) -> Merged {
    let in_item = matches!(path.iter().rev().nth(1), Some(Step::Keyed(_)));
    let keys: &'static [&'static str] = match path.last().and_then(field) {
        Some("finalizers") if path.len() == 2 => return Merged::Set,
        Some("containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env") => &["name"],
        Some("imagePullSecrets" | "secrets" | "listeners") => &["name"],
        Some("volumeMounts") => &["mountPath"],
        Some("volumeDevices") => &["devicePath"],
        Some("hostAliases") => &["ip"],
        Some("conditions") => &["type"],
        Some("ownerReferences") => &["uid"],
        Some("ports") if in_item => &["containerPort", "protocol"],
        Some("ports") if path.len() == 2 => &["port", "protocol"],
        _ => return Merged::Whole,
    };
    let has_keys = |item: &Value| item.is_object() && keys.iter().any(|key| item.get(*key).is_some());
    if items.iter().all(has_keys) { Merged::By(keys) } else { Merged::Whole }
}

/// Maps that are one value.
fn is_whole(path: &[Step]) -> bool {
    let name = path.last().and_then(field);
    let names = ["selector", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector", "scaleTargetRef"];
    let references = ["secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef"];
    name.is_some_and(|name| names.contains(&name) || references.contains(&name))
}

fn keyed(item: &Value, keys: &'static [&'static str]) -> Step {
    let value = |key: &'static str| match item.get(key) {
        None if key == "protocol" => "\"TCP\"".to_owned(),
        found => found.unwrap_or(&Value::Null).to_string(),
    };
    Step::Keyed(keys.iter().map(|key| (*key, value(key))).collect())
}

fn collect(value: &Value, path: &mut Path, fields: &mut Fields) {
    if is_nobodys(path) || value.is_null() {
        return;
    }
    match value {
        Value::Object(map) if !map.is_empty() && !is_whole(path) => {
            for (key, value) in map {
                path.push(Step::Field(key.clone()));
                collect(value, path, fields);
                path.pop();
            }
        }
        Value::Array(items) => match list(path, items) {
            Merged::Whole => drop(fields.insert(path.clone())),
            Merged::Set => {
                let member = |item: &Value| [path.clone(), vec![Step::Member(item.to_string())]].concat();
                fields.extend(items.iter().map(member));
            }
            Merged::By(keys) => {
                for item in items {
                    path.push(keyed(item, keys));
                    fields.insert(path.clone());
                    collect(item, path, fields);
                    path.pop();
                }
            }
        },
        _ => drop(fields.insert(path.clone())),
    }
}

fn at<'a>(doc: &'a Value, path: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(doc) };
    let found = match step {
        Step::Field(name) => doc.get(name)?,
        Step::Keyed(keys) => doc.as_array()?.iter().find(|item| is_item(item, keys))?,
        Step::Member(value) => doc.as_array()?.iter().find(|item| is_text(item, value))?,
    };
    at(found, rest)
}

/// Whether a value is written so as JSON.
fn is_text(value: &Value, text: &str) -> bool {
    let written = value.to_string();
    written == text
}

fn is_item(item: &Value, keys: &[(&'static str, String)]) -> bool {
    keys.iter().all(|(key, value)| match item.get(*key) {
        None => *key == "protocol" && value == "\"TCP\"",
        Some(found) => is_text(found, value),
    })
}

/// Applies a document over what is there for a manager.
///
/// # Errors
/// The fields that others own with another value, unless `force` takes them over.
pub fn apply(live: &mut Doc, managers: &mut Managers, manager: &str, doc: &Doc, force: bool) -> Result<(), Conflict> {
    let wanted = of(doc);
    let contested = contested(live, managers, manager, doc, &wanted);
    if !contested.is_empty() && !force {
        let mut fields: Vec<String> = contested.iter().map(|(_, path)| text(path)).collect();
        let mut managers: Vec<String> = contested.into_iter().map(|(manager, _)| manager).collect();
        for list in [&mut fields, &mut managers] {
            list.sort();
            list.dedup();
        }
        return Err(Conflict { managers, fields });
    }
    for (other, path) in contested {
        if let Some(fields) = managers.get_mut(&other) {
            fields.remove(&path);
        }
    }
    let before = managers.insert(manager.to_owned(), wanted.clone()).unwrap_or_default();
    let left_out = before.difference(&wanted).filter(|path| !managers.values().any(|fields| fields.contains(*path)));
    // An item of a list comes before its fields, and takes them along.
    for path in left_out.collect::<Vec<_>>() {
        remove(live, path);
    }
    managers.retain(|_, fields| !fields.is_empty());
    merge(live, doc, &mut Vec::new());
    Ok(())
}

fn contested(live: &Doc, managers: &Managers, me: &str, doc: &Doc, wanted: &Fields) -> Vec<(String, Path)> {
    let mut found = Vec::new();
    let others = managers.iter().filter(|(manager, _)| manager.as_str() != me);
    for (manager, fields) in others {
        for path in wanted.intersection(fields) {
            if matches!(path.last(), Some(Step::Field(_))) && at(live, path) != at(doc, path) {
                found.push((manager.clone(), path.clone()));
            }
        }
    }
    found
}

/// Takes a field away, and the maps that are empty without it.
fn remove(doc: &mut Value, path: &[Step]) -> bool {
    let Some((step, rest)) = path.split_first() else { return true };
    match (step, doc) {
        (Step::Field(name), Value::Object(map)) => {
            if map.get_mut(name).is_some_and(|value| remove(value, rest)) {
                map.shift_remove(name);
            }
            map.is_empty()
        }
        (Step::Keyed(keys), Value::Array(items)) => {
            if rest.is_empty() {
                items.retain(|item| !is_item(item, keys));
            } else if let Some(item) = items.iter_mut().find(|item| is_item(item, keys)) {
                remove(item, rest);
            }
            items.is_empty()
        }
        (Step::Member(value), Value::Array(items)) => {
            items.retain(|item| !is_text(item, value));
            items.is_empty()
        }
        _ => false,
    }
}

fn merge(live: &mut Value, doc: &Value, path: &mut Path) {
    match (live, doc) {
        (live @ (Value::Object(_) | Value::Null), Value::Object(wanted)) if !is_whole(path) => {
            if live.is_null() {
                *live = Value::Object(Map::new());
            }
            let Some(map) = live.as_object_mut() else { return };
            for (key, value) in wanted {
                path.push(Step::Field(key.clone()));
                if !is_nobodys(path) && !value.is_null() {
                    merge(map.entry(key.clone()).or_insert(Value::Null), value, path);
                }
                path.pop();
            }
        }
        (live, Value::Array(wanted)) => merge_list(live, wanted, path),
        (live, wanted) => *live = wanted.clone(),
    }
}

fn merge_list(live: &mut Value, wanted: &[Value], path: &mut Path) {
    let there = match live {
        Value::Array(items) => std::mem::take(items),
        _ => Vec::new(),
    };
    let merged = match list(path, wanted) {
        Merged::Whole => wanted.to_vec(),
        Merged::Set => {
            let missing = wanted.iter().filter(|item| !there.contains(item)).cloned().collect::<Vec<_>>();
            [there, missing].concat()
        }
        Merged::By(keys) => {
            let mut items = there;
            for item in wanted {
                let step = keyed(item, keys);
                let Step::Keyed(values) = &step else { continue };
                let at = items.iter().position(|there| is_item(there, values)).unwrap_or_else(|| {
                    items.push(Value::Null);
                    items.len() - 1
                });
                path.push(step);
                merge(&mut items[at], item, path);
                path.pop();
            }
            items
        }
    };
    *live = Value::Array(merged);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: Option<i64>, image: &str, env: &[&str]) -> Doc {
        let env: Vec<_> = env.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        let mut doc = json!({"kind": "Deployment", "metadata": {"name": "api", "labels": {"app": "api"}},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image, "env": env, "args": ["a"]}]}}}});
        if let Some(replicas) = replicas {
            doc["spec"]["replicas"] = json!(replicas);
        }
        doc
    }

    #[test]
    fn what_is_left_out_goes_and_what_others_own_stays() {
        let (mut live, mut managers) = (json!({}), Managers::new());
        apply(&mut live, &mut managers, "me", &deployment(Some(2), "a:1", &["A", "B"]), false)
            .unwrap_or_else(|e| panic!("{e:?}"));
        let other = json!({"metadata": {"labels": {"extra": "x"}},
            "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}});
        assert_eq!(apply(&mut live, &mut managers, "other", &other, false), Ok(()));
        assert_eq!(apply(&mut live, &mut managers, "me", &deployment(None, "a:2", &["B"]), false), Ok(()));
        assert_eq!(live["spec"].get("replicas"), None);
        let containers = &live["spec"]["template"]["spec"]["containers"];
        assert_eq!(
            containers[0],
            json!({"name": "app", "image": "a:2", "env": [{"name": "B", "value": "1"}], "args": ["a"]})
        );
        assert_eq!(containers[1]["name"], "side");
        assert_eq!(live["metadata"]["labels"], json!({"app": "api", "extra": "x"}));
    }

    #[test]
    fn two_managers_conflict_until_one_takes_over() {
        let (mut live, mut managers) = (json!({}), Managers::new());
        assert_eq!(apply(&mut live, &mut managers, "helm", &deployment(Some(2), "a:1", &[]), false), Ok(()));
        assert_eq!(apply(&mut live, &mut managers, "me", &deployment(Some(2), "a:1", &[]), false), Ok(()));
        let wanted = deployment(Some(3), "a:2", &[]);
        let conflict = apply(&mut live, &mut managers, "me", &wanted, false).expect_err("another manager owns it");
        assert_eq!(conflict.managers, ["helm"]);
        let fields = [".spec.replicas", ".spec.template.spec.containers[name=\"app\"].image"];
        assert_eq!(conflict.fields, fields);
        assert_eq!(live["spec"]["replicas"], 2);
        assert_eq!(apply(&mut live, &mut managers, "me", &wanted, true), Ok(()));
        assert_eq!(live["spec"]["replicas"], 3);
        assert_eq!(apply(&mut live, &mut managers, "me", &deployment(Some(4), "a:3", &[]), false), Ok(()));
    }
}
