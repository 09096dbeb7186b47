//! Scenarios that run on the cluster in memory and on the real one.
use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::LocalBoxFuture};
use serde_json::{Value, json};
use slipway_environment::{
    model::manifest::{Doc, text},
    world::{
        cluster::{Apply, Cluster, Deleted, LogQuery, ObjectRef, Refusal},
        fake_cluster::FakeCluster,
        kubernetes::Kubernetes,
    },
};
use slipway_kit::{clock::Clock, error::Kind};

/// A cluster and a namespace of the test's own.
pub struct Place {
    pub cluster: Arc<dyn Cluster>,
    pub namespace: String,
    /// The same cluster, as somebody else uses it.
    other: Other,
}

enum Other {
    Fake(FakeCluster),
    Real(kube::Client),
}

const FORCE: Apply = Apply { dry_run: false, force: true };

pub fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> ObjectRef {
    let owned = |text: &str| text.to_owned();
    ObjectRef { api_version: owned(api_version), kind: owned(kind), namespace: owned(namespace), name: owned(name) }
}

pub fn namespace(name: &str, enforce: &str) -> Doc {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
        "app.kubernetes.io/managed-by": "slipway", "slipway.dev/env-uid": name,
        "pod-security.kubernetes.io/enforce": enforce, "pod-security.kubernetes.io/enforce-version": "v1.34"}}})
}

pub fn config_map(namespace: &str, name: &str, data: Value) -> Doc {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, "labels": {"test": "yes"}}, "data": data})
}

pub fn container(extra: Value) -> Value {
    let mut container = json!({"name": "app", "image": "registry.test/shop/app:1", "securityContext": {
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"}}});
    for (key, value) in extra.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    container
}

pub fn pod(namespace: &str, name: &str, extra: Value) -> Doc {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": {"containers": [container(extra)]}})
}

pub fn deployment(namespace: &str, replicas: i64, image: &str) -> Doc {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api", "namespace": namespace, "labels": {
        "app.kubernetes.io/managed-by": "slipway", "slipway.dev/env-uid": namespace}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "api"}}, "template": {
            "metadata": {"labels": {"app": "api"}}, "spec": {"containers": [container(json!({"image": image}))]}}}})
}

impl Place {
    pub async fn apply(&self, doc: &Doc) -> Doc {
        self.cluster
            .apply(doc, Apply::default())
            .await
            .unwrap()
            .unwrap_or_else(|refusal| panic!("{refusal:?} of {doc}"))
    }

    pub async fn refused(&self, doc: &Doc) -> Refusal {
        self.cluster.apply(doc, Apply::default()).await.unwrap().expect_err("must be refused")
    }

    pub async fn get(&self, api_version: &str, kind: &str, name: &str) -> Option<Doc> {
        self.cluster.get(&object(api_version, kind, &self.namespace, name)).await.unwrap()
    }

    async fn apply_as(&self, manager: &str, doc: &Doc) {
        match &self.other {
            Other::Fake(fake) => drop(fake.apply_as(manager, doc, false).unwrap()),
            Other::Real(client) => {
                let params = kube::api::PatchParams::apply(manager);
                self.api(client, doc)
                    .patch(text(doc, "/metadata/name"), &params, &kube::api::Patch::Apply(doc))
                    .await
                    .unwrap();
            }
        }
    }

    fn api(&self, client: &kube::Client, doc: &Doc) -> kube::Api<kube::api::DynamicObject> {
        let (version, kind) = (text(doc, "/apiVersion"), text(doc, "/kind"));
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind));
        kube::Api::namespaced_with(client.clone(), &self.namespace, &resource)
    }

    /// Takes the finalizers away, as the controller does that set them.
    async fn finalize(&self, doc: &Doc) {
        match &self.other {
            Other::Fake(fake) => fake.edit(
                &object(text(doc, "/apiVersion"), text(doc, "/kind"), &self.namespace, text(doc, "/metadata/name")),
                |doc| {
                    doc["metadata"]["finalizers"] = json!([]);
                },
            ),
            Other::Real(client) => {
                let patch = json!({"metadata": {"finalizers": null}});
                let params = kube::api::PatchParams::default();
                self.api(client, doc)
                    .patch(text(doc, "/metadata/name"), &params, &kube::api::Patch::Merge(&patch))
                    .await
                    .unwrap();
            }
        }
    }

    /// Waits until something is so; clusters take their time.
    pub async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        for _ in 0..600 {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: {what}")
    }

    async fn delete_namespace(&self) {
        let space = object("v1", "Namespace", "", &self.namespace);
        if let Some(doc) = self.cluster.get(&space).await.unwrap() {
            self.cluster.delete(&space, text(&doc, "/metadata/uid")).await.unwrap().unwrap();
        }
    }
}

pub fn kubeconfig() -> Option<PathBuf> {
    let path = std::env::var_os("SLIPWAY_TEST_KUBECONFIG").map(PathBuf::from);
    if path.is_none() {
        println!("skipped: Kubernetes");
    }
    path
}

async fn real(page: u32) -> Option<(Kubernetes, kube::Client)> {
    let path = kubeconfig()?;
    let config = kube::config::Kubeconfig::read_from(&path).unwrap();
    let config =
        kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    Some((Kubernetes::from_file(&path).await.unwrap().with_page(page), client))
}

/// Runs a scenario on each cluster, in a namespace of its own.
async fn on_each(name: &str, enforce: &str, scenario: impl for<'a> Fn(&'a Place) -> LocalBoxFuture<'a, ()>) {
    let fake = FakeCluster::new(Clock::manual(1_800_000_000_000_000));
    let mut places =
        vec![Place { cluster: Arc::new(fake.clone()), namespace: format!("kt-{name}"), other: Other::Fake(fake) }];
    if let Some((cluster, client)) = real(3).await {
        let namespace = format!("kt-{name}-{}", &slipway_kit::id::uuid4()[..6]);
        places.push(Place { cluster: Arc::new(cluster), namespace, other: Other::Real(client) });
    }
    for place in places {
        place.apply(&namespace(&place.namespace, enforce)).await;
        place.until("the service account", async || place.get("v1", "ServiceAccount", "default").await).await;
        let outcome = std::panic::AssertUnwindSafe(scenario(&place)).catch_unwind().await;
        place.delete_namespace().await;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }
}

macro_rules! contract {
    ($name:ident, $enforce:literal, $scenario:expr) => {
        #[tokio::test]
        async fn $name() {
            on_each(&stringify!($name).replace('_', "-"), $enforce, |place| Box::pin($scenario(place))).await;
        }
    };
}

contract!(fields_belong_to_who_applied_them, "privileged", ownership);
async fn ownership(place: &Place) {
    let ns = &place.namespace;
    let first = place.apply(&config_map(ns, "m", json!({"a": "1", "b": "2"}))).await;
    assert!(!text(&first, "/metadata/uid").is_empty() && !text(&first, "/metadata/resourceVersion").is_empty());
    assert_eq!(text(&first, "/kind"), "ConfigMap");
    let same = place.apply(&config_map(ns, "m", json!({"a": "1", "b": "2"}))).await;
    assert_eq!(text(&same, "/metadata/resourceVersion"), text(&first, "/metadata/resourceVersion"));
    place
        .apply_as(
            "other",
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": ns}, "data": {"c": "3"}}),
        )
        .await;
    // What we alone own goes when we leave it out, what others own stays.
    let pruned = place.apply(&config_map(ns, "m", json!({"b": "2"}))).await;
    assert_eq!(pruned["data"], json!({"b": "2", "c": "3"}));
    assert_eq!(text(&pruned, "/metadata/uid"), text(&first, "/metadata/uid"));
    let contested = config_map(ns, "m", json!({"b": "2", "c": "4"}));
    let Refusal::Conflict { managers, fields } = place.refused(&contested).await else { panic!("a conflict") };
    assert_eq!((managers, fields), (vec!["other".to_owned()], vec![".data.c".to_owned()]));
    let forced = place.cluster.apply(&contested, FORCE).await.unwrap().unwrap();
    assert_eq!(forced["data"]["c"], "4");
    // It is ours by now.
    assert_eq!(place.apply(&config_map(ns, "m", json!({"b": "2"}))).await["data"], json!({"b": "2"}));
}

contract!(a_dry_run_changes_nothing, "privileged", dry_run);
async fn dry_run(place: &Place) {
    let ns = &place.namespace;
    let dry = Apply { dry_run: true, force: false };
    let doc = config_map(ns, "m", json!({"a": "1"}));
    assert_eq!(place.cluster.apply(&doc, dry).await.unwrap().unwrap()["data"]["a"], "1");
    assert_eq!(place.get("v1", "ConfigMap", "m").await, None);
    place.apply(&doc).await;
    let changed = place.cluster.apply(&config_map(ns, "m", json!({"a": "2"})), dry).await.unwrap().unwrap();
    assert_eq!(changed["data"]["a"], "2");
    assert_eq!(place.get("v1", "ConfigMap", "m").await.unwrap()["data"]["a"], "1");
    let nowhere = config_map("kt-there-is-none", "m", json!({}));
    assert_eq!(place.refused(&nowhere).await, Refusal::NamespaceMissing);
    assert_eq!(place.cluster.apply(&nowhere, dry).await.unwrap(), Err(Refusal::NamespaceMissing));
    let odd = json!({"apiVersion": "nobody.example/v1", "kind": "Nothing", "metadata": {"name": "x", "namespace": ns}});
    assert_eq!(place.refused(&odd).await, Refusal::KindUnknown);
    assert_eq!(place.cluster.list("nobody.example/v1", "Nothing", ns, &[]).await.unwrap(), Vec::<Doc>::new());
    assert_eq!(place.get("nobody.example/v1", "Nothing", "x").await, None);
}

contract!(deletes_hit_one_life_only, "privileged", deletes);
async fn deletes(place: &Place) {
    let ns = &place.namespace;
    let first = place.apply(&config_map(ns, "m", json!({"a": "1"}))).await;
    let which = object("v1", "ConfigMap", ns, "m");
    let (uid, other) = (text(&first, "/metadata/uid"), "11111111-1111-4111-8111-111111111111");
    assert_eq!(place.cluster.delete(&which, other).await.unwrap(), Ok(Deleted::Gone));
    assert!(place.get("v1", "ConfigMap", "m").await.is_some());
    assert_eq!(place.cluster.delete(&which, uid).await.unwrap(), Ok(Deleted::Gone));
    assert_eq!(place.get("v1", "ConfigMap", "m").await, None);
    assert_eq!(place.cluster.delete(&which, uid).await.unwrap(), Ok(Deleted::Gone));
    // A document that names a life is refused for another one.
    let second = place.apply(&config_map(ns, "m", json!({"a": "1"}))).await;
    assert_ne!(text(&second, "/metadata/uid"), uid);
    let mut stale = config_map(ns, "m", json!({"a": "2"}));
    stale["metadata"]["uid"] = json!(uid);
    assert_eq!(place.refused(&stale).await, Refusal::Precondition);
    let mut held = config_map(ns, "h", json!({}));
    held["metadata"]["finalizers"] = json!(["slipway.dev/test"]);
    let live = place.apply(&held).await;
    let which = object("v1", "ConfigMap", ns, "h");
    assert_eq!(place.cluster.delete(&which, text(&live, "/metadata/uid")).await.unwrap(), Ok(Deleted::Going));
    assert!(!text(&place.get("v1", "ConfigMap", "h").await.unwrap(), "/metadata/deletionTimestamp").is_empty());
    place.finalize(&held).await;
    place.until("it is gone", async || place.get("v1", "ConfigMap", "h").await.is_none().then_some(())).await;
}

contract!(a_namespace_ends_after_its_content, "privileged", life_cycle);
async fn life_cycle(place: &Place) {
    let ns = &place.namespace;
    let space = object("v1", "Namespace", "", ns);
    let mut held = config_map(ns, "held", json!({}));
    held["metadata"]["finalizers"] = json!(["slipway.dev/test"]);
    place.apply(&held).await;
    place.apply(&config_map(ns, "free", json!({}))).await;
    let uid = text(&place.cluster.get(&space).await.unwrap().unwrap(), "/metadata/uid").to_owned();
    assert_eq!(place.cluster.delete(&space, "11111111-1111-4111-8111-111111111111").await.unwrap(), Ok(Deleted::Gone));
    assert_eq!(place.cluster.delete(&space, &uid).await.unwrap(), Ok(Deleted::Going));
    assert_eq!(place.cluster.delete(&space, &uid).await.unwrap(), Ok(Deleted::Going));
    assert_eq!(place.refused(&config_map(ns, "late", json!({}))).await, Refusal::NamespaceTerminating);
    place
        .until("the finalizer is told", async || {
            let doc = place.cluster.get(&space).await.unwrap().unwrap();
            let conditions = doc["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let of = |kind: &str| conditions.iter().find(|c| c["type"] == kind && c["status"] == "True").cloned();
            let told = of("NamespaceFinalizersRemaining")?;
            assert!(told["message"].as_str().unwrap().contains("slipway.dev/test"), "{told}");
            assert!(of("NamespaceContentRemaining").is_some());
            Some(())
        })
        .await;
    let left = place.until("only the held one is left", async || {
        let left = place.cluster.remaining(ns).await.unwrap();
        (left.len() == 1).then_some(left)
    });
    let left = left.await;
    assert_eq!((text(&left[0], "/kind"), text(&left[0], "/metadata/name")), ("ConfigMap", "held"));
    place.finalize(&held).await;
    place.until("it is gone", async || place.cluster.get(&space).await.unwrap().is_none().then_some(())).await;
    assert_eq!(place.cluster.remaining(ns).await.unwrap(), Vec::<Doc>::new());
    assert_eq!(place.cluster.delete(&space, &uid).await.unwrap(), Ok(Deleted::Gone));
    assert_eq!(place.refused(&config_map(ns, "late", json!({}))).await, Refusal::NamespaceMissing);
}

contract!(quotas_refuse_in_words, "privileged", quota);
async fn quota(place: &Place) {
    let ns = &place.namespace;
    let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "defaults", "namespace": ns}, "spec": {"limits": [
        {"type": "Container", "default": {"memory": "64Mi"}, "defaultRequest": {"cpu": "50m", "memory": "32Mi"}}]}});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": ns}, "spec": {"hard": {
        "requests.cpu": "100m", "limits.memory": "1Gi", "pods": "5"}}});
    place.apply(&quota).await;
    place
        .until("the quota is counted", async || {
            let quota = place.get("v1", "ResourceQuota", "q").await?;
            quota["status"]["hard"].get("pods").map(drop)
        })
        .await;
    let silent = place.cluster.admit(&pod(ns, "silent", json!({}))).await.unwrap();
    assert!(matches!(&silent, Err(Refusal::Quota(text)) if text.contains("must specify")), "{silent:?}");
    place.apply(&limits).await;
    place
        .until("defaults are filled in", async || {
            place.cluster.admit(&pod(ns, "silent", json!({}))).await.unwrap().ok()
        })
        .await;
    let big = json!({"resources": {"requests": {"cpu": "150m"}}});
    let Err(Refusal::Quota(text)) = place.cluster.admit(&pod(ns, "big", big.clone())).await.unwrap() else {
        panic!("a quota")
    };
    assert!(
        text.contains(
            "exceeded quota: q, requested: requests.cpu=150m, used: requests.cpu=0, limited: requests.cpu=100m"
        ),
        "{text}"
    );
    // A Deployment is accepted, and its ReplicaSet says what it could not do.
    let mut doc = deployment(ns, 1, "registry.test/shop/app:1");
    doc["spec"]["template"]["spec"]["containers"] = json!([container(big)]);
    place.apply(&doc).await;
    let message = place
        .until("the ReplicaSet tells", async || {
            let sets = place.cluster.list("apps/v1", "ReplicaSet", ns, &[("app", "api")]).await.unwrap();
            let conditions = sets.first()?["status"]["conditions"].as_array().cloned()?;
            let failed = conditions.iter().find(|c| c["type"] == "ReplicaFailure" && c["reason"] == "FailedCreate")?;
            failed["message"].as_str().map(str::to_owned)
        })
        .await;
    assert!(message.contains("exceeded quota: q"), "{message}");
    assert_eq!(place.cluster.list("v1", "Pod", ns, &[]).await.unwrap(), Vec::<Doc>::new());
}

contract!(pod_security_refuses_in_words, "restricted", pod_security);
async fn pod_security(place: &Place) {
    let ns = &place.namespace;
    assert_eq!(place.cluster.admit(&pod(ns, "good", json!({}))).await.unwrap(), Ok(()));
    let bad = pod(ns, "bad", json!({"securityContext": {"privileged": true}}));
    let Err(Refusal::PodSecurity(text)) = place.cluster.admit(&bad).await.unwrap() else { panic!("Pod Security") };
    assert!(text.contains("violates PodSecurity \"restricted:v1.34\": "), "{text}");
    for part in [
        "privileged (container \"app\" must not set securityContext.privileged=true)",
        "allowPrivilegeEscalation != false (container \"app\" must set securityContext.allowPrivilegeEscalation=false)",
        "unrestricted capabilities (container \"app\" must set securityContext.capabilities.drop=[\"ALL\"])",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let relaxed = pod(ns, "relaxed", json!({"securityContext": {}}));
    let Err(Refusal::PodSecurity(text)) = place.cluster.admit(&relaxed).await.unwrap() else { panic!("Pod Security") };
    assert!(
        text.contains("runAsNonRoot != true (pod or container \"app\" must set securityContext.runAsNonRoot=true)"),
        "{text}"
    );
    assert!(text.contains("seccompProfile (pod or container \"app\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"), "{text}");
    assert_eq!(place.cluster.list("v1", "Pod", ns, &[]).await.unwrap(), Vec::<Doc>::new());
}

contract!(lists_are_complete_over_pages, "privileged", pages);
async fn pages(place: &Place) {
    let ns = &place.namespace;
    for n in 0..8 {
        let mut doc = config_map(ns, &format!("m{n}"), json!({}));
        doc["metadata"]["labels"]["half"] = json!((n % 2).to_string());
        place.apply(&doc).await;
    }
    let names = |docs: Vec<Doc>| docs.iter().map(|d| text(d, "/metadata/name").to_owned()).collect::<Vec<_>>();
    let all = place.cluster.list("v1", "ConfigMap", ns, &[("test", "yes")]).await.unwrap();
    assert!(all.iter().all(|doc| doc["kind"] == "ConfigMap" && doc["apiVersion"] == "v1"));
    assert_eq!(names(all), ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"]);
    let half = place.cluster.list("v1", "ConfigMap", ns, &[("test", "yes"), ("half", "1")]).await.unwrap();
    assert_eq!(names(half), ["m1", "m3", "m5", "m7"]);
    let everywhere = place.cluster.list("v1", "ConfigMap", "", &[("test", "yes")]).await.unwrap();
    assert!(everywhere.len() >= 8);
    assert_eq!(
        place
            .cluster
            .remaining(ns)
            .await
            .unwrap()
            .iter()
            .filter(|d| text(d, "/metadata/name").starts_with('m'))
            .count(),
        8
    );
}

contract!(changes_name_the_environment, "privileged", changes);
async fn changes(place: &Place) {
    let ns = place.namespace.clone();
    let mut changes = place.cluster.changes().await.unwrap();
    let mut n = 0;
    let told = async {
        while let Some(uid) = changes.next().await {
            if uid == ns {
                return;
            }
        }
        panic!("the stream ended")
    };
    let change = async {
        loop {
            n += 1;
            let mut doc = namespace(&ns, "privileged");
            doc["metadata"]["annotations"] = json!({"n": n.to_string()});
            place.apply(&doc).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        () = told => {}
        () = change => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("nobody was told"),
    }
}

contract!(logs_of_what_is_not_there, "restricted", no_logs);
async fn no_logs(place: &Place) {
    let query = LogQuery { tail_lines: 5, ..LogQuery::default() };
    let mut lines = place.cluster.logs(&place.namespace, "nobody", &query).await.unwrap();
    assert!(lines.next().await.is_none());
}

contract!(reviews_and_versions, "restricted", reviews);
async fn reviews(place: &Place) {
    assert!(place.cluster.may("create", "apps", "deployments", &place.namespace).await.unwrap());
    let version = place.cluster.version().await.unwrap();
    assert!(version.git_version.starts_with("v1."), "{version:?}");
    for api in ["v1/Pod", "apps/v1/Deployment", "networking.k8s.io/v1/NetworkPolicy", "apps/v1", "v1"] {
        assert!(version.apis.iter().any(|served| served == api), "{api}");
    }
    assert!(version.apis.is_sorted());
}

/// A kubeconfig that runs programs is refused before it is used.
#[tokio::test]
async fn kubeconfigs_that_run_programs_are_refused() {
    let dir = std::env::temp_dir().join(format!("kt-{}", slipway_kit::id::uuid4()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("c.yaml");
    let with = |user: Value| {
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "u", "user": user}]})
    };
    for user in [
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": ["/tmp/pwned"]}}),
        json!({"auth-provider": {"name": "gcp", "config": {"cmd-path": "touch"}}}),
    ] {
        std::fs::write(&path, with(user).to_string()).unwrap();
        let error = Kubernetes::from_file(&path).await.err().unwrap();
        assert!(error.message().contains("runs a program"), "{error}");
    }
    std::fs::write(&path, with(json!({"token": "s3cret-token"})).to_string()).unwrap();
    let cluster = Kubernetes::from_file(&path).await.unwrap();
    let error = cluster.version().await.err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}
