//! Whether what was applied runs, and if not, why, in words a person can act on (ENV-84).
//!
//! Owns the judgement over the objects of a namespace as the cluster last told them, and the sentences. Refuses clocks: what takes
//! too long is what the cluster itself calls so (progress deadlines), and what is only on its way is told as such.
mod containers;
mod pods;
#[cfg(test)]
mod tests;
mod workloads;

use super::{
    environment::{Held, ObjectRef},
    manifest::{self, Doc},
};

/// An image cannot be pulled.
pub const IMAGE_PULL: &str = "IMAGE_PULL";
/// A container ends again and again.
pub const CRASH_LOOP: &str = "CRASH_LOOP";
/// A container was killed because it used more memory than its limit.
pub const OOM_KILLED: &str = "OOM_KILLED";
/// The quota or limit range of the namespace lets no pod in.
pub const QUOTA: &str = "QUOTA";
/// Pod Security lets no pod in.
pub const POD_SECURITY: &str = "POD_SECURITY";
/// No node takes the pod.
pub const UNSCHEDULABLE: &str = "UNSCHEDULABLE";
/// The container runs and its readiness probe does not pass.
pub const PROBE_FAILING: &str = "PROBE_FAILING";
/// A volume is not there.
pub const VOLUME_PENDING: &str = "VOLUME_PENDING";
/// A container cannot be started as it is configured.
pub const CONFIG_ERROR: &str = "CONFIG_ERROR";
/// A job failed.
pub const JOB_FAILED: &str = "JOB_FAILED";
/// Not yet there; nothing is known to be wrong.
pub const ROLLING_OUT: &str = "ROLLING_OUT";

/// Reasons from the one to be told first to the one to be told last.
const ORDER: [&str; 11] = [
    POD_SECURITY,
    QUOTA,
    CONFIG_ERROR,
    IMAGE_PULL,
    OOM_KILLED,
    CRASH_LOOP,
    JOB_FAILED,
    UNSCHEDULABLE,
    VOLUME_PENDING,
    PROBE_FAILING,
    ROLLING_OUT,
];

/// How it is with the workloads of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Everything that was applied runs as applied; nothing may run (sleep) and that is healthy too.
    Ready,
    /// On its way: what is waited for.
    Progressing(Vec<Problem>),
    /// Somebody has to act: what is wrong, the most telling first.
    Degraded(Vec<Problem>),
}

/// One thing that is wrong, or waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable word, one of the constants above.
    pub reason: &'static str,
    /// The object that shows it: the pod if there is one, otherwise the workload or volume.
    pub object: ObjectRef,
    /// The object of the inventory that it belongs to.
    pub workload: ObjectRef,
    /// Container; empty if it is about none.
    pub container: String,
    /// With what the container last ended.
    pub exit_code: Option<i32>,
    /// How often the container was restarted.
    pub restarts: i64,
    /// What is the matter, as a sentence.
    pub message: String,
}

impl Problem {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.reason {
            IMAGE_PULL => {
                "Check that this image was pushed under this digest and that the cluster may pull from its registry."
            }
            CRASH_LOOP => "Read the container's last lines; it ends by itself after it is started.",
            OOM_KILLED => "Raise the container's memory limit, or make it use less.",
            QUOTA => {
                "Ask for less CPU or memory or fewer replicas, put other environments to sleep, or ask the platform team for a larger profile."
            }
            POD_SECURITY => {
                "Set the container's securityContext as the message asks; the golden path's chart shows how."
            }
            UNSCHEDULABLE => "Ask for less CPU or memory, or ask the platform team for more nodes.",
            PROBE_FAILING => {
                "Check the path and port of the readiness probe, and that the service listens on all interfaces."
            }
            VOLUME_PENDING => {
                "Check the storage class of the volume, or ask the platform team whether it can be provided."
            }
            CONFIG_ERROR => "Correct what the message names: a missing Secret, ConfigMap or key, a command or a user.",
            JOB_FAILED => "Read the job's last lines; a push or RetryEnvironment runs it again.",
            _ => "Wait; it is on its way.",
        }
    }
}

/// The judgement over an inventory. `live` are the Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, Pods and
/// PersistentVolumeClaims of the namespace; StorageClasses and Events among them make it more exact.
pub fn of(inventory: &[Held], live: &[Doc]) -> Health {
    let live = Live(live);
    let found: Vec<Finding> = inventory.iter().flat_map(|held| workloads::look(held, &live)).collect();
    let is_hard = found.iter().any(|finding| finding.is_hard);
    let problems = told(found);
    match (problems.is_empty(), is_hard) {
        (true, _) => Health::Ready,
        (false, false) => Health::Progressing(problems),
        (false, true) => Health::Degraded(problems),
    }
}

/// Every problem in one sentence for a condition: the first with what to do, and how many more there are.
pub fn sentence(problems: &[Problem]) -> String {
    let Some(first) = problems.first() else { return String::new() };
    let more = match problems.len() - 1 {
        0 => String::new(),
        1 => " One more problem: see the diagnosis.".to_owned(),
        n => format!(" {n} more problems: see the diagnosis."),
    };
    format!("{} {}{more}", first.message, first.remedy())
}

/// Reason for quota texts of the cluster: what a refused pod breaks.
pub fn refusal_reason(text: &str) -> &'static str {
    if text.contains("violates PodSecurity") {
        POD_SECURITY
    } else if ["exceeded quota", "failed quota", "unknown for quota", " usage per ", "limit to request ratio"]
        .iter()
        .any(|words| text.contains(words))
    {
        QUOTA
    } else {
        CONFIG_ERROR
    }
}

/// A problem, and whether time alone will not solve it.
#[derive(Clone, Debug)]
struct Finding {
    problem: Problem,
    is_hard: bool,
}

/// Hard ones before soft ones, told in the fixed order; the same problem of several pods once, by its most restarted pod.
fn told(mut found: Vec<Finding>) -> Vec<Problem> {
    let rank = |reason: &str| ORDER.iter().position(|known| *known == reason);
    found.sort_by(|a, b| {
        let key = |f: &Finding| (!f.is_hard, rank(f.problem.reason), f.problem.workload.clone(), -f.problem.restarts);
        key(a).cmp(&key(b)).then_with(|| a.problem.object.cmp(&b.problem.object))
    });
    let mut problems: Vec<Problem> = Vec::new();
    for Finding { problem, .. } in found {
        let same = |p: &Problem| {
            (p.reason, &p.workload, &p.container) == (problem.reason, &problem.workload, &problem.container)
        };
        if !problems.iter().any(same) {
            problems.push(problem);
        }
    }
    problems
}

/// The objects of a namespace as last listed.
struct Live<'a>(&'a [Doc]);

impl<'a> Live<'a> {
    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&'a Doc> {
        let is = |doc: &&Doc| {
            manifest::kind(doc) == kind
                && manifest::name(doc) == name
                && manifest::text(doc, "/metadata/namespace") == namespace
        };
        self.0.iter().find(is)
    }

    /// Objects of a kind that this one controls.
    fn owned(&self, kind: &'a str, owner: &Doc) -> impl Iterator<Item = &'a Doc> {
        let uid = uid(owner).to_owned();
        self.0.iter().filter(move |doc| manifest::kind(doc) == kind && is_owned(doc, &uid))
    }

    fn of_kind(&self, kind: &'a str) -> impl Iterator<Item = &'a Doc> {
        self.0.iter().filter(move |doc| manifest::kind(doc) == kind)
    }
}

fn uid(doc: &Doc) -> &str {
    manifest::text(doc, "/metadata/uid")
}

fn is_owned(doc: &Doc, uid: &str) -> bool {
    let owners = doc.pointer("/metadata/ownerReferences").and_then(Doc::as_array).map(Vec::as_slice);
    !uid.is_empty() && owners.unwrap_or_default().iter().any(|owner| manifest::text(owner, "/uid") == uid)
}

fn number(doc: &Doc, pointer: &str) -> i64 {
    doc.pointer(pointer).and_then(Doc::as_i64).unwrap_or(0)
}

fn is_going(doc: &Doc) -> bool {
    !manifest::text(doc, "/metadata/deletionTimestamp").is_empty()
}

/// The condition of a type, if it is there.
fn condition<'a>(doc: &'a Doc, of_type: &str) -> Option<&'a Doc> {
    let all = doc.pointer("/status/conditions").and_then(Doc::as_array)?;
    all.iter().find(|condition| manifest::text(condition, "/type") == of_type)
}

fn holds(doc: &Doc, of_type: &str, status: &str) -> bool {
    condition(doc, of_type).is_some_and(|condition| manifest::text(condition, "/status") == status)
}
