//! Health of the workloads of an environment, and what ails them (ENV-84).
//!
//! Owns when a workload counts as healthy. Refuses stale observations: a status of an earlier generation never counts.
use serde_json::Value;

use super::{
    environment::{Held, ObjectRef},
    manifest::{self, Doc},
};

/// Health of everything in the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Everything runs as wanted.
    Ready,
    /// On its way, and nothing says that it will not arrive.
    Progressing(Vec<Problem>),
    /// Something is broken.
    Degraded(Vec<Problem>),
}

/// One thing that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable word.
    pub reason: &'static str,
    /// Which object.
    pub object: ObjectRef,
    /// Which container; empty if it is none's.
    pub container: String,
    /// Exit code of its last run.
    pub exit_code: Option<i32>,
    /// How often it was started again.
    pub restarts: i64,
    /// What the cluster says.
    pub message: String,
}

/// Health of what is in the inventory, from the live workloads, pods and volume claims of its namespace.
pub fn of(inventory: &[Held], live: &[Doc]) -> Health {
    let waiting: Vec<Problem> = inventory.iter().filter_map(|held| unfinished(held, live)).collect();
    let broken: Vec<Problem> = live.iter().filter(|doc| manifest::kind(doc) == "Pod").filter_map(broken).collect();
    match (waiting.is_empty(), broken.is_empty()) {
        (true, _) => Health::Ready,
        (false, true) => Health::Progressing(waiting),
        (false, false) => Health::Degraded(broken),
    }
}

fn number(doc: &Doc, pointer: &str) -> Option<i64> {
    doc.pointer(pointer).and_then(Value::as_i64)
}

fn unfinished(held: &Held, live: &[Doc]) -> Option<Problem> {
    let object = &held.object;
    let wanted: &[&str] = match object.kind.as_str() {
        "Deployment" => &["/status/updatedReplicas", "/status/availableReplicas", "/status/replicas"],
        "StatefulSet" => &["/status/updatedReplicas", "/status/readyReplicas"],
        _ => return None,
    };
    let problem = |message: String| Problem {
        reason: "ROLLING_OUT",
        object: object.clone(),
        container: String::new(),
        exit_code: None,
        restarts: 0,
        message,
    };
    let found = live.iter().find(|d| manifest::kind(d) == object.kind && manifest::name(d) == object.name);
    let Some(doc) = found else { return Some(problem(format!("{}/{} is not there", object.kind, object.name))) };
    let title = manifest::title(doc);
    if number(doc, "/status/observedGeneration") < number(doc, "/metadata/generation") {
        return Some(problem(format!("{title} was not yet looked at by its controller")));
    }
    let replicas = number(doc, "/spec/replicas").unwrap_or(1);
    let is_done = wanted.iter().all(|pointer| number(doc, pointer).unwrap_or(0) == replicas);
    (!is_done).then(|| problem(format!("{title} is rolling out")))
}

fn broken(pod: &Doc) -> Option<Problem> {
    let statuses = pod.pointer("/status/containerStatuses")?.as_array()?;
    statuses.iter().find_map(|status| {
        let reason = match status.pointer("/state/waiting/reason")?.as_str()? {
            "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" => "IMAGE_PULL",
            "CrashLoopBackOff" => "CRASH_LOOP",
            "CreateContainerConfigError" => "CONFIG_ERROR",
            _ => return None,
        };
        let exit = number(status, "/lastState/terminated/exitCode").and_then(|code| i32::try_from(code).ok());
        Some(Problem {
            reason,
            object: manifest::object(pod),
            container: manifest::text(status, "/name").to_owned(),
            exit_code: exit,
            restarts: number(status, "/restartCount").unwrap_or(0),
            message: manifest::text(status, "/state/waiting/message").to_owned(),
        })
    })
}

/// The problems as people read them.
pub fn sentence(problems: &[Problem]) -> String {
    let one = |p: &Problem| {
        let place = if p.container.is_empty() {
            p.object.name.clone()
        } else {
            format!("{} in {}", p.container, p.object.name)
        };
        format!("{place}: {} {}", p.reason, p.message).trim().to_owned()
    };
    problems.iter().take(5).map(one).collect::<Vec<_>>().join("; ")
}
