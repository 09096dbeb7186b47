//! What a cluster must be able to do, tried out (ENV-183).
//!
//! Owns the calls and the sentences with their remedies. Refuses to guess: what cannot be tried is UNKNOWN. Whether network policies are
//! enforced is not tried, so it is never called passed; no plugin that could do it means that they are not enforced.
use std::time::Duration;

use serde_json::json;
use slipway_kit::{error::Result, id};

use super::cluster::{Answer, Apply, Cluster, ObjectRef, Refusal};
use crate::model::{
    cluster::{Check, CheckVerdict, RULES},
    manifest,
};

/// Oldest minor version of Kubernetes 1 that is supported.
const MINOR_MIN: u32 = 31;
/// DaemonSets of network plugins that can enforce policies, by a part of their name.
const ENFORCING: &[&str] =
    &["calico", "cilium", "antrea", "kube-router", "weave", "canal", "ovnkube", "aws-node", "azure-npm"];
/// How often a new namespace is asked until its service account is there, and how far apart.
const ASKED_MAX: usize = 20;
const ASKED_EVERY: Duration = Duration::from_millis(250);
/// Longest look-up of a name.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs every check; the version that was seen, and what each said.
pub async fn run(cluster: &dyn Cluster, domain: &str) -> (String, Vec<Check>) {
    let version = match cluster.version().await {
        Ok(version) => version,
        Err(error) => {
            let remedy = "Check the address, the certificate and the token of the kubeconfig, and the network between.";
            let check = Check::other("REACHABLE", CheckVerdict::Failed, error.message(), remedy);
            return (String::new(), vec![check]);
        }
    };
    let checks = vec![
        Check::passed("REACHABLE", format!("Kubernetes {}", version.git_version)),
        api_version(&version.git_version),
        or_unknown("RBAC", permissions(cluster).await),
        or_unknown("POD_SECURITY", pod_security(cluster).await),
        or_unknown("NETWORK_POLICY", enforcement(cluster).await),
        routes(&version.apis),
        names(domain).await,
    ];
    (version.git_version, checks)
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
    let name = format!("slipway-check-{}", id::h8(&id::uuid4()).to_lowercase());
    let labels = json!({
        "app.kubernetes.io/managed-by": "slipway-check",
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

async fn enforcement(cluster: &dyn Cluster) -> Result<Check> {
    let sets = cluster.list("apps/v1", "DaemonSet", "", &[]).await?;
    let found = sets.iter().map(manifest::name).find(|name| ENFORCING.iter().any(|plugin| name.contains(plugin)));
    Ok(match found {
        Some(name) => {
            let text = format!("DaemonSet {name} can enforce network policies; whether it does was not tried");
            let remedy = "Deny all traffic to a pod of a test namespace and see that it is not reached.";
            Check::other("NETWORK_POLICY", CheckVerdict::Unknown, text, remedy)
        }
        None => {
            let text =
                "no network plugin that is known to enforce policies was found: they are stored and not enforced";
            let remedy = "Install one that does, for example Cilium or Calico. Until then environments can reach each other, and \
                          previews of forks are refused.";
            Check::other("NETWORK_POLICY", CheckVerdict::Warning, text, remedy)
        }
    })
}

fn routes(apis: &[String]) -> Check {
    let serves = |api: &str| apis.iter().any(|known| known == api);
    if serves("gateway.networking.k8s.io/v1/HTTPRoute") {
        return Check::passed("ROUTES", "the Gateway API is served; the built-in preview proxy works besides");
    }
    if serves("networking.k8s.io/v1/Ingress") {
        let text = "no Gateway API; addresses are answered by the built-in preview proxy, or by an Ingress controller if one runs";
        return Check::other(
            "ROUTES",
            CheckVerdict::Warning,
            text,
            "Install the CRDs of the Gateway API and a controller.",
        );
    }
    let text = "neither Gateway API nor Ingress";
    Check::other("ROUTES", CheckVerdict::Warning, text, "Addresses are answered by the built-in preview proxy alone.")
}

async fn names(domain: &str) -> Check {
    let host = format!("slipway-check.{domain}");
    let found = tokio::time::timeout(DNS_TIMEOUT, tokio::net::lookup_host((host.as_str(), 80))).await;
    match found.map(|found| found.map(Iterator::count)) {
        Ok(Ok(1..)) => Check::passed("WILDCARD_DNS", format!("*.{domain} resolves from here")),
        _ => {
            let text = format!("{host} does not resolve from here");
            let remedy = format!(
                "Point one wildcard record, *.{domain}, at the gateway; browsers resolve *.localhost by themselves."
            );
            Check::other("WILDCARD_DNS", CheckVerdict::Warning, text, remedy)
        }
    }
}
