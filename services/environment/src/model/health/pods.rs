//! What keeps a pod from being ready.
//!
//! Owns the reading of a pod's own conditions: scheduling, volumes, readiness. Refuses pods that are on their way out, and those that
//! ended and are replaced by their owner.
pub(super) use super::containers::{Ended, ended};
use super::{Finding, PROBE_FAILING, Problem, ROLLING_OUT, UNSCHEDULABLE, VOLUME_PENDING, condition, containers};
use super::{holds, is_going};
use crate::model::manifest::{self, Doc, text, title};

/// What is wrong with a pod that should run; nothing for one that is ready, ended or ending.
pub(super) fn look(pod: &Doc) -> Vec<Finding> {
    if is_going(pod) || matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") || is_ready(pod) {
        return Vec::new();
    }
    if let Some(unscheduled) = unscheduled(pod) {
        return vec![unscheduled];
    }
    let found = containers::look(pod);
    if found.is_empty() { vec![unready(pod)] } else { found }
}

/// Whether it is ready and not on its way out.
pub(super) fn is_ready(pod: &Doc) -> bool {
    !is_going(pod) && holds(pod, "Ready", "True")
}

/// Whether it uses a volume claim.
pub(super) fn mounts(pod: &Doc, claim: &str) -> bool {
    let volumes = pod.pointer("/spec/volumes").and_then(Doc::as_array).map(Vec::as_slice).unwrap_or_default();
    !is_going(pod) && volumes.iter().any(|volume| text(volume, "/persistentVolumeClaim/claimName") == claim)
}

pub(super) fn finding(pod: &Doc, reason: &'static str, is_hard: bool, message: String) -> Finding {
    let object = manifest::object(pod);
    let workload = object.clone();
    let problem = Problem { reason, object, workload, container: String::new(), exit_code: None, restarts: 0, message };
    Finding { problem, is_hard }
}

fn unscheduled(pod: &Doc) -> Option<Finding> {
    let scheduled = condition(pod, "PodScheduled").filter(|c| text(c, "/status") == "False")?;
    let words = text(scheduled, "/message");
    let words = words.split(" preemption:").next().unwrap_or_default().trim().trim_end_matches('.');
    if words.contains("unbound immediate PersistentVolumeClaims") {
        let message = format!("{} waits for a volume that is not bound yet.", title(pod));
        return Some(finding(pod, VOLUME_PENDING, false, message));
    }
    if words.contains("persistentvolumeclaim ") && words.contains("not found") {
        return Some(finding(
            pod,
            VOLUME_PENDING,
            true,
            format!("{} uses a volume that is not there: {words}.", title(pod)),
        ));
    }
    match text(scheduled, "/reason") {
        "Unschedulable" => Some(finding(pod, UNSCHEDULABLE, true, format!("No node takes {}: {words}.", title(pod)))),
        other => Some(finding(pod, ROLLING_OUT, false, format!("{} is not scheduled yet: {other}.", title(pod)))),
    }
}

/// It was let in and no container says what is wrong: a probe that does not pass, or simply time.
fn unready(pod: &Doc) -> Finding {
    let Some(running) = containers::unready(pod) else {
        return finding(pod, ROLLING_OUT, false, format!("{} is starting.", title(pod)));
    };
    let Some(probe) = running.probe else {
        let message = format!("{}: container {} is starting.", title(pod), running.name);
        return finding(pod, ROLLING_OUT, false, message);
    };
    let words = if running.has_answered { "does not pass any more" } else { "has not passed yet" };
    let message = format!("{}: container {} runs, and its {probe} {words}.", title(pod), running.name);
    let mut finding = finding(pod, PROBE_FAILING, running.has_answered, message);
    (finding.problem.container, finding.problem.restarts) = (running.name, running.restarts);
    finding
}
