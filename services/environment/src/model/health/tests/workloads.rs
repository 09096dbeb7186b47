//! StatefulSets, DaemonSets, Jobs, volumes and bare pods.
use serde_json::{Value, json};

use super::*;

fn stateful(status: Value, pods: &[(&str, &str)]) -> Health {
    let base = json!({"spec": {"replicas": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}},
        "status": {"observedGeneration": 2, "replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "currentRevision": "db-1", "updateRevision": "db-2"}});
    let mut live = vec![with(object("StatefulSet", "db", base), status)];
    for (name, revision) in pods {
        let mut doc = ready(pod("x", json!({"state": {"running": {}}})));
        merge(&mut doc, owner("StatefulSet", "db"));
        merge(&mut doc, json!({"metadata": {"name": name, "labels": {"controller-revision-hash": revision}}}));
        live.push(doc);
    }
    of(&[held("StatefulSet", "db")], &live)
}

#[test]
fn a_stateful_set_needs_every_ordinal_of_the_new_revision() {
    assert_eq!(stateful(json!({}), &[("db-0", "db-2"), ("db-1", "db-2")]), Health::Ready);
    assert!(
        progressing(stateful(json!({}), &[("db-0", "db-1"), ("db-1", "db-2")])).message.contains("waiting for db-0")
    );
    assert!(progressing(stateful(json!({}), &[("db-0", "db-2")])).message.contains("waiting for db-1"));
    let partition = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}});
    assert_eq!(stateful(partition, &[("db-0", "db-1"), ("db-1", "db-2")]), Health::Ready);
    let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
    assert_eq!(stateful(on_delete, &[("db-0", "db-1"), ("db-1", "db-1")]), Health::Ready);
    let shifted = json!({"spec": {"ordinals": {"start": 5}}});
    assert_eq!(stateful(shifted, &[("db-5", "db-2"), ("db-6", "db-2")]), Health::Ready);
    let asleep =
        json!({"spec": {"replicas": 0}, "status": {"replicas": 0, "readyReplicas": 0, "availableReplicas": 0}});
    assert_eq!(stateful(asleep, &[]), Health::Ready);
}

#[test]
fn an_owner_without_a_condition_tells_its_refusal_by_event() {
    let base = json!({"spec": {"replicas": 1}, "status": {"observedGeneration": 2, "replicas": 0}});
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": NAMESPACE}, "reason": "FailedCreate",
        "involvedObject": {"kind": "StatefulSet", "name": "db", "uid": "uid-db"}, "lastTimestamp": "2026-11-25T07:00:00Z",
        "message": "create Pod db-0 in StatefulSet db failed error: pods \"db-0\" is forbidden: violates PodSecurity \"restricted:v1.34\": runAsNonRoot != true"});
    let problem = degraded(of(&[held("StatefulSet", "db")], &[object("StatefulSet", "db", base), event]));
    assert_eq!(problem.reason, POD_SECURITY);
}

#[test]
fn a_daemon_set_needs_every_node() {
    let daemons = |desired, updated, available| {
        object(
            "DaemonSet",
            "agent",
            json!({"status": {"observedGeneration": 2,
        "desiredNumberScheduled": desired, "updatedNumberScheduled": updated, "numberAvailable": available}}),
        )
    };
    let of = |doc: Doc| of(&[held("DaemonSet", "agent")], &[doc]);
    assert_eq!(of(daemons(3, 3, 3)), Health::Ready);
    assert_eq!(of(daemons(0, 0, 0)), Health::Ready);
    assert_eq!(progressing(of(daemons(3, 2, 3))).reason, ROLLING_OUT);
    assert_eq!(progressing(of(daemons(3, 3, 2))).reason, ROLLING_OUT);
}

#[test]
fn a_job_is_done_failed_or_on_its_way() {
    let job = |status: Value| object("Job", "migrate", json!({"status": status}));
    let judge = |live: &[Doc]| of(&[held("Job", "migrate")], live);
    assert_eq!(judge(&[job(json!({"conditions": [{"type": "Complete", "status": "True"}]}))]), Health::Ready);
    assert_eq!(judge(&[]), Health::Ready, "tidied away after it ended");
    assert_eq!(judge(&[with(job(json!({})), json!({"spec": {"suspend": true}}))]), Health::Ready);
    assert_eq!(progressing(judge(&[job(json!({"active": 1}))])).reason, ROLLING_OUT);
    let tries = |phase: &str| {
        let ended = json!({"state": {"terminated": {"exitCode": 3, "reason": "Error"}}});
        let mut doc =
            with(pod("migrate", ended), json!({"status": {"phase": phase}, "spec": {"restartPolicy": "Never"}}));
        merge(&mut doc, owner("Job", "migrate"));
        doc
    };
    assert_eq!(progressing(judge(&[job(json!({"failed": 1})), tries("Failed")])).reason, ROLLING_OUT);
    let failed = job(
        json!({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]}),
    );
    let problem = degraded(judge(&[failed, tries("Failed")]));
    assert_eq!((problem.reason, problem.exit_code, problem.container.as_str()), (JOB_FAILED, Some(3), "app"));
    assert_eq!(
        problem.message,
        "Job/migrate failed: it failed as often as its backoffLimit allows; container app ended with exit code 3."
    );
    let late = job(json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}));
    assert!(degraded(judge(&[late])).message.contains("activeDeadlineSeconds"));
    let mut pulling = tries("Pending");
    pulling["status"]["containerStatuses"] = json!([{"name": "app", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]);
    assert_eq!(degraded(judge(&[job(json!({"active": 1})), pulling])).reason, IMAGE_PULL);
}

#[test]
fn a_volume_is_bound_or_waits_for_its_first_consumer() {
    let claim = |phase: &str| {
        object(
            "PersistentVolumeClaim",
            "data",
            json!({"spec": {"storageClassName": "fast"}, "status": {"phase": phase}}),
        )
    };
    let class = |mode: &str| json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}, "volumeBindingMode": mode});
    let mut consumer = pod("api-new", json!({}));
    consumer["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let judge = |live: &[Doc]| of(&[held("PersistentVolumeClaim", "data")], live);
    assert_eq!(judge(&[claim("Bound")]), Health::Ready);
    assert_eq!(judge(&[claim("Pending")]), Health::Ready);
    assert_eq!(judge(&[claim("Pending"), class("WaitForFirstConsumer")]), Health::Ready);
    assert_eq!(progressing(judge(&[claim("Pending"), class("Immediate")])).reason, VOLUME_PENDING);
    assert_eq!(
        progressing(judge(&[claim("Pending"), consumer])).message,
        "PersistentVolumeClaim/data is not bound yet; storage class fast has not provided it."
    );
    assert_eq!(degraded(judge(&[claim("Lost")])).reason, VOLUME_PENDING);
}

#[test]
fn a_bare_pod_is_judged_by_itself() {
    let judge = |doc: Doc| of(&[held("Pod", "x-x1")], &[doc]);
    assert_eq!(judge(ready(pod("x", json!({"state": {"running": {}}})))), Health::Ready);
    let done = json!({"status": {"phase": "Succeeded"}});
    assert_eq!(judge(with(pod("x", json!({})), done)), Health::Ready);
    let failed =
        with(pod("x", json!({"state": {"terminated": {"exitCode": 2}}})), json!({"status": {"phase": "Failed"}}));
    assert_eq!(degraded(judge(failed)).exit_code, Some(2));
    let evicted = with(
        pod("x", json!({})),
        json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}}),
    );
    assert!(degraded(judge(evicted)).message.contains("low on resource"));
}
