//! What the printed ClusterRole allows: all that environments need, and no reading of secrets. Only on a real cluster.
use std::{path::Path, time::Duration};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use slipway_environment::{
    model::{
        cluster::{CheckVerdict, roles},
        manifest::{Doc, parse, text},
    },
    world::{
        cluster::{Apply, Cluster as _, Clusters as _, Credential, Deleted, Refusal},
        cluster_checks,
        clusters::Registered,
        kubernetes::Kubernetes,
    },
};

use super::contract::{config_map, deployment, kubeconfig, namespace, object, pod};

struct Admin {
    client: Client,
    kubeconfig: Value,
}

impl Admin {
    fn api(&self, doc: &Doc) -> Api<DynamicObject> {
        let (version, kind) = (text(doc, "/apiVersion"), text(doc, "/kind"));
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match text(doc, "/metadata/namespace") {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    async fn apply(&self, doc: &Doc) {
        let params = PatchParams::apply("test");
        self.api(doc).patch(text(doc, "/metadata/name"), &params, &Patch::Apply(doc)).await.unwrap();
    }

    async fn delete(&self, doc: &Doc) {
        let _ = self.api(doc).delete(text(doc, "/metadata/name"), &DeleteParams::background()).await;
    }

    /// Writes a kubeconfig for a service account.
    async fn write(&self, account: &Doc, path: &Path) {
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
        let name = text(account, "/metadata/name");
        let answer: Value =
            self.api(account).create_subresource("token", name, &PostParams::default(), &request).await.unwrap();
        let mut config = self.kubeconfig.clone();
        config["users"][0]["user"] = json!({"token": answer["status"]["token"]});
        std::fs::write(path, config.to_string()).unwrap();
    }
}

fn account_with_role(name: &str) -> [Doc; 4] {
    let mut role = parse(&roles()).unwrap().remove(0);
    assert_eq!(text(&role, "/metadata/name"), "slipway-environment");
    role["metadata"]["name"] = json!(name);
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "platform", "namespace": name}}),
        role,
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "platform", "namespace": name}]}),
    ]
}

#[tokio::test]
async fn the_printed_role_is_enough_and_reads_no_secret() {
    let Some(path) = kubeconfig() else { return };
    let config = kube::config::Kubeconfig::read_from(&path).unwrap();
    let kubeconfig = serde_json::to_value(&config).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.unwrap();
    let admin = Admin { client: Client::try_from(config).unwrap(), kubeconfig };
    let name = format!("kt-role-{}", &slipway_kit::id::uuid4()[..6]);
    let docs = account_with_role(&name);
    for doc in &docs {
        admin.apply(doc).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("limited.yaml");
    admin.write(&docs[1], &file).await;
    let outcome = tokio::spawn(live_a_life(file.clone(), format!("{name}-env"))).await;
    let reopened = tokio::spawn(open_anew(dir.path().to_path_buf())).await;
    for doc in docs.iter().rev() {
        admin.delete(doc).await;
    }
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("{name}-env")}});
    admin.delete(&space).await;
    outcome.unwrap();
    reopened.unwrap();
}

async fn live_a_life(file: std::path::PathBuf, ns: String) {
    let cluster = Kubernetes::from_file(&file).await.unwrap();
    let (version, checks) = cluster_checks::run(&cluster, &cluster_checks::Scope::default()).await;
    assert!(version.starts_with("v1."));
    for name in ["REACHABLE", "API_VERSION", "RBAC", "POD_SECURITY"] {
        let check = checks.iter().find(|check| check.check == name);
        assert_eq!(check.map(|check| check.verdict), Some(CheckVerdict::Passed), "{checks:#?}");
    }
    let made = cluster.apply(&namespace(&ns, "restricted"), Apply::default()).await.unwrap().unwrap();
    let meta = |name: &str| json!({"name": name, "namespace": ns});
    for doc in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("default"), "automountServiceAccountToken": false}),
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta("l"), "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "10m"}}]}}),
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta("q"), "spec": {"hard": {"pods": "2"}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta("n"), "spec": {"podSelector": {}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("s"), "spec": {"selector": {"app": "api"}, "ports": [{"port": 80}]}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta("c"), "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "registry.test/shop/app:1"}]}}}}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta("i"), "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
        config_map(&ns, "m", json!({"a": "1"})),
        deployment(&ns, 0, "registry.test/shop/app:1"),
    ] {
        cluster.apply(&doc, Apply::default()).await.unwrap().unwrap_or_else(|refusal| panic!("{refusal:?} of {doc}"));
    }
    for (api_version, kind) in
        [("v1", "Pod"), ("apps/v1", "ReplicaSet"), ("discovery.k8s.io/v1", "EndpointSlice"), ("v1", "Event")]
    {
        cluster.list(api_version, kind, &ns, &[]).await.unwrap();
    }
    let decided = cluster.admit(&pod(&ns, "p", json!({}))).await.unwrap();
    assert!(matches!(decided, Ok(()) | Err(Refusal::QuotaPending)), "{decided:?}");
    let secret = object("v1", "Secret", &ns, "token");
    let error = cluster.get(&secret).await.unwrap_err();
    assert_eq!(error.reason().name, "CLUSTER_FORBIDS", "{error:?}");
    assert!(cluster.list("v1", "Secret", &ns, &[]).await.is_err());
    let forbidden = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("x"), "stringData": {"a": "b"}});
    let refused = cluster.apply(&forbidden, Apply::default()).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Rbac(_))), "{refused:?}");
    assert!(!cluster.remaining(&ns).await.unwrap().is_empty());
    let space = object("v1", "Namespace", "", &ns);
    assert_eq!(cluster.delete(&space, text(&made, "/metadata/uid")).await.unwrap(), Ok(Deleted::Going));
    for _ in 0..300 {
        if cluster.get(&space).await.unwrap().is_none() {
            assert!(cluster.remaining(&ns).await.unwrap().is_empty());
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the namespace stays: {:?}", cluster.remaining(&ns).await);
}

/// A kubeconfig that is written anew is read anew: tokens are renewed without a restart.
async fn open_anew(dir: std::path::PathBuf) {
    let clusters = Registered::new(Some(dir.clone()));
    let credential = Credential::KubeconfigFile("limited.yaml".to_owned());
    clusters.register([("one".to_owned(), credential)].into());
    let first = clusters.open("one").await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &clusters.open("one").await.unwrap()));
    let good = std::fs::read_to_string(dir.join("limited.yaml")).unwrap();
    std::fs::write(dir.join("limited.yaml"), good.replace("\"token\":\"", "\"token\":\"wrong")).unwrap();
    let error = clusters.open("one").await.unwrap().version().await.unwrap_err();
    assert!(error.message().contains("credentials"), "{error:?}");
    std::fs::write(dir.join("limited.yaml"), good).unwrap();
    assert!(clusters.open("one").await.unwrap().version().await.is_ok());
}
