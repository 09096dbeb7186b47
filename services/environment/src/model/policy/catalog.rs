//! The built-in rules by name, and what the platform team made of them for one tier (ENV-63).
//!
//! Owns ids, sentences and remedies, and which rules are essential. Refuses to switch off an essential one: what it keeps apart are
//! environments, the platform and the cluster itself.
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use slipway_kit::error::Violations;

use super::CLUSTER;

/// A built-in rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable id.
    pub id: &'static str,
    /// What holds.
    pub sentence: &'static str,
    /// What to do about a violation.
    pub remedy: &'static str,
    /// Whether it cannot be switched off.
    pub essential: bool,
}

const fn essential(id: &'static str, sentence: &'static str, remedy: &'static str) -> Rule {
    Rule { id, sentence, remedy, essential: true }
}

const fn optional(id: &'static str, sentence: &'static str, remedy: &'static str) -> Rule {
    Rule { id, sentence, remedy, essential: false }
}

/// Documents are well formed.
pub const DOCUMENT_SHAPE: Rule = essential(
    "document-shape",
    "Every document is a map with a valid name, stands once, and there are at most 2000.",
    "Correct the chart; `helm template` shows what it renders.",
);
/// Only known kinds of a namespace.
pub const KNOWN_KINDS: Rule = essential(
    "known-kinds",
    "Only kinds of a namespace that the platform knows, in a served version, are allowed.",
    "Leave the object out, or ask the platform team to add its kind to `allowed_kinds`.",
);
/// Guard rails and our names.
pub const GUARD_RAILS: Rule = essential(
    "guard-rails",
    "Quotas, limit ranges, the default ServiceAccount, names that begin with slipway- and keys below slipway.dev/ belong to the platform.",
    "Leave them out; the platform sets its own.",
);
/// No Secret values.
pub const SECRET_VALUES: Rule = essential(
    "secret-values",
    "Values of secrets never stand in manifests.",
    "Write the secret with PutSecret, bind it, and name the Secret by reference.",
);
/// No foreign secret stores.
pub const SECRET_STORES: Rule = optional(
    "secret-stores",
    "Objects that fetch secrets from stores beyond the service are not allowed.",
    "Bind the secret and name it by reference.",
);
/// Everything in the own namespace.
pub const OWN_NAMESPACE: Rule = essential(
    "own-namespace",
    "Objects stand in the environment's own namespace and lead nowhere else.",
    "Leave `namespace` out.",
);
/// No owners and finalizers.
pub const OWNERSHIP: Rule =
    essential("ownership", "Owner references and finalizers are set by the cluster, not by charts.", "Leave them out.");
/// Hooks that are known.
pub const HOOKS: Rule = essential(
    "hooks",
    "Helm hooks have events, weights and delete policies that are known.",
    "Write them as Helm documents them.",
);
/// No snippets.
pub const GATEWAY_SNIPPETS: Rule = essential(
    "gateway-snippets",
    "Charts write no configuration of the shared gateway.",
    "Use the fields of routes, or ask the platform team.",
);
/// No way to the node.
pub const HOST_ACCESS: Rule = essential(
    "host-access",
    "Pods reach neither network, processes, files nor ports of their node, and do not choose it.",
    "Use volumes of the namespace and Services.",
);
/// No privileges.
pub const PRIVILEGES: Rule = essential(
    "privileges",
    "Containers get no privileges and no added capabilities.",
    "Drop all capabilities and run as another user than root.",
);
/// No tokens.
pub const SERVICE_ACCOUNT_TOKENS: Rule = optional(
    "service-account-tokens",
    "Tokens of service accounts are not mounted.",
    "Call the platform's API with a token of its own instead of the cluster's.",
);
/// Images by digest.
pub const IMAGES_PINNED: Rule =
    essential("images-pinned", "Images are named by digest.", "Build the image in CI and hand its digest over.");
/// Images from known registries.
pub const IMAGE_REGISTRIES: Rule = optional(
    "image-registries",
    "Images come from the registries that the platform lists.",
    "Mirror the image into an allowed registry.",
);
/// Forks.
pub const FORKS: Rule = essential(
    "forks",
    "A fork's code gets no secrets and brings no network policies.",
    "Build the change from a branch of the repository itself.",
);
/// Services stay inside.
pub const SERVICE_EXPOSURE: Rule = optional(
    "service-exposure",
    "Services are reached through routes: no load balancers and node ports in development, no external names and addresses anywhere.",
    "Use ClusterIP and a route.",
);
/// Hosts.
pub const RESERVED_HOSTS: Rule = essential(
    "reserved-hosts",
    "Routes take the host that is reserved for the environment and no other.",
    "Leave hosts out of the chart, or take them from the values the platform sets.",
);
/// Openings.
pub const NETWORK_OPENINGS: Rule = optional(
    "network-openings",
    "Network policies name whom they let in or reach, and open no addresses.",
    "Name pods or namespaces by labels; ask the platform team to add networks to the profile.",
);
/// Rights.
pub const ROLE_RIGHTS: Rule = essential(
    "role-rights",
    "Roles give only rights of the platform's list, to service accounts of the own namespace.",
    "Ask for less; no verb `*`, no secrets, no exec.",
);

/// Every built-in rule.
pub const RULES: [&Rule; 19] = [
    &DOCUMENT_SHAPE,
    &KNOWN_KINDS,
    &GUARD_RAILS,
    &SECRET_VALUES,
    &SECRET_STORES,
    &OWN_NAMESPACE,
    &OWNERSHIP,
    &HOOKS,
    &GATEWAY_SNIPPETS,
    &HOST_ACCESS,
    &PRIVILEGES,
    &SERVICE_ACCOUNT_TOKENS,
    &IMAGES_PINNED,
    &IMAGE_REGISTRIES,
    &FORKS,
    &SERVICE_EXPOSURE,
    &RESERVED_HOSTS,
    &NETWORK_OPENINGS,
    &ROLE_RIGHTS,
];

/// A rule that the platform team wrote in Rego.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegoRule {
    /// Id.
    pub id: String,
    /// What holds.
    pub sentence: String,
    /// What to do about a violation.
    pub remedy: String,
    /// The module.
    pub source: String,
}

/// What the platform team decided for a tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Built-in rules that do not hold.
    pub disabled: BTreeSet<String>,
    /// Kinds allowed beyond the known ones, as `group/Kind`.
    pub kinds: BTreeSet<String>,
    /// Further rules.
    pub rego: Vec<RegoRule>,
}

impl Policy {
    /// Whether a rule holds.
    pub fn holds(&self, rule: &Rule) -> bool {
        rule.essential || !self.disabled.contains(rule.id)
    }

    /// Every fault of the policy itself, but those of Rego sources.
    pub fn check(&self, violations: &mut Violations) {
        for (at, id) in self.disabled.iter().enumerate() {
            let rule = RULES.iter().find(|rule| rule.id == id);
            let fits = rule.is_some_and(|rule| !rule.essential);
            let text = if rule.is_some() { "is essential and cannot be switched off" } else { "is no built-in rule" };
            violations.check(fits, format!("manifest_policy.disabled_rules[{at}]"), format!("{id}: {text}"));
        }
        for (at, kind) in self.kinds.iter().enumerate() {
            let (group, name) = kind.split_once('/').unwrap_or_default();
            let ours = CLUSTER.contains(&name) || super::GUARDS.contains(&name) || group.is_empty() || name == "Secret";
            let rule =
                "must be the group and kind of objects of a namespace, for example `cert-manager.io/Certificate`";
            violations.check(!ours, format!("manifest_policy.allowed_kinds[{at}]"), rule);
        }
        let mut seen = BTreeSet::new();
        for (at, rule) in self.rego.iter().enumerate() {
            let field = format!("manifest_policy.rego_rules[{at}].id");
            violations.check(seen.insert(&rule.id), &field, "stands twice");
            violations.check(!RULES.iter().any(|own| own.id == rule.id), &field, "is the id of a built-in rule");
        }
    }
}

/// The policy of a tier as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What was decided.
    pub policy: Policy,
    /// Grows with each change; 0 before the first.
    pub revision: i64,
    /// When it last changed, in microseconds; 0 before the first.
    pub updated_us: i64,
    /// Who changed it last.
    pub updater: String,
}

impl Kept {
    /// Version for guarded changes.
    pub fn etag(&self) -> String {
        self.revision.to_string()
    }
}
