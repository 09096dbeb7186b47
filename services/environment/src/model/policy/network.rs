//! Rules for what is reachable and what can be reached.
//!
//! Owns Services, routes, Ingress and NetworkPolicies. Refuses hosts that are not reserved for the environment and openings wider
//! than the platform's own.
use serde_json::Value;

use super::{Faults, Rules, is_empty, items};
use crate::model::{
    manifest::{self, Doc},
    tier::Tier,
};

pub(super) fn check(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    match manifest::kind(doc) {
        "Service" => service(doc, rules, faults),
        "HTTPRoute" | "GRPCRoute" => route(doc, rules, faults),
        "Ingress" => ingress(doc, rules, faults),
        "NetworkPolicy" => network_policy(doc, rules, faults),
        _ => {}
    }
}

fn service(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let kind = manifest::text(doc, "/spec/type");
    let outside = match kind {
        "LoadBalancer" | "NodePort" => rules.tier == Tier::Development,
        "ExternalName" => true,
        _ => false,
    };
    faults.check(!outside, "/spec/type", format!("{kind} is not allowed here; use ClusterIP and a route"));
    let ips = doc.pointer("/spec/externalIPs").is_none_or(is_empty);
    faults.check(ips, "/spec/externalIPs", "is not allowed");
}

fn host(path: &str, host: &str, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let rule = format!("HOST_NOT_RESERVED: {host:?} is not reserved for this environment; use {}", rules.host);
    faults.check(host == rules.host, path, rule);
}

fn route(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    for (at, name) in items(doc, "/spec/hostnames") {
        host(&format!("/spec/hostnames/{at}"), name.as_str().unwrap_or_default(), rules, faults);
    }
    for (rule, entry) in items(doc, "/spec/rules") {
        for (at, backend) in items(entry, "/backendRefs") {
            let namespace = backend.get("namespace").and_then(Value::as_str).unwrap_or(rules.namespace);
            let path = format!("/spec/rules/{rule}/backendRefs/{at}/namespace");
            faults.check(namespace == rules.namespace, path, "must be the own namespace");
        }
    }
}

fn ingress(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    faults.check(doc.pointer("/spec/defaultBackend").is_none(), "/spec/defaultBackend", "would take every host");
    for (at, rule) in items(doc, "/spec/rules") {
        host(
            &format!("/spec/rules/{at}/host"),
            rule.get("host").and_then(Value::as_str).unwrap_or_default(),
            rules,
            faults,
        );
    }
    for (tls, entry) in items(doc, "/spec/tls") {
        for (at, name) in items(entry, "/hosts") {
            host(&format!("/spec/tls/{tls}/hosts/{at}"), name.as_str().unwrap_or_default(), rules, faults);
        }
    }
}

/// Policies add up, so that one of the chart may open what ours close: it must name whom it lets in or reaches.
fn network_policy(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    faults.check(!rules.fork, "/kind", "a fork brings no network policies");
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in items(doc, &format!("/spec/{list}")) {
            let path = format!("/spec/{list}/{at}/{peers}");
            let all = rule.get(peers).is_none_or(is_empty);
            faults.check(!all, &path, "must name its peers; an empty list means everybody");
            for (peer, entry) in items(rule, &format!("/{peers}")) {
                let path = format!("{path}/{peer}");
                faults.check(
                    entry.get("ipBlock").is_none(),
                    format!("{path}/ipBlock"),
                    "addresses are opened by the profile only",
                );
                let any = entry.get("namespaceSelector").is_some_and(is_empty);
                faults.check(!any, format!("{path}/namespaceSelector"), "an empty selector means every namespace");
            }
        }
    }
}
