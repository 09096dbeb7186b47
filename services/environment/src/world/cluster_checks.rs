//! What a cluster must be able to do, tried out (ENV-183).
//!
//! Owns the calls and the sentences with their remedies. Refuses to guess: what cannot be tried is UNKNOWN; and to leave anything in the
//! cluster: what it makes is labelled, and what a check that was killed left is removed by the next.
pub mod addresses;
mod enforcement;

use std::time::Duration;

use serde_json::json;
use slipway_kit::{error::Result, id};

use super::cluster::{Answer, Apply, Cluster, ObjectRef, Refusal};
use crate::model::{
    cluster::{Check, CheckVerdict, RULES},
    layout::{Gateway, Routes},
    manifest,
};

/// Oldest minor version of Kubernetes 1 that is supported.
const MINOR_MIN: u32 = 31;
/// How often a new namespace is asked until its service account is there, and how far apart.
const ASKED_MAX: usize = 20;
const ASKED_EVERY: Duration = Duration::from_millis(250);

/// Label of what a check makes, and how its namespaces begin.
const LABEL: &str = "slipway-check";
const PREFIX: &str = "slipway-check-";
/// How old a namespace of a check is before it is one that was left behind, in seconds.
const LEFT_AFTER: i64 = 300;

/// How long the self-test of network policies waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until the pods run and every path works.
    pub start: Duration,
    /// Until policies take effect.
    pub cut: Duration,
    /// Between two looks.
    pub every: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { start: Duration::from_secs(30), cut: Duration::from_secs(15), every: Duration::from_millis(500) }
    }
}

/// What the checks are told.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Domain of the addresses.
    pub domain: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Port of the addresses, if it is not the scheme's own.
    pub port: Option<u16>,
    /// The Gateway that routes are attached to.
    pub gateway: Gateway,
    /// What answers at the addresses.
    pub routing: Routes,
    /// Image with `/bin/busybox`; empty for none.
    pub check_image: String,
    /// How long the self-test waits.
    pub patience: Patience,
    /// Docker configurations of the profiles and the cluster, with their registries or why they cannot be used.
    pub pull_secrets: Vec<(String, std::result::Result<Vec<String>, String>)>,
}

/// Runs every check; the version that was seen, and what each said.
pub async fn run(cluster: &dyn Cluster, scope: &Scope) -> (String, Vec<Check>) {
    let version = match cluster.version().await {
        Ok(version) => version,
        Err(error) => {
            let remedy = "Check the address, the certificate and the token of the kubeconfig, and the network between.";
            let check = Check::other("REACHABLE", CheckVerdict::Failed, error.message(), remedy);
            return (String::new(), vec![check]);
        }
    };
    if let Err(error) = sweep(cluster).await {
        tracing::warn!(?error, "what an earlier check left behind cannot be removed");
    }
    let port = scope.port.unwrap_or(if scope.scheme == "https" { 443 } else { 80 });
    let (permitted, secured, enforced, routed, named) = tokio::join!(
        permissions(cluster),
        pod_security(cluster),
        enforcement::run(cluster, &scope.check_image, &scope.gateway.namespace, scope.patience),
        routes(cluster, scope, &version.apis),
        async {
            let (names, at) = addresses::names(&scope.domain, port).await;
            [names, addresses::certificate(&scope.domain, &scope.scheme, at).await]
        },
    );
    let mut checks = vec![
        Check::passed("REACHABLE", format!("Kubernetes {}", version.git_version)),
        api_version(&version.git_version),
        or_unknown("RBAC", permitted),
        or_unknown("POD_SECURITY", secured),
        enforced,
        or_unknown("ROUTES", routed),
    ];
    checks.extend(named);
    checks.push(pull_secrets(&scope.pull_secrets));
    (version.git_version, checks)
}

/// Removes the namespaces of checks that did not live to remove them.
async fn sweep(cluster: &dyn Cluster) -> Result<()> {
    let now = jiff::Timestamp::now().as_second();
    for space in cluster.list("v1", "Namespace", "", &[("app.kubernetes.io/managed-by", LABEL)]).await? {
        let made: Option<jiff::Timestamp> = manifest::text(&space, "/metadata/creationTimestamp").parse().ok();
        let is_left = made.is_some_and(|made| now - made.as_second() > LEFT_AFTER);
        if is_left && manifest::name(&space).starts_with(PREFIX) {
            enforcement::remove(cluster, manifest::name(&space)).await?;
        }
    }
    Ok(())
}

fn pull_secrets(files: &[(String, std::result::Result<Vec<String>, String>)]) -> Check {
    if files.is_empty() {
        return Check::passed("PULL_SECRETS", "none is named: images come from registries that need no login");
    }
    let broken: Vec<String> =
        files.iter().filter_map(|(file, read)| read.as_ref().err().map(|why| format!("{file}: {why}"))).collect();
    if !broken.is_empty() {
        let remedy = "Put a Docker configuration with `auths` into the directory of credentials under that name.";
        return Check::other("PULL_SECRETS", CheckVerdict::Failed, broken.join("; "), remedy);
    }
    let registries: Vec<String> = files.iter().filter_map(|(_, read)| read.as_ref().ok()).flatten().cloned().collect();
    Check::passed("PULL_SECRETS", format!("logins for {}", registries.join(", ")))
}

fn or_unknown(check: &str, said: Result<Check>) -> Check {
    said.unwrap_or_else(|error| {
        let remedy = "Run the checks again when the cluster answers.";
        Check::other(check, CheckVerdict::Unknown, error.message(), remedy)
    })
}

fn api_version(git_version: &str) -> Check {
    let minor = git_version.split('.').nth(1).and_then(|minor| minor.trim_end_matches('+').parse::<u32>().ok());
    match minor {
        Some(minor) if minor >= MINOR_MIN => Check::passed("API_VERSION", format!("1.{minor} is supported")),
        _ => {
            let text = format!("{git_version} is older than 1.{MINOR_MIN}");
            Check::other(
                "API_VERSION",
                CheckVerdict::Failed,
                text,
                format!("Upgrade to Kubernetes 1.{MINOR_MIN} or newer."),
            )
        }
    }
}

/// Every permission that is used, asked of the cluster's own authorizer.
async fn permissions(cluster: &dyn Cluster) -> Result<Check> {
    let wanted: Vec<(&'static str, &'static str, &'static str)> = RULES
        .iter()
        .flat_map(|(group, resources, verbs)| {
            resources.iter().flat_map(move |r| verbs.iter().map(move |v| (*v, *group, *r)))
        })
        .collect();
    let mut answers: Vec<Result<(bool, String)>> = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(8) {
        let asked = some.iter().map(|&(verb, group, resource)| ask(cluster, verb, group, resource));
        answers.extend(futures::future::join_all(asked).await);
    }
    let mut missing = Vec::new();
    for answer in answers {
        let (may, what) = answer?;
        if !may {
            missing.push(what);
        }
    }
    if missing.is_empty() {
        return Ok(Check::passed("RBAC", "every permission that is used is granted"));
    }
    let text = format!("not granted: {}", missing.join(", "));
    let remedy = "Apply the ClusterRole in `required_role` and bind it to the identity of the kubeconfig.";
    Ok(Check::other("RBAC", CheckVerdict::Failed, text, remedy))
}

async fn ask(cluster: &dyn Cluster, verb: &str, group: &str, resource: &str) -> Result<(bool, String)> {
    Ok((cluster.may(verb, group, resource, "").await?, format!("{verb} {resource}")))
}

/// A privileged pod must be refused in a namespace that enforces `restricted`; the namespace lives for this question only.
async fn pod_security(cluster: &dyn Cluster) -> Result<Check> {
    let name = format!("{PREFIX}{}", id::h8(&id::uuid4()).to_lowercase());
    let labels = json!({
        "app.kubernetes.io/managed-by": LABEL,
        "pod-security.kubernetes.io/enforce": "restricted",
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let made = match cluster.apply(&namespace, Apply::default()).await? {
        Ok(made) => made,
        Err(refusal) => {
            let text = format!("no namespace can be made: {refusal:?}");
            return Ok(Check::other(
                "POD_SECURITY",
                CheckVerdict::Failed,
                text,
                "Grant the permissions of `required_role`.",
            ));
        }
    };
    let container = json!({"name": "check", "image": "check.invalid/check:1", "securityContext": {"privileged": true}});
    let metadata = json!({"name": "check", "namespace": name});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}});
    let answer = admitted(cluster, &pod).await;
    let object =
        ObjectRef { api_version: "v1".to_owned(), kind: "Namespace".to_owned(), namespace: String::new(), name };
    let _ = cluster.delete(&object, manifest::text(&made, "/metadata/uid")).await;
    Ok(match answer? {
        Err(Refusal::PodSecurity(_)) => {
            Check::passed("POD_SECURITY", "a privileged pod is refused where restricted is enforced")
        }
        Err(other) => {
            let text = format!("it could not be tried: {}", other.sentence("Pod/check"));
            Check::other("POD_SECURITY", CheckVerdict::Unknown, text, "Run the checks again.")
        }
        Ok(()) => {
            let remedy = "Switch the admission plugin PodSecurity on; without it a chart may take the node.";
            Check::other("POD_SECURITY", CheckVerdict::Failed, "a privileged pod was not refused", remedy)
        }
    })
}

/// What becomes of a pod in a new namespace: until its service account is there, every pod is refused for that.
async fn admitted(cluster: &dyn Cluster, pod: &manifest::Doc) -> Answer<()> {
    for _ in 1..ASKED_MAX {
        match cluster.admit(pod).await? {
            Err(Refusal::Invalid(_)) => tokio::time::sleep(ASKED_EVERY).await,
            decided => return Ok(decided),
        }
    }
    cluster.admit(pod).await
}

/// What answers at the addresses, as the registration says, is there.
async fn routes(cluster: &dyn Cluster, scope: &Scope, apis: &[String]) -> Result<Check> {
    let serves = |api: &str| apis.iter().any(|known| known == api);
    let failed = |text: String, remedy: &str| Ok(Check::other("ROUTES", CheckVerdict::Failed, text, remedy));
    match scope.routing {
        Routes::Proxy => Ok(Check::passed("ROUTES", "addresses are answered by the built-in preview proxy")),
        Routes::Ingress => {
            let classes = cluster.list("networking.k8s.io/v1", "IngressClass", "", &[]).await?;
            let names: Vec<&str> = classes.iter().map(manifest::name).collect();
            if names.is_empty() {
                let remedy = "Install an Ingress controller with its class, or choose ROUTING_PREVIEW_PROXY.";
                return failed("no IngressClass: no controller answers an Ingress".to_owned(), remedy);
            }
            Ok(Check::passed("ROUTES", format!("Ingress classes: {}", names.join(", "))))
        }
        Routes::Gateway if !serves("gateway.networking.k8s.io/v1/HTTPRoute") => {
            let remedy = "Install the CRDs of the Gateway API and a controller, or choose another routing.";
            failed("the Gateway API is not served".to_owned(), remedy)
        }
        Routes::Gateway => gateway(cluster, &scope.gateway).await,
    }
}

async fn gateway(cluster: &dyn Cluster, wanted: &Gateway) -> Result<Check> {
    let object = ObjectRef {
        api_version: "gateway.networking.k8s.io/v1".to_owned(),
        kind: "Gateway".to_owned(),
        namespace: wanted.namespace.clone(),
        name: wanted.name.clone(),
    };
    let title = format!("Gateway {}/{}", wanted.namespace, wanted.name);
    let Some(found) = cluster.get(&object).await? else {
        let remedy = "Make the Gateway that `gateway` in the configuration names, or correct the name.";
        return Ok(Check::other("ROUTES", CheckVerdict::Failed, format!("there is no {title}"), remedy));
    };
    let class = manifest::text(&found, "/spec/gatewayClassName");
    let conditions = found.pointer("/status/conditions").and_then(serde_json::Value::as_array);
    let is_set =
        |kind: &str| conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"));
    if is_set("Programmed") {
        return Ok(Check::passed("ROUTES", format!("{title} of class {class} is programmed")));
    }
    let remedy =
        "Look at the conditions of the Gateway, and whether the controller of its class runs; routes wait until it is.";
    Ok(Check::other("ROUTES", CheckVerdict::Failed, format!("{title} of class {class} is not programmed"), remedy))
}
