//! The run's Kubernetes is what the previews need: pods from packed images, Services, cluster DNS, refusals, an end.
//!
//! Owns the promises of `cargo xtask cluster`. Refuses to test Kubernetes itself.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use slipway_tests::cluster::{self, Cluster, Namespace, until};
use slipway_tests::program;

const PATIENCE: Duration = Duration::from_secs(60);
const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

fn echo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/echo")
}

fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "app", "image": image, "imagePullPolicy": "IfNotPresent",
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            }],
        },
    })
}

fn inside(namespace: &Namespace, mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!(namespace.name());
    object
}

fn address(object: &Value, pointer: &str, port: u16) -> SocketAddr {
    let ip = object.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {object}"));
    SocketAddr::new(ip.parse().unwrap(), port)
}

#[test]
fn a_packed_image_runs_by_digest_and_is_reached_by_pod_service_and_name() {
    let story = "a pod from a packed image";
    let Some(cluster) = Cluster::with_images(story).filter(|_| program::have(story, &["go"])) else { return };
    let image = cluster.import_go("registry.test/tests/echo", &echo(), "one", "0").unwrap();
    assert!(image.starts_with("registry.test/tests/echo@sha256:"), "{image}");
    let space = cluster.namespace("tests-image", &[RESTRICTED]).unwrap();

    cluster.apply(&inside(&space, pod("web", &image))).unwrap();
    cluster
        .apply(&inside(
            &space,
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
            }),
        ))
        .unwrap();
    cluster.wait(space.name(), "pod/web", "Ready", PATIENCE).unwrap();

    let running = cluster.get(space.name(), "pod/web").unwrap();
    let on_pod = address(&running, "/status/podIP", 8080);
    assert_eq!(cluster::get(on_pod, "/").unwrap(), (200, "one".to_owned()));

    let service = cluster.get(space.name(), "service/front").unwrap();
    let on_service = address(&service, "/spec/clusterIP", 80);
    // Rules follow the endpoints by a moment.
    let answer = until(PATIENCE, "the service answers", || Ok(cluster::get(on_service, "/").ok())).unwrap();
    assert_eq!(answer, (200, "one".to_owned()));

    let name = format!("front.{}.svc.cluster.local", space.name());
    let found = until(PATIENCE, "the name is found", || {
        Ok(cluster::get(on_pod, &format!("/lookup?name={name}")).ok().filter(|(status, _)| *status == 200))
    });
    assert_eq!(found.unwrap().1, format!("[{}]", on_service.ip()));
    let (status, _) = cluster::get(on_pod, "/lookup?name=nowhere.example").unwrap();
    assert_eq!(status, 502, "names outside the cluster are not found");
    assert_eq!(
        cluster::get(on_pod, "/get?url=http://front/").unwrap(),
        (200, "one".to_owned()),
        "a pod reaches services"
    );

    let log = cluster.kubectl(&["logs", "--namespace", space.name(), "web"]).unwrap();
    assert!(log.contains("listening one"), "{log}");
}

#[test]
fn another_program_is_another_digest_and_an_unknown_one_is_never_pulled() {
    let story = "images by digest";
    let Some(cluster) = Cluster::with_images(story).filter(|_| program::have(story, &["go"])) else { return };
    let [one, again, two] = [("one", "0"), ("one", "0"), ("two", "0")]
        .map(|(version, commit)| cluster.import_go("registry.test/tests/digest", &echo(), version, commit).unwrap());
    assert_eq!(one, again);
    assert_ne!(one, two);

    let space = cluster.namespace("tests-digest", &[RESTRICTED]).unwrap();
    let unknown = format!("registry.test/tests/digest@sha256:{}", "0".repeat(64));
    cluster.apply(&inside(&space, pod("known", &two))).unwrap();
    cluster.apply(&inside(&space, pod("unknown", &unknown))).unwrap();
    cluster.wait(space.name(), "pod/known", "Ready", PATIENCE).unwrap();
    let known = cluster.get(space.name(), "pod/known").unwrap();
    assert_eq!(cluster::get(address(&known, "/status/podIP", 8080), "/").unwrap().1, "two");
    let reason = until(PATIENCE, "the unknown image is reported", || {
        let pod = cluster.get(space.name(), "pod/unknown")?;
        let reason = pod.pointer("/status/containerStatuses/0/state/waiting/reason").and_then(Value::as_str);
        Ok(reason.filter(|reason| *reason != "ContainerCreating").map(str::to_owned))
    });
    assert!(["ErrImagePull", "ImagePullBackOff"].contains(&reason.unwrap().as_str()));
}

#[test]
fn quota_and_pod_security_refuse_also_in_a_dry_run() {
    let Some(cluster) = Cluster::of_the_run("quota and Pod Security") else { return };
    let space = cluster.namespace("tests-refusals", &[RESTRICTED]).unwrap();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"requests.memory": "20Mi", "pods": "5"}},
    });
    cluster.apply(&inside(&space, quota)).unwrap();
    until(PATIENCE, "the quota is counted", || {
        Ok(cluster.get(space.name(), "resourcequota/small")?.pointer("/status/hard/pods").cloned())
    })
    .unwrap();

    let image = "registry.test/tests/none@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let mut big = pod("big", image);
    big["spec"]["containers"][0]["resources"]["requests"]["memory"] = json!("32Mi");
    let mut root = pod("root", image);
    root["spec"]["securityContext"]["runAsNonRoot"] = json!(false);
    for dry_run in ["none", "server"] {
        let refusal = |object: &Value| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), inside(&space, object.clone()).to_string()).unwrap();
            let dry_run = format!("--dry-run={dry_run}");
            let args = ["apply", "--server-side", &dry_run, "--filename", file.path().to_str().unwrap()];
            cluster.kubectl(&args).unwrap_err().to_string()
        };
        let text = refusal(&big);
        assert!(text.contains("exceeded quota: small") && text.contains("limited: requests.memory=20Mi"), "{text}");
        let text = refusal(&root);
        assert!(text.contains("violates PodSecurity") && text.contains("runAsNonRoot"), "{text}");
    }
}

#[test]
fn a_namespace_with_running_pods_comes_to_its_end() {
    let story = "the end of a namespace";
    let Some(cluster) = Cluster::with_images(story).filter(|_| program::have(story, &["go"])) else { return };
    let image = cluster.import_go("registry.test/tests/echo", &echo(), "one", "0").unwrap();
    let space = cluster.namespace("tests-end", &[RESTRICTED]).unwrap();
    for name in ["one", "two"] {
        cluster.apply(&inside(&space, pod(name, &image))).unwrap();
        cluster.wait(space.name(), &format!("pod/{name}"), "Ready", PATIENCE).unwrap();
    }
    cluster.kubectl(&["delete", "namespace", space.name(), "--timeout=60s"]).unwrap();
    let gone = cluster.kubectl(&["get", "namespace", space.name(), "--ignore-not-found"]).unwrap();
    assert_eq!(gone, "");
}

#[test]
fn the_kinds_of_the_gateway_api_are_there() {
    let Some(cluster) = Cluster::of_the_run("the Gateway API") else { return };
    let kinds = cluster.kubectl(&["api-resources", "--api-group=gateway.networking.k8s.io", "--output=name"]).unwrap();
    for kind in ["gatewayclasses", "gateways", "httproutes", "grpcroutes"] {
        assert!(kinds.contains(&format!("{kind}.gateway.networking.k8s.io")), "{kinds}");
    }
}
