//! Watches of a real cluster: which environment changed, never how.
//!
//! Owns one label-selected watch per kind over all namespaces, with relists and back-off. Refuses to pass objects on: whoever is told
//! reads the cluster again.
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::{sync::mpsc, task::JoinSet};

use super::kubernetes::Kubernetes;

/// Everything we write carries it (ENV-50).
const SELECTOR: &str = "app.kubernetes.io/managed-by=slipway";
/// Whose object it is.
const UID: &str = "slipway.dev/env-uid";
/// Changes that wait to be read; more coalesce into one "something changed".
const WAITING_MAX: usize = 1024;
/// Length of one watch in seconds; the server ends it.
const WATCH_SECONDS: u32 = 240;
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether a kind is served by now.
const UNSERVED: Duration = Duration::from_secs(60);

/// What is watched: workloads tell of their pods by their status, guard rails and routes of who touched them.
const KINDS: &[(&str, &str)] = &[
    ("v1", "Namespace"),
    ("v1", "ResourceQuota"),
    ("v1", "LimitRange"),
    ("v1", "ServiceAccount"),
    ("v1", "Service"),
    ("v1", "PersistentVolumeClaim"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("networking.k8s.io/v1", "Ingress"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
];

/// Uids of environments whose objects change; an empty text says that some may have been missed. Ends its watches when dropped.
pub(super) fn changes(cluster: Kubernetes) -> BoxStream<'static, String> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let mut watches = JoinSet::new();
    for (api_version, kind) in KINDS {
        watches.spawn(watch(cluster.clone(), api_version, kind, sender.clone()));
    }
    futures::stream::unfold((receiver, watches), |(mut receiver, watches)| async move {
        receiver.recv().await.map(|uid| (uid, (receiver, watches)))
    })
    .boxed()
}

async fn watch(cluster: Kubernetes, api_version: &'static str, kind: &'static str, sender: mpsc::Sender<String>) {
    let (mut backoff, mut is_first) = (BACKOFF_MIN, true);
    while !sender.is_closed() {
        if !is_first {
            // Whatever happened in between is read again.
            let _ = sender.try_send(String::new());
        }
        is_first = false;
        match follow(&cluster, api_version, kind, &sender).await {
            Ok(true) => backoff = BACKOFF_MIN,
            Ok(false) => tokio::time::sleep(UNSERVED).await,
            Err(error) => {
                tracing::debug!(kind, %error, "a watch broke");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Follows a kind until its watch ends; `false` if it is not served.
async fn follow(
    cluster: &Kubernetes,
    api_version: &str,
    kind: &str,
    sender: &mpsc::Sender<String>,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let Some(api) = cluster.watchable(api_version, kind).await? else { return Ok(false) };
    let list = api.list_metadata(&ListParams::default().labels(SELECTOR).limit(1)).await?;
    let mut version = list.metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().labels(SELECTOR).timeout(WATCH_SECONDS);
    loop {
        let mut events = api.watch_metadata(&params, &version).await?.boxed();
        let mut is_ended_in_order = true;
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                    version = object.metadata.resource_version.clone().unwrap_or(version);
                    let uid = object.metadata.labels.as_ref().and_then(|labels| labels.get(UID)).cloned();
                    if let Some(uid) = uid
                        && sender.send(uid).await.is_err()
                    {
                        return Ok(true);
                    }
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                // 410 and all else: begin anew with a list.
                WatchEvent::Error(_) => {
                    is_ended_in_order = false;
                    break;
                }
            }
        }
        if !is_ended_in_order {
            return Ok(true);
        }
    }
}
