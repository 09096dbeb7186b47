//! Guard rails: the documents every namespace gets before anything else (ENV-60 to ENV-62), and the labels of ENV-50.
//!
//! Owns Namespace, ServiceAccount, LimitRange, ResourceQuota and NetworkPolicies. Refuses a quota without defaults for the same
//! resource, and any opening that the profile does not list.
use serde_json::{Value, json};

use super::{
    environment::Environment,
    manifest::{self, Doc},
    names, quantity,
    tier::Tier,
};

/// Version the Pod Security levels are pinned to.
const POD_SECURITY_VERSION: &str = "v1.34";
/// Names that begin so belong to the platform.
pub const OURS: &str = "slipway-";
/// Labels and annotations that begin so belong to the platform.
pub const LABEL_PREFIX: &str = "slipway.dev/";

/// Class of what shows a fork (ENV-32).
pub const QUARANTINE: &str = "quarantine";

/// Numbers of one tier; platform-owned (ENV-11).
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Sum of requested processors.
    pub requests_cpu: String,
    /// Sum of requested memory.
    pub requests_memory: String,
    /// Sum of memory limits.
    pub limits_memory: String,
    /// Number of pods.
    pub pods: i64,
    /// Number of volume claims.
    pub volume_claims: i64,
    /// Networks that may be reached beyond DNS and the namespace, as CIDR.
    #[serde(default)]
    pub egress: Vec<String>,
    /// Names of Docker configurations in the directory of credentials that images are pulled with.
    #[serde(default)]
    pub pull_secret_files: Vec<String>,
}

impl Profile {
    /// What a tier gets unless the platform says otherwise.
    pub fn of(tier: Tier) -> Self {
        let (cpu, memory, limits, pods) = match tier {
            Tier::Development => ("2", "4Gi", "8Gi", 20),
            Tier::Staging => ("4", "8Gi", "16Gi", 40),
            Tier::Production => ("16", "32Gi", "64Gi", 100),
        };
        Self {
            requests_cpu: cpu.to_owned(),
            requests_memory: memory.to_owned(),
            limits_memory: limits.to_owned(),
            pods,
            volume_claims: 10,
            egress: Vec::new(),
            pull_secret_files: Vec::new(),
        }
    }
}

impl Profile {
    /// Half of it, and no network: what a fork gets of it (ENV-32).
    pub fn quarantined(&self) -> Self {
        let half = |text: &str, write: fn(quantity::Milli) -> String| {
            quantity::parse(text).map_or_else(|| text.to_owned(), |amount| write(amount / 2))
        };
        Self {
            requests_cpu: half(&self.requests_cpu, quantity::cores),
            requests_memory: half(&self.requests_memory, quantity::bytes),
            limits_memory: half(&self.limits_memory, quantity::bytes),
            pods: self.pods / 2,
            volume_claims: self.volume_claims / 2,
            egress: Vec::new(),
            pull_secret_files: self.pull_secret_files.clone(),
        }
    }
}

/// Labels of every object we write (ENV-50). Values are cut to what a label may hold.
pub fn labels(env: &Environment) -> Vec<(&'static str, String)> {
    vec![
        ("app.kubernetes.io/managed-by", "slipway".to_owned()),
        ("slipway.dev/environment", env.label_id.clone()),
        ("slipway.dev/env-uid", env.uid.clone()),
        ("slipway.dev/service", label_value(names::short(&env.service))),
        ("slipway.dev/team", label_value(names::short(&env.owner))),
        ("slipway.dev/environment-tier", env.tier.word().to_owned()),
        ("slipway.dev/tier", label_value(&env.service_tier)),
        ("slipway.dev/class", if env.spec.source.fork { QUARANTINE.to_owned() } else { String::new() }),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

/// A text as the value of a label: at most 63 characters of `[A-Za-z0-9._-]` with letters or digits at the ends.
fn label_value(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let cut: String = text.chars().map(plain).take(63).collect();
    cut.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// The guard rails in the order they must stand in a cluster.
pub fn documents(env: &Environment, profile: &Profile, gateway_namespace: &str) -> Vec<Doc> {
    let mut docs = vec![namespace(env), service_account(), limit_range(), quota(profile)];
    docs.extend(network_policies(env, profile, gateway_namespace));
    for doc in docs.iter_mut().skip(1) {
        doc["metadata"]["namespace"] = json!(env.namespace);
    }
    for doc in &mut docs {
        manifest::stamp(doc, "labels", labels(env));
    }
    docs
}

/// Has every pod of the namespace pull its images with these files' Secrets.
pub fn pull_with(rails: &mut [Doc], files: &[String]) {
    let secrets: Vec<Value> =
        files.iter().map(|file| json!({ "name": slipway_credentials::pull_secret_name(file) })).collect();
    if secrets.is_empty() {
        return;
    }
    for doc in rails.iter_mut().filter(|doc| manifest::kind(doc) == "ServiceAccount") {
        doc["imagePullSecrets"] = json!(secrets);
    }
}

/// Whether a document is one of the guard rails, and no part of a chart.
pub fn is_rail(doc: &Doc) -> bool {
    is_rail_kind(manifest::kind(doc), manifest::name(doc))
}

/// Whether an object of this kind and name is one of the guard rails.
pub fn is_rail_kind(kind: &str, name: &str) -> bool {
    match kind {
        "Namespace" | "LimitRange" | "ResourceQuota" => true,
        "ServiceAccount" => name == "default",
        "NetworkPolicy" => name.starts_with(OURS),
        _ => false,
    }
}

fn namespace(env: &Environment) -> Doc {
    let level = env.tier.pod_security();
    let mut labels = serde_json::Map::new();
    for mode in ["enforce", "audit", "warn"] {
        // What is only told may always be the strictest.
        let level = if mode == "enforce" { level } else { "restricted" };
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), json!(level));
        labels.insert(format!("pod-security.kubernetes.io/{mode}-version"), json!(POD_SECURITY_VERSION));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": env.namespace,
            "labels": labels,
            "annotations": {
                "slipway.dev/generation": env.generation.to_string(),
                "slipway.dev/source-sha": env.spec.source.head_sha,
            },
        },
    })
}

fn service_account() -> Doc {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": "default" },
        "automountServiceAccountToken": false,
    })
}

/// Defaults for every resource that the quota counts: without them a pod that says nothing is refused (ENV-61).
fn limit_range() -> Doc {
    json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": { "name": "slipway-defaults" },
        "spec": { "limits": [{
            "type": "Container",
            "default": { "memory": "256Mi" },
            "defaultRequest": { "cpu": "50m", "memory": "64Mi" },
        }] },
    })
}

fn quota(profile: &Profile) -> Doc {
    json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": { "name": "slipway-quota" },
        "spec": { "hard": {
            "requests.cpu": profile.requests_cpu,
            "requests.memory": profile.requests_memory,
            "limits.memory": profile.limits_memory,
            "pods": profile.pods.to_string(),
            "persistentvolumeclaims": profile.volume_claims.to_string(),
            "services.loadbalancers": "0",
            "services.nodeports": "0",
        } },
    })
}

/// The walls of a namespace without any opening of a profile, as the self-test of a cluster puts them up.
pub fn walls(gateway_namespace: &str) -> Vec<Doc> {
    policies(false, &[], gateway_namespace)
}

fn network_policies(env: &Environment, profile: &Profile, gateway_namespace: &str) -> Vec<Doc> {
    policies(env.spec.source.fork, &profile.egress, gateway_namespace)
}

fn policies(is_fork: bool, egress: &[String], gateway_namespace: &str) -> Vec<Doc> {
    let policy = |name: &str, spec: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "name": format!("{OURS}{name}") },
            "spec": spec,
        })
    };
    let in_namespace =
        |name: &str| json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } });
    let dns = json!([{ "protocol": "UDP", "port": 53 }, { "protocol": "TCP", "port": 53 }]);
    let mut all = vec![
        policy("deny-all", json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })),
        policy(
            "allow-dns",
            json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": [in_namespace("kube-system")], "ports": dns }] }),
        ),
    ];
    // A fork reaches DNS and nothing else (ENV-32).
    if !is_fork {
        let own = json!([{ "podSelector": {} }]);
        let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{ "from": own }], "egress": [{ "to": own }] });
        all.push(policy("allow-namespace", spec));
    }
    let from_gateway = json!([{ "from": [in_namespace(gateway_namespace)] }]);
    all.push(policy(
        "allow-gateway",
        json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": from_gateway }),
    ));
    if !egress.is_empty() && !is_fork {
        let to: Vec<Value> = egress.iter().map(|cidr| json!({ "ipBlock": { "cidr": cidr } })).collect();
        all.push(policy(
            "allow-egress",
            json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": to }] }),
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment::fixture;

    #[test]
    fn a_namespace_comes_with_everything_that_guards_it() {
        let env = fixture::preview();
        let docs = documents(&env, &Profile::of(env.tier), "gateway");
        let kinds: Vec<_> = docs.iter().map(manifest::title).collect();
        assert_eq!(kinds[0], format!("Namespace/{}", env.namespace));
        assert_eq!(
            kinds[1..4],
            ["ServiceAccount/default", "LimitRange/slipway-defaults", "ResourceQuota/slipway-quota"]
        );
        assert_eq!(kinds[4], "NetworkPolicy/slipway-deny-all");
        assert_eq!(docs[0].pointer("/metadata/labels/pod-security.kubernetes.io~1enforce"), Some(&json!("restricted")));
        assert_eq!(docs[1]["automountServiceAccountToken"], false);
        for doc in &docs {
            assert_eq!(doc.pointer("/metadata/labels/slipway.dev~1env-uid"), Some(&json!(env.uid)));
        }
        assert!(docs[1..].iter().all(|d| manifest::text(d, "/metadata/namespace") == env.namespace));
    }

    #[test]
    fn every_counted_resource_has_a_default() {
        let hard = quota(&Profile::of(Tier::Staging));
        let limits = limit_range();
        for key in hard["spec"]["hard"].as_object().into_iter().flatten().map(|(k, _)| k) {
            let at = match key.split_once('.') {
                Some(("requests", resource)) => format!("/spec/limits/0/defaultRequest/{resource}"),
                Some(("limits", resource)) => format!("/spec/limits/0/default/{resource}"),
                _ => continue,
            };
            assert!(limits.pointer(&at).is_some(), "{key}");
        }
    }

    #[test]
    fn a_fork_reaches_dns_only() {
        let mut env = fixture::preview();
        env.spec.source.fork = true;
        let profile = Profile { egress: vec!["10.0.0.0/8".to_owned()], ..Profile::of(env.tier) };
        let names: Vec<_> =
            documents(&env, &profile, "gateway").iter().skip(4).map(|d| manifest::name(d).to_owned()).collect();
        assert_eq!(names, ["slipway-deny-all", "slipway-allow-dns", "slipway-allow-gateway"]);
        env.spec.source.fork = false;
        assert_eq!(documents(&env, &profile, "gateway").len(), 9);
    }

    #[test]
    fn a_fork_has_half_the_quota_and_says_what_it_is() {
        let half = Profile { egress: vec!["10.0.0.0/8".to_owned()], ..Profile::of(Tier::Development) }.quarantined();
        let amounts =
            (half.requests_cpu.as_str(), half.requests_memory.as_str(), half.limits_memory.as_str(), half.pods);
        assert_eq!((amounts, half.egress.len()), (("1000m", "2048Mi", "4096Mi", 10), 0));
        let mut env = fixture::preview();
        assert!(!labels(&env).iter().any(|(key, _)| *key == "slipway.dev/class"));
        env.spec.source.fork = true;
        assert!(labels(&env).contains(&("slipway.dev/class", QUARANTINE.to_owned())));
    }

    #[test]
    fn label_values_are_values_of_labels() {
        assert_eq!(label_value("Ä team/x-"), "team-x");
        assert_eq!(label_value(&"a".repeat(80)).len(), 63);
    }
}
