//! Whether a workload has reached what was applied.
//!
//! Owns when a rollout is finished, per kind, and what refuses its pods. Refuses to look at pods of a finished rollout, or at those
//! of a version that is being replaced.
use super::{CONFIG_ERROR, Finding, JOB_FAILED, Live, Problem, QUOTA, ROLLING_OUT, VOLUME_PENDING, pods};
use super::{condition, holds, is_going, number, refusal_reason, uid};
use crate::model::{
    environment::{Held, ObjectRef},
    manifest::{self, Doc, text, title},
};

const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
const TEMPLATE_GENERATION: &str = "/metadata/annotations/deprecated.daemonset.template.generation";
/// Longest text of the cluster that is repeated.
const TEXT_MAX: usize = 600;

/// What one object of the inventory lacks; nothing if it is as applied, or of a kind that does not run.
pub(super) fn look(held: &Held, live: &Live<'_>) -> Vec<Finding> {
    let object = &held.object;
    let judge: fn(&Doc, &Live<'_>) -> Vec<Finding> = match object.kind.as_str() {
        "Deployment" => deployment,
        "ReplicaSet" => replica_set,
        "StatefulSet" => stateful_set,
        "DaemonSet" => daemon_set,
        "Job" => job,
        "PersistentVolumeClaim" => claim,
        "Pod" => bare_pod,
        _ => return Vec::new(),
    };
    let found = live.find(&object.kind, &object.namespace, &object.name);
    let found = found.filter(|doc| held.uid.is_empty() || uid(doc) == held.uid);
    let mut findings = match found {
        Some(doc) if is_going(doc) => vec![waits(object, format!("{} is being deleted.", title(doc)))],
        Some(doc) => judge(doc, live),
        // A finished job may have been tidied away by its ttlSecondsAfterFinished.
        None if object.kind == "Job" => Vec::new(),
        None => vec![waits(object, format!("{}/{} is not in the cluster yet.", object.kind, object.name))],
    };
    for finding in &mut findings {
        finding.problem.workload = object.clone();
    }
    findings
}

fn waits(object: &ObjectRef, message: String) -> Finding {
    problem(ROLLING_OUT, object.clone(), message, false)
}

fn problem(reason: &'static str, object: ObjectRef, message: String, is_hard: bool) -> Finding {
    let problem = Problem {
        reason,
        workload: object.clone(),
        object,
        container: String::new(),
        exit_code: None,
        restarts: 0,
        message,
    };
    Finding { problem, is_hard }
}

/// Whether the controller has not yet seen what was applied last; what its status says then is about something else.
fn is_stale(doc: &Doc) -> bool {
    number(doc, "/status/observedGeneration") < number(doc, "/metadata/generation")
}

fn unseen(doc: &Doc) -> Vec<Finding> {
    vec![waits(&manifest::object(doc), format!("{}: the cluster has not yet taken up the new version.", title(doc)))]
}

fn replicas(doc: &Doc) -> i64 {
    doc.pointer("/spec/replicas").and_then(Doc::as_i64).unwrap_or(1)
}

/// What was found, or that it is only on its way; late, nothing is only on its way any more.
fn unfinished(doc: &Doc, mut found: Vec<Finding>, late: Option<String>, progress: &str) -> Vec<Finding> {
    if found.is_empty() {
        found.push(waits(&manifest::object(doc), format!("{}: {progress}.", title(doc))));
    }
    if let Some(late) = late {
        for finding in &mut found {
            finding.is_hard = true;
            if finding.problem.reason == ROLLING_OUT {
                finding.problem.message = format!("{} {late}", finding.problem.message);
            }
        }
    }
    found
}

fn deployment(doc: &Doc, live: &Live<'_>) -> Vec<Finding> {
    if is_stale(doc) {
        return unseen(doc);
    }
    let desired = replicas(doc);
    let [total, updated, available] =
        ["replicas", "updatedReplicas", "availableReplicas"].map(|field| number(doc, &format!("/status/{field}")));
    if [total, updated, available] == [desired; 3] {
        return Vec::new();
    }
    let newest = newest(doc, live);
    let mut found = refused(doc, live);
    if let Some(set) = newest {
        if found.is_empty() {
            found = refused(set, live);
        }
        found.extend(live.owned("Pod", set).flat_map(pods::look));
    }
    let late = condition(doc, "Progressing").filter(|c| text(c, "/reason") == "ProgressDeadlineExceeded").map(|_| {
        let seconds = doc.pointer("/spec/progressDeadlineSeconds").and_then(Doc::as_i64).unwrap_or(600);
        format!("It did not come up within {seconds} seconds.")
    });
    let progress = if doc.pointer("/spec/paused").and_then(Doc::as_bool) == Some(true) {
        "the rollout is paused (spec.paused)".to_owned()
    } else if desired == 0 {
        format!("{total} pods are still to end")
    } else {
        format!("{updated} of {desired} pods are of the new version, {available} are available, {total} run in all")
    };
    unfinished(doc, found, late, &progress)
}

/// The ReplicaSet of the version that is rolled out.
fn newest<'a>(deployment: &Doc, live: &Live<'a>) -> Option<&'a Doc> {
    let revision = text(deployment, REVISION);
    let number = |set: &&Doc| text(set, REVISION).parse::<i64>().unwrap_or(0);
    let sets: Vec<&Doc> = live.owned("ReplicaSet", deployment).collect();
    let exact = sets.iter().find(|set| !revision.is_empty() && text(set, REVISION) == revision);
    exact.copied().or_else(|| sets.iter().copied().max_by_key(number))
}

fn replica_set(doc: &Doc, live: &Live<'_>) -> Vec<Finding> {
    if is_stale(doc) {
        return unseen(doc);
    }
    let desired = replicas(doc);
    let [total, available] = ["replicas", "availableReplicas"].map(|field| number(doc, &format!("/status/{field}")));
    if [total, available] == [desired; 2] {
        return Vec::new();
    }
    let mut found = refused(doc, live);
    found.extend(live.owned("Pod", doc).flat_map(pods::look));
    unfinished(doc, found, None, &format!("{available} of {desired} pods are available"))
}

fn stateful_set(doc: &Doc, live: &Live<'_>) -> Vec<Finding> {
    if is_stale(doc) {
        return unseen(doc);
    }
    let desired = replicas(doc);
    let [total, ready, available] =
        ["replicas", "readyReplicas", "availableReplicas"].map(|field| number(doc, &format!("/status/{field}")));
    let partition = number(doc, "/spec/updateStrategy/rollingUpdate/partition");
    let revision = Some(text(doc, "/status/updateRevision"))
        .filter(|revision| !revision.is_empty() && text(doc, "/spec/updateStrategy/type") != "OnDelete");
    let first = number(doc, "/spec/ordinals/start");
    // The status counts; only the pods say which ordinal it counts.
    let missing = (0..desired).find(|at| {
        let name = format!("{}-{}", manifest::name(doc), first + at);
        let pod = live.find("Pod", text(doc, "/metadata/namespace"), &name).filter(|pod| !is_going(pod));
        let is_new = |pod: &Doc| {
            first + at < partition
                || revision.is_none_or(|r| text(pod, "/metadata/labels/controller-revision-hash") == r)
        };
        !pod.is_some_and(|pod| is_new(pod) && pods::is_ready(pod))
    });
    if [total, ready, available] == [desired; 3] && missing.is_none() {
        return Vec::new();
    }
    let mut found: Vec<Finding> = live.owned("Pod", doc).flat_map(pods::look).collect();
    if total < desired {
        found.extend(refused(doc, live));
    }
    let progress = match missing {
        Some(at) => format!(
            "{ready} of {desired} pods are ready; waiting for {}-{} of the new version",
            manifest::name(doc),
            first + at
        ),
        None => format!("{available} of {desired} pods are available, {total} run in all"),
    };
    unfinished(doc, found, None, &progress)
}

fn daemon_set(doc: &Doc, live: &Live<'_>) -> Vec<Finding> {
    if is_stale(doc) {
        return unseen(doc);
    }
    let [desired, updated, available] = ["desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"]
        .map(|field| number(doc, &format!("/status/{field}")));
    let by_rolling = text(doc, "/spec/updateStrategy/type") != "OnDelete";
    if available == desired && (updated == desired || !by_rolling) {
        return Vec::new();
    }
    let generation = text(doc, TEMPLATE_GENERATION);
    let is_new = |pod: &&Doc| {
        let of = text(pod, "/metadata/labels/pod-template-generation");
        generation.is_empty() || of.is_empty() || of == generation
    };
    let mut found: Vec<Finding> = live.owned("Pod", doc).filter(is_new).flat_map(pods::look).collect();
    if found.is_empty() {
        found = refused(doc, live);
    }
    let progress = format!("{updated} of {desired} nodes have the new version, {available} are available");
    unfinished(doc, found, None, &progress)
}

fn job(doc: &Doc, live: &Live<'_>) -> Vec<Finding> {
    let is_suspended = doc.pointer("/spec/suspend").and_then(Doc::as_bool) == Some(true);
    if holds(doc, "Complete", "True") || is_suspended {
        return Vec::new();
    }
    let pods: Vec<&Doc> = live.owned("Pod", doc).collect();
    if let Some(failed) = condition(doc, "Failed").filter(|c| text(c, "/status") == "True") {
        let why = match text(failed, "/reason") {
            "BackoffLimitExceeded" => "it failed as often as its backoffLimit allows".to_owned(),
            "DeadlineExceeded" => "it ran longer than its activeDeadlineSeconds".to_owned(),
            _ => shorten(text(failed, "/message")),
        };
        let last = pods.iter().max_by_key(|pod| text(pod, "/metadata/creationTimestamp"));
        let ended = last.and_then(|pod| pods::ended(pod));
        let object =
            last.filter(|_| ended.is_some()).map_or_else(|| manifest::object(doc), |pod| manifest::object(pod));
        let mut finding = problem(JOB_FAILED, object, format!("{} failed: {why}.", title(doc)), true);
        if let Some(ended) = ended {
            let problem = &mut finding.problem;
            problem.message = format!("{} failed: {why}; container {} {}.", title(doc), ended.container, ended.says());
            (problem.container, problem.exit_code, problem.restarts) =
                (ended.container, Some(ended.exit_code), ended.restarts);
        }
        return vec![finding];
    }
    let mut found: Vec<Finding> = pods.into_iter().flat_map(pods::look).collect();
    // A job tries again by itself; that a try failed is no failure yet.
    for finding in &mut found {
        finding.is_hard &= !matches!(finding.problem.reason, super::CRASH_LOOP | super::OOM_KILLED);
    }
    if found.is_empty() {
        found = refused(doc, live);
    }
    unfinished(doc, found, None, "it has not ended yet")
}

fn claim(doc: &Doc, live: &Live<'_>) -> Vec<Finding> {
    let of = |message: String, is_hard| vec![problem(VOLUME_PENDING, manifest::object(doc), message, is_hard)];
    match text(doc, "/status/phase") {
        "Bound" => Vec::new(),
        "Lost" => of(format!("{}: the volume behind it is lost.", title(doc)), true),
        _ => {
            let class = text(doc, "/spec/storageClassName");
            let mode = live.of_kind("StorageClass").find(|c| manifest::name(c) == class);
            let waits_for_first = mode.is_some_and(|c| text(c, "/volumeBindingMode") == "WaitForFirstConsumer");
            let used = live.of_kind("Pod").any(|pod| pods::mounts(pod, manifest::name(doc)));
            // Nothing waits for a volume that no pod uses; classes commonly bind with the first pod.
            if !used && (waits_for_first || mode.is_none()) {
                return Vec::new();
            }
            let class = if class.is_empty() {
                "the default storage class".to_owned()
            } else {
                format!("storage class {class}")
            };
            of(format!("{} is not bound yet; {class} has not provided it.", title(doc)), false)
        }
    }
}

fn bare_pod(doc: &Doc, _: &Live<'_>) -> Vec<Finding> {
    if text(doc, "/status/phase") == "Succeeded" || pods::is_ready(doc) {
        return Vec::new();
    }
    if text(doc, "/status/phase") == "Failed" {
        let ended = pods::ended(doc);
        let says = ended.as_ref().map(|e| format!("container {} {}", e.container, e.says()));
        let why = says.unwrap_or_else(|| format!("{} {}", text(doc, "/status/reason"), text(doc, "/status/message")));
        let reason = ended.as_ref().map_or(CONFIG_ERROR, pods::Ended::reason);
        let mut finding =
            problem(reason, manifest::object(doc), format!("{} failed: {}.", title(doc), shorten(&why)), true);
        if let Some(ended) = ended {
            (finding.problem.container, finding.problem.exit_code) = (ended.container, Some(ended.exit_code));
        }
        return vec![finding];
    }
    unfinished(doc, pods::look(doc), None, "it is not ready yet")
}

/// Why the cluster lets no pod of this owner in: the condition of a ReplicaSet or Deployment, or the newest event of others.
fn refused(owner: &Doc, live: &Live<'_>) -> Vec<Finding> {
    let told = condition(owner, "ReplicaFailure").filter(|c| text(c, "/status") == "True").map(|c| text(c, "/message"));
    let event = || {
        let of_owner =
            |event: &&Doc| text(event, "/involvedObject/uid") == uid(owner) && text(event, "/reason") == "FailedCreate";
        live.of_kind("Event").filter(of_owner).max_by_key(|e| text(e, "/lastTimestamp")).map(|e| text(e, "/message"))
    };
    let is_new_kind = !matches!(manifest::kind(owner), "Deployment" | "ReplicaSet");
    let Some(words) = told.or_else(|| is_new_kind.then(event).flatten()) else { return Vec::new() };
    let reason = refusal_reason(words);
    // A pod that is still ending counts; so does nothing before the quota is counted (ENV-61).
    let is_passing =
        reason == QUOTA && (words.contains("status unknown for quota") || live.of_kind("Pod").any(is_going));
    let message = format!("{}: the cluster lets no pod in: {}", title(owner), shorten(plain(words)));
    vec![problem(reason, manifest::object(owner), message, !is_passing)]
}

/// Without the name of a pod that never was.
fn plain(words: &str) -> &str {
    words.split_once(" is forbidden: ").map_or(words, |(_, rest)| rest)
}

fn shorten(words: &str) -> String {
    let words = words.trim().trim_end_matches('.');
    match words.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words.to_owned(),
    }
}
