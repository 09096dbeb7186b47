//! Manifest policy: what rendered documents may hold (ENV-63, SAFE-61).
//!
//! Owns the built-in rules and the order of checks; [`catalog`] names them, and the platform team's own rules come from outside. Refuses to stop at the first fault: every violation is
//! told with its document and path, before anything is written anywhere.
mod access;
pub mod catalog;
mod network;
mod pod;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::catalog::{
    DOCUMENT_SHAPE, GATEWAY_SNIPPETS, GUARD_RAILS, HOOKS, KNOWN_KINDS, OWN_NAMESPACE, OWNERSHIP, Policy, Rule,
    SECRET_STORES, SECRET_VALUES,
};
use super::{
    guardrails::{LABEL_PREFIX, OURS},
    hook,
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
    /// What the platform team decided for the tier.
    pub policy: &'a Policy,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Id of the rule.
    pub id: String,
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

/// Namespaced kinds that are known, by API group, with the versions that may be asked for.
const KNOWN: &[(&str, &[&str], &[&str])] = &[
    ("", &["v1"], &["ConfigMap", "PersistentVolumeClaim", "Pod", "ReplicationController", "Service", "ServiceAccount"]),
    ("apps", &["v1"], &["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]),
    ("autoscaling", &["v1", "v2"], &["HorizontalPodAutoscaler"]),
    ("batch", &["v1"], &["CronJob", "Job"]),
    ("gateway.networking.k8s.io", &["v1", "v1beta1"], &["GRPCRoute", "HTTPRoute"]),
    ("keda.sh", &["v1alpha1"], &["ScaledObject"]),
    ("monitoring.coreos.com", &["v1"], &["PodMonitor", "PrometheusRule", "ServiceMonitor"]),
    ("networking.k8s.io", &["v1"], &["Ingress", "NetworkPolicy"]),
    ("policy", &["v1"], &["PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io", &["v1"], &["Role", "RoleBinding"]),
];

/// Kinds that guard a namespace.
const GUARDS: [&str; 2] = ["LimitRange", "ResourceQuota"];

/// Kinds that reach stores of secrets beyond the service.
const STORES: [&str; 4] = ["ExternalSecret", "PushSecret", "SecretStore", "TriggerAuthentication"];

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
        let id = DOCUMENT_SHAPE.id.to_owned();
        return vec![Violation { id, document: "all".to_owned(), path: "/".to_owned(), rule }];
    }
    let mut seen = std::collections::BTreeSet::new();
    for (at, doc) in docs.iter().enumerate() {
        let document = format!("{} (document {})", manifest::title(doc), at + 1);
        let mut faults = Faults { document, policy: rules.policy, found: &mut found };
        if !doc.is_object() {
            faults.add(&DOCUMENT_SHAPE, "/", "a document must be a map");
            continue;
        }
        if !seen.insert((group(doc).to_owned(), manifest::title(doc))) {
            faults.add(&DOCUMENT_SHAPE, "/metadata/name", "stands twice");
        }
        kind(doc, rules, &mut faults);
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
    policy: &'a Policy,
    found: &'a mut Vec<Violation>,
}

impl Faults<'_> {
    fn add(&mut self, of: &Rule, path: impl Into<String>, rule: impl Into<String>) {
        if self.policy.holds(of) {
            let (id, document) = (of.id.to_owned(), self.document.clone());
            self.found.push(Violation { id, document, path: path.into(), rule: rule.into() });
        }
    }

    fn check(&mut self, of: &Rule, holds: bool, path: impl Into<String>, rule: impl Into<String>) {
        if !holds {
            self.add(of, path, rule);
        }
    }
}

/// API group; empty for the core group.
fn group(doc: &Doc) -> &str {
    manifest::text(doc, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group)
}

fn kind(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let (group, kind, api) = (group(doc), manifest::kind(doc), manifest::text(doc, "/apiVersion"));
    let version = api.rsplit('/').next().unwrap_or_default();
    if let Some((_, versions, _)) = KNOWN.iter().find(|(g, _, kinds)| *g == group && kinds.contains(&kind)) {
        let rule = format!("{version:?} is not served here; use {}", versions.join(" or "));
        faults.check(&KNOWN_KINDS, versions.contains(&version), "/apiVersion", rule);
        let default = kind == "ServiceAccount" && manifest::name(doc) == "default";
        let rule = "the ServiceAccount `default` belongs to the platform";
        faults.check(&GUARD_RAILS, !default, "/metadata/name", rule);
    } else if CLUSTER.contains(&kind) {
        let rule = format!("{kind} is a kind of the whole cluster; only kinds of the own namespace are allowed");
        faults.add(&KNOWN_KINDS, "/kind", rule);
    } else if GUARDS.contains(&kind) {
        faults.add(&GUARD_RAILS, "/kind", format!("{kind} is a guard rail that the platform sets"));
    } else if STORES.contains(&kind) {
        let rule = format!("{kind} reaches stores beyond the service; bind the secret and name it by reference");
        faults.add(&SECRET_STORES, "/kind", rule);
    } else if kind == "Secret" {
        let rule = "Secret values never stand in manifests; bind the secret and name it by reference";
        faults.add(&SECRET_VALUES, "/kind", rule);
    } else if !rules.policy.kinds.contains(&format!("{group}/{kind}")) {
        faults.add(&KNOWN_KINDS, "/kind", format!("{kind:?} of {api:?} is no known kind of a namespace"));
    }
}

fn metadata(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let name = manifest::name(doc);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let fits = !name.is_empty() && name.len() <= 253 && name.chars().all(plain) && !name.starts_with(['-', '.']);
    let rule = "must be a name of lower case letters, digits, dots and dashes";
    faults.check(&DOCUMENT_SHAPE, fits, "/metadata/name", rule);
    let rule = format!("names that begin with {OURS} belong to the platform");
    faults.check(&GUARD_RAILS, !name.starts_with(OURS), "/metadata/name", rule);
    let namespace = manifest::text(doc, "/metadata/namespace");
    let own = namespace.is_empty() || namespace == rules.namespace;
    let rule = format!("must be left out or {}", rules.namespace);
    faults.check(&OWN_NAMESPACE, own, "/metadata/namespace", rule);
    for field in ["ownerReferences", "finalizers"] {
        let empty = doc.pointer(&format!("/metadata/{field}")).is_none_or(is_empty);
        faults.check(&OWNERSHIP, empty, format!("/metadata/{field}"), "must be left out");
    }
    for path in METADATA {
        keys(doc, path, faults);
    }
    for (at, _) in items(doc, "/spec/volumeClaimTemplates") {
        keys(doc, &format!("/spec/volumeClaimTemplates/{at}/metadata"), faults);
    }
}

/// Where objects keep labels and annotations, their own and those of what they make.
const METADATA: [&str; 4] =
    ["/metadata", "/spec/template/metadata", "/spec/jobTemplate/metadata", "/spec/jobTemplate/spec/template/metadata"];

fn keys(doc: &Doc, path: &str, faults: &mut Faults<'_>) {
    for field in ["labels", "annotations"] {
        for (key, _) in entries(doc.pointer(&format!("{path}/{field}"))) {
            let at = format!("{path}/{field}/{key}");
            faults.check(
                &GUARD_RAILS,
                !key.starts_with(LABEL_PREFIX),
                &at,
                format!("{LABEL_PREFIX} belongs to the platform"),
            );
            if path == "/metadata" && field == "annotations" && key == "helm.sh/hook" {
                let fault = hook::fault(doc);
                faults.check(&HOOKS, fault.is_none(), &at, fault.unwrap_or_default());
            }
            let snippet = field == "annotations" && key.ends_with("-snippet");
            faults.check(
                &GATEWAY_SNIPPETS,
                !snippet,
                &at,
                "configuration of the shared gateway is not written by charts",
            );
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
