//! Whether a generation fits its quota before anything is applied (ENV-64, ENV-65), with the arithmetic for people.
//!
//! Owns what a workload needs at rest and during an update. Refuses to look at a cluster: the quota and the defaults are read from
//! the documents that will be applied, what others use is told.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    manifest::{self, Doc},
    quantity::{self, Milli},
    tier::Tier,
};

/// Amounts by the quota's name for them: `requests.cpu`, `requests.memory`, `limits.memory`, `pods`, ….
pub type Amounts = BTreeMap<String, Milli>;

/// Whether and how a generation fits.
#[derive(Clone, Debug, PartialEq)]
pub enum Fit {
    /// It fits, during an update too.
    Fits,
    /// It fits at rest only: roll it with these documents, which take one pod away before one is added.
    RollWithoutSurge {
        /// The documents with the changed strategy.
        docs: Vec<Doc>,
        /// Why, in words.
        text: String,
    },
    /// It does not fit at rest: `QUOTA_TOO_SMALL`.
    TooSmall(String),
    /// It fits at rest, but there is no room to update it: `QUOTA_NO_ROOM_TO_UPDATE`.
    NoRoomToUpdate(String),
}

/// What one workload needs.
struct Need {
    title: String,
    pods: i64,
    surge: i64,
    pod: Amounts,
}

/// Compares what the documents need with the quota that stands among them; `others` is used in the namespace by what is not among them.
pub fn check(docs: &[Doc], tier: Tier, others: &Amounts) -> Fit {
    let hard = hard(docs);
    let needs = needs(docs, &hard);
    let steady = total(&needs, |need| need.pods);
    let too_small = excess(&hard, &steady, others);
    if let Some((key, needed, free)) = too_small.first() {
        return Fit::TooSmall(sentence(key, *needed, *free, &needs, false));
    }
    let peak = total(&needs, |need| need.pods + need.surge);
    let tight = excess(&hard, &peak, others);
    let Some((key, needed, free)) = tight.first() else { return Fit::Fits };
    let text = sentence(key, *needed, *free, &needs, true);
    if tier == Tier::Development {
        return Fit::RollWithoutSurge { docs: without_surge(docs), text };
    }
    Fit::NoRoomToUpdate(text)
}

/// What the pods of the documents request at rest: processors in thousandths of a core, and memory in bytes (ENV-64).
pub fn steady(docs: &[Doc]) -> (i64, i64) {
    let keys = ["requests.cpu", "requests.memory"].map(|key| (key.to_owned(), 0));
    let needs = needs(docs, &Amounts::from(keys));
    let sum = total(&needs, |need| need.pods);
    let of = |key: &str| i64::try_from(sum.get(key).copied().unwrap_or(0)).unwrap_or(i64::MAX);
    (of("requests.cpu"), of("requests.memory") / 1_000)
}

/// What the quota among the documents allows.
fn hard(docs: &[Doc]) -> Amounts {
    let quotas = docs.iter().filter(|doc| manifest::kind(doc) == "ResourceQuota");
    let entries = quotas.filter_map(|doc| doc.pointer("/spec/hard")?.as_object()).flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), amount(value)?))).collect()
}

fn amount(value: &Value) -> Option<Milli> {
    match value {
        Value::String(text) => quantity::parse(text),
        Value::Number(number) => quantity::parse(&number.to_string()),
        _ => None,
    }
}

fn needs(docs: &[Doc], hard: &Amounts) -> Vec<Need> {
    let defaults = Defaults::of(docs);
    let mut needs: Vec<Need> = docs.iter().filter_map(|doc| need(doc, docs, &defaults, hard)).collect();
    needs.sort_by(|a, b| a.title.cmp(&b.title));
    needs
}

fn need(doc: &Doc, docs: &[Doc], defaults: &Defaults, hard: &Amounts) -> Option<Need> {
    if manifest::kind(doc) == "PersistentVolumeClaim" {
        let pod = Amounts::from([("persistentvolumeclaims".to_owned(), 1_000)]);
        return Some(Need { title: manifest::title(doc), pods: 1, surge: 0, pod });
    }
    let (_, spec) = manifest::pod_spec(doc)?;
    let (pods, surge) = pods(doc, docs);
    let mut pod = Amounts::from([("pods".to_owned(), 1_000)]);
    for key in hard.keys() {
        if let Some((field @ ("requests" | "limits"), resource)) = key.split_once('.') {
            pod.insert(key.clone(), pod_amount(spec, field, resource, defaults));
        }
    }
    Some(Need { title: manifest::title(doc), pods, surge, pod })
}

/// Pods at rest, and pods more during an update.
fn pods(doc: &Doc, docs: &[Doc]) -> (i64, i64) {
    let number = |pointer: &str, default: i64| doc.pointer(pointer).and_then(Value::as_i64).unwrap_or(default);
    match manifest::kind(doc) {
        "Job" => (0, number("/spec/parallelism", 1)),
        "CronJob" => (0, number("/spec/jobTemplate/spec/parallelism", 1)),
        "Deployment" => {
            let replicas = number("/spec/replicas", 1).max(minimum_of_autoscaler(doc, docs));
            (replicas, surge(doc, replicas))
        }
        "StatefulSet" | "ReplicaSet" | "ReplicationController" => {
            (number("/spec/replicas", 1).max(minimum_of_autoscaler(doc, docs)), 0)
        }
        _ => (1, 0),
    }
}

fn minimum_of_autoscaler(doc: &Doc, docs: &[Doc]) -> i64 {
    let targets = |hpa: &&Doc| {
        manifest::kind(hpa) == "HorizontalPodAutoscaler"
            && manifest::text(hpa, "/spec/scaleTargetRef/kind") == manifest::kind(doc)
            && manifest::text(hpa, "/spec/scaleTargetRef/name") == manifest::name(doc)
    };
    let minimum = |hpa: &Doc| hpa.pointer("/spec/minReplicas").and_then(Value::as_i64).unwrap_or(1);
    docs.iter().find(targets).map_or(0, minimum)
}

/// ceil(maxSurge) of a rolling update; a quarter if it is not said.
fn surge(doc: &Doc, replicas: i64) -> i64 {
    if manifest::text(doc, "/spec/strategy/type") == "Recreate" {
        return 0;
    }
    match doc.pointer("/spec/strategy/rollingUpdate/maxSurge") {
        Some(Value::Number(n)) => n.as_i64().unwrap_or(0),
        Some(Value::String(text)) => {
            let percent = text.trim_end_matches('%').parse::<i64>().unwrap_or(25);
            if text.ends_with('%') { (replicas * percent + 99).div_euclid(100) } else { percent }
        }
        _ => (replicas * 25 + 99).div_euclid(100),
    }
}

/// What containers get that do not say what they need.
#[derive(Default)]
struct Defaults {
    requests: Value,
    limits: Value,
}

impl Defaults {
    fn of(docs: &[Doc]) -> Self {
        let ranges = docs.iter().filter(|doc| manifest::kind(doc) == "LimitRange");
        let limits = ranges.filter_map(|doc| doc.pointer("/spec/limits")?.as_array()).flatten();
        let container = limits.into_iter().find(|limit| limit["type"] == "Container");
        container.map_or_else(Self::default, |limit| Self {
            requests: limit["defaultRequest"].clone(),
            limits: limit["default"].clone(),
        })
    }

    /// What a container counts with: its own word, its limit for a missing request, the default of the namespace.
    fn container(&self, container: &Value, field: &str, resource: &str) -> Milli {
        let own = |field: &str| amount(&container["resources"][field][resource]);
        let found = match field {
            "limits" => own("limits").or_else(|| amount(&self.limits[resource])),
            _ => own("requests").or_else(|| own("limits")).or_else(|| amount(&self.requests[resource])),
        };
        found.or_else(|| amount(&self.limits[resource])).unwrap_or(0)
    }
}

/// What the scheduler and the quota count for a pod (ENV-64): containers run together, ordinary init containers one after another on
/// top of the restartable ones that began before them.
fn pod_amount(spec: &Value, field: &str, resource: &str, defaults: &Defaults) -> Milli {
    let list = |key: &str| spec[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |container: &Value| defaults.container(container, field, resource);
    let (mut restartable, mut highest) = (0, 0);
    for init in list("initContainers") {
        if init["restartPolicy"] == "Always" {
            restartable += one(init);
            highest = highest.max(restartable);
        } else {
            highest = highest.max(one(init) + restartable);
        }
    }
    let running: Milli = list("containers").iter().map(one).sum::<Milli>() + restartable;
    running.max(highest) + amount(&spec["overhead"][resource]).unwrap_or(0)
}

fn total(needs: &[Need], pods: impl Fn(&Need) -> i64) -> Amounts {
    let mut sum = Amounts::new();
    for need in needs {
        for (key, one) in &need.pod {
            *sum.entry(key.clone()).or_default() += one * Milli::from(pods(need));
        }
    }
    sum
}

/// Each amount that is above what is free: its name, what is needed, what is free.
fn excess(hard: &Amounts, needed: &Amounts, others: &Amounts) -> Vec<(String, Milli, Milli)> {
    let over = hard.iter().filter_map(|(key, hard)| {
        let free = hard - others.get(key).copied().unwrap_or(0);
        let needed = needed.get(key).copied().unwrap_or(0);
        (needed > free).then(|| (key.clone(), needed, free))
    });
    over.collect()
}

/// `requests.cpu: needs 2500m, has 2000m: Deployment/api (3 + 1) × 250m + …`.
fn sentence(key: &str, needed: Milli, free: Milli, needs: &[Need], with_surge: bool) -> String {
    let word = |milli: Milli| match key {
        key if key.ends_with("cpu") => quantity::cores(milli),
        key if key.ends_with("memory") => quantity::bytes(milli),
        _ => (milli / 1_000).to_string(),
    };
    let mut terms = Vec::new();
    for need in needs {
        let pods = need.pods + if with_surge { need.surge } else { 0 };
        let one = need.pod.get(key).copied().unwrap_or(0);
        if pods > 0 && one > 0 {
            let count = if with_surge && need.surge > 0 {
                format!("({} + {})", need.pods, need.surge)
            } else {
                pods.to_string()
            };
            terms.push(format!("{} {count} × {}", need.title, word(one)));
        }
    }
    let when = if with_surge { " while it updates" } else { "" };
    format!("{key}: needs {}{when}, has {}: {}", word(needed), word(free), terms.join(" + "))
}

/// The documents with rolling updates that take a pod away before they add one.
fn without_surge(docs: &[Doc]) -> Vec<Doc> {
    let mut docs = docs.to_vec();
    for doc in docs.iter_mut().filter(|doc| manifest::kind(doc) == "Deployment") {
        if manifest::text(doc, "/spec/strategy/type") != "Recreate" {
            doc["spec"]["strategy"] =
                json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } });
        }
    }
    docs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(cpu: &str) -> Vec<Doc> {
        vec![
            json!({"kind": "LimitRange", "metadata": {"name": "slipway-defaults"}, "spec": {"limits": [{
                "type": "Container", "default": {"memory": "256Mi"}, "defaultRequest": {"cpu": "50m", "memory": "64Mi"}}]}}),
            json!({"kind": "ResourceQuota", "metadata": {"name": "slipway-quota"}, "spec": {"hard": {
                "requests.cpu": cpu, "requests.memory": "4Gi", "limits.memory": "8Gi", "pods": "20", "persistentvolumeclaims": "1"}}}),
        ]
    }

    fn deployment(name: &str, replicas: i64, cpu: &str) -> Doc {
        json!({"kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas, "template": {"spec": {
            "containers": [{"name": "app", "resources": {"requests": {"cpu": cpu}}}]}}}})
    }

    /// The worked example of the specification.
    fn example(cpu: &str) -> Vec<Doc> {
        [guard(cpu), vec![deployment("api", 3, "250m"), deployment("worker", 2, "500m")]].concat()
    }

    #[test]
    fn the_worked_example() {
        let none = Amounts::new();
        assert_eq!(check(&example("2500m"), Tier::Staging, &none), Fit::Fits);
        let want = "requests.cpu: needs 2500m while it updates, has 2000m: Deployment/api (3 + 1) × 250m + Deployment/worker (2 + 1) × 500m";
        assert_eq!(check(&example("2000m"), Tier::Staging, &none), Fit::NoRoomToUpdate(want.to_owned()));
        let Fit::RollWithoutSurge { docs, text } = check(&example("2"), Tier::Development, &none) else {
            panic!("a preview rolls without surge")
        };
        assert_eq!(text, want);
        assert_eq!(docs[2]["spec"]["strategy"]["rollingUpdate"], json!({"maxSurge": 0, "maxUnavailable": 1}));
        let want = "requests.cpu: needs 1750m, has 1500m: Deployment/api 3 × 250m + Deployment/worker 2 × 500m";
        assert_eq!(check(&example("1500m"), Tier::Development, &none), Fit::TooSmall(want.to_owned()));
        let others = Amounts::from([("requests.cpu".to_owned(), 600)]);
        assert!(
            matches!(check(&example("2300m"), Tier::Development, &others), Fit::TooSmall(text) if text.contains("has 1700m"))
        );
    }

    #[test]
    fn what_is_requested_at_rest_is_what_budgets_count() {
        assert_eq!(steady(&example("2500m")), (1_750, 5 * (64 << 20)));
    }

    #[test]
    fn a_pod_counts_its_init_containers_as_the_scheduler_does() {
        let spec = json!({
            "overhead": {"cpu": "10m"},
            "initContainers": [
                {"resources": {"requests": {"cpu": "100m"}}},
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "200m"}}},
                {"resources": {"requests": {"cpu": "900m"}}},
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
            ],
            "containers": [{"resources": {"requests": {"cpu": "300m"}}}, {"resources": {"limits": {"cpu": "400m"}}}],
        });
        // max(300 + 400 + 200 + 50, 900 + 200) + 10
        assert_eq!(pod_amount(&spec, "requests", "cpu", &Defaults::default()), 1_110);
        let defaults = Defaults::of(&guard("1"));
        assert_eq!(pod_amount(&json!({"containers": [{}, {}]}), "requests", "cpu", &defaults), 100);
        assert_eq!(pod_amount(&json!({"containers": [{}]}), "limits", "memory", &defaults), 268_435_456_000);
    }

    #[test]
    fn updates_need_what_their_strategy_says() {
        let mut doc = deployment("api", 3, "100m");
        for (strategy, want) in [
            (json!({"rollingUpdate": {"maxSurge": "50%"}}), 2),
            (json!({"rollingUpdate": {"maxSurge": 3}}), 3),
            (json!({"rollingUpdate": {"maxSurge": 0}}), 0),
            (json!({"type": "Recreate"}), 0),
            (json!({}), 1),
        ] {
            doc["spec"]["strategy"] = strategy;
            assert_eq!(pods(&doc, &[]), (3, want), "{doc}");
        }
        let job = json!({"kind": "Job", "spec": {"parallelism": 4}});
        assert_eq!(pods(&job, &[]), (0, 4));
        assert_eq!(pods(&json!({"kind": "StatefulSet", "spec": {"replicas": 3}}), &[]), (3, 0));
        let hpa = json!({"kind": "HorizontalPodAutoscaler", "spec": {"minReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "api"}}});
        assert_eq!(pods(&deployment("api", 1, "1"), &[hpa]), (5, 2));
    }

    #[test]
    fn volumes_and_pods_count_too() {
        let claim = |name: &str| json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name}});
        let docs = [guard("4"), vec![claim("a"), claim("b")]].concat();
        let want =
            "persistentvolumeclaims: needs 2, has 1: PersistentVolumeClaim/a 1 × 1 + PersistentVolumeClaim/b 1 × 1";
        assert_eq!(check(&docs, Tier::Staging, &Amounts::new()), Fit::TooSmall(want.to_owned()));
        let docs = [guard("4"), vec![deployment("a", 21, "10m")]].concat();
        assert!(
            matches!(check(&docs, Tier::Staging, &Amounts::new()), Fit::TooSmall(text) if text.starts_with("limits.memory") || text.starts_with("pods"))
        );
    }
}
