//! Readings of a look, one by one.
use serde_json::json;

use super::*;
use crate::model::{environment::fixture, guardrails};

fn named(kind: &str, name: &str, mut rest: Doc) -> Doc {
    rest["kind"] = json!(kind);
    rest["metadata"]["name"] = json!(name);
    rest
}

#[test]
fn a_namespace_is_ours_by_its_label_only() {
    let ours = |deletion: Value| json!({"metadata": {"uid": "u", "labels": {"slipway.dev/env-uid": "e"}, "deletionTimestamp": deletion}});
    let uid = || "u".to_owned();
    assert_eq!(space(None, "e"), Space::Absent);
    assert_eq!(space(Some(&ours(Value::Null)), "e"), Space::Ours { uid: uid() });
    assert_eq!(space(Some(&ours(json!("2026-01-01T00:00:00Z"))), "e"), Space::Terminating { uid: uid() });
    assert_eq!(space(Some(&ours(Value::Null)), "other"), Space::Foreign);
    assert_eq!(space(Some(&json!({"metadata": {"uid": "u"}})), "e"), Space::Foreign);
}

#[test]
fn a_guard_rail_that_says_less_is_broken_and_one_that_says_more_stands() {
    let env = fixture::preview();
    let rails = guardrails::documents(&env, &guardrails::Profile::of(env.tier), "gateway");
    let mut live = rails.clone();
    assert_eq!(broken(&rails, &live), [] as [&str; 0]);
    // What servers add, and other words for the same quantity.
    live[3]["status"] = json!({"hard": {}});
    live[3]["spec"]["hard"]["requests.cpu"] = json!("2000m");
    live[0]["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!("x");
    live[4]["metadata"]["uid"] = json!("u");
    assert_eq!(broken(&rails, &live), [] as [&str; 0]);
    live[3]["spec"]["hard"]["pods"] = json!("2000");
    live[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("privileged");
    live.remove(4);
    assert_eq!(
        broken(&rails, &live),
        [
            format!("Namespace/{}", env.namespace),
            "ResourceQuota/slipway-quota".to_owned(),
            "NetworkPolicy/slipway-deny-all".to_owned()
        ]
    );
}

#[test]
fn a_quota_counts_once_the_cluster_says_so() {
    let quota =
        |status: Value| vec![named("ResourceQuota", "q", json!({"spec": {"hard": {"pods": "1"}}, "status": status}))];
    assert!(!is_quota_counted(&quota(Value::Null)));
    assert!(!is_quota_counted(&quota(json!({"hard": {}}))));
    assert!(is_quota_counted(&quota(json!({"hard": {"pods": "1"}, "used": {"pods": "0"}}))));
}

#[test]
fn a_route_is_accepted_by_every_gateway_at_its_version() {
    let held = |kind: &str| Held {
        object: ObjectRef { kind: kind.to_owned(), name: "r".to_owned(), ..ObjectRef::default() },
        uid: "u".to_owned(),
        created_us: 1,
    };
    let condition = |kind: &str, status: &str, seen: i64| json!({"type": kind, "status": status, "observedGeneration": seen, "message": "no such backend"});
    let route = |parents: Value| {
        vec![named("HTTPRoute", "r", json!({"metadata": {"generation": 2}, "status": {"parents": parents}}))]
    };
    let wanted = [held("HTTPRoute")];
    let ok = json!({"conditions": [condition("Accepted", "True", 2), condition("ResolvedRefs", "True", 2)]});
    let old = json!({"conditions": [condition("Accepted", "True", 2), condition("ResolvedRefs", "True", 1)]});
    let bad = json!({"conditions": [condition("Accepted", "True", 2), condition("ResolvedRefs", "False", 2)]});
    assert_eq!(routing(&[held("Service")], &[]), Routing::Proxy);
    assert_eq!(routing(&wanted, &route(json!([ok]))), Routing::Accepted);
    let waits = |live: &[Doc], word: &str| {
        let told = routing(&wanted, live);
        assert!(matches!(&told, Routing::Waiting(text) if text.contains(word)), "{told:?}");
    };
    waits(&[], "not there");
    waits(&route(json!([])), "no Gateway");
    waits(&route(json!([ok, old])), "not yet said ResolvedRefs");
    waits(&route(json!([bad])), "no such backend");
    let ingress = |status: Value| vec![named("Ingress", "r", json!({"status": status}))];
    let wanted = [held("Ingress")];
    assert!(matches!(routing(&wanted, &ingress(json!({}))), Routing::Waiting(_)));
    let address = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    assert_eq!(routing(&wanted, &ingress(address)), Routing::Accepted);
}

#[test]
fn what_is_left_names_who_holds_it() {
    let namespace = json!({"metadata": {"uid": "u", "deletionTimestamp": "x", "labels": {"slipway.dev/env-uid": "e"}},
        "status": {"conditions": [
            {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "some are left"},
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "fine"}]}});
    let held = named("ConfigMap", "c", json!({"metadata": {"finalizers": ["acme.io/hold"]}}));
    let remains = remains(Some(&namespace), "e", &[held, named("ConfigMap", "b", json!({}))]);
    assert_eq!(remains.space, Space::Terminating { uid: "u".to_owned() });
    assert_eq!(remains.told, ["NamespaceFinalizersRemaining: some are left"]);
    let titles: Vec<_> = remains.left.iter().map(Left::title).collect();
    assert_eq!(titles, ["ConfigMap/b", "ConfigMap/c held by acme.io/hold"]);
}

#[test]
fn an_address_is_reached_when_our_own_life_answers_as_wanted() {
    let any = Probe::default();
    let only = Probe { path: "/ready".to_owned(), code: Some(204) };
    assert_eq!(reach(&any, "u", Ok((404, "u"))), Reach::Answers("/ answered 404.".to_owned()));
    for (probe, answer) in [
        (&any, Ok((500, "u"))),
        (&any, Ok((200, "other"))),
        (&any, Ok((200, ""))),
        (&only, Ok((200, "u"))),
        (&only, Err("nothing")),
    ] {
        assert!(matches!(reach(probe, "u", answer), Reach::Silent(_)), "{probe:?} {answer:?}");
    }
    assert!(matches!(reach(&only, "u", Ok((204, "u"))), Reach::Answers(_)));
}
