//! A platform engineer registers a cluster, and the mistakes on the way.
#![allow(clippy::unwrap_used, missing_docs)]
mod support;

use std::{path::Path, sync::Arc};

use slipway_environment::{
    app::{App, ClusterSpec, Listed},
    model::{
        cluster::{CheckVerdict, Cluster},
        environment::Target,
        layout::Routes,
        tier::Tier,
    },
    world::{World, cluster::Cluster as _, clusters::Registered, fake::Fake, kubernetes::Kubernetes},
};
use slipway_kit::{
    caller::{Caller, Role},
    clock::Clock,
    db::scratch::Scratch,
    error::{Error, Result},
    serve::Call,
};
use support::{REPOSITORY, ann, app_over, caller, open, wanted};

fn root() -> Caller {
    caller("user:default/root", &[], &[Role::PlatformAdmin])
}

fn call(who: Caller, name: &str) -> Call {
    Call::for_test(who, Box::leak(format!("/slipway.environment.v1.ClusterService/{name}").into_boxed_str()))
}

async fn platform(scratch: &Scratch, credentials: &Path) -> (Fake, App) {
    let fake = Fake::default();
    fake.add_service("payments", REPOSITORY, support::OWNER);
    let world = World { clusters: Arc::new(Registered::new(Some(credentials.to_path_buf()))), ..fake.world() };
    (fake, app_over(scratch, world, Clock::manual(1_800_000_000_000_000)).await)
}

fn spec(file: &str) -> ClusterSpec {
    let kubeconfig_file = file.to_owned();
    ClusterSpec {
        kubeconfig_file,
        in_cluster: false,
        target: Target::Apply,
        tiers: vec![],
        is_default: true,
        routing: Routes::Proxy,
        check_image: String::new(),
        pull_secret_files: vec![],
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T>) -> Error {
    answer.unwrap_err()
}

#[tokio::test]
async fn mistakes_are_told_with_what_to_do() {
    for scratch in support::databases().await {
        let dir = tempfile::tempdir().unwrap();
        let (_, app) = platform(&scratch, dir.path()).await;
        let make = |spec: ClusterSpec, only_check| {
            let app = app.clone();
            async move { app.create_cluster(&call(root(), "CreateCluster"), "main", &spec, only_check).await }
        };
        let error = refused(make(spec("missing.yaml"), false).await);
        assert_eq!(error.reason().name, "CLUSTER_UNFIT");
        assert!(
            error.message().contains("REACHABLE") && error.message().contains("directory of credentials"),
            "{error:?}"
        );
        let both = ClusterSpec { in_cluster: true, ..spec("x.yaml") };
        assert_eq!(refused(make(both, true).await).violations().len(), 1);
        std::fs::write(
            dir.path().join("runs.yaml"),
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n\
             clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\n\
             users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/false}}}]\n",
        )
        .unwrap();
        let checked: Cluster = make(spec("runs.yaml"), true).await.unwrap();
        assert!(checked.is_unfit() && checked.checks[0].message.contains("runs a program"), "{:?}", checked.checks);
        std::fs::write(
            dir.path().join("open.yaml"),
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n\
             clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}}]\n\
             users: [{name: u, user: {token: t}}]\n",
        )
        .unwrap();
        let checked: Cluster = make(spec("open.yaml"), true).await.unwrap();
        assert!(
            checked.is_unfit() && checked.checks[0].message.contains("check of certificates"),
            "{:?}",
            checked.checks
        );
        let denied = app.create_cluster(&call(ann(), "CreateCluster"), "main", &spec("x.yaml"), false).await;
        assert_eq!(refused(denied).reason().name, "PERMISSION_DENIED");
        let configured = app.create_cluster(&call(root(), "CreateCluster"), "local", &spec("x.yaml"), false).await;
        assert_eq!(refused(configured).violations()[0].0, "cluster_id");
        let named = app.delete_cluster(&call(root(), "DeleteCluster"), "local", "").await;
        assert_eq!(refused(named).reason().name, "CLUSTER_CONFIGURED");
    }
}

#[tokio::test]
async fn a_cluster_without_an_api_gets_its_manifests_by_git() {
    for scratch in support::databases().await {
        let dir = tempfile::tempdir().unwrap();
        let (fake, app) = platform(&scratch, dir.path()).await;
        let far = ClusterSpec { target: Target::Git, tiers: vec![Tier::Development], ..spec("") };
        app.create_cluster(&call(root(), "CreateCluster"), "far", &far, false).await.unwrap();
        fake.set(REPOSITORY, "7", open(1));
        let env = app.ensure_preview(&support::call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        assert_eq!((env.cluster.as_str(), env.target), ("far", Target::Git));
        let error = refused(app.delete_cluster(&call(root(), "DeleteCluster"), "far", "").await);
        assert_eq!(error.reason().name, "CLUSTER_IN_USE");
        assert!(error.message().contains("pr-7-payments"), "{error:?}");
        let names = app.list_clusters(&call(ann(), "ListClusters")).await.unwrap();
        assert!(
            matches!(&names[..], [Listed::Registered(far), Listed::Configured(local)] if far.id == "far" && local == "local")
        );
    }
}

/// An image with busybox in the containerd of the run; `None` if it cannot be had.
fn check_image() -> Option<String> {
    let find = |name: &str| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    };
    let had = (std::env::var_os("SLIPWAY_TEST_CONTAINERD"), find("ctr"), find("busybox"));
    let (Some(socket), Some(ctr), Some(busybox)) = had else {
        println!(
            "skipped: the self-test of network policies on a real cluster needs SLIPWAY_TEST_CONTAINERD, ctr and busybox"
        );
        return None;
    };
    let image = slipway_images::pack_at("registry.test/slipway/busybox:1", &busybox, "/bin/busybox").unwrap();
    slipway_images::Containerd { socket: socket.into(), ctr }.import(&image).unwrap();
    Some(image.reference())
}

#[tokio::test]
async fn a_real_cluster_passes_what_it_can_and_says_what_it_lacks() {
    let Some(kubeconfig) = std::env::var_os("SLIPWAY_TEST_KUBECONFIG") else {
        println!("skipped: Kubernetes");
        return;
    };
    let scratch = support::databases().await.remove(0);
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(kubeconfig, dir.path().join("real.yaml")).unwrap();
    let (_, app) = platform(&scratch, dir.path()).await;
    let image = check_image();
    let wanted = ClusterSpec { check_image: image.clone().unwrap_or_default(), ..spec("real.yaml") };
    let cluster = app.create_cluster(&call(root(), "CreateCluster"), "real", &wanted, false).await.unwrap();
    let verdict = |name: &str| cluster.checks.iter().find(|check| check.check == name).map(|check| check.verdict);
    for name in ["REACHABLE", "API_VERSION", "RBAC", "POD_SECURITY"] {
        assert_eq!(verdict(name), Some(CheckVerdict::Passed), "{:#?}", cluster.checks);
    }
    let policies = cluster.checks.iter().find(|check| check.check == "NETWORK_POLICY").unwrap();
    println!("NETWORK_POLICY {:?}: {}", policies.verdict, policies.message);
    match image {
        None => assert_eq!(policies.verdict, CheckVerdict::Unknown, "{policies:?}"),
        // The run's own cluster has a bridge that stores policies and enforces none.
        Some(_) => {
            assert_eq!(policies.verdict, CheckVerdict::Failed, "{policies:?}");
            assert!(policies.message.contains("into it and out of"), "{policies:?}");
        }
    }
    let reached = Kubernetes::from_file(&dir.path().join("real.yaml")).await.unwrap();
    for space in
        reached.list("v1", "Namespace", "", &[("app.kubernetes.io/managed-by", "slipway-check")]).await.unwrap()
    {
        assert!(space["metadata"]["deletionTimestamp"].is_string(), "it stays: {space}");
    }
    assert!(cluster.git_version.starts_with("v1."));
    app.delete_cluster(&call(root(), "DeleteCluster"), "real", "").await.unwrap();
}
