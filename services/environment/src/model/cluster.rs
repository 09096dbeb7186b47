//! Registered clusters: what is kept of each, which one an environment goes to, and what the platform must be allowed there.
//!
//! Owns the choice by tier and the list of permissions (ENV-128, ENV-183). Refuses credentials: it knows the name of a file.
use serde::{Deserialize, Serialize};

use super::{environment::Target, layout::Routes, tier::Tier};

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// The cluster has what it takes.
    Passed,
    /// It works without, and less well or less safely.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be found out.
    Unknown,
}

/// What one check said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable word.
    pub check: String,
    /// Whether it passed.
    pub verdict: CheckVerdict,
    /// What was seen.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// The self-test of network policies.
pub const NETWORK_POLICY: &str = "NETWORK_POLICY";
/// Checks without which no environment works, or a chart could take the node.
pub const NEEDED: &[&str] = &["REACHABLE", "API_VERSION", "RBAC", "POD_SECURITY"];

impl Check {
    /// A check that passed.
    pub fn passed(check: &str, message: impl Into<String>) -> Self {
        Self { check: check.to_owned(), verdict: CheckVerdict::Passed, message: message.into(), remedy: String::new() }
    }

    /// A check that did not.
    pub fn other(check: &str, verdict: CheckVerdict, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.to_owned(), verdict, message: message.into(), remedy: remedy.into() }
    }
}

/// A registered cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Id, a DNS label.
    pub id: String,
    /// Uid of the registration.
    pub uid: String,
    /// Grows with every write; the etag.
    pub version: i64,
    /// When it was registered, in microseconds.
    pub created_us: i64,
    /// When it last changed, in microseconds.
    pub updated_us: i64,
    /// Name of a kubeconfig file in the directory of credentials; empty for the cluster we run in and for the target git.
    pub kubeconfig_file: String,
    /// Whether it is the cluster we run in.
    pub in_cluster: bool,
    /// How manifests reach it.
    pub target: Target,
    /// Tiers it serves; all if empty.
    pub tiers: Vec<Tier>,
    /// Whether environments that name no cluster come here.
    pub is_default: bool,
    /// What answers at the hosts of its environments.
    #[serde(default)]
    pub routing: Routes,
    /// Image with `/bin/busybox` for the self-test of network policies; empty for none.
    #[serde(default)]
    pub check_image: String,
    /// Docker configurations in the directory of credentials that its environments pull images with.
    #[serde(default)]
    pub pull_secret_files: Vec<String>,
    /// Version of Kubernetes last seen.
    pub git_version: String,
    /// What the last checks said.
    pub checks: Vec<Check>,
    /// When they were run, in microseconds; 0 if never.
    pub checked_us: i64,
}

impl Cluster {
    /// `clusters/<id>`.
    pub fn name(&self) -> String {
        format!("clusters/{}", self.id)
    }

    /// Version for guarded changes.
    pub fn etag(&self) -> String {
        format!("{}-{}", slipway_kit::id::h8(&self.uid), self.version)
    }

    /// Whether environments of a tier may be on it.
    pub fn serves(&self, tier: Tier) -> bool {
        self.tiers.is_empty() || self.tiers.contains(&tier)
    }

    /// Every rule the fields break, with the field.
    pub fn faults(&self) -> Vec<(&'static str, &'static str)> {
        let mut faults = Vec::new();
        let ways = usize::from(!self.kubeconfig_file.is_empty()) + usize::from(self.in_cluster);
        if self.target == Target::Apply && ways != 1 {
            faults.push((
                "cluster.kubeconfig_file",
                "needs exactly one of kubeconfig_file and in_cluster to be applied to",
            ));
        }
        if self.target == Target::Git && ways != 0 {
            faults.push(("cluster.kubeconfig_file", "must be empty with the target git: the cluster is never asked"));
        }
        faults
    }

    /// What says that environments cannot work on it at all; other checks may fail and are told.
    pub fn unfit(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|c| c.verdict == CheckVerdict::Failed && NEEDED.contains(&c.check.as_str()))
    }

    /// Whether a check says that it does not work at all.
    pub fn is_unfit(&self) -> bool {
        self.unfit().next().is_some()
    }
}

/// Where an environment goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Id of the cluster.
    pub cluster: String,
    /// How manifests reach it.
    pub target: Target,
}

/// The registered cluster for a tier: the one that is named, else the first default that serves the tier; `None` leaves it to the
/// platform's configuration.
pub fn place<'a>(registered: &'a [Cluster], tier: Tier, named: &str) -> Option<&'a Cluster> {
    let fits = |cluster: &&Cluster| {
        cluster.serves(tier) && if named.is_empty() { cluster.is_default } else { cluster.id == named }
    };
    registered.iter().filter(fits).min_by(|a, b| a.id.cmp(&b.id))
}

/// API group, resources and verbs.
pub type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

const MANAGE: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// What the environment service does in a cluster; no wildcard and no reading of secrets (ENV-128).
pub const RULES: &[Rule] = &[
    (
        "",
        &[
            "namespaces",
            "serviceaccounts",
            "limitranges",
            "resourcequotas",
            "services",
            "configmaps",
            "persistentvolumeclaims",
        ],
        MANAGE,
    ),
    ("", &["pods"], &["get", "list", "watch", "create"]),
    ("", &["pods/log"], &["get"]),
    ("", &["events"], &["get", "list", "watch"]),
    ("apps", &["deployments", "statefulsets", "daemonsets"], MANAGE),
    ("apps", &["replicasets"], &["get", "list", "watch"]),
    ("batch", &["jobs", "cronjobs"], MANAGE),
    ("autoscaling", &["horizontalpodautoscalers"], MANAGE),
    ("policy", &["poddisruptionbudgets"], MANAGE),
    ("networking.k8s.io", &["networkpolicies", "ingresses"], MANAGE),
    ("rbac.authorization.k8s.io", &["roles", "rolebindings"], MANAGE),
    ("discovery.k8s.io", &["endpointslices"], &["get", "list", "watch"]),
    ("gateway.networking.k8s.io", &["httproutes", "grpcroutes"], MANAGE),
    ("gateway.networking.k8s.io", &["gateways"], &["get"]),
    ("networking.k8s.io", &["ingressclasses"], &["list"]),
];

/// What the secrets service does in a cluster: it writes what it delivers and takes it away, by name.
pub const SECRET_RULES: &[Rule] =
    &[("", &["secrets"], &["create", "patch", "delete"]), ("", &["namespaces"], &["get"])];

/// The ClusterRoles to be granted, as YAML.
pub fn roles() -> String {
    let role = |name: &str, rules: &[Rule]| {
        let list = |words: &[&str]| words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ");
        let rules: Vec<String> = rules
            .iter()
            .map(|(group, resources, verbs)| {
                format!("- apiGroups: [{group:?}]\n  resources: [{}]\n  verbs: [{}]\n", list(resources), list(verbs))
            })
            .collect();
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {name}\nrules:\n{}",
            rules.concat()
        )
    };
    format!("{}---\n{}", role("slipway-environment", RULES), role("slipway-secrets", SECRET_RULES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(id: &str, tiers: &[Tier], is_default: bool) -> Cluster {
        Cluster {
            id: id.to_owned(),
            uid: "3f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b".to_owned(),
            version: 1,
            created_us: 1,
            updated_us: 1,
            kubeconfig_file: "x.yaml".to_owned(),
            in_cluster: false,
            target: Target::Apply,
            tiers: tiers.to_vec(),
            is_default,
            routing: Routes::Proxy,
            check_image: String::new(),
            pull_secret_files: Vec::new(),
            git_version: String::new(),
            checks: Vec::new(),
            checked_us: 0,
        }
    }

    #[test]
    fn the_tier_decides_and_a_name_decides_more() {
        let all = [
            cluster("b-previews", &[Tier::Development], true),
            cluster("a-previews", &[Tier::Development], true),
            cluster("production", &[Tier::Production], true),
            cluster("spare", &[], false),
        ];
        let id = |tier, named| place(&all, tier, named).map(|c| c.id.as_str());
        assert_eq!(id(Tier::Development, ""), Some("a-previews"));
        assert_eq!(id(Tier::Production, ""), Some("production"));
        assert_eq!(id(Tier::Staging, ""), None);
        assert_eq!(id(Tier::Staging, "spare"), Some("spare"));
        assert_eq!(id(Tier::Staging, "production"), None);
    }

    #[test]
    fn a_cluster_is_reached_in_one_way() {
        let mut one = cluster("one", &[], false);
        assert!(one.faults().is_empty());
        one.in_cluster = true;
        assert_eq!(one.faults().len(), 1);
        (one.in_cluster, one.target) = (false, Target::Git);
        assert_eq!(one.faults().len(), 1);
        one.kubeconfig_file.clear();
        assert!(one.faults().is_empty());
    }

    #[test]
    fn roles_name_every_verb_and_read_no_secret() {
        let text = roles();
        assert!(!text.contains('*') && text.matches("kind: ClusterRole").count() == 2);
        let docs = super::super::manifest::parse(&text).unwrap_or_else(|e| panic!("{e}"));
        for rule in docs.iter().filter_map(|doc| doc["rules"].as_array()).flatten() {
            let has = |key: &str, word: &str| rule[key].as_array().is_some_and(|all| all.iter().any(|w| w == word));
            assert!(
                !(has("resources", "secrets")
                    && (has("verbs", "get") || has("verbs", "list") || has("verbs", "watch")))
            );
        }
    }
}
