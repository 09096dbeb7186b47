//! What answers at the hosts of an environment, read from its documents and from the cluster's EndpointSlices.
//!
//! Owns which host a route gets (ENV-104), which Service it names, and which addresses of it are ready. Refuses rules that match by
//! header, query or method of HTTP: the built-in proxy goes by host and path alone.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use slipway_kit::id;

use super::{
    access::Access,
    approval,
    environment::{Environment, Power},
    manifest::{self, Doc},
    names, state,
};

/// Longest label of a host.
const LABEL_MAX: usize = 63;
/// Group and version of EndpointSlices.
pub const SLICES: (&str, &str) = ("discovery.k8s.io/v1", "EndpointSlice");
/// Label with the name of the Service that a slice belongs to.
const SERVICE_LABEL: &str = "/metadata/labels/kubernetes.io~1service-name";

/// One host and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Host, lower case.
    pub host: String,
    /// Resource name of the environment.
    pub resource: String,
    /// Uid of the life.
    pub uid: String,
    /// What stands behind it.
    pub state: RouteState,
    /// Who may use it.
    pub access: Access,
    /// What answers, by path.
    pub upstreams: Vec<Upstream>,
}

/// What answers below one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The path.
    pub path: String,
    /// Whether only this very path is meant.
    pub is_exact: bool,
    /// Whether it speaks HTTP/2 without TLS only.
    pub is_h2c: bool,
    /// Ready addresses, `ip:port`, sorted.
    pub endpoints: Vec<String>,
}

/// What stands behind a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// It answers.
    Up,
    /// Nothing runs; a request wakes it.
    Asleep,
    /// It will answer before long.
    Waking,
    /// It does not answer, and waiting does not help.
    None,
}

/// A Service that a route names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Backend {
    service: String,
    port: Value,
    path: String,
    is_exact: bool,
    is_h2c: bool,
}

/// Whether a document is a route.
pub fn is_route(doc: &Doc) -> bool {
    manifest::is_route(manifest::kind(doc))
}

/// Whether a document matters to routes.
pub fn matters(doc: &Doc) -> bool {
    is_route(doc) || manifest::kind(doc) == "Service"
}

/// Gives each route of a generation its host: the first one, or the one named as the service, the environment's own; each further
/// one `<label>--<route>` (ENV-104).
pub fn assign_hosts(docs: &mut [Doc], host: &str, service: &str) {
    let names: Vec<String> = docs.iter().filter(|d| is_route(d)).map(|d| manifest::name(d).to_owned()).collect();
    let main = names.iter().position(|name| name == service).unwrap_or(0);
    for (at, doc) in docs.iter_mut().filter(|d| is_route(d)).enumerate() {
        let own = if at == main { host.to_owned() } else { further_host(host, &names[at]) };
        if manifest::kind(doc) != "Ingress" {
            doc["spec"]["hostnames"] = json!([own]);
        } else if at != main {
            for rule in doc.pointer_mut("/spec/rules").and_then(Value::as_array_mut).into_iter().flatten() {
                rule["host"] = json!(own);
            }
        }
    }
}

/// The host of a further route of an environment.
fn further_host(host: &str, route: &str) -> String {
    let (label, domain) = host.split_once('.').unwrap_or((host, ""));
    let plain = format!("{label}--{}", id::slug(route, LABEL_MAX));
    let own = if plain.len() <= LABEL_MAX {
        plain
    } else {
        let hash = id::h5(&plain);
        format!("{}--{hash}", label[..label.len().min(LABEL_MAX - 7)].trim_end_matches('-'))
    };
    if domain.is_empty() { own } else { format!("{own}.{domain}") }
}

/// The routes of an environment over its documents and the slices of its namespace.
pub fn routes(env: &Environment, docs: &[Doc], slices: &[Doc], default_host: &str) -> Vec<Route> {
    let mut hosts = backends(docs, default_host);
    if hosts.is_empty() {
        let own = default_backend(docs, names::short(&env.service));
        hosts.insert(default_host.to_owned(), own.into_iter().collect());
    }
    let access = env.spec.config.as_ref().map(|config| config.access.clone()).unwrap_or_default();
    let make = |(host, backends): (String, Vec<Backend>)| {
        let upstreams: Vec<Upstream> = backends.iter().map(|backend| upstream(backend, docs, slices)).collect();
        let is_ready = upstreams.iter().any(|u| !u.endpoints.is_empty());
        Route {
            host,
            resource: env.name(),
            uid: env.uid.clone(),
            state: route_state(env, is_ready),
            access: access.clone(),
            upstreams,
        }
    };
    hosts.into_iter().map(make).collect()
}

/// What stands behind the routes of an environment that has, or has not, ready addresses.
pub fn route_state(env: &Environment, is_ready: bool) -> RouteState {
    use state::State;
    // What nobody approved answers nobody, from the push on.
    if env.retire.is_some() || env.deleted_us.is_some() || approval::is_missing(env) {
        return RouteState::None;
    }
    if env.power == Power::Asleep {
        return RouteState::Asleep;
    }
    match env.state() {
        _ if is_ready => RouteState::Up,
        State::Failed | State::Degraded | State::AwaitingApproval | State::Published => RouteState::None,
        _ => RouteState::Waking,
    }
}

/// Services by host, each with its paths, longer paths first.
fn backends(docs: &[Doc], default_host: &str) -> BTreeMap<String, Vec<Backend>> {
    let mut hosts: BTreeMap<String, Vec<Backend>> = BTreeMap::new();
    for doc in docs.iter().filter(|d| is_route(d)) {
        match manifest::kind(doc) {
            "Ingress" => ingress(doc, default_host, &mut hosts),
            kind => {
                let own = items(doc, "/spec/hostnames").filter_map(Value::as_str).map(str::to_lowercase);
                let own: Vec<String> = own.collect();
                let found = items(doc, "/spec/rules").flat_map(|rule| of_rule(rule, kind == "GRPCRoute"));
                let found: Vec<Backend> = found.collect();
                for host in if own.is_empty() { vec![default_host.to_owned()] } else { own } {
                    hosts.entry(host).or_default().extend(found.iter().cloned());
                }
            }
        }
    }
    for backends in hosts.values_mut() {
        backends.sort_by_key(|b| (std::cmp::Reverse(b.path.len()), !b.is_exact));
        backends.dedup_by(|later, first| later.path == first.path && later.is_exact == first.is_exact);
    }
    hosts
}

/// Where no route is applied, because the cluster serves none: the Service named as the environment's, else the only one with a
/// port for HTTP.
fn default_backend(docs: &[Doc], service: &str) -> Option<Backend> {
    let port = |doc: &Doc| {
        let ports: Vec<&Value> = items(doc, "/spec/ports").collect();
        let is_http = |p: &&&Value| p["name"] == "http" || p["port"] == 80 || ports.len() == 1;
        ports.iter().find(is_http).map(|p| p["port"].clone())
    };
    let services = docs.iter().filter(|d| manifest::kind(d) == "Service");
    let open: Vec<(&str, Value)> = services.filter_map(|d| Some((manifest::name(d), port(d)?))).collect();
    let named = open.iter().find(|(name, _)| *name == service);
    let (name, port) = named.or(if open.len() == 1 { open.first() } else { None })?;
    let (service, port) = ((*name).to_owned(), port.clone());
    Some(Backend { service, port, path: "/".to_owned(), is_exact: false, is_h2c: false })
}

fn of_rule(rule: &Value, is_grpc: bool) -> Vec<Backend> {
    let Some(first) = items(rule, "/backendRefs").next() else { return Vec::new() };
    let service = manifest::text(first, "/name").to_owned();
    let matches: Vec<&Value> = items(rule, "/matches").collect();
    let paths: Vec<(String, bool)> = if matches.is_empty() {
        vec![("/".to_owned(), false)]
    } else {
        matches.into_iter().filter_map(|m| if is_grpc { grpc_path(m) } else { http_path(m) }).collect()
    };
    let of = |(path, is_exact)| Backend {
        service: service.clone(),
        port: first.get("port").cloned().unwrap_or_default(),
        path,
        is_exact,
        is_h2c: is_grpc,
    };
    paths.into_iter().map(of).collect()
}

fn http_path(found: &Value) -> Option<(String, bool)> {
    if ["headers", "queryParams", "method"].iter().any(|key| found.get(*key).is_some()) {
        return None;
    }
    let value = found.pointer("/path/value").and_then(Value::as_str).unwrap_or("/").to_owned();
    match found.pointer("/path/type").and_then(Value::as_str).unwrap_or("PathPrefix") {
        "PathPrefix" => Some((value, false)),
        "Exact" => Some((value, true)),
        _ => None,
    }
}

fn grpc_path(found: &Value) -> Option<(String, bool)> {
    if found.get("headers").is_some() {
        return None;
    }
    match (manifest::text(found, "/method/service"), manifest::text(found, "/method/method")) {
        ("", _) => Some(("/".to_owned(), false)),
        (service, "") => Some((format!("/{service}"), false)),
        (service, method) => Some((format!("/{service}/{method}"), true)),
    }
}

fn ingress(doc: &Doc, default_host: &str, hosts: &mut BTreeMap<String, Vec<Backend>>) {
    let backend = |at: &Value, path: &str, is_exact: bool| {
        let port = at.pointer("/service/port/number").or_else(|| at.pointer("/service/port/name"));
        let (service, port) = (manifest::text(at, "/service/name").to_owned(), port.cloned().unwrap_or_default());
        Backend { service, port, path: path.to_owned(), is_exact, is_h2c: false }
    };
    if let Some(at) = doc.pointer("/spec/defaultBackend") {
        hosts.entry(default_host.to_owned()).or_default().push(backend(at, "/", false));
    }
    for rule in items(doc, "/spec/rules") {
        let host = rule.get("host").and_then(Value::as_str).unwrap_or(default_host).to_lowercase();
        for path in items(rule, "/http/paths") {
            let Some(at) = path.get("backend") else { continue };
            let text = path.get("path").and_then(Value::as_str).unwrap_or("/");
            let is_exact = manifest::text(path, "/pathType") == "Exact";
            hosts.entry(host.clone()).or_default().push(backend(at, text, is_exact));
        }
    }
}

/// The ready addresses of a Service, neither those that are not ready nor those that are going.
fn upstream(backend: &Backend, docs: &[Doc], slices: &[Doc]) -> Upstream {
    let service = docs.iter().find(|d| manifest::kind(d) == "Service" && manifest::name(d) == backend.service);
    let ports = service.map(|s| items(s, "/spec/ports").collect::<Vec<_>>()).unwrap_or_default();
    let port = ports.iter().find(|p| match &backend.port {
        Value::Null => ports.len() == 1,
        Value::String(name) => p["name"] == name.as_str(),
        number => p["port"] == *number,
    });
    let mut endpoints = BTreeSet::new();
    if let Some(port) = port {
        let name = manifest::text(port, "/name");
        for slice in slices.iter().filter(|s| manifest::text(s, SERVICE_LABEL) == backend.service) {
            let here = items(slice, "/ports").find(|p| manifest::text(p, "/name") == name);
            let Some(number) = here.and_then(|p| p["port"].as_u64()) else { continue };
            endpoints.extend(ready(slice).map(|ip| address(ip, number)));
        }
    }
    let speaks_h2c = port.is_some_and(|p| matches!(manifest::text(p, "/appProtocol"), "kubernetes.io/h2c" | "grpc"));
    Upstream {
        path: backend.path.clone(),
        is_exact: backend.is_exact,
        is_h2c: backend.is_h2c || speaks_h2c,
        endpoints: endpoints.into_iter().collect(),
    }
}

fn ready(slice: &Doc) -> impl Iterator<Item = &str> {
    let is_ready = |e: &&Value| {
        let says = |what: &str| e.pointer(&format!("/conditions/{what}")).and_then(Value::as_bool);
        says("ready").unwrap_or(true) && !says("terminating").unwrap_or(false)
    };
    items(slice, "/endpoints").filter(is_ready).flat_map(|e| items(e, "/addresses")).filter_map(Value::as_str)
}

fn address(ip: &str, port: u64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
