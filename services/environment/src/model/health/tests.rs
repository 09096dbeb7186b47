//! Objects as a Kubernetes 1.34 cluster shows them, and what is said of each.
#![allow(clippy::unwrap_used)]
mod workloads;

use serde_json::{Value, json};

use super::*;

const NAMESPACE: &str = "payments-pr-7-h4vyy";

fn held(kind: &str, name: &str) -> Held {
    let api_version = match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => "apps/v1",
        "Job" => "batch/v1",
        _ => "v1",
    };
    let object = ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
    };
    Held { object, uid: format!("uid-{name}"), created_us: 1 }
}

fn object(kind: &str, name: &str, rest: Value) -> Doc {
    let mut doc = json!({"apiVersion": held(kind, name).object.api_version, "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}"), "generation": 2}});
    merge(&mut doc, rest);
    doc
}

fn merge(doc: &mut Doc, rest: Value) {
    match (doc, rest) {
        (Value::Object(doc), Value::Object(rest)) => {
            for (key, value) in rest {
                merge(doc.entry(key).or_insert(Value::Null), value);
            }
        }
        (doc, rest) => *doc = rest,
    }
}

fn with(mut doc: Doc, rest: Value) -> Doc {
    merge(&mut doc, rest);
    doc
}

fn owner(kind: &str, name: &str) -> Value {
    json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true}]}})
}

fn deployment(total: i64, updated: i64, available: i64) -> Doc {
    let progressing = json!({"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"});
    object(
        "Deployment",
        "api",
        json!({
        "metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": 2, "progressDeadlineSeconds": 600},
        "status": {"observedGeneration": 2, "replicas": total, "updatedReplicas": updated, "availableReplicas": available,
            "conditions": [progressing]}}),
    )
}

fn set(name: &str, revision: &str) -> Doc {
    let set = object(
        "ReplicaSet",
        name,
        json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": revision}}}),
    );
    with(set, owner("Deployment", "api"))
}

/// A scheduled pod of a ReplicaSet (or other owner) with one container in a state.
fn pod(of: &str, status: Value) -> Doc {
    let name = format!("{of}-x1");
    let doc = object(
        "Pod",
        &name,
        json!({
        "spec": {"restartPolicy": "Always", "containers": [{"name": "app", "image": "ghcr.io/acme/payments@sha256:aa",
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}}}]},
        "status": {"phase": "Running", "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "lastTransitionTime": "2026-11-25T07:00:00Z"}],
            "containerStatuses": [with(json!({"name": "app", "ready": false, "restartCount": 0}), status)]}}),
    );
    with(doc, owner("ReplicaSet", of))
}

fn ready(mut doc: Doc) -> Doc {
    doc["status"]["conditions"][1] =
        json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-25T07:00:05Z"});
    doc["status"]["containerStatuses"][0]["ready"] = json!(true);
    doc
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"state": {"waiting": {"reason": reason, "message": message}}})
}

/// The judgement over a Deployment whose new pods are these.
fn rollout(pods: Vec<Doc>) -> Health {
    let mut live = vec![deployment(3, 1, 2), set("api-old", "1"), set("api-new", "2")];
    live.extend(pods);
    of(&[held("Deployment", "api")], &live)
}

fn degraded(health: Health) -> Problem {
    let Health::Degraded(mut problems) = health else { panic!("{health:?}") };
    problems.remove(0)
}

fn progressing(health: Health) -> Problem {
    let Health::Progressing(mut problems) = health else { panic!("{health:?}") };
    problems.remove(0)
}

#[test]
fn a_finished_rollout_is_ready_whatever_old_pods_say() {
    let crashing = pod("api-old", json!({"restartCount": 9, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}));
    let live = [deployment(2, 2, 2), set("api-old", "1"), set("api-new", "2"), crashing];
    assert_eq!(of(&[held("Deployment", "api")], &live), Health::Ready);
    // Services, ConfigMaps and the like do not run; an empty inventory lacks nothing.
    assert_eq!(of(&[held("Service", "api"), held("CronJob", "nightly")], &[]), Health::Ready);
    assert_eq!(of(&[], &live), Health::Ready);
}

#[test]
fn a_stale_status_never_counts() {
    let stale = with(deployment(2, 2, 2), json!({"metadata": {"generation": 3}}));
    let problem = progressing(of(&[held("Deployment", "api")], &[stale]));
    assert_eq!(
        (problem.reason, problem.message.as_str()),
        (ROLLING_OUT, "Deployment/api: the cluster has not yet taken up the new version.")
    );
    for (kind, status) in [
        ("StatefulSet", json!({"spec": {"replicas": 0}, "status": {"observedGeneration": 1}})),
        ("DaemonSet", json!({"status": {"observedGeneration": 1}})),
        ("ReplicaSet", json!({"spec": {"replicas": 0}, "status": {}})),
    ] {
        assert_eq!(progressing(of(&[held(kind, "w")], &[object(kind, "w", status)])).reason, ROLLING_OUT, "{kind}");
    }
}

#[test]
fn a_deployment_waits_for_updated_available_and_the_end_of_the_old() {
    for (total, updated, available) in [(3, 2, 2), (2, 1, 2), (2, 2, 1), (0, 0, 0)] {
        let health = of(&[held("Deployment", "api")], &[deployment(total, updated, available)]);
        assert_eq!(progressing(health).reason, ROLLING_OUT);
    }
    let asleep = with(deployment(0, 0, 0), json!({"spec": {"replicas": 0}}));
    assert_eq!(of(&[held("Deployment", "api")], &[asleep]), Health::Ready);
    let falling = with(deployment(1, 1, 1), json!({"spec": {"replicas": 0}}));
    assert_eq!(
        progressing(of(&[held("Deployment", "api")], &[falling])).message,
        "Deployment/api: 1 pods are still to end."
    );
    let paused = with(deployment(2, 0, 2), json!({"spec": {"paused": true}}));
    assert!(progressing(of(&[held("Deployment", "api")], &[paused])).message.contains("paused"));
    let alone =
        json!({"spec": {"replicas": null}, "status": {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}});
    assert_eq!(of(&[held("Deployment", "api")], &[with(deployment(1, 1, 1), alone)]), Health::Ready);
}

#[test]
fn what_is_missing_or_replaced_is_on_its_way() {
    assert!(progressing(of(&[held("Deployment", "api")], &[])).message.contains("not in the cluster yet"));
    let other = with(deployment(2, 2, 2), json!({"metadata": {"uid": "somebody-else"}}));
    assert_eq!(progressing(of(&[held("Deployment", "api")], &[other])).reason, ROLLING_OUT);
    let going = with(deployment(2, 2, 2), json!({"metadata": {"deletionTimestamp": "2026-11-25T07:00:00Z"}}));
    assert_eq!(progressing(of(&[held("Deployment", "api")], &[going])).message, "Deployment/api is being deleted.");
}

#[test]
fn images_that_cannot_be_pulled_say_why() {
    let not_found = "Back-off pulling image \"ghcr.io/acme/payments@sha256:aa\": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image: ghcr.io/acme/payments@sha256:aa: not found";
    for (reason, message, says) in [
        ("ImagePullBackOff", not_found, "the registry has no such image."),
        (
            "ErrImagePull",
            "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
            "does not let this cluster pull it.",
        ),
        ("ErrImagePull", "dial tcp: lookup registry.test: no such host", "cannot be reached from the node."),
        ("InvalidImageName", "couldn't parse image name \"a:b:c\"", "couldn't parse image name"),
    ] {
        let problem = degraded(rollout(vec![pod("api-new", waiting(reason, message))]));
        assert_eq!((problem.reason, problem.container.as_str()), (IMAGE_PULL, "app"));
        assert_eq!((problem.object.name.as_str(), problem.workload.name.as_str()), ("api-new-x1", "api"));
        assert!(
            problem.message.contains(says) && problem.message.contains("ghcr.io/acme/payments"),
            "{}",
            problem.message
        );
        assert!(problem.remedy().contains("pushed"));
    }
    assert_eq!(
        progressing(rollout(vec![pod("api-new", waiting("ErrImagePull", "pull QPS exceeded"))])).reason,
        IMAGE_PULL
    );
}

#[test]
fn a_crash_loop_names_container_exit_code_and_restarts() {
    let looping = json!({"restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container=app"}},
        "lastState": {"terminated": {"exitCode": 127, "reason": "Error"}}});
    let problem = degraded(rollout(vec![pod("api-new", looping)]));
    assert_eq!((problem.reason, problem.exit_code, problem.restarts), (CRASH_LOOP, Some(127), 4));
    assert_eq!(
        problem.message,
        "Pod/api-new-x1: container app ended with exit code 127: the command was not found; it was restarted 4 times."
    );
    for (code, says) in [
        (0, "without an error"),
        (1, "exit code 1;"),
        (137, "SIGKILL"),
        (139, "SIGSEGV"),
        (143, "SIGTERM"),
        (126, "cannot be executed"),
        (134, "SIGABRT"),
    ] {
        let state = json!({"restartCount": 2, "state": {"terminated": {"exitCode": code, "reason": "Error"}}});
        let problem = degraded(rollout(vec![pod("api-new", state)]));
        assert!(problem.exit_code == Some(code) && problem.message.contains(says), "{}", problem.message);
    }
}

#[test]
fn between_two_crashes_it_stays_degraded_and_one_crash_is_none_yet() {
    let running = |restarts| {
        json!({"restartCount": restarts, "state": {"running": {"startedAt": "2026-11-25T07:10:00Z"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}})
    };
    assert_eq!(degraded(rollout(vec![pod("api-new", running(3))])).reason, CRASH_LOOP);
    assert_eq!(progressing(rollout(vec![pod("api-new", running(1))])).reason, CRASH_LOOP);
    let first = json!({"state": {"terminated": {"exitCode": 1, "reason": "Error"}}});
    assert_eq!(progressing(rollout(vec![pod("api-new", first)])).exit_code, Some(1));
    // It crashed weeks ago, was ready since, and its probe fails now: that is what is told.
    let mut answered = pod("api-new", running(3));
    answered["status"]["conditions"][1]["lastTransitionTime"] = json!("2026-11-25T09:00:00Z");
    assert_eq!(degraded(rollout(vec![answered])).reason, PROBE_FAILING);
}

#[test]
fn out_of_memory_is_its_own_reason() {
    let killed = json!({"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}});
    let problem = degraded(rollout(vec![pod("api-new", killed)]));
    assert_eq!((problem.reason, problem.exit_code), (OOM_KILLED, Some(137)));
    assert!(problem.message.contains("more memory than its limit") && problem.remedy().contains("memory limit"));
}

#[test]
fn a_container_that_cannot_be_configured_names_what_is_missing() {
    for (message, says) in [
        ("secret \"payments-db\" not found", "the Secret payments-db does not exist."),
        ("configmap \"flags\" not found", "the ConfigMap flags does not exist."),
        (
            "couldn't find key PASSWORD in Secret payments-pr-7-h4vyy/payments-db",
            "the Secret payments-db has no key PASSWORD.",
        ),
        ("couldn't find key MODE in ConfigMap payments-pr-7-h4vyy/flags", "the ConfigMap flags has no key MODE."),
        (
            "container has runAsNonRoot and image will run as root (pod: \"x\", container: app)",
            "its image runs as root",
        ),
    ] {
        let problem = degraded(rollout(vec![pod("api-new", waiting("CreateContainerConfigError", message))]));
        assert_eq!(problem.reason, CONFIG_ERROR);
        assert!(problem.message.contains(says), "{}", problem.message);
    }
    let start = waiting(
        "RunContainerError",
        "failed to start container: exec: \"/serve\": stat /serve: no such file or directory",
    );
    assert!(degraded(rollout(vec![pod("api-new", start)])).message.contains("RunContainerError"));
}

#[test]
fn an_init_container_counts_and_a_finished_one_does_not() {
    let mut doc = pod("api-new", waiting("PodInitializing", ""));
    doc["status"]["initContainerStatuses"] = json!([
        {"name": "ok", "ready": true, "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
        {"name": "migrate", "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}]);
    let problem = degraded(rollout(vec![doc]));
    assert_eq!((problem.container.as_str(), problem.exit_code), ("migrate", Some(1)));
    assert_eq!(progressing(rollout(vec![pod("api-new", waiting("ContainerCreating", ""))])).reason, ROLLING_OUT);
}

#[test]
fn no_node_takes_the_pod() {
    let mut doc = pod("api-new", json!({}));
    doc["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."}]});
    let problem = degraded(rollout(vec![doc.clone()]));
    assert_eq!(problem.message, "No node takes Pod/api-new-x1: 0/1 nodes are available: 1 Insufficient cpu.");
    doc["status"]["conditions"][0]["message"] =
        json!("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
    assert_eq!(progressing(rollout(vec![doc.clone()])).reason, VOLUME_PENDING);
    doc["status"]["conditions"][0]["message"] = json!("persistentvolumeclaim \"data\" not found");
    assert_eq!(degraded(rollout(vec![doc.clone()])).reason, VOLUME_PENDING);
    doc["status"]["conditions"][0]["reason"] = json!("SchedulingGated");
    doc["status"]["conditions"][0]["message"] = json!("");
    assert_eq!(progressing(rollout(vec![doc])).reason, ROLLING_OUT);
}

#[test]
fn a_probe_that_never_passed_is_waited_for_and_one_that_stopped_is_lost_health() {
    let running = |since: &str| json!({"started": true, "state": {"running": {"startedAt": since}}});
    let young = progressing(rollout(vec![pod("api-new", running("2026-11-25T07:00:03Z"))]));
    assert_eq!((young.reason, young.container.as_str()), (PROBE_FAILING, "app"));
    assert!(young.message.ends_with("its readiness probe GET :8080/readyz has not passed yet."), "{}", young.message);
    let lost = degraded(rollout(vec![pod("api-new", running("2026-11-25T06:00:00Z"))]));
    assert!(lost.reason == PROBE_FAILING && lost.message.contains("does not pass any more"));
    for (probe, says) in [
        (json!({"startupProbe": {"tcpSocket": {"port": "http"}}}), "startup probe on TCP port http"),
        (json!({"startupProbe": {"grpc": {"port": 9000}}}), "startup probe on gRPC port 9000"),
        (json!({"startupProbe": {"exec": {"command": ["true"]}}}), "its startup probe has not"),
    ] {
        let state = json!({"started": false, "state": {"running": {"startedAt": "2026-11-25T07:00:03Z"}}});
        let mut doc = pod("api-new", state);
        merge(&mut doc["spec"]["containers"][0], probe);
        assert!(progressing(rollout(vec![doc])).message.contains(says));
    }
    let mut plain = pod("api-new", running("2026-11-25T07:00:03Z"));
    plain["spec"]["containers"] = json!([{"name": "app"}]);
    assert_eq!(progressing(rollout(vec![plain])).reason, ROLLING_OUT);
}

#[test]
fn past_the_progress_deadline_nothing_is_on_its_way() {
    let mut late = deployment(3, 1, 2);
    late["status"]["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
        "message": "ReplicaSet \"api-new\" has timed out progressing."}]);
    let alone = degraded(of(&[held("Deployment", "api")], &[late.clone(), set("api-new", "2")]));
    assert_eq!(alone.reason, ROLLING_OUT);
    assert!(alone.message.ends_with("It did not come up within 600 seconds."), "{}", alone.message);
    let probing = pod("api-new", json!({"started": true, "state": {"running": {"startedAt": "2026-11-25T07:00:03Z"}}}));
    assert_eq!(degraded(of(&[held("Deployment", "api")], &[late, set("api-new", "2"), probing])).reason, PROBE_FAILING);
}

#[test]
fn pods_that_are_not_let_in_say_which_rule() {
    let quota = "pods \"api-new-x2\" is forbidden: exceeded quota: slipway, requested: requests.cpu=500m, used: requests.cpu=1750m, hard: requests.cpu=2";
    let security = "pods \"api-new-x2\" is forbidden: violates PodSecurity \"restricted:v1.34\": allowPrivilegeEscalation != false (container \"app\" must set securityContext.allowPrivilegeEscalation=false)";
    let range = "pods \"api-new-x2\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi";
    let must = "pods \"api-new-x2\" is forbidden: failed quota: slipway: must specify limits.cpu for: app";
    let account = "pods \"api-new-\" is forbidden: error looking up service account payments/robot: serviceaccount \"robot\" not found";
    for (message, reason, says) in [
        (quota, QUOTA, "exceeded quota: slipway, requested: requests.cpu=500m"),
        (security, POD_SECURITY, "allowPrivilegeEscalation"),
        (range, QUOTA, "maximum memory usage per Container is 1Gi"),
        (must, QUOTA, "must specify limits.cpu"),
        (account, CONFIG_ERROR, "serviceaccount \"robot\" not found"),
    ] {
        let failing = json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]}});
        let new = with(set("api-new", "2"), failing);
        let health = of(&[held("Deployment", "api")], &[deployment(2, 0, 2), set("api-old", "1"), new]);
        let problem = degraded(health);
        assert_eq!(problem.reason, reason);
        assert!(problem.message.contains(says) && !problem.message.contains("api-new-x2"), "{}", problem.message);
        assert_eq!(problem.object.name, "api-new");
    }
}

#[test]
fn a_quota_that_an_ending_pod_still_fills_is_waited_for() {
    let message = "pods \"a\" is forbidden: exceeded quota: slipway, requested: pods=1, used: pods=2, hard: pods=2";
    let failing = json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]}});
    let ending = with(pod("api-old", json!({})), json!({"metadata": {"deletionTimestamp": "2026-11-25T07:00:00Z"}}));
    let live = [deployment(1, 0, 1), set("api-old", "1"), with(set("api-new", "2"), failing), ending];
    assert_eq!(progressing(of(&[held("Deployment", "api")], &live)).reason, QUOTA);
    let pending = json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "pods \"a\" is forbidden: status unknown for quota: slipway, resources: pods"}]}});
    let live = [deployment(1, 0, 1), with(set("api-new", "2"), pending)];
    assert_eq!(progressing(of(&[held("Deployment", "api")], &live)).reason, QUOTA);
}

#[test]
fn broken_pods_of_the_replaced_version_are_not_the_new_ones() {
    let old = pod(
        "api-old",
        json!({"restartCount": 9, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}),
    );
    let new = pod("api-new", waiting("ContainerCreating", ""));
    assert_eq!(progressing(rollout(vec![old, new])).reason, ROLLING_OUT);
    // An evicted pod is replaced; one that ends is on its way out.
    let evicted = with(pod("api-new", json!({})), json!({"status": {"phase": "Failed", "reason": "Evicted"}}));
    assert_eq!(progressing(rollout(vec![evicted])).reason, ROLLING_OUT);
}

#[test]
fn the_most_telling_problem_comes_first_and_twins_are_told_once() {
    let crash = |restarts| json!({"restartCount": restarts, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}});
    let named = |name: &str, status| with(pod("api-new", status), json!({"metadata": {"name": name}}));
    let health = rollout(vec![
        named("a", crash(2)),
        named("b", crash(7)),
        named("c", waiting("ErrImagePull", "not found")),
        named("d", waiting("ContainerCreating", "")),
    ]);
    let Health::Degraded(problems) = health else { panic!() };
    let seen: Vec<(&str, &str)> = problems.iter().map(|p| (p.reason, p.object.name.as_str())).collect();
    assert_eq!(seen, [(IMAGE_PULL, "c"), (CRASH_LOOP, "b"), (ROLLING_OUT, "d")]);
    let text = sentence(&problems);
    assert!(
        text.starts_with("Pod/c: container app cannot get its image")
            && text.ends_with("2 more problems: see the diagnosis."),
        "{text}"
    );
    assert!(sentence(&problems[1..]).ends_with("One more problem: see the diagnosis."));
    assert_eq!(sentence(&[]), "");
    assert!(problems.iter().all(|p| !p.remedy().is_empty()));
}
