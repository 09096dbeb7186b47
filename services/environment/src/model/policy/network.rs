//! Rules for what is reachable and what can be reached.
//!
//! Owns Services, routes, Ingress and NetworkPolicies. Refuses hosts that are not reserved for the environment and openings wider
//! than the platform's own.
use serde_json::Value;

use super::{
    Faults, Rules,
    catalog::{FORKS, NETWORK_OPENINGS, OWN_NAMESPACE, RESERVED_HOSTS, SERVICE_EXPOSURE},
    is_empty, items,
};
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
        "ServiceMonitor" | "PodMonitor" => monitor(doc, rules, faults),
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
    faults.check(
        &SERVICE_EXPOSURE,
        !outside,
        "/spec/type",
        format!("{kind} is not allowed here; use ClusterIP and a route"),
    );
    let ips = doc.pointer("/spec/externalIPs").is_none_or(is_empty);
    faults.check(&SERVICE_EXPOSURE, ips, "/spec/externalIPs", "is not allowed");
}

fn host(path: &str, host: &str, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let rule = format!("HOST_NOT_RESERVED: {host:?} is not reserved for this environment; use {}", rules.host);
    faults.check(&RESERVED_HOSTS, host == rules.host, path, rule);
}

fn route(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let named = doc.pointer("/spec/hostnames").is_some_and(|names| !is_empty(names));
    let rule = format!("must name {}; a route without a host name takes every host of the gateway", rules.host);
    faults.check(&RESERVED_HOSTS, named, "/spec/hostnames", rule);
    for (at, name) in items(doc, "/spec/hostnames") {
        host(&format!("/spec/hostnames/{at}"), name.as_str().unwrap_or_default(), rules, faults);
    }
    if let Some(rules_of_route) = doc.pointer("/spec/rules") {
        own_namespace(rules_of_route, "/spec/rules", rules, faults);
    }
}

/// No backend, mirror or filter may lead into another namespace, wherever it stands.
fn own_namespace(value: &Value, path: &str, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{path}/{key}");
                let foreign = key == "namespace" && value.as_str().is_some_and(|name| name != rules.namespace);
                faults.check(&OWN_NAMESPACE, !foreign, &path, "must be the own namespace");
                own_namespace(value, &path, rules, faults);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                own_namespace(value, &format!("{path}/{at}"), rules, faults);
            }
        }
        _ => {}
    }
}

/// Metrics are read in the own namespace alone.
fn monitor(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let any = doc.pointer("/spec/namespaceSelector/any") == Some(&Value::Bool(true));
    faults.check(&OWN_NAMESPACE, !any, "/spec/namespaceSelector/any", "must be the own namespace");
    for (at, name) in items(doc, "/spec/namespaceSelector/matchNames") {
        let path = format!("/spec/namespaceSelector/matchNames/{at}");
        faults.check(&OWN_NAMESPACE, name.as_str() == Some(rules.namespace), path, "must be the own namespace");
    }
}

fn ingress(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    faults.check(
        &RESERVED_HOSTS,
        doc.pointer("/spec/defaultBackend").is_none(),
        "/spec/defaultBackend",
        "would take every host",
    );
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
    faults.check(&FORKS, !rules.fork, "/kind", "a fork brings no network policies");
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in items(doc, &format!("/spec/{list}")) {
            let path = format!("/spec/{list}/{at}/{peers}");
            let all = rule.get(peers).is_none_or(is_empty);
            faults.check(&NETWORK_OPENINGS, !all, &path, "must name its peers; an empty list means everybody");
            for (peer, entry) in items(rule, &format!("/{peers}")) {
                let path = format!("{path}/{peer}");
                faults.check(
                    &NETWORK_OPENINGS,
                    entry.get("ipBlock").is_none(),
                    format!("{path}/ipBlock"),
                    "addresses are opened by the profile only",
                );
                let open = entry.get("namespaceSelector").is_some_and(|selector| !names_some(selector));
                let rule = "must name namespaces by matchLabels or the operator In; anything else means nearly every namespace";
                faults.check(&NETWORK_OPENINGS, !open, format!("{path}/namespaceSelector"), rule);
            }
        }
    }
}

/// Whether a selector names what it means: without a label or an `In`, it takes all but a few.
fn names_some(selector: &Value) -> bool {
    let labels = selector.get("matchLabels").is_some_and(|labels| !is_empty(labels));
    labels || items(selector, "/matchExpressions").any(|(_, e)| e.get("operator").and_then(Value::as_str) == Some("In"))
}
