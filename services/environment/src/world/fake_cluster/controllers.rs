//! Controllers of namespaces, owners, quotas, claims and service accounts.
//!
//! Owns what Kubernetes does around workloads. Refuses order by chance: a namespace's pods go first, all else after (ENV-53).
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    admission,
    fields::Managers,
    objects::{self, is_going, reference, uid},
    state::State,
};
use crate::model::manifest::{self, Doc};

/// One step in a namespace.
pub fn step(state: &mut State, namespace: &str) {
    if namespace.is_empty() {
        return;
    }
    let Some(space) = state.objects.namespace(namespace).cloned() else { return };
    if is_going(&space) {
        tear_down(state, &space);
    } else {
        furnish(state, namespace);
    }
    collect_garbage(state, namespace);
    claims(state, namespace);
    quotas(state, namespace);
}

/// Every namespace gets a service account and the certificates of the cluster.
fn furnish(state: &mut State, namespace: &str) {
    for (kind, name) in [("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")] {
        let doc = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}});
        if state.objects.get(&reference(&doc)).is_none() {
            // A refusal leaves it for the next step.
            let _ = state.create(doc, Managers::new());
        }
    }
}

fn tear_down(state: &mut State, space: &Doc) {
    let namespace = manifest::name(space);
    let left: Vec<Doc> = state.objects.all(namespace).cloned().collect();
    let has_pods = left.iter().any(|doc| manifest::kind(doc) == "Pod");
    for doc in left.iter().filter(|doc| !has_pods || manifest::kind(doc) == "Pod") {
        let clock = state.clock.clone();
        state.objects.delete(&reference(doc), &clock);
    }
    let left: Vec<Doc> = state.objects.all(namespace).cloned().collect();
    let finalizers = space.pointer("/metadata/finalizers").is_some_and(|list| list != &json!([]));
    if left.is_empty() && !finalizers {
        state.objects.remove(&reference(space));
        return;
    }
    let conditions = conditions(&left, space);
    state.objects.edit(&reference(space), |doc| doc["status"]["conditions"] = conditions);
}

/// What holds a namespace, in the words of its controller.
fn conditions(left: &[Doc], space: &Doc) -> Value {
    let (mut kinds, mut finalizers) = (BTreeMap::<String, usize>::new(), BTreeMap::<&str, usize>::new());
    for doc in left {
        let group = super::kinds::group(manifest::text(doc, "/apiVersion"));
        *kinds.entry(format!("{}s.{group}", manifest::kind(doc).to_lowercase())).or_default() += 1;
        for finalizer in objects::finalizers(doc) {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let since = manifest::text(space, "/metadata/deletionTimestamp");
    let condition = |kind: &str, is: bool, reason: &str, message: String| {
        let status = if is { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    };
    let instances: Vec<_> = kinds.iter().map(|(kind, n)| format!("{kind} has {n} resource instances")).collect();
    let held: Vec<_> = finalizers.iter().map(|(name, n)| format!("{name} in {n} resource instances")).collect();
    let remain = format!("Some resources are remaining: {}", instances.join(", "));
    let hold = format!("Some content in the namespace has finalizers remaining: {}", held.join(", "));
    json!([
        condition(
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned()
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned()
        ),
        condition(
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned()
        ),
        condition(
            "NamespaceContentRemaining",
            !left.is_empty(),
            if left.is_empty() { "ContentRemoved" } else { "SomeResourcesRemain" },
            if left.is_empty() { "All content successfully removed".to_owned() } else { remain }
        ),
        condition(
            "NamespaceFinalizersRemaining",
            !held.is_empty(),
            if held.is_empty() { "ContentHasNoFinalizers" } else { "SomeFinalizersRemain" },
            if held.is_empty() { "All content-preserving finalizers finished".to_owned() } else { hold }
        ),
    ])
}

/// Objects whose owners are gone, or going away and waited for by none, go too.
fn collect_garbage(state: &mut State, namespace: &str) {
    let living: BTreeSet<String> = state.objects.all(namespace).map(|doc| uid(doc).to_owned()).collect();
    let global: BTreeSet<String> = state.objects.all("").map(|doc| uid(doc).to_owned()).collect();
    let is_orphan = |doc: &&Doc| {
        let owners = doc.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.is_some_and(|owners| {
            let uid = |owner: &Value| owner["uid"].as_str().unwrap_or_default().to_owned();
            !owners.is_empty()
                && !owners.iter().any(|owner| living.contains(&uid(owner)) || global.contains(&uid(owner)))
        })
    };
    let orphans: Vec<_> = state.objects.all(namespace).filter(is_orphan).map(reference).collect();
    let clock = state.clock.clone();
    for orphan in orphans {
        state.objects.delete(&orphan, &clock);
    }
}

/// Claims are bound at once, and stay while a pod uses them.
fn claims(state: &mut State, namespace: &str) {
    const GUARD: &str = "kubernetes.io/pvc-protection";
    let claims = state.objects.of_kind(namespace, "v1", "PersistentVolumeClaim");
    if claims.is_empty() {
        return;
    }
    let pods = state.objects.of_kind(namespace, "v1", "Pod");
    for claim in claims {
        let name = manifest::name(&claim).to_owned();
        let uses = |volume: &Value| volume["persistentVolumeClaim"]["claimName"] == name.as_str();
        let is_used = pods.iter().any(|pod| pod["spec"]["volumes"].as_array().is_some_and(|all| all.iter().any(uses)));
        state.objects.edit(&reference(&claim), |doc| {
            if is_going(doc) {
                if let (false, Some(list)) = (is_used, doc["metadata"]["finalizers"].as_array_mut()) {
                    list.retain(|finalizer| finalizer != GUARD);
                }
            } else {
                if !objects::finalizers(doc).contains(&GUARD) {
                    let mut list = doc["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
                    list.push(json!(GUARD));
                    doc["metadata"]["finalizers"] = json!(list);
                }
                doc["status"] = json!({"phase": "Bound", "capacity": doc["spec"]["resources"]["requests"]});
            }
        });
    }
}

/// Fills in what is counted.
fn quotas(state: &mut State, namespace: &str) {
    for quota in state.objects.of_kind(namespace, "v1", "ResourceQuota") {
        let hard = quota["spec"]["hard"].as_object().cloned().unwrap_or_default();
        let used: Map<String, Value> = hard
            .keys()
            .map(|key| {
                let used = admission::used(&state.objects, &state.kinds, namespace, key);
                (key.clone(), json!(admission::word(key, used)))
            })
            .collect();
        state.objects.set_status(&quota, json!({"hard": hard, "used": used}));
    }
}
