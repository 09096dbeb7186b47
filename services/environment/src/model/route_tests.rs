//! Tables of the routes: which host, which Service, which addresses.
use serde_json::json;

use super::*;
use crate::model::{
    config::Config,
    environment::{Target, fixture},
};

const HOST: &str = "pr-7-payments.preview.localhost";

fn service(name: &str, ports: Value) -> Doc {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}})
}

fn http_route(name: &str, rules: Value) -> Doc {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name}, "spec": {"rules": rules}})
}

fn slice(service: &str, ports: Value, endpoints: Value) -> Doc {
    json!({"kind": "EndpointSlice", "metadata": {"name": format!("{service}-x"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints})
}

fn awake() -> Environment {
    Environment { target: Target::Apply, ..fixture::preview() }
}

#[test]
fn only_ready_addresses_that_stay_are_named() {
    let mut docs = vec![
        service("payments", json!([{"name": "http", "port": 80}, {"name": "admin", "port": 9090}])),
        http_route("payments", json!([{"backendRefs": [{"name": "payments", "port": 80}]}])),
    ];
    assign_hosts(&mut docs, HOST, "payments");
    let ports = json!([{"name": "admin", "port": 9091}, {"name": "http", "port": 8080}]);
    let slices = [
        slice(
            "payments",
            ports.clone(),
            json!([
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.1"]},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.4"], "conditions": {"ready": true, "serving": true, "terminating": true}},
            ]),
        ),
        slice("payments", ports.clone(), json!([{"addresses": ["fd00::1"], "conditions": {"ready": true}}])),
        slice("other", ports, json!([{"addresses": ["10.9.9.9"]}])),
    ];
    let found = routes(&awake(), &docs, &slices, HOST);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].host.as_str(), found[0].state, &found[0].access), (HOST, RouteState::Up, &Access::Login));
    assert_eq!(found[0].upstreams[0].endpoints, ["10.0.0.1:8080", "10.0.0.2:8080", "[fd00::1]:8080"]);
}

#[test]
fn several_routes_get_hosts_of_their_own_and_paths_their_services() {
    let mut docs = vec![
        service("web", json!([{"port": 80}])),
        service("api", json!([{"name": "grpc", "port": 9000, "appProtocol": "kubernetes.io/h2c"}])),
        http_route("admin", json!([{"backendRefs": [{"name": "web", "port": 80}]}])),
        http_route(
            "payments",
            json!([
                {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [{"name": "web", "port": 80}]},
                {"matches": [{"path": {"type": "Exact", "value": "/api"}}, {"path": {"value": "/api/v2"}}, {"headers": []}],
                 "backendRefs": [{"name": "api", "port": 9000}]},
            ]),
        ),
    ];
    assign_hosts(&mut docs, HOST, "payments");
    let slices = [slice("web", json!([{"port": 3000}]), json!([{"addresses": ["10.0.0.1"]}]))];
    let found = routes(&awake(), &docs, &slices, HOST);
    let hosts: Vec<&str> = found.iter().map(|r| r.host.as_str()).collect();
    assert_eq!(hosts, ["pr-7-payments--admin.preview.localhost", HOST]);
    let paths: Vec<(&str, bool, bool)> =
        found[1].upstreams.iter().map(|u| (u.path.as_str(), u.is_exact, u.is_h2c)).collect();
    assert_eq!(paths, [("/api/v2", false, true), ("/api", true, true), ("/", false, false)]);
    assert_eq!(found[0].upstreams[0].endpoints, ["10.0.0.1:3000"]);
}

#[test]
fn hosts_fit_into_a_label() {
    let label = "x".repeat(60);
    let long = further_host(&format!("{label}.preview.localhost"), "a-route-with-a-long-name");
    let (first, domain) = long.split_once('.').unwrap_or_default();
    assert!(first.len() <= LABEL_MAX && first.contains("--") && domain == "preview.localhost", "{long}");
    assert_ne!(long, further_host(&format!("{label}.preview.localhost"), "another-route-with-a-long-name"));
}

#[test]
fn an_ingress_is_a_route_too() {
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"rules": [
        {"host": HOST, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"name": "http"}}}}]}}]}});
    let docs = [service("web", json!([{"name": "http", "port": 80}])), ingress];
    let slices = [slice("web", json!([{"name": "http", "port": 3000}]), json!([{"addresses": ["10.0.0.1"]}]))];
    let found = routes(&awake(), &docs, &slices, HOST);
    assert_eq!((found.len(), found[0].upstreams[0].endpoints.clone()), (1, vec!["10.0.0.1:3000".to_owned()]));
}

#[test]
fn the_state_follows_the_environment() {
    let mut env = awake();
    assert_eq!(route_state(&env, false), RouteState::Waking);
    assert_eq!(route_state(&env, true), RouteState::Up);
    env.fail(crate::model::condition::Aspect::Rendered, "X", "", 1, 1);
    assert_eq!((route_state(&env, false), route_state(&env, true)), (RouteState::None, RouteState::Up));
    env.power = Power::Asleep;
    assert_eq!(route_state(&env, true), RouteState::Asleep);
    env.end(crate::model::environment::RetireReason::Closed, "", 1, 1);
    assert_eq!(route_state(&env, true), RouteState::None);
    let config = Config { access: Access::Public, ..Config::default() };
    env.spec.config = Ok(config);
    let found = routes(&env, &[], &[], HOST);
    assert_eq!((found.len(), &found[0].access, found[0].upstreams.len()), (1, &Access::Public, 0));
}

#[test]
fn a_cluster_that_serves_no_routes_is_reached_all_the_same() {
    let slices = [slice("payments", json!([{"name": "http", "port": 8080}]), json!([{"addresses": ["10.0.0.1"]}]))];
    let mut docs = vec![service("payments", json!([{"name": "http", "port": 80}, {"name": "admin", "port": 9090}]))];
    let found = routes(&awake(), &docs, &slices, HOST);
    assert_eq!((found[0].host.as_str(), found[0].upstreams[0].endpoints[0].as_str()), (HOST, "10.0.0.1:8080"));
    docs.push(service("cache", json!([{"port": 6379}])));
    assert_eq!(routes(&awake(), &docs, &slices, HOST), found, "the one named as the service");
    docs[0]["metadata"]["name"] = json!("web");
    assert_eq!(routes(&awake(), &docs, &slices, HOST)[0].upstreams, [], "nothing is guessed");
}
