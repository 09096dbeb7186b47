//! What is told of an environment's namespace: problems, events, quota, what blocks its end.
//!
//! Owns the noun and how it is read from the cluster's objects. Refuses to read them itself, and any text that was not redacted.
use serde_json::Value;

use super::{
    condition::Verdict,
    environment::{Environment, ObjectRef},
    health::{self, Health, Problem},
    manifest::{self, Doc, text},
    observed::Remains,
    redact,
    state::State,
};

/// Most problems told.
pub const PROBLEMS_MAX: usize = 20;
/// Most events told.
pub const EVENTS_MAX: usize = 50;
/// Most blockers told.
const BLOCKERS_MAX: usize = 100;

/// What is wrong with an environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// Name of the environment.
    pub environment: String,
    /// State.
    pub state: State,
    /// How it is, in one sentence.
    pub summary: String,
    /// What is wrong, with last lines.
    pub problems: Vec<(Problem, Vec<String>)>,
    /// Events, newest first.
    pub events: Vec<Event>,
    /// Quota.
    pub quotas: Vec<QuotaUse>,
    /// What stands in the way of an end.
    pub blockers: Vec<Blocker>,
    /// When the cluster was looked at, in microseconds.
    pub observed_us: i64,
}

/// An event of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Uid of the event object.
    pub uid: String,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// Kubernetes' word.
    pub reason: String,
    /// What it says, redacted.
    pub message: String,
    /// `Kind/name` of what it is about.
    pub object: String,
    /// How often it was seen.
    pub count: i64,
    /// When it was last seen, as the cluster writes it; compares as text.
    pub at: String,
}

/// One resource of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    /// Name of the quota.
    pub quota: String,
    /// Resource.
    pub resource: String,
    /// What is used.
    pub used: String,
    /// What may be used.
    pub hard: String,
}

/// What keeps a namespace from ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// `Kind/name`, or the namespace.
    pub object: String,
    /// What holds it.
    pub finalizers: Vec<String>,
    /// What it says.
    pub message: String,
}

/// `Kind/name` as people write it.
pub fn title(object: &ObjectRef) -> String {
    format!("{}/{}", object.kind, object.name)
}

/// Every event among the objects, newest first, bounded.
pub fn events(live: &[Doc]) -> Vec<Event> {
    let mut events: Vec<Event> = live.iter().filter(|doc| manifest::kind(doc) == "Event").map(event).collect();
    events.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.uid.cmp(&b.uid)));
    events.truncate(EVENTS_MAX);
    events
}

fn event(doc: &Doc) -> Event {
    let first = |pointers: &[&str]| {
        let found = pointers.iter().map(|pointer| text(doc, pointer)).find(|text| !text.is_empty());
        found.unwrap_or_default().to_owned()
    };
    let count = ["/series/count", "/count"].iter().find_map(|at| doc.pointer(at).and_then(Value::as_i64));
    Event {
        uid: first(&["/metadata/uid", "/metadata/name"]),
        kind: text(doc, "/type").to_owned(),
        reason: text(doc, "/reason").to_owned(),
        message: redact::text(text(doc, "/message")),
        object: format!("{}/{}", text(doc, "/involvedObject/kind"), text(doc, "/involvedObject/name")),
        count: count.unwrap_or(1),
        at: first(&["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]),
    }
}

/// What every quota among the objects allows and counts.
pub fn quotas(live: &[Doc]) -> Vec<QuotaUse> {
    let quotas = live.iter().filter(|doc| manifest::kind(doc) == "ResourceQuota");
    let uses = quotas.flat_map(|quota| {
        let hard = quota.pointer("/status/hard").and_then(Value::as_object).into_iter().flatten();
        hard.map(move |(resource, hard)| QuotaUse {
            quota: manifest::name(quota).to_owned(),
            resource: resource.clone(),
            used: quota["status"]["used"][resource].as_str().unwrap_or("0").to_owned(),
            hard: hard.as_str().unwrap_or_default().to_owned(),
        })
    });
    uses.collect()
}

/// What stands in the way of an end: the objects that are left and what the namespace says.
pub fn blockers(remains: &Remains) -> Vec<Blocker> {
    let told = remains.told.iter().map(|message| Blocker {
        object: "Namespace".to_owned(),
        finalizers: Vec::new(),
        message: message.clone(),
    });
    let left = remains.left.iter().map(|left| Blocker {
        object: title(&left.object),
        finalizers: left.finalizers.clone(),
        message: match left.finalizers.as_slice() {
            [] => "it is being deleted.".to_owned(),
            held => format!("whoever put {} on it has to take it off.", held.join(", ")),
        },
    });
    told.chain(left).take(BLOCKERS_MAX).collect()
}

/// The problems of a judgement.
pub fn problems(health: &Health) -> &[Problem] {
    match health {
        Health::Ready => &[],
        Health::Progressing(problems) | Health::Degraded(problems) => problems,
    }
}

/// How an environment is, in one sentence.
pub fn summary(env: &Environment, health: &Health, blockers: &[Blocker]) -> String {
    let word = env.state().word();
    match env.state() {
        State::Deleted => "It is gone; the receipt says what was removed.".to_owned(),
        State::Deleting | State::DeleteBlocked => match blockers.first() {
            Some(first) => format!(
                "{word}: {} objects or conditions are in the way, first {}: {}",
                blockers.len(),
                first.object,
                first.message
            ),
            None => format!("{word}: nothing is left in the namespace."),
        },
        State::Asleep => "ASLEEP: nothing runs; WakeEnvironment or the first request wakes it.".to_owned(),
        _ => match problems(health) {
            [] => told(env),
            problems => format!("{word}: {}", health::sentence(problems)),
        },
    }
}

/// What the conditions say when the workloads are well.
fn told(env: &Environment) -> String {
    let word = env.state().word();
    if env.state() == State::Ready {
        return format!("{word}: every workload runs as it was applied.");
    }
    let open = env.status.conditions.iter().filter(|c| c.verdict == Verdict::False && !c.message.is_empty());
    match open.max_by_key(|c| c.changed_us) {
        Some(condition) => format!("{word}: {}", redact::text(&condition.message)),
        None => format!("{word}: its work goes on."),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{condition::Aspect, environment::fixture, observed};

    #[test]
    fn events_come_newest_first_and_redacted() {
        let event = |name: &str, at: &str, message: &str| {
            json!({"kind": "Event", "metadata": {"name": name, "uid": name}, "type": "Warning", "reason": "Failed", "count": 3,
                "lastTimestamp": at, "message": message, "involvedObject": {"kind": "Pod", "name": "api-1"}})
        };
        let new_kind = json!({"kind": "Event", "metadata": {"name": "c"}, "eventTime": "2026-11-25T08:00:00.000001Z", "involvedObject": {}});
        let live = [event("a", "2026-11-25T07:00:00Z", "TOKEN=abc"), event("b", "2026-11-25T07:30:00Z", "x"), new_kind];
        let events = events(&live);
        assert_eq!(events.iter().map(|e| e.uid.as_str()).collect::<Vec<_>>(), ["c", "b", "a"]);
        assert_eq!(
            (events[2].message.as_str(), events[2].count, events[2].object.as_str()),
            ("TOKEN=***", 3, "Pod/api-1")
        );
        let many: Vec<Doc> = (0..200).map(|n| event(&n.to_string(), "2026-11-25T07:00:00Z", "")).collect();
        assert_eq!(super::events(&many).len(), EVENTS_MAX);
    }

    #[test]
    fn a_quota_tells_used_and_hard() {
        let quota = json!({"kind": "ResourceQuota", "metadata": {"name": "slipway"},
            "status": {"hard": {"pods": "10", "requests.cpu": "2"}, "used": {"pods": "3"}}});
        let uses = quotas(&[quota]);
        let said: Vec<String> = uses.iter().map(|q| format!("{} {}/{}", q.resource, q.used, q.hard)).collect();
        assert_eq!(said, ["pods 3/10", "requests.cpu 0/2"]);
    }

    #[test]
    fn the_summary_says_what_to_do_first() {
        let mut env = fixture::preview();
        let at = env.at(5);
        env.status.conditions.set(
            Aspect::Accepted,
            Verdict::False,
            "WAITING_FOR_IMAGE",
            "CI has not said which digest.",
            at,
        );
        assert_eq!(summary(&env, &Health::Ready, &[]), "PENDING: CI has not said which digest.");
        env.end(crate::model::environment::RetireReason::Closed, "", 1, 1);
        let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": ["x/y"]}});
        let blockers = blockers(&observed::remains(None, &env.uid, &[held]));
        assert_eq!(
            summary(&env, &Health::Ready, &blockers),
            "DELETING: 1 objects or conditions are in the way, first ConfigMap/a: whoever put x/y on it has to take it off."
        );
    }
}
