//! Whether a cluster enforces network policies, tried out with pods (ENV-62).
//!
//! Owns two namespaces for some seconds: one that is walled like an environment, one outside. A path is believed to be cut only if it
//! worked before the walls stood. Refuses to guess from the names of plugins, and to leave anything behind: the namespaces are labelled,
//! deleted by uid, and what a check that was killed left is removed by the next.
use serde_json::{Value, json};
use slipway_kit::{
    error::{Error, Result},
    id,
};
use tokio::time::Instant;

use super::{LABEL, Patience, or_unknown};
use crate::{
    error::CLUSTER_UNREACHABLE,
    model::{
        cluster::{Check, CheckVerdict, NETWORK_POLICY},
        environment::ObjectRef,
        guardrails,
        manifest::{self, Doc},
    },
    world::cluster::{Apply, Cluster},
};

/// How often in a row the walls must be seen to hold.
const SEEN: usize = 3;
/// Where the pods listen.
const PORT: u16 = 8080;
/// Succeeds if the other side says its word; an exit code alone is 0 after a timeout too.
const REACH: &str = "/bin/busybox nc -w 2 $TARGET 8080 </dev/null | /bin/busybox grep -q ok";
const SERVE: &str =
    "while true; do /bin/busybox echo ok | /bin/busybox nc -l -p 8080 >/dev/null || /bin/busybox sleep 1; done";

/// The paths that are tried: container, and what it tries.
const ALLOWED: &str = "allowed";
const EGRESS: &str = "egress";
const INGRESS: &str = "ingress";

/// The self-test.
pub(super) async fn run(cluster: &dyn Cluster, image: &str, gateway_namespace: &str, patience: Patience) -> Check {
    if image.is_empty() {
        let text = "no image is set to try it with";
        let remedy = "Set check_image to an image with /bin/busybox that nodes can pull without a login, for example a copy of busybox \
                      in your registry. Until then previews of forks are refused.";
        return Check::other(NETWORK_POLICY, CheckVerdict::Unknown, text, remedy);
    }
    let name = format!("{}{}", super::PREFIX, id::h8(&id::uuid4()).to_lowercase());
    let (inside, outside) = (format!("{name}-in"), format!("{name}-out"));
    let stage = Stage { cluster, image, patience, inside, outside };
    let said = stage.play(gateway_namespace).await;
    stage.strike().await;
    or_unknown(NETWORK_POLICY, said)
}

/// What is set up in the cluster.
struct Stage<'a> {
    cluster: &'a dyn Cluster,
    image: &'a str,
    patience: Patience,
    inside: String,
    outside: String,
}

/// What the pods say at one moment.
#[derive(Default)]
struct Seen {
    /// Paths that work.
    open: Vec<String>,
    /// Why a pod does not run, if one says so.
    trouble: String,
}

impl Seen {
    fn works(&self, path: &str) -> bool {
        self.open.iter().any(|open| open == path)
    }
}

impl Stage<'_> {
    async fn play(&self, gateway_namespace: &str) -> Result<Check> {
        let until = Instant::now() + self.patience.start;
        for name in [&self.inside, &self.outside] {
            self.apply(&namespace(name)).await?;
            self.apply(&self.deployment(name, "server", &[("server", None)])).await?;
        }
        let Some([inside, outside]) = self.addresses(until).await? else { return self.unplayed().await };
        let clients = [(ALLOWED, Some(inside.as_str())), (EGRESS, Some(outside.as_str()))];
        self.apply(&self.deployment(&self.inside, "client", &clients)).await?;
        self.apply(&self.deployment(&self.outside, "client", &[(INGRESS, Some(&inside))])).await?;
        loop {
            let seen = self.look().await?;
            if [ALLOWED, EGRESS, INGRESS].iter().all(|path| seen.works(path)) {
                break;
            }
            if Instant::now() > until {
                return self.unplayed().await;
            }
            tokio::time::sleep(self.patience.every).await;
        }
        for mut policy in guardrails::walls(gateway_namespace) {
            policy["metadata"]["namespace"] = json!(self.inside);
            self.apply(&policy).await?;
        }
        self.verdict().await
    }

    /// What becomes of the paths once the walls stand.
    async fn verdict(&self) -> Result<Check> {
        let (until, mut held) = (Instant::now() + self.patience.cut, 0);
        loop {
            let seen = self.look().await?;
            let holds = seen.works(ALLOWED) && !seen.works(EGRESS) && !seen.works(INGRESS);
            held = if holds { held + 1 } else { 0 };
            if held >= SEEN {
                let text = "between two pods of a walled namespace a connection works, into it and out of it none does";
                return Ok(Check::passed(NETWORK_POLICY, text));
            }
            if Instant::now() > until {
                return Ok(broken(&seen));
            }
            tokio::time::sleep(self.patience.every).await;
        }
    }

    /// Addresses of both servers; `None` if they do not run in time.
    async fn addresses(&self, until: Instant) -> Result<Option<[String; 2]>> {
        loop {
            let inside = self.address(&self.inside).await?;
            let outside = self.address(&self.outside).await?;
            if let (Some(inside), Some(outside)) = (inside, outside) {
                return Ok(Some([inside, outside]));
            }
            if Instant::now() > until {
                return Ok(None);
            }
            tokio::time::sleep(self.patience.every).await;
        }
    }

    async fn address(&self, namespace: &str) -> Result<Option<String>> {
        let pods = self.cluster.list("v1", "Pod", namespace, &[("app", "server")]).await?;
        let running = pods.iter().find(|pod| containers(pod).any(|c| c["ready"] == true));
        let address = running.map(|pod| manifest::text(pod, "/status/podIP").to_owned());
        Ok(address.filter(|address| !address.is_empty()))
    }

    async fn look(&self) -> Result<Seen> {
        let mut seen = Seen::default();
        for namespace in [&self.inside, &self.outside] {
            let pods = self.cluster.list("v1", "Pod", namespace, &[]).await?;
            for container in pods.iter().flat_map(containers) {
                let name = container["name"].as_str().unwrap_or_default();
                if container["ready"] == true {
                    seen.open.push(name.to_owned());
                }
                if let Some(waiting) = container.pointer("/state/waiting").filter(|waiting| waiting.is_object()) {
                    seen.trouble = format!("{}: {}", text(waiting, "reason"), text(waiting, "message"));
                }
            }
            for condition in pods.iter().filter_map(|pod| pod.pointer("/status/conditions")?.as_array()).flatten() {
                if condition["type"] == "PodScheduled" && condition["status"] == "False" {
                    seen.trouble = format!("{}: {}", text(condition, "reason"), text(condition, "message"));
                }
            }
        }
        Ok(seen)
    }

    /// Nothing can be said: the pods do not run, or reach each other without any policy neither.
    async fn unplayed(&self) -> Result<Check> {
        let seen = self.look().await?;
        let why = if seen.trouble.is_empty() {
            "without any policy the pods do not reach each other, or do not run".to_owned()
        } else {
            format!("a pod does not run: {}", seen.trouble)
        };
        let text = format!("it could not be tried within {} s; {why}", self.patience.start.as_secs());
        let remedy = "Let nodes pull check_image without a login; it must hold /bin/busybox and there must be room for four small pods. \
                      Then run the checks again.";
        Ok(Check::other(NETWORK_POLICY, CheckVerdict::Unknown, text, remedy))
    }

    async fn apply(&self, doc: &Doc) -> Result<()> {
        match self.cluster.apply(doc, Apply::default()).await? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Error::new(&CLUSTER_UNREACHABLE, refusal.sentence(&manifest::title(doc)))),
        }
    }

    /// Takes everything away; what cannot be taken away now is taken away by the next check.
    async fn strike(&self) {
        for name in [&self.inside, &self.outside] {
            if let Err(error) = remove(self.cluster, name).await {
                tracing::warn!(?error, namespace = name, "a namespace of a check stays until the next one");
            }
        }
    }

    fn deployment(&self, namespace: &str, app: &str, containers: &[(&str, Option<&str>)]) -> Doc {
        let labels = json!({ "app": app });
        let containers: Vec<Value> = containers.iter().map(|(name, target)| self.container(name, *target)).collect();
        let pod = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": containers,
        });
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": app, "namespace": namespace },
            "spec": {
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        })
    }

    /// A container that listens, or one that is ready as long as it reaches the target.
    fn container(&self, name: &str, target: Option<&str>) -> Value {
        let shell = |script: &str| json!(["/bin/busybox", "sh", "-c", script]);
        let mut container = json!({
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "resources": { "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "32Mi" } },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
        });
        match target {
            None => {
                container["command"] = shell(SERVE);
                container["ports"] = json!([{ "containerPort": PORT }]);
            }
            Some(target) => {
                container["command"] = json!(["/bin/busybox", "sleep", "600"]);
                container["readinessProbe"] = json!({
                    "exec": { "command": shell(&REACH.replace("$TARGET", target)) },
                    "periodSeconds": 1, "timeoutSeconds": 4, "failureThreshold": 2,
                });
            }
        }
        container
    }
}

/// What does not hold, in words.
fn broken(seen: &Seen) -> Check {
    let open: Vec<&str> = [(INGRESS, "into"), (EGRESS, "out of")]
        .into_iter()
        .filter(|(path, _)| seen.works(path))
        .map(|(_, word)| word)
        .collect();
    if open.is_empty() {
        let text = "policies cut connections inside a namespace that they allow";
        let remedy =
            "Look at the network plugin: a policy that allows traffic from pods of the same namespace has no effect.";
        return Check::other(NETWORK_POLICY, CheckVerdict::Failed, text, remedy);
    }
    let text = format!("not enforced: a connection {} a walled namespace still works", open.join(" it and "));
    let remedy = "Install a network plugin that enforces policies, for example Cilium or Calico. Until then environments can reach each \
                  other, and previews of forks are refused.";
    Check::other(NETWORK_POLICY, CheckVerdict::Failed, text, remedy)
}

/// Removes a namespace of a check, if it is one.
pub(super) async fn remove(cluster: &dyn Cluster, name: &str) -> Result<()> {
    let object = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
    };
    let Some(found) = cluster.get(&object).await? else { return Ok(()) };
    if manifest::text(&found, "/metadata/labels/app.kubernetes.io~1managed-by") != LABEL {
        return Ok(());
    }
    match cluster.delete(&object, manifest::text(&found, "/metadata/uid")).await? {
        Ok(_) => Ok(()),
        Err(refusal) => Err(Error::new(&CLUSTER_UNREACHABLE, refusal.sentence(name))),
    }
}

fn namespace(name: &str) -> Doc {
    let labels = json!({ "app.kubernetes.io/managed-by": LABEL, "pod-security.kubernetes.io/enforce": "restricted" });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

fn containers(pod: &Doc) -> impl Iterator<Item = &Value> {
    pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
