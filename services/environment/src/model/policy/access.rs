//! Rules for rights inside the namespace.
//!
//! Owns Role and RoleBinding. Refuses rights beyond the platform's list, and bindings to anything outside the documents.
use serde_json::Value;

use super::{Faults, Rules, catalog::ROLE_RIGHTS, items};
use crate::model::manifest::{self, Doc};

const VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const GROUPS: &[&str] = &["", "apps", "batch", "coordination.k8s.io", "discovery.k8s.io"];
/// Resources that give more than they seem to.
const REFUSED: &[&str] = &[
    "*",
    "limitranges",
    "pods/attach",
    "pods/ephemeralcontainers",
    "pods/exec",
    "pods/portforward",
    "pods/proxy",
    "resourcequotas",
    "secrets",
    "serviceaccounts",
    "serviceaccounts/token",
    "services/proxy",
];

pub(super) fn check(doc: &Doc, docs: &[Doc], rules: &Rules<'_>, faults: &mut Faults<'_>) {
    match manifest::kind(doc) {
        "Role" => role(doc, faults),
        "RoleBinding" => binding(doc, docs, rules, faults),
        _ => {}
    }
}

fn role(doc: &Doc, faults: &mut Faults<'_>) {
    for (at, rule) in items(doc, "/rules") {
        let path = format!("/rules/{at}");
        faults.check(
            &ROLE_RIGHTS,
            rule.get("nonResourceURLs").is_none(),
            format!("{path}/nonResourceURLs"),
            "is not allowed",
        );
        for (index, verb) in items(rule, "/verbs") {
            let verb = verb.as_str().unwrap_or_default();
            faults.check(
                &ROLE_RIGHTS,
                VERBS.contains(&verb),
                format!("{path}/verbs/{index}"),
                format!("{verb:?} is not one of {}", VERBS.join(", ")),
            );
        }
        for (index, group) in items(rule, "/apiGroups") {
            let group = group.as_str().unwrap_or("*");
            faults.check(
                &ROLE_RIGHTS,
                GROUPS.contains(&group),
                format!("{path}/apiGroups/{index}"),
                format!("{group:?} is not allowed"),
            );
        }
        for (index, resource) in items(rule, "/resources") {
            let resource = resource.as_str().unwrap_or("*");
            let refused = REFUSED.contains(&resource) || resource.contains('*');
            faults.check(
                &ROLE_RIGHTS,
                !refused,
                format!("{path}/resources/{index}"),
                format!("{resource:?} is not allowed"),
            );
        }
    }
}

fn binding(doc: &Doc, docs: &[Doc], rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let (kind, name) = (manifest::text(doc, "/roleRef/kind"), manifest::text(doc, "/roleRef/name"));
    let own = kind == "Role" && docs.iter().any(|d| manifest::kind(d) == "Role" && manifest::name(d) == name);
    faults.check(&ROLE_RIGHTS, own, "/roleRef", format!("{kind}/{name} is no Role of the same chart"));
    for (at, subject) in items(doc, "/subjects") {
        let text = |field: &str| subject.get(field).and_then(Value::as_str).unwrap_or_default();
        let own = text("namespace").is_empty() || text("namespace") == rules.namespace;
        let fits = text("kind") == "ServiceAccount" && own;
        faults.check(&ROLE_RIGHTS, fits, format!("/subjects/{at}"), "must be a ServiceAccount of the own namespace");
    }
}
