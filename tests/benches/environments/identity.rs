//! The platform's own account in the cluster: with the role that the platform prints, and counted by the API server.
//!
//! Owns the account and what counts its requests, and takes both away. Refuses the administrator's kubeconfig: what the platform may not
//! do with its role fails here.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use slipway_proto::environment::v1 as environment;
use slipway_tests::cluster::{Cluster, until};
use slipway_tests::preview_job::PreviewJob;

use crate::api::KINDS;

/// Namespace of the accounts.
const NAMESPACE: &str = "slipway-bench";
/// What belongs to an account says so.
const LABEL: &str = "slipway.test/account";

/// One account; gone when dropped.
pub struct Identity {
    cluster: Cluster,
    name: String,
}

impl Identity {
    /// Makes the account, without any right.
    pub fn make(cluster: &Cluster, name: &str) -> Result<Self> {
        let name = format!("bench-{name}");
        cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))?;
        let account = json!({"name": name, "namespace": NAMESPACE});
        cluster.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}))?;
        let this = Self { cluster: cluster.clone(), name };
        for (kind, verbs) in KINDS {
            this.cluster.apply(&this.counter(kind, verbs))?;
        }
        Ok(this)
    }

    /// Its name, which the names of its counters begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn counter(&self, kind: &str, verbs: &[&str]) -> Value {
        let mut rule = json!({
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": self.name, "namespace": NAMESPACE}}],
            "resourceRules": [{
                "verbs": verbs, "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
            }],
        });
        if kind == "reads" {
            rule["nonResourceRules"] = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        }
        json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
            "metadata": {"name": format!("{}-{kind}", self.name), "labels": {LABEL: self.name}},
            "spec": {
                // Where service accounts are by default; only the counter is of our own.
                "matchingPrecedence": 500, "priorityLevelConfiguration": {"name": "workload-low"},
                "distinguisherMethod": {"type": "ByUser"}, "rules": [rule],
            },
        })
    }

    /// Registers the cluster with the platform by this account, after it got the role that the platform asks for.
    pub async fn register(&self, job: &PreviewJob) -> Result<()> {
        let kubeconfig = self.kubeconfig()?;
        let checked = job.register(&kubeconfig, environment::Routing::PreviewProxy, true).await?;
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(checked.required_role.as_bytes())?;
        let file = file.path().to_str().context("not UTF-8")?;
        let roles = self.cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", file, "-o", "name"])?;
        for role in roles.lines().filter_map(|line| Some(line.rsplit_once('/')?.1)) {
            self.cluster.apply(&json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": format!("{}-{role}", self.name), "labels": {LABEL: self.name}},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": self.name, "namespace": NAMESPACE}],
            }))?;
        }
        // The authorizer hears of it a moment later.
        let subject = format!("--as=system:serviceaccount:{NAMESPACE}:{}", self.name);
        until(Duration::from_secs(20), "the account has its role", || {
            Ok(self.cluster.kubectl(&["auth", "can-i", "create", "namespaces", &subject]).ok())
        })?;
        let registered = job.register(&kubeconfig, environment::Routing::PreviewProxy, false).await?;
        let failed = environment::CheckVerdict::Failed;
        ensure!(!registered.checks.iter().any(|c| c.verdict() == failed), "{:#?}", registered.checks);
        Ok(())
    }

    fn kubeconfig(&self) -> Result<Vec<u8>> {
        let token = ["create", "token", &self.name, "--namespace", NAMESPACE, "--duration=24h"];
        let token = self.cluster.kubectl(&token)?;
        let config = self.cluster.kubectl(&["config", "view", "--raw", "--flatten", "--minify", "--output=json"])?;
        let mut config: Value = serde_json::from_str(&config)?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        Ok(serde_json::to_vec(&config)?)
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let ours = format!("{LABEL}={}", self.name);
        let _ = self.cluster.kubectl(&["delete", "flowschemas,clusterrolebindings", "--selector", &ours]);
        let account = ["delete", "serviceaccount", &self.name, "--namespace", NAMESPACE, "--ignore-not-found"];
        let _ = self.cluster.kubectl(&account);
    }
}
