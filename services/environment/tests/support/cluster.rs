//! A world with a cluster for the suites of the target apply: every write is counted, logged, and may be where the worker dies.
#![allow(dead_code, clippy::unwrap_used)]
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::json;
use slipway_environment::{
    error::CLUSTER_UNKNOWN,
    model::{
        delivery::Delivered,
        environment::Environment,
        manifest::{self, Doc},
    },
    world::{
        Bindings, Bound, Fault, Job, Place, Renderer, World,
        cluster::{Answer, Apply, Cluster, Clusters, Credential, Deleted, LogQuery, ObjectRef, Version},
        fake::{Fake, Kill},
    },
};
use slipway_kit::error::{Error, Result};

/// One effect as it was logged: namespace, verb and object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub namespace: String,
    pub verb: &'static str,
    pub title: String,
    pub forced: bool,
}

/// Effects by namespace, where each worker dies, and what was written without guard rails.
#[derive(Default)]
pub struct Taps {
    pub effects: Vec<Effect>,
    pub counts: BTreeMap<String, u64>,
    /// By prefix of the namespace: the effects at which the worker dies.
    pub kills: BTreeMap<String, Vec<(u64, Kill)>>,
    pub killed: u64,
    pub unguarded: Vec<String>,
    pub extra: Vec<Doc>,
    pub replicas: i64,
    pub cpu: String,
    pub unsafe_pod: bool,
    pub calls: u64,
    /// Whether the cluster's Gateway API is used; else the preview proxy serves.
    pub has_gateway: bool,
}

/// A world over a cluster; cheap to clone.
#[derive(Clone)]
pub struct Tapped {
    pub fake: Fake,
    pub cluster: Arc<dyn Cluster>,
    taps: Arc<Mutex<Taps>>,
}

/// The text a dying worker says.
pub const DEATH: &str = "the worker dies here";

impl Tapped {
    pub fn new(fake: &Fake, cluster: Arc<dyn Cluster>) -> Self {
        let taps = Taps { replicas: 2, cpu: "100m".to_owned(), ..Taps::default() };
        Self { fake: fake.clone(), cluster, taps: Arc::new(Mutex::new(taps)) }
    }

    pub fn taps(&self) -> MutexGuard<'_, Taps> {
        self.taps.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The fake world with this cluster in it.
    pub fn world(&self) -> World {
        World {
            renderer: Arc::new(self.clone()),
            bindings: Arc::new(self.clone()),
            clusters: Arc::new(self.clone()),
            ..self.fake.world()
        }
    }

    /// `verb Kind/name` of every effect in namespaces that begin so.
    pub fn log(&self, namespace: &str) -> Vec<String> {
        let taps = self.taps();
        let mine = taps.effects.iter().filter(|e| e.namespace.starts_with(namespace));
        mine.map(|e| format!("{} {}", e.verb, e.title)).collect()
    }

    fn begin(&self, namespace: &str, verb: &'static str, title: String, forced: bool) -> Option<Kill> {
        let mut taps = self.taps();
        taps.effects.push(Effect { namespace: namespace.to_owned(), verb, title, forced });
        let count = taps.counts.entry(namespace.to_owned()).or_default();
        *count += 1;
        let at = *count;
        let plans =
            taps.kills.iter().find(|(prefix, _)| namespace.starts_with(prefix.as_str())).map(|(_, plans)| plans)?;
        let (_, kill) = *plans.iter().find(|(n, _)| *n == at)?;
        taps.killed += 1;
        Some(kill)
    }

    async fn effect<T>(
        &self,
        namespace: &str,
        verb: &'static str,
        title: String,
        forced: bool,
        act: impl Future<Output = T>,
    ) -> T {
        let kill = self.begin(namespace, verb, title, forced);
        assert!(kill != Some(Kill::Before), "{DEATH}");
        let done = act.await;
        assert!(kill != Some(Kill::After), "{DEATH}");
        done
    }

    /// No workload may be written where its guard rails do not stand (ENV-60).
    async fn watch_order(&self, doc: &Doc) {
        if manifest::pod_spec(doc).is_none() {
            return;
        }
        let namespace = manifest::text(doc, "/metadata/namespace");
        let quotas = self.cluster.list("v1", "ResourceQuota", namespace, &[]).await.unwrap();
        let counted = quotas.iter().any(|q| q.pointer("/status/hard/pods").is_some());
        let ranges = self.cluster.list("v1", "LimitRange", namespace, &[]).await.unwrap();
        let policies = self.cluster.list("networking.k8s.io/v1", "NetworkPolicy", namespace, &[]).await.unwrap();
        // The last of them; a fork has three, everything else four.
        let all = policies.iter().any(|policy| manifest::name(policy) == "slipway-allow-gateway");
        if !counted || ranges.is_empty() || !all {
            self.taps().unguarded.push(format!("{namespace} {}", manifest::title(doc)));
        }
    }
}

fn place_of(doc: &Doc) -> String {
    let namespace = manifest::text(doc, "/metadata/namespace");
    if namespace.is_empty() { manifest::name(doc).to_owned() } else { namespace.to_owned() }
}

#[async_trait]
impl Clusters for Tapped {
    async fn open(&self, id: &str) -> Result<Arc<dyn Cluster>> {
        if id == "local" { Ok(Arc::new(self.clone())) } else { Err(Error::new(&CLUSTER_UNKNOWN, id)) }
    }

    async fn credential(&self, _: &str) -> Result<Credential> {
        Ok(Credential::KubeconfigFile("test".to_owned()))
    }
}

#[async_trait]
impl Cluster for Tapped {
    async fn version(&self) -> Result<Version> {
        let mut version = self.cluster.version().await?;
        let has_gateway = self.taps().has_gateway;
        version.apis.retain(|api| has_gateway || !api.starts_with("gateway.networking.k8s.io/"));
        Ok(version)
    }

    async fn apply(&self, doc: &Doc, how: Apply) -> Answer<Doc> {
        self.watch_order(doc).await;
        self.effect(&place_of(doc), "apply", manifest::title(doc), how.force, self.cluster.apply(doc, how)).await
    }

    async fn admit(&self, doc: &Doc) -> Answer<()> {
        self.cluster.admit(doc).await
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Doc>> {
        self.taps().calls += 1;
        self.cluster.get(object).await
    }

    async fn list(&self, api_version: &str, kind: &str, namespace: &str, labels: &[(&str, &str)]) -> Result<Vec<Doc>> {
        self.taps().calls += 1;
        self.cluster.list(api_version, kind, namespace, labels).await
    }

    async fn remaining(&self, namespace: &str) -> Result<Vec<Doc>> {
        self.cluster.remaining(namespace).await
    }

    async fn delete(&self, object: &ObjectRef, uid: &str) -> Answer<Deleted> {
        let place = if object.namespace.is_empty() { &object.name } else { &object.namespace };
        let title = format!("{}/{}", object.kind, object.name);
        self.effect(place, "delete", title, false, self.cluster.delete(object, uid)).await
    }

    async fn logs(&self, namespace: &str, pod: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<String>>> {
        self.cluster.logs(namespace, pod, query).await
    }

    async fn changes(&self) -> Result<BoxStream<'static, String>> {
        self.cluster.changes().await
    }

    async fn may(&self, verb: &str, group: &str, resource: &str, namespace: &str) -> Result<bool> {
        self.cluster.may(verb, group, resource, namespace).await
    }
}

#[async_trait]
impl Bindings for Tapped {
    async fn bound(&self, env: &Environment) -> Result<Bound> {
        self.fake.bound(env).await
    }

    async fn deliver(&self, env: &Environment, place: &Place, pull_secrets: &[String]) -> Result<Delivered> {
        let delivered = self.fake.deliver(env, place, pull_secrets);
        self.effect(&env.namespace, "deliver", String::new(), false, delivered).await
    }

    async fn withdraw(&self, env: &Environment, place: &Place) -> Result<Vec<String>> {
        self.effect(&env.namespace, "withdraw", String::new(), false, self.fake.withdraw(env, place)).await
    }
}

#[async_trait]
impl Renderer for Tapped {
    async fn render(&self, job: &Job<'_>) -> Result<std::result::Result<Vec<Doc>, Fault>> {
        let fault = self.fake.state().fault.clone();
        if let Some(fault) = fault {
            return Ok(Err(fault));
        }
        let taps = self.taps();
        let mut docs = chart(job.release, &job.source.head_sha, &taps);
        docs.extend(taps.extra.clone());
        Ok(Ok(docs))
    }
}

/// A service as a chart renders it, with one object whose name follows the commit.
fn chart(release: &str, sha: &str, taps: &Taps) -> Vec<Doc> {
    let labels = json!({"app": release});
    let container = json!({
        "name": "app",
        "image": image(),
        "args": [],
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": taps.cpu, "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": (!taps.unsafe_pod).then_some(true),
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "env": [{"name": "SHA", "value": sha}],
    });
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{release}-{}", &sha[30..])}, "data": {"sha": sha}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": release},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": release}, "spec": {
            "replicas": taps.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}},
        }}),
    ]
}

/// The image that runs: any by digest in memory, the one that was imported on a real cluster.
fn image() -> String {
    std::env::var("SLIPWAY_TEST_IMAGE").unwrap_or_else(|_| format!("ghcr.io/acme/payments@sha256:{}", "a".repeat(64)))
}
