//! The kubelet and the controllers of jobs, stateful sets, daemon sets and replica sets.
//!
//! Owns how pods come, become ready, end and go. Refuses to run anything: an image is only a text that troubles are planned for.
use serde_json::{Value, json};

use super::{
    objects::{self, is_going, owner, reference, uid},
    rollouts,
    state::{State, Trouble},
};
use crate::model::manifest::{self, Doc};

/// One step in a namespace; what makes pods comes after what changes them, so that a step is one stage.
pub fn step(state: &mut State, namespace: &str) {
    pods(state, namespace);
    for job in state.objects.of_kind(namespace, "batch/v1", "Job") {
        run_job(state, &job);
    }
    for set in state.objects.of_kind(namespace, "apps/v1", "StatefulSet") {
        ordinals(state, &set);
    }
    for set in state.objects.of_kind(namespace, "apps/v1", "DaemonSet") {
        everywhere(state, &set);
    }
    for set in state.objects.of_kind(namespace, "apps/v1", "ReplicaSet") {
        replicate(state, &set);
    }
    for deployment in state.objects.of_kind(namespace, "apps/v1", "Deployment") {
        rollouts::step(state, &deployment);
    }
}

/// What the API server fills in.
pub fn fill_in(doc: &mut Doc) {
    let kind = manifest::kind(doc).to_owned();
    let mut default = |pointer: &[&str], value: Value| {
        let mut at = &mut *doc;
        for key in pointer {
            at = &mut at[*key];
        }
        if at.is_null() {
            *at = value;
        }
    };
    match kind.as_str() {
        "Deployment" => {
            default(&["spec", "replicas"], json!(1));
            default(&["spec", "progressDeadlineSeconds"], json!(600));
            default(&["spec", "strategy", "type"], json!("RollingUpdate"));
        }
        "StatefulSet" | "ReplicaSet" => default(&["spec", "replicas"], json!(1)),
        "Job" => {
            default(&["spec", "parallelism"], json!(1));
            default(&["spec", "completions"], json!(1));
            default(&["spec", "backoffLimit"], json!(6));
        }
        "CronJob" => default(&["spec", "suspend"], json!(false)),
        "Service" => default(&["spec", "type"], json!("ClusterIP")),
        "Pod" => {
            default(&["spec", "restartPolicy"], json!("Always"));
            default(&["spec", "serviceAccountName"], json!("default"));
            default(&["status", "phase"], json!("Pending"));
        }
        _ => {}
    }
}

/// A number in a document.
pub fn number(doc: &Doc, pointer: &str, default: i64) -> i64 {
    doc.pointer(pointer).and_then(Value::as_i64).unwrap_or(default)
}

/// Whether a pod is ready and stays.
pub fn is_ready(pod: &Doc) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    !is_going(pod) && conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// Pods of an owner, in the order of their names.
pub fn pods_of(state: &State, owner_doc: &Doc) -> Vec<Doc> {
    let namespace = manifest::text(owner_doc, "/metadata/namespace");
    let mut pods = state.objects.of_kind(namespace, "v1", "Pod");
    pods.retain(|pod| owner(pod) == uid(owner_doc));
    pods
}

/// A document with an owner.
pub fn owned(owner: &Doc, api_version: &str, kind: &str, name: &str, labels: Value, spec: Value) -> Doc {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {
            "name": name, "namespace": owner["metadata"]["namespace"], "labels": labels,
            "ownerReferences": [{"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
                "uid": uid(owner), "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": spec,
    })
}

/// A pod of a template.
pub fn pod(owner: &Doc, name: &str) -> Doc {
    let template = &owner["spec"]["template"];
    let mut pod = owned(owner, "v1", "Pod", name, template["metadata"]["labels"].clone(), template["spec"].clone());
    if let Some(annotations) = template["metadata"].get("annotations") {
        pod["metadata"]["annotations"] = annotations.clone();
    }
    pod
}

fn pods(state: &mut State, namespace: &str) {
    for pod in state.objects.of_kind(namespace, "v1", "Pod") {
        let object = reference(&pod);
        if is_going(&pod) {
            if objects::finalizers(&pod).is_empty() {
                state.objects.remove(&object);
            }
            continue;
        }
        if matches!(manifest::text(&pod, "/status/phase"), "Succeeded" | "Failed") {
            continue;
        }
        let trouble = state.trouble(&pod);
        let address = match pod.pointer("/status/podIP").and_then(Value::as_str) {
            Some(address) => address.to_owned(),
            None => {
                let n = state.next();
                format!("10.244.{}.{}", n / 250 % 250, n % 250 + 1)
            }
        };
        let started = objects::instant(&state.clock);
        let status = status(&pod, trouble.as_ref(), &address, &started);
        state.objects.set_status(&pod, status);
    }
}

fn status(pod: &Doc, trouble: Option<&Trouble>, address: &str, started: &str) -> Value {
    let condition = |kind: &str, is: bool, reason: &str, message: &str| json!({"type": kind, "status": if is { "True" } else { "False" }, "reason": reason, "message": message});
    if trouble == Some(&Trouble::Unschedulable) {
        let text = "0/1 nodes are available: 1 Insufficient cpu.";
        return json!({"phase": "Pending", "conditions": [condition("PodScheduled", false, "Unschedulable", text)]});
    }
    let ends = pod["spec"]["restartPolicy"] != "Always";
    let was_running = manifest::text(pod, "/status/phase") == "Running";
    let phase = match trouble {
        Some(Trouble::ImagePull | Trouble::ConfigMissing(_)) => "Pending",
        Some(Trouble::CrashLoop(_) | Trouble::OutOfMemory) if ends => "Failed",
        None if ends && was_running => "Succeeded",
        _ => "Running",
    };
    let ready = trouble.is_none() && phase == "Running";
    let list = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let containers: Vec<_> = list.iter().map(|c| container(c, trouble, phase, started)).collect();
    let (reason, text) = if ready { ("", "") } else { ("ContainersNotReady", "containers with unready status") };
    let conditions = json!([condition("PodScheduled", true, "", ""), condition("Ready", ready, reason, text)]);
    let started = pod.pointer("/status/startTime").cloned().unwrap_or_else(|| json!(started));
    json!({"phase": phase, "podIP": address, "startTime": started, "conditions": conditions, "containerStatuses": containers})
}

fn container(container: &Value, trouble: Option<&Trouble>, phase: &str, started: &str) -> Value {
    let image = container["image"].as_str().unwrap_or_default();
    let waiting = |reason: &str, message: String| json!({"waiting": {"reason": reason, "message": message}});
    let ended =
        |code: i64, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": started}});
    let back_off = || waiting("CrashLoopBackOff", "back-off 40s restarting failed container".to_owned());
    let is_over = phase == "Failed";
    let (state, last, restarts) = match trouble {
        _ if phase == "Succeeded" => (ended(0, "Completed"), json!({}), 0),
        Some(Trouble::ImagePull) => {
            (waiting("ImagePullBackOff", format!("Back-off pulling image \"{image}\"")), json!({}), 0)
        }
        Some(Trouble::ConfigMissing(text)) => (waiting("CreateContainerConfigError", text.clone()), json!({}), 0),
        Some(Trouble::CrashLoop(code)) if is_over => (ended(*code, "Error"), json!({}), 0),
        Some(Trouble::OutOfMemory) if is_over => (ended(137, "OOMKilled"), json!({}), 0),
        Some(Trouble::CrashLoop(code)) => (back_off(), ended(*code, "Error"), 3),
        Some(Trouble::OutOfMemory) => (back_off(), ended(137, "OOMKilled"), 3),
        _ => (json!({"running": {"startedAt": started}}), json!({}), 0),
    };
    let is_ready = trouble.is_none() && phase == "Running";
    json!({"name": container["name"], "image": image, "ready": is_ready, "started": phase == "Running", "restartCount": restarts,
        "state": state, "lastState": last})
}

fn run_job(state: &mut State, job: &Doc) {
    let conditions = job["status"]["conditions"].as_array().map_or(0, Vec::len);
    if is_going(job) || conditions > 0 || job["spec"]["suspend"] == true {
        return;
    }
    let pods = pods_of(state, job);
    let with = |phase: &str| pods.iter().filter(|pod| manifest::text(pod, "/status/phase") == phase).count() as i64;
    let (succeeded, failed) = (with("Succeeded"), with("Failed"));
    let active = pods.len() as i64 - succeeded - failed;
    let completions = number(job, "/spec/completions", 1);
    let over =
        |kind: &str, reason: &str| json!([{"type": kind, "status": "True", "reason": reason, "message": reason}]);
    let mut status = json!({"active": active, "succeeded": succeeded, "failed": failed});
    if succeeded >= completions {
        status["conditions"] = over("Complete", "CompletionsReached");
    } else if failed > number(job, "/spec/backoffLimit", 6) {
        status["conditions"] = over("Failed", "BackoffLimitExceeded");
    } else {
        let wanted = number(job, "/spec/parallelism", 1).min(completions - succeeded);
        for _ in active..wanted {
            let name = format!("{}-{:05x}", manifest::name(job), state.next());
            let mut pod = pod(job, &name);
            pod["metadata"]["labels"]["job-name"] = job["metadata"]["name"].clone();
            if let Err(text) = state.spawn(pod) {
                tell_failed_create(state, job, &text);
                break;
            }
        }
    }
    state.objects.set_status(job, status);
}

/// Ordinals in order, each after the one before is ready; claims of its templates stay when it goes.
fn ordinals(state: &mut State, set: &Doc) {
    if is_going(set) {
        return;
    }
    let replicas = number(set, "/spec/replicas", 1);
    let revision = rollouts::hash(&set["spec"]["template"]);
    let name = manifest::name(set).to_owned();
    let pods = pods_of(state, set);
    let at = |n: i64| pods.iter().find(|pod| manifest::name(pod) == format!("{name}-{n}"));
    let is_new = |pod: &Doc| manifest::text(pod, "/metadata/labels/controller-revision-hash") == revision;
    let (ready, updated) = (pods.iter().filter(|p| is_ready(p)).count(), pods.iter().filter(|p| is_new(p)).count());
    let is_done = updated as i64 == replicas && ready as i64 == replicas;
    let current = if is_done { &revision } else { manifest::text(set, "/status/currentRevision") };
    let status = json!({
        "observedGeneration": set["metadata"]["generation"], "replicas": pods.len(), "readyReplicas": ready,
        "availableReplicas": ready, "updatedReplicas": updated, "currentRevision": current, "updateRevision": revision,
    });
    state.objects.set_status(set, status);
    let clock = state.clock.clone();
    if let Some(pod) = pods.iter().find(|pod| ordinal(pod) >= replicas) {
        state.objects.delete(&reference(pod), &clock);
        return;
    }
    for n in 0..replicas {
        match at(n) {
            Some(pod) if is_ready(pod) => {}
            Some(pod) if !is_new(pod) => drop(state.objects.delete(&reference(pod), &clock)),
            Some(_) => return,
            None => {
                claim_volumes(state, set, n);
                let mut pod = pod(set, &format!("{name}-{n}"));
                pod["metadata"]["labels"]["controller-revision-hash"] = json!(revision);
                if let Err(text) = state.spawn(pod) {
                    tell_failed_create(state, set, &text);
                }
                return;
            }
        }
    }
    if let Some(old) = pods.iter().rev().find(|pod| !is_new(pod)) {
        state.objects.delete(&reference(old), &clock);
    }
}

fn ordinal(pod: &Doc) -> i64 {
    manifest::name(pod).rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn claim_volumes(state: &mut State, set: &Doc, ordinal: i64) {
    let templates = set["spec"]["volumeClaimTemplates"].as_array().cloned().unwrap_or_default();
    for template in templates {
        let name = format!("{}-{}-{ordinal}", manifest::name(&template), manifest::name(set));
        let labels = set["spec"]["selector"]["matchLabels"].clone();
        let mut claim = owned(set, "v1", "PersistentVolumeClaim", &name, labels, template["spec"].clone());
        if let Some(metadata) = claim["metadata"].as_object_mut() {
            metadata.shift_remove("ownerReferences");
        }
        if state.objects.get(&reference(&claim)).is_none() {
            let _ = state.spawn(claim);
        }
    }
}

/// One pod: there is one node.
fn everywhere(state: &mut State, set: &Doc) {
    if is_going(set) {
        return;
    }
    let revision = rollouts::hash(&set["spec"]["template"]);
    let pods = pods_of(state, set);
    let is_new = |pod: &&Doc| manifest::text(pod, "/metadata/labels/controller-revision-hash") == revision;
    let (ready, updated) = (pods.iter().filter(|p| is_ready(p)).count(), pods.iter().filter(is_new).count());
    let status = json!({
        "observedGeneration": set["metadata"]["generation"], "desiredNumberScheduled": 1, "currentNumberScheduled": pods.len(),
        "numberReady": ready, "numberAvailable": ready, "updatedNumberScheduled": updated,
    });
    state.objects.set_status(set, status);
    let clock = state.clock.clone();
    if let Some(old) = pods.iter().find(|pod| !is_new(pod)) {
        state.objects.delete(&reference(old), &clock);
    } else if pods.is_empty() {
        let mut pod = pod(set, &format!("{}-{:05x}", manifest::name(set), state.next()));
        pod["metadata"]["labels"]["controller-revision-hash"] = json!(revision);
        if let Err(text) = state.spawn(pod) {
            tell_failed_create(state, set, &text);
        }
    }
}

/// As many pods as the replica set wants; what does not go is said in its conditions.
fn replicate(state: &mut State, set: &Doc) {
    if is_going(set) {
        return;
    }
    let wanted = number(set, "/spec/replicas", 1);
    let mut pods = pods_of(state, set);
    pods.retain(|pod| !is_going(pod) && manifest::text(pod, "/status/phase") != "Failed");
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let mut failure = None;
    let count = pods.len() as i64;
    for _ in count..wanted {
        let name = format!("{}-{:05x}", manifest::name(set), state.next());
        if let Err(text) = state.spawn(pod(set, &name)) {
            failure = Some(text);
            break;
        }
    }
    if count > wanted {
        // What is not ready goes first, then what is youngest.
        pods.sort_by_key(|pod| (is_ready(pod), std::cmp::Reverse(uid(pod).to_owned())));
        let clock = state.clock.clone();
        for pod in pods.iter().take(usize::try_from(count - wanted).unwrap_or(0)) {
            state.objects.delete(&reference(pod), &clock);
        }
    }
    let mut status = json!({
        "observedGeneration": set["metadata"]["generation"], "replicas": count.min(wanted), "readyReplicas": ready,
        "availableReplicas": ready, "fullyLabeledReplicas": count.min(wanted),
    });
    if let Some(text) = failure {
        let message = said_before(set, &text);
        tell_failed_create(state, set, &message);
        status["conditions"] =
            json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]);
    }
    state.objects.set_status(set, status);
}

/// A refusal names the pod, which has a new name at each attempt: the first text stays as long as all else is equal.
fn said_before(set: &Doc, text: &str) -> String {
    let before = manifest::text(set, "/status/conditions/0/message");
    let after = |text: &str| text.split_once("is forbidden").map(|(_, rest)| rest.to_owned());
    if !before.is_empty() && after(before) == after(text) { before.to_owned() } else { text.to_owned() }
}

/// The event that a controller writes when it may not create a pod.
fn tell_failed_create(state: &mut State, owner: &Doc, text: &str) {
    let message = format!("Error creating: {text}");
    let name = format!("{}.{}", manifest::name(owner), rollouts::hash(&json!(text.split_once("is forbidden"))));
    let now = objects::instant(&state.clock);
    let involved = json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "namespace": owner["metadata"]["namespace"], "uid": uid(owner)});
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": owner["metadata"]["namespace"]},
        "involvedObject": involved, "reason": "FailedCreate", "type": "Warning", "message": message, "count": 1,
        "firstTimestamp": now, "lastTimestamp": now});
    if state.objects.get(&reference(&event)).is_none() {
        let _ = state.spawn(event);
    }
}
