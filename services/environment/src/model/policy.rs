//! Manifest policy: what rendered documents may hold (ENV-63, SAFE-61).
//!
//! Owns the built-in rules for the target `git` and the order of checks. Refuses to stop at the first fault: every violation is
//! told with its document and path, before anything is written anywhere.
mod access;
mod network;
mod pod;

use serde_json::Value;

use super::{
    guardrails::{LABEL_PREFIX, OURS},
    manifest::{self, Doc},
    tier::Tier,
};

/// Most violations that are kept; the rest is counted.
const VIOLATIONS_MAX: usize = 100;

/// What the documents are checked against.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    /// The environment's namespace.
    pub namespace: &'a str,
    /// Its tier.
    pub tier: Tier,
    /// Its reserved host.
    pub host: &'a str,
    /// Whether the change comes from a fork.
    pub fork: bool,
    /// Registries or parts of them that images may come from; any if empty.
    pub registries: &'a [String],
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `Kind/name` of the document, with its place.
    pub document: String,
    /// Path inside the document.
    pub path: String,
    /// What is wrong and what is allowed.
    pub rule: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.document, self.path, self.rule)
    }
}

/// Namespaced kinds that are known, by API group and kind.
const KNOWN: &[(&str, &[&str])] = &[
    ("", &["ConfigMap", "PersistentVolumeClaim", "Pod", "ReplicationController", "Service", "ServiceAccount"]),
    ("apps", &["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]),
    ("autoscaling", &["HorizontalPodAutoscaler"]),
    ("batch", &["CronJob", "Job"]),
    ("gateway.networking.k8s.io", &["GRPCRoute", "HTTPRoute"]),
    ("keda.sh", &["ScaledObject"]),
    ("monitoring.coreos.com", &["PodMonitor", "PrometheusRule", "ServiceMonitor"]),
    ("networking.k8s.io", &["Ingress", "NetworkPolicy"]),
    ("policy", &["PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io", &["Role", "RoleBinding"]),
];

/// Kinds of the whole cluster that charts are known to bring.
const CLUSTER: &[&str] = &[
    "APIService",
    "ClusterIssuer",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "GatewayClass",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// Every violation in the documents, in their order.
pub fn check(docs: &[Doc], rules: &Rules<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    if docs.len() > manifest::DOCUMENTS_MAX {
        let rule = format!("{} documents; at most {} are allowed", docs.len(), manifest::DOCUMENTS_MAX);
        return vec![Violation { document: "all".to_owned(), path: "/".to_owned(), rule }];
    }
    let mut seen = std::collections::BTreeSet::new();
    for (at, doc) in docs.iter().enumerate() {
        let document = format!("{} (document {})", manifest::title(doc), at + 1);
        let mut faults = Faults { document, found: &mut found };
        if !doc.is_object() {
            faults.add("/", "a document must be a map");
            continue;
        }
        if !seen.insert((group(doc).to_owned(), manifest::title(doc))) {
            faults.add("/metadata/name", "stands twice");
        }
        kind(doc, &mut faults);
        metadata(doc, rules, &mut faults);
        pod::check(doc, rules, &mut faults);
        network::check(doc, rules, &mut faults);
        access::check(doc, docs, rules, &mut faults);
    }
    found
}

/// All violations as one message.
pub fn message(violations: &[Violation]) -> String {
    let lines: Vec<String> = violations.iter().take(VIOLATIONS_MAX).map(ToString::to_string).collect();
    let more = violations.len().saturating_sub(VIOLATIONS_MAX);
    let tail = if more == 0 { String::new() } else { format!("\nand {more} more") };
    lines.join("\n") + &tail
}

struct Faults<'a> {
    document: String,
    found: &'a mut Vec<Violation>,
}

impl Faults<'_> {
    fn add(&mut self, path: impl Into<String>, rule: impl Into<String>) {
        self.found.push(Violation { document: self.document.clone(), path: path.into(), rule: rule.into() });
    }

    fn check(&mut self, holds: bool, path: impl Into<String>, rule: impl Into<String>) {
        if !holds {
            self.add(path, rule);
        }
    }
}

/// API group; empty for the core group.
fn group(doc: &Doc) -> &str {
    manifest::text(doc, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group)
}

fn kind(doc: &Doc, faults: &mut Faults<'_>) {
    let (group, kind) = (group(doc), manifest::kind(doc));
    let known = KNOWN.iter().any(|(g, kinds)| *g == group && kinds.contains(&kind));
    if known {
        if kind == "ServiceAccount" && manifest::name(doc) == "default" {
            faults.add("/metadata/name", "the ServiceAccount `default` belongs to the platform");
        }
    } else if CLUSTER.contains(&kind) {
        faults.add(
            "/kind",
            format!("{kind} is a kind of the whole cluster; only kinds of the own namespace are allowed"),
        );
    } else if matches!(kind, "LimitRange" | "ResourceQuota") {
        faults.add("/kind", format!("{kind} is a guard rail that the platform sets"));
    } else if matches!(kind, "ExternalSecret" | "SecretStore" | "TriggerAuthentication") {
        faults.add(
            "/kind",
            format!("{kind} reaches stores beyond the service; bind the secret and name it by reference"),
        );
    } else if kind == "Secret" {
        faults.add("/kind", "Secret values never stand in manifests; bind the secret and name it by reference");
    } else {
        let api = manifest::text(doc, "/apiVersion");
        faults.add("/kind", format!("{kind:?} of {api:?} is no known kind of a namespace"));
    }
}

fn metadata(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let name = manifest::name(doc);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let fits = !name.is_empty() && name.len() <= 253 && name.chars().all(plain) && !name.starts_with(['-', '.']);
    faults.check(fits, "/metadata/name", "must be a name of lower case letters, digits, dots and dashes");
    faults.check(
        !name.starts_with(OURS),
        "/metadata/name",
        format!("names that begin with {OURS} belong to the platform"),
    );
    let namespace = manifest::text(doc, "/metadata/namespace");
    let own = namespace.is_empty() || namespace == rules.namespace;
    faults.check(own, "/metadata/namespace", format!("must be left out or {}", rules.namespace));
    for field in ["ownerReferences", "finalizers"] {
        let empty = doc.pointer(&format!("/metadata/{field}")).is_none_or(is_empty);
        faults.check(empty, format!("/metadata/{field}"), "must be left out");
    }
    for path in METADATA {
        keys(doc, path, faults);
    }
}

/// Where objects keep labels and annotations, their own and those of what they make.
const METADATA: [&str; 4] =
    ["/metadata", "/spec/template/metadata", "/spec/jobTemplate/metadata", "/spec/jobTemplate/spec/template/metadata"];

fn keys(doc: &Doc, path: &str, faults: &mut Faults<'_>) {
    for field in ["labels", "annotations"] {
        for (key, _) in entries(doc.pointer(&format!("{path}/{field}"))) {
            let at = format!("{path}/{field}/{key}");
            faults.check(!key.starts_with(LABEL_PREFIX), &at, format!("{LABEL_PREFIX} belongs to the platform"));
            let hook = field == "annotations" && key == "helm.sh/hook";
            faults.check(!hook, &at, "HOOK_NOT_SUPPORTED: hooks do not run with the target git");
            let snippet = field == "annotations" && key.ends_with("-snippet");
            faults.check(!snippet, &at, "configuration of the shared gateway is not written by charts");
        }
    }
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten().enumerate()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer) == Some(&Value::Bool(true))
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
