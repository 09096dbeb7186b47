//! The controller of Deployments: a ReplicaSet per template, rolled over within maxSurge and maxUnavailable.
//!
//! Owns one step of a rollout. Refuses pods: those are made by the ReplicaSets.
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    objects::{is_going, owner, reference, uid},
    state::State,
    workloads::{self, number},
};
use crate::model::manifest::{self, Doc};

/// Ten characters that stand for a template.
pub fn hash(value: &Value) -> String {
    hex::encode(Sha256::digest(value.to_string()))[..10].to_owned()
}

/// One step of a Deployment.
pub fn step(state: &mut State, deployment: &Doc) {
    if is_going(deployment) {
        return;
    }
    let hash = hash(&deployment["spec"]["template"]);
    let namespace = manifest::text(deployment, "/metadata/namespace");
    let mut sets = state.objects.of_kind(namespace, "apps/v1", "ReplicaSet");
    sets.retain(|set| owner(set) == uid(deployment));
    let name = format!("{}-{hash}", manifest::name(deployment));
    let Some(at) = sets.iter().position(|set| manifest::name(set) == name) else {
        let replicas = room(deployment, &sets, 0);
        let _ = state.spawn(replica_set(deployment, &name, &hash, replicas));
        report(state, deployment, None, &sets);
        return;
    };
    let new = sets.remove(at);
    let desired = number(deployment, "/spec/replicas", 1);
    scale_old(state, deployment, &new, &sets);
    let wanted = match manifest::text(deployment, "/spec/strategy/type") {
        "Recreate" if pods(state, &sets) > 0 => number(&new, "/spec/replicas", 0).min(desired),
        "Recreate" => desired,
        _ => room(deployment, &sets, number(&new, "/spec/replicas", 0)),
    };
    scale(state, &new, wanted);
    forget(state, deployment, &sets);
    report(state, deployment, Some(&new), &sets);
}

fn replica_set(deployment: &Doc, name: &str, hash: &str, replicas: i64) -> Doc {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"]["pod-template-hash"] = json!(hash);
    let labels = template["metadata"]["labels"].clone();
    let spec = json!({"replicas": replicas, "selector": selector, "template": template});
    workloads::owned(deployment, "apps/v1", "ReplicaSet", name, labels, spec)
}

fn scale(state: &mut State, set: &Doc, replicas: i64) {
    state.objects.edit(&reference(set), |doc| doc["spec"]["replicas"] = json!(replicas));
}

fn pods(state: &State, sets: &[Doc]) -> usize {
    sets.iter().map(|set| workloads::pods_of(state, set).len()).sum()
}

fn sum(sets: &[Doc], pointer: &str) -> i64 {
    sets.iter().map(|set| number(set, pointer, 0)).sum()
}

/// maxSurge rounded up and maxUnavailable rounded down; not both nothing.
fn limits(deployment: &Doc) -> (i64, i64) {
    let desired = number(deployment, "/spec/replicas", 1);
    let part = |field: &str, up: bool| match &deployment["spec"]["strategy"]["rollingUpdate"][field] {
        Value::Number(n) => n.as_i64().unwrap_or(0),
        value => {
            let percent = value.as_str().and_then(|text| text.trim_end_matches('%').parse::<i64>().ok()).unwrap_or(25);
            (desired * percent + if up { 99 } else { 0 }) / 100
        }
    };
    match (part("maxSurge", true), part("maxUnavailable", false)) {
        (0, 0) => (0, 1),
        limits => limits,
    }
}

/// How many replicas the new set may have.
fn room(deployment: &Doc, old: &[Doc], new: i64) -> i64 {
    let desired = number(deployment, "/spec/replicas", 1);
    if manifest::text(deployment, "/spec/strategy/type") == "Recreate" {
        return if old.iter().any(|set| number(set, "/spec/replicas", 0) > 0) { new } else { desired };
    }
    if old.iter().all(|set| number(set, "/spec/replicas", 0) == 0) || new > desired {
        return desired;
    }
    let (surge, _) = limits(deployment);
    let free = desired + surge - sum(old, "/spec/replicas") - new;
    desired.min(new + free.max(0))
}

/// Takes old pods away: those that are not ready first, then as many as leave enough available.
fn scale_old(state: &mut State, deployment: &Doc, new: &Doc, old: &[Doc]) {
    if manifest::text(deployment, "/spec/strategy/type") == "Recreate" {
        for set in old {
            scale(state, set, 0);
        }
        return;
    }
    let (_, unavailable) = limits(deployment);
    let least = number(deployment, "/spec/replicas", 1) - unavailable;
    let ready_new = number(new, "/status/availableReplicas", 0).min(number(new, "/spec/replicas", 0));
    let broken_new = number(new, "/spec/replicas", 0) - ready_new;
    let mut removable = sum(old, "/spec/replicas") + number(new, "/spec/replicas", 0) - least - broken_new;
    let mut spare = ready_new + sum(old, "/status/availableReplicas") - least;
    for set in old {
        let (replicas, ready) = (number(set, "/spec/replicas", 0), number(set, "/status/availableReplicas", 0));
        let broken = (replicas - ready).clamp(0, removable.max(0));
        let healthy = (replicas - broken).min((removable - broken).max(0)).min(spare.max(0));
        removable -= broken + healthy;
        spare -= healthy;
        scale(state, set, replicas - broken - healthy);
    }
}

/// Old sets without pods are kept ten deep.
fn forget(state: &mut State, deployment: &Doc, old: &[Doc]) {
    let keep = usize::try_from(number(deployment, "/spec/revisionHistoryLimit", 10)).unwrap_or(0);
    let mut empty: Vec<&Doc> = old
        .iter()
        .filter(|set| number(set, "/spec/replicas", 0) == 0 && number(set, "/status/replicas", 0) == 0)
        .collect();
    empty.sort_by_key(|set| std::cmp::Reverse(uid(set).to_owned()));
    let clock = state.clock.clone();
    for set in empty.into_iter().skip(keep) {
        state.objects.delete(&reference(set), &clock);
    }
}

fn report(state: &mut State, deployment: &Doc, new: Option<&Doc>, old: &[Doc]) {
    let desired = number(deployment, "/spec/replicas", 1);
    let of_new = |pointer: &str| new.map_or(0, |set| number(set, pointer, 0));
    let available = of_new("/status/availableReplicas") + sum(old, "/status/availableReplicas");
    let replicas = of_new("/status/replicas") + sum(old, "/status/replicas");
    let (updated, ready_new) = (of_new("/status/replicas"), of_new("/status/availableReplicas"));
    let (_, unavailable) = limits(deployment);
    let is_done = updated == desired && ready_new == desired && replicas == desired;
    let condition = |kind: &str, is: bool, reason: &str, message: &str| json!({"type": kind, "status": if is { "True" } else { "False" }, "reason": reason, "message": message});
    let has_least = available >= desired - unavailable;
    let mut conditions = vec![
        condition(
            "Available",
            has_least,
            if has_least { "MinimumReplicasAvailable" } else { "MinimumReplicasUnavailable" },
            "",
        ),
        condition("Progressing", true, if is_done { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" }, ""),
    ];
    let failed = new.map(|set| manifest::text(set, "/status/conditions/0/message")).filter(|text| !text.is_empty());
    if let Some(text) = failed {
        conditions.push(condition("ReplicaFailure", true, "FailedCreate", text));
    }
    let status = json!({
        "observedGeneration": deployment["metadata"]["generation"], "replicas": replicas, "updatedReplicas": updated,
        "readyReplicas": available, "availableReplicas": available, "unavailableReplicas": (desired - available).max(0),
        "conditions": conditions,
    });
    state.objects.set_status(deployment, status);
}
