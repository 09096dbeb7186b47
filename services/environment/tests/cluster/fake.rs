//! What only the cluster in memory can show at will: stages of controllers, planned failures, troubles of pods.
use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::{Value, json};
use slipway_environment::{
    model::manifest::{Doc, text},
    world::{
        cluster::{Apply, Cluster as _, Clusters as _, Deleted, LogQuery, Refusal},
        fake::{Fake, Kill},
        fake_cluster::{Failure, FakeCluster, FakeClusters, GatewayPlan, Trouble},
    },
};
use slipway_kit::{clock::Clock, error::Kind};

use super::contract::{config_map, container, deployment, namespace, object, pod};

const NS: &str = "ns";

async fn cluster() -> FakeCluster {
    let cluster = FakeCluster::new(Clock::manual(1_800_000_000_000_000));
    apply(&cluster, &namespace(NS, "restricted")).await;
    cluster
}

async fn apply(cluster: &FakeCluster, doc: &Doc) -> Doc {
    cluster.apply(doc, Apply::default()).await.unwrap().unwrap_or_else(|refusal| panic!("{refusal:?} of {doc}"))
}

fn status(cluster: &FakeCluster, api_version: &str, kind: &str, name: &str) -> Value {
    cluster.peek(&object(api_version, kind, NS, name)).unwrap()["status"].clone()
}

fn pods(cluster: &FakeCluster) -> Vec<Doc> {
    cluster.everything(NS).into_iter().filter(|doc| doc["kind"] == "Pod").collect()
}

fn is_ready(pod: &Doc) -> bool {
    pod["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

#[tokio::test]
async fn a_deployment_rolls_within_its_limits() {
    let cluster = cluster().await;
    apply(&cluster, &deployment(NS, 4, "a:1")).await;
    assert_eq!(pods(&cluster).iter().filter(|pod| is_ready(pod)).count(), 4);
    let want = json!([1, 4, 4, 4]);
    let told = |cluster: &FakeCluster| {
        let status = status(cluster, "apps/v1", "Deployment", "api");
        json!([
            status["observedGeneration"],
            status["replicas"],
            status["updatedReplicas"],
            status["availableReplicas"]
        ])
    };
    assert_eq!(told(&cluster), want);
    cluster.state().is_manual = true;
    let mut doc = deployment(NS, 4, "a:2");
    doc["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    apply(&cluster, &doc).await;
    assert_eq!(told(&cluster), want, "a stale generation until the controller has looked");
    while cluster.tick() {
        let pods = pods(&cluster);
        let living = pods.iter().filter(|pod| pod["metadata"].get("deletionTimestamp").is_none());
        assert!(living.clone().count() <= 5, "at most one more");
        assert!(living.filter(|pod| is_ready(pod)).count() >= 4, "never fewer");
    }
    assert_eq!(told(&cluster), json!([2, 4, 4, 4]));
    assert!(pods(&cluster).iter().all(|pod| pod["spec"]["containers"][0]["image"] == "a:2"));
    // A version that does not run leaves the old one running.
    cluster.state().is_manual = false;
    cluster.state().troubles.push(("a:3".to_owned(), Trouble::CrashLoop(3)));
    doc["spec"]["template"]["spec"]["containers"][0]["image"] = json!("a:3");
    apply(&cluster, &doc).await;
    assert_eq!(told(&cluster), json!([3, 5, 1, 4]));
    doc["spec"]["replicas"] = json!(0);
    apply(&cluster, &doc).await;
    assert_eq!(pods(&cluster), Vec::<Doc>::new());
    assert_eq!(told(&cluster), json!([4, 0, 0, 0]));
}

#[tokio::test]
async fn services_have_the_addresses_of_ready_pods() {
    let cluster = cluster().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": NS, "labels": {"x": "y"}},
        "spec": {"selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    apply(&cluster, &service).await;
    let mut doc = deployment(NS, 2, "a:1");
    doc["spec"]["template"]["spec"]["containers"] =
        json!([container(json!({"ports": [{"name": "http", "containerPort": 8080}]}))]);
    apply(&cluster, &doc).await;
    let slices = cluster
        .list("discovery.k8s.io/v1", "EndpointSlice", NS, &[("kubernetes.io/service-name", "api")])
        .await
        .unwrap();
    assert_eq!(slices[0]["metadata"]["labels"]["x"], "y");
    assert_eq!(slices[0]["ports"][0]["port"], 8080);
    let endpoints = slices[0]["endpoints"].as_array().unwrap();
    assert!(endpoints.len() == 2 && endpoints.iter().all(|e| e["conditions"]["ready"] == true));
    let uid = text(&cluster.peek(&object("v1", "Service", NS, "api")).unwrap(), "/metadata/uid").to_owned();
    assert_eq!(cluster.delete(&object("v1", "Service", NS, "api"), &uid).await.unwrap(), Ok(Deleted::Gone));
    assert_eq!(cluster.list("discovery.k8s.io/v1", "EndpointSlice", NS, &[]).await.unwrap(), Vec::<Doc>::new());
}

#[tokio::test]
async fn routes_are_accepted_when_planned() {
    let cluster = cluster().await;
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r", "namespace": NS},
        "spec": {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [{"name": "api", "port": 80}]}]}});
    apply(&cluster, &route).await;
    let condition = |kind: &str| {
        let status = status(&cluster, "gateway.networking.k8s.io/v1", "HTTPRoute", "r");
        let all = status["parents"][0]["conditions"].as_array().unwrap().clone();
        all.into_iter().find(|c| c["type"] == kind).unwrap()
    };
    assert_eq!(condition("Accepted")["status"], "True");
    assert_eq!(condition("ResolvedRefs")["reason"], "BackendNotFound");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": NS}, "spec": {"ports": [{"port": 80}]}});
    apply(&cluster, &service).await;
    assert_eq!(condition("ResolvedRefs")["status"], "True");
    cluster.state().gateway = GatewayPlan::Refuses("NotAllowedByListeners".to_owned());
    cluster.look_again();
    assert_eq!(condition("Accepted")["reason"], "NotAllowedByListeners");
}

#[tokio::test]
async fn jobs_end_claims_are_bound_and_sets_come_in_order() {
    let cluster = cluster().await;
    let template = json!({"metadata": {"labels": {"app": "j"}}, "spec": {"restartPolicy": "Never", "containers": [container(json!({}))]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": NS}, "spec": {"template": template}});
    apply(&cluster, &job).await;
    assert_eq!(status(&cluster, "batch/v1", "Job", "j")["conditions"][0]["type"], "Complete");
    let mut cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": NS},
        "spec": {"schedule": "* * * * *", "suspend": true, "jobTemplate": {"spec": {"template": template}}}});
    apply(&cluster, &cron).await;
    cluster.trigger(&object("batch/v1", "CronJob", NS, "c"));
    assert_eq!(cluster.list("batch/v1", "Job", NS, &[]).await.unwrap().len(), 1);
    cron["spec"]["suspend"] = json!(false);
    apply(&cluster, &cron).await;
    cluster.trigger(&object("batch/v1", "CronJob", NS, "c"));
    assert_eq!(cluster.list("batch/v1", "Job", NS, &[]).await.unwrap().len(), 2);
    let labels = json!({"app": "db"});
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": NS}, "spec": {
        "replicas": 2, "serviceName": "db", "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container(json!({}))], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}]}});
    apply(&cluster, &set).await;
    let told = status(&cluster, "apps/v1", "StatefulSet", "db");
    assert_eq!((&told["readyReplicas"], &told["currentRevision"]), (&json!(2), &told["updateRevision"]));
    assert_eq!(status(&cluster, "v1", "PersistentVolumeClaim", "data-db-1")["phase"], "Bound");
    // A claim in use stays until its pods are gone.
    let claim = object("v1", "PersistentVolumeClaim", NS, "data-db-0");
    let uid = text(&cluster.peek(&claim).unwrap(), "/metadata/uid").to_owned();
    assert_eq!(cluster.delete(&claim, &uid).await.unwrap(), Ok(Deleted::Going));
    assert!(cluster.peek(&claim).is_some());
    cluster.delete_as_other(&object("apps/v1", "StatefulSet", NS, "db"));
    assert!(cluster.peek(&claim).is_none());
}

#[tokio::test]
async fn a_quota_is_pending_until_it_is_counted() {
    let cluster = cluster().await;
    cluster.state().is_manual = true;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": NS}, "spec": {"hard": {"pods": "1", "configmaps": "2"}}});
    apply(&cluster, &quota).await;
    assert_eq!(cluster.admit(&pod(NS, "p", json!({}))).await.unwrap(), Err(Refusal::QuotaPending));
    cluster.settle();
    assert_eq!(cluster.admit(&pod(NS, "p", json!({}))).await.unwrap(), Ok(()));
    apply(&cluster, &config_map(NS, "m", json!({}))).await;
    let refused = cluster.apply(&config_map(NS, "n", json!({})), Apply::default()).await.unwrap();
    let Err(Refusal::Quota(text)) = refused else { panic!("counted objects are refused too") };
    assert_eq!(
        text,
        "configmaps \"n\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2"
    );
}

#[tokio::test]
async fn pods_go_before_all_else() {
    let cluster = cluster().await;
    apply(&cluster, &deployment(NS, 1, "a:1")).await;
    let name = text(&pods(&cluster)[0], "/metadata/name").to_owned();
    cluster.edit(&object("v1", "Pod", NS, &name), |pod| pod["metadata"]["finalizers"] = json!(["example/wait"]));
    let space = object("v1", "Namespace", "", NS);
    let uid = text(&cluster.peek(&space).unwrap(), "/metadata/uid").to_owned();
    assert_eq!(cluster.delete(&space, &uid).await.unwrap(), Ok(Deleted::Going));
    assert!(cluster.peek(&object("apps/v1", "Deployment", NS, "api")).is_some(), "a pod's finalizer holds all else");
    cluster.edit(&object("v1", "Pod", NS, &name), |pod| pod["metadata"]["finalizers"] = json!([]));
    assert!(cluster.peek(&space).is_none());
    assert_eq!(cluster.everything(NS), Vec::<Doc>::new());
}

#[tokio::test]
async fn failures_and_kills_strike_as_planned() {
    let world = Fake::default();
    let cluster = FakeCluster::beside(&world, Clock::manual(1_800_000_000_000_000));
    apply(&cluster, &namespace(NS, "restricted")).await;
    let doc = |name: &str| config_map(NS, name, json!({}));
    let is_there = |name: &str| cluster.peek(&object("v1", "ConfigMap", NS, name)).is_some();
    let plan = [
        (2, Failure::Busy(7), false),
        (3, Failure::ServerError, false),
        (4, Failure::TimeoutBefore, false),
        (5, Failure::TimeoutAfter, true),
    ];
    cluster.state().failures = plan.iter().map(|(n, failure, _)| (("apply", *n), *failure)).collect();
    for (n, _, happened) in plan {
        let name = format!("m{n}");
        let error = cluster.apply(&doc(&name), Apply::default()).await.unwrap_err();
        assert_eq!(error.kind(), if n == 2 { Kind::ResourceExhausted } else { Kind::Unavailable });
        assert_eq!(error.retry_after(), (n == 2).then_some(7_000));
        assert_eq!(is_there(&name), happened, "{name}");
    }
    assert_eq!(cluster.state().calls["apply"], 5);
    let effects = world.state().effects;
    for (kill, happened) in [(Kill::Before, false), (Kill::After, true)] {
        let effects = world.state().effects;
        world.state().kill_at = Some((effects + 1, kill));
        let name = format!("{kill:?}").to_lowercase();
        assert!(cluster.apply(&doc(&name), Apply::default()).await.is_err());
        assert_eq!(is_there(&name), happened);
    }
    assert_eq!(world.state().effects, effects + 2);
    cluster.state().is_down = Some(Failure::ServerError);
    assert!(cluster.version().await.is_err() && cluster.get(&object("v1", "ConfigMap", NS, "after")).await.is_err());
    cluster.state().is_down = None;
    cluster.state().denied.insert(("patch".to_owned(), "apps".to_owned(), "deployments".to_owned()));
    let refused = cluster.apply(&deployment(NS, 1, "a:1"), Apply::default()).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Rbac(_))), "{refused:?}");
    assert!(!cluster.may("patch", "apps", "deployments", NS).await.unwrap());
}

#[tokio::test]
async fn watches_logs_and_troubles_are_told() {
    let cluster = cluster().await;
    let mut changes = cluster.changes().await.unwrap();
    apply(&cluster, &config_map(NS, "m", json!({}))).await;
    assert_eq!(changes.next().await.as_deref(), Some(NS));
    cluster.break_watches();
    assert_eq!(changes.next().await.as_deref(), Some(""));
    cluster.state().troubles.push(("a:1".to_owned(), Trouble::OutOfMemory));
    apply(&cluster, &deployment(NS, 1, "a:1")).await;
    let pod = pods(&cluster).remove(0);
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"], "OOMKilled");
    cluster.set_logs(NS, "api-", false, &["one", "two", "three"]);
    let query = LogQuery { tail_lines: 2, ..LogQuery::default() };
    let lines: Vec<_> =
        cluster.logs(NS, text(&pod, "/metadata/name"), &query).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(lines, ["two", "three"]);
    cluster.state().troubles.clear();
    cluster.look_again();
    assert!(is_ready(&pods(&cluster)[0]));
    let clusters = FakeClusters::of("c", &cluster);
    assert!(clusters.open("c").await.is_ok() && clusters.open("d").await.is_err());
    let _: Arc<dyn slipway_environment::world::cluster::Cluster> = clusters.open("c").await.unwrap();
}

/// Thousands of walks through a life must be affordable.
#[tokio::test]
async fn a_life_is_cheap() {
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        let cluster = cluster().await;
        for doc in [
            config_map(NS, "a", json!({})),
            config_map(NS, "b", json!({})),
            deployment(NS, 2, "a:1"),
            deployment(NS, 2, "a:2"),
        ] {
            apply(&cluster, &doc).await;
        }
        cluster.delete_as_other(&object("v1", "Namespace", "", NS));
        assert_eq!(cluster.everything(NS), Vec::<Doc>::new());
    }
    let each = begun.elapsed() / 20;
    println!("{each:?} a life");
    assert!(each.as_millis() < 100, "{each:?}");
}
