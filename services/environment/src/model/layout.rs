//! Where manifests stand in a GitOps repository and what their commits say (ENV-150, ENV-151).
//!
//! Owns folder, file names, their order and the trailers. Refuses to write a document whose name could leave the folder: the
//! policy has seen it before.
use sha2::{Digest as _, Sha256};
use slipway_kit::id;

use super::{
    environment::Environment,
    guardrails::{self, Profile},
    manifest::{self, Doc},
    names,
};

/// Trailer with the uid of the life a commit belongs to.
pub const TRAILER_UID: &str = "Slipway-Environment-Uid";
/// Trailer with the generation a commit holds.
pub const TRAILER_GENERATION: &str = "Slipway-Generation";
/// Trailer with what the commit does.
pub const TRAILER_ACTION: &str = "Slipway-Action";
/// Value of [`TRAILER_ACTION`] when manifests are written.
pub const PUBLISH: &str = "publish";
/// Value of [`TRAILER_ACTION`] when they are removed.
pub const REMOVE: &str = "remove";

/// Folder of an environment's manifests.
pub fn folder(env: &Environment) -> String {
    format!("environments/{}/{}/{}", env.tier.word(), id::slug(names::short(&env.service), 63), env.label_id)
}

/// The complete documents of a generation: guard rails first, the chart's own with labels, namespace and the reserved host.
pub fn complete(env: &Environment, profile: &Profile, address: &Address<'_>, rendered: Vec<Doc>) -> Vec<Doc> {
    let (gateway, host) = (address.gateway, address.host);
    let mut docs = guardrails::documents(env, profile, &gateway.namespace);
    let mut own = rendered;
    own.retain(|doc| !is_route(doc) || address.routes.serves(manifest::kind(doc)));
    if !own.iter().any(is_route) {
        own.extend(route(&own, address));
    }
    super::route::assign_hosts(&mut own, host, names::short(&env.service));
    for doc in &mut own {
        manifest::stamp(doc, "labels", guardrails::labels(env));
        doc["metadata"]["namespace"] = serde_json::json!(env.namespace);
    }
    docs.extend(own);
    docs
}

/// Routes of a chart that are not applied because the built-in proxy answers, each with its host: the proxy goes by their paths.
pub fn unserved(env: &Environment, address: &Address<'_>, rendered: &[Doc]) -> Vec<Doc> {
    if address.routes != Routes::Proxy {
        return Vec::new();
    }
    let mut own: Vec<Doc> = rendered.iter().filter(|doc| is_route(doc)).cloned().collect();
    super::route::assign_hosts(&mut own, address.host, names::short(&env.service));
    own
}

/// How requests reach the workloads of a cluster (ENV-101).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routes {
    /// By routes of the Gateway API.
    Gateway,
    /// By an Ingress, where there is no Gateway API.
    Ingress,
    /// By the built-in preview proxy only; no object says so.
    #[default]
    Proxy,
}

impl Routes {
    /// What a cluster with these kinds (`group/version/Kind`) can do by itself.
    pub fn of(apis: &[String]) -> Self {
        let serves =
            apis.iter().any(|api| api.starts_with("gateway.networking.k8s.io/") && api.ends_with("/HTTPRoute"));
        if serves { Routes::Gateway } else { Routes::Proxy }
    }

    /// Whether a chart's own route of this kind means anything here.
    fn serves(self, kind: &str) -> bool {
        match self {
            Routes::Gateway => true,
            Routes::Ingress => kind == "Ingress",
            Routes::Proxy => false,
        }
    }
}

/// Under which address an environment is reached, and how.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The reserved host.
    pub host: &'a str,
    /// The Gateway.
    pub gateway: &'a Gateway,
    /// What brings requests.
    pub routes: Routes,
}

/// The gateway that previews are reached through.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// Name of the Gateway.
    pub name: String,
    /// Namespace of the Gateway.
    pub namespace: String,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { name: "public".to_owned(), namespace: "gateway".to_owned() }
    }
}

fn is_route(doc: &Doc) -> bool {
    manifest::is_route(manifest::kind(doc))
}

/// A route to the only Service with a port for HTTP; none if that is not clear.
fn route(docs: &[Doc], address: &Address<'_>) -> Option<Doc> {
    let port = |doc: &Doc| {
        let ports = doc.pointer("/spec/ports")?.as_array()?;
        let http = |p: &&serde_json::Value| p["name"] == "http" || p["port"] == 80 || ports.len() == 1;
        ports.iter().find(http)?["port"].as_i64()
    };
    let services = docs.iter().filter(|d| manifest::kind(d) == "Service");
    let mut open = services.filter_map(|d| port(d).map(|p| (manifest::name(d), p)));
    let (name, port) = open.next()?;
    if open.next().is_some() {
        return None;
    }
    let (host, gateway) = (address.host, address.gateway);
    if address.routes == Routes::Proxy {
        return None;
    }
    if address.routes == Routes::Ingress {
        let backend = serde_json::json!({ "service": { "name": name, "port": { "number": port } } });
        return Some(serde_json::json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "name": "slipway-route" },
            "spec": { "rules": [{ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } }] },
        }));
    }
    Some(serde_json::json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "slipway-route" },
        "spec": {
            "parentRefs": [{ "name": gateway.name, "namespace": gateway.namespace }],
            "hostnames": [host],
            "rules": [{ "backendRefs": [{ "name": name, "port": port }] }],
        },
    }))
}

/// File names below the folder and their contents, in the order of application.
pub fn files(docs: &[Doc]) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = docs
        .iter()
        .map(|doc| {
            let (kind, name) = (manifest::kind(doc).to_lowercase(), manifest::name(doc));
            (format!("{:02}-{kind}-{name}.yaml", rank(&kind)), manifest::emit(doc))
        })
        .collect();
    files.sort();
    files
}

/// Where a kind, in lower case, stands in the order of application.
pub fn rank(kind: &str) -> u8 {
    match kind {
        "namespace" => 0,
        "serviceaccount" => 10,
        "role" | "rolebinding" => 15,
        "limitrange" => 20,
        "resourcequota" => 25,
        "networkpolicy" => 30,
        "configmap" | "persistentvolumeclaim" => 40,
        "httproute" | "grpcroute" | "ingress" => 70,
        "service" => 50,
        _ => 60,
    }
}

/// SHA-256 over names and contents, hex.
pub fn digest(files: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    for (name, text) in files {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

/// Message of the commit that publishes a generation.
pub fn publish_message(env: &Environment) -> String {
    let subject = format!("Publish {} generation {}", env.label_id, env.generation);
    let sha = &env.spec.source.head_sha;
    let body = if sha.is_empty() { String::new() } else { format!("{} at {sha}\n\n", env.spec.source.repository) };
    format!("{subject}\n\n{body}{}", trailers(env, PUBLISH))
}

/// Message of the commit that removes the manifests.
pub fn remove_message(env: &Environment) -> String {
    let reason = env.retire.as_ref().map_or("", |r| r.reason.word());
    format!("Remove {}\n\nThe environment ended: {reason}\n\n{}", env.label_id, trailers(env, REMOVE))
}

fn trailers(env: &Environment, action: &str) -> String {
    format!("{TRAILER_UID}: {}\n{TRAILER_GENERATION}: {}\n{TRAILER_ACTION}: {action}\n", env.uid, env.generation)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::environment::fixture;

    fn address(gateway: &Gateway, routes: Routes) -> Address<'_> {
        Address { host: "pr-7-payments.preview.localhost", gateway, routes }
    }

    fn rendered() -> Vec<Doc> {
        vec![
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "payments"}, "spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 9090}]}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "payments", "labels": {"a": "b"}}}),
        ]
    }

    #[test]
    fn guard_rails_stand_before_workloads_and_routes_last() {
        let env = fixture::preview();
        let docs = complete(&env, &Profile::of(env.tier), &address(&Gateway::default(), Routes::Gateway), rendered());
        let names: Vec<String> = files(&docs).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.first().map(String::as_str), Some("00-namespace-payments-pr-7-h4vyy.yaml"));
        assert_eq!(
            names[names.len() - 3..],
            ["50-service-payments.yaml", "60-deployment-payments.yaml", "70-httproute-slipway-route.yaml"]
        );
        for doc in docs.iter().skip(1) {
            assert_eq!(doc["metadata"]["namespace"], json!(env.namespace));
            assert_eq!(doc["metadata"]["labels"]["slipway.dev/team"], "shop");
        }
        assert_eq!(
            docs.iter().find(|d| is_route(d)).map(|d| d["spec"]["hostnames"].clone()),
            Some(json!(["pr-7-payments.preview.localhost"]))
        );
        assert_eq!(folder(&env), "environments/development/payments/pr-7-payments");
    }

    #[test]
    fn two_services_get_no_guessed_route() {
        let mut docs = rendered();
        let mut other = docs[0].clone();
        other["metadata"]["name"] = json!("other");
        docs.push(other);
        assert_eq!(route(&docs, &address(&Gateway::default(), Routes::Gateway)), None);
    }

    #[test]
    fn what_brings_requests_follows_the_cluster() {
        let (env, gateway) = (fixture::preview(), Gateway::default());
        let routes = |routes, mut docs: Vec<Doc>| {
            docs.extend(rendered());
            let docs = complete(&env, &Profile::of(env.tier), &address(&gateway, routes), docs);
            docs.iter().filter(|d| is_route(d)).map(manifest::title).collect::<Vec<_>>()
        };
        let own = || vec![json!({"kind": "HTTPRoute", "metadata": {"name": "own"}, "spec": {}})];
        assert_eq!(routes(Routes::Gateway, own()), ["HTTPRoute/own"]);
        assert_eq!(routes(Routes::Ingress, own()), ["Ingress/slipway-route"]);
        assert_eq!(routes(Routes::Proxy, own()), [] as [&str; 0]);
        assert_eq!(Routes::of(&["gateway.networking.k8s.io/v1/HTTPRoute".to_owned()]), Routes::Gateway);
        assert_eq!(Routes::of(&["v1/Pod".to_owned()]), Routes::Proxy);
    }

    #[test]
    fn routes_that_only_the_proxy_reads_keep_their_paths() {
        let (env, gateway) = (fixture::preview(), Gateway::default());
        let route = |name: &str| json!({"kind": "HTTPRoute", "metadata": {"name": name}, "spec": {"hostnames": ["x"]}});
        let rendered =
            [route("admin"), route("payments"), json!({"kind": "Service", "metadata": {"name": "payments"}})];
        let hosts = |routes| -> Vec<String> {
            let docs = unserved(&env, &address(&gateway, routes), &rendered);
            docs.iter().map(|d| manifest::text(d, "/spec/hostnames/0").to_owned()).collect()
        };
        assert_eq!(hosts(Routes::Proxy), ["pr-7-payments--admin.preview.localhost", "pr-7-payments.preview.localhost"]);
        assert!(hosts(Routes::Gateway).is_empty() && hosts(Routes::Ingress).is_empty());
    }

    #[test]
    fn a_message_can_be_read_back() {
        let env = fixture::preview();
        let found = slipway_kit::git::trailers(&publish_message(&env));
        let want = [(TRAILER_UID, env.uid.as_str()), (TRAILER_GENERATION, "1"), (TRAILER_ACTION, PUBLISH)];
        assert_eq!(found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), want);
        assert_eq!(slipway_kit::git::trailers(&remove_message(&env)).len(), 3);
    }
}
