//! A real Kubernetes cluster, over kube-rs with documents as they are (no typed resources).
//!
//! Owns time-outs, paging, discovery, and the translation of what the API server answers into [`Refusal`]s. Refuses kubeconfigs that run
//! programs, and never says more of an error than the server's own sentence: tokens stay in the client.
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions},
    core::response::Status,
    discovery::{ApiCapabilities, ApiResource, Discovery, Scope, verbs},
};
use serde_json::json;
use slipway_credentials::Credentials;
use slipway_kit::error::{Error, INVALID_CONFIG, Result};
use tokio::sync::Semaphore;

use super::{
    cluster::{Answer, Apply, Cluster, Deleted, FIELD_MANAGER, LogQuery, ObjectRef, Refusal, Version},
    kubernetes_watch, log_lines,
};
use crate::{
    error::{CLUSTER_BUSY, CLUSTER_FORBIDS, CLUSTER_UNREACHABLE},
    model::manifest::{self, Doc},
};

/// Longest time of one call that is no watch and no log.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a connection; watches are ended by the server before.
const SILENCE_MAX: Duration = Duration::from_secs(330);
/// Calls under way at one time.
const CALLS_MAX: usize = 16;
/// How long what the cluster serves is remembered.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// How soon a kind that was not served is looked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// Most bytes of a log that is read to its end.
const LOG_BYTES_MAX: i64 = 8 * 1024 * 1024;
/// Objects of one page.
const PAGE: u32 = 500;
/// How often a list whose pages expired is begun anew.
const LISTS_MAX: usize = 3;

/// One cluster; cheap to clone.
#[derive(Clone)]
pub struct Kubernetes(Arc<Inner>);

struct Inner {
    client: Client,
    known: Mutex<Option<(Instant, Arc<Known>)>>,
    calls: Semaphore,
    page: u32,
}

/// What the cluster serves.
struct Known {
    version: Version,
    kinds: BTreeMap<(String, String), (ApiResource, ApiCapabilities)>,
    preferred: Vec<(ApiResource, ApiCapabilities)>,
}

impl Kubernetes {
    /// The cluster that a kubeconfig file names; its current context.
    ///
    /// # Errors
    /// INVALID_CONFIG by the rules of `slipway_credentials`.
    pub async fn from_file(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::of(&Credentials::new(path.parent().unwrap_or(path)), &name).await
    }

    /// The cluster that a kubeconfig of the directory of credentials names.
    ///
    /// # Errors
    /// INVALID_CONFIG by the rules of `slipway_credentials`.
    pub async fn of(credentials: &Credentials, name: &str) -> Result<Self> {
        let config = credentials.kubeconfig(name).await;
        Self::new(config.map_err(|unusable| Error::new(&INVALID_CONFIG, unusable.why()))?)
    }

    /// The cluster this process runs in.
    ///
    /// # Errors
    /// INVALID_CONFIG outside a cluster.
    pub fn in_cluster() -> Result<Self> {
        let config = Config::incluster();
        Self::new(config.map_err(|e| Error::new(&INVALID_CONFIG, "this process does not run in a cluster").source(e))?)
    }

    fn new(mut config: Config) -> Result<Self> {
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(SILENCE_MAX);
        config.write_timeout = Some(CALL_TIMEOUT);
        config.proxy_url = None;
        let client = Client::try_from(config)
            .map_err(|e| Error::new(&INVALID_CONFIG, "the cluster's configuration is not usable").source(e))?;
        let inner = Inner { client, known: Mutex::default(), calls: Semaphore::new(CALLS_MAX), page: PAGE };
        Ok(Self(Arc::new(inner)))
    }

    /// With pages of this many objects, for tests of paging.
    #[must_use]
    pub fn with_page(self, page: u32) -> Self {
        let calls = Semaphore::new(CALLS_MAX);
        Self(Arc::new(Inner { client: self.0.client.clone(), known: Mutex::default(), calls, page }))
    }

    /// Runs one call in its time; the outer error is no answer, the inner one the server's refusal.
    async fn call<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<std::result::Result<T, Box<Status>>> {
        let _place = self.0.calls.acquire().await.map_err(Error::internal)?;
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Err(_) => Err(away("the cluster does not answer in time")),
            Ok(Ok(answer)) => Ok(Ok(answer)),
            Ok(Err(kube::Error::Api(status))) => no_answer(&status).map_or(Ok(Err(status)), Err),
            Ok(Err(other)) => Err(away("the cluster cannot be reached").source(other)),
        }
    }

    async fn known(&self, younger_than: Duration) -> Result<Arc<Known>> {
        let kept = self.0.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((since, known)) = kept
            && since.elapsed() < younger_than
        {
            return Ok(known);
        }
        let client = self.0.client.clone();
        let asked = self.call(async {
            let version = client.apiserver_version().await?;
            let discovery = Discovery::new(client.clone()).run_aggregated().await?;
            Ok(Known::of(version.git_version, &discovery))
        });
        let known = Arc::new(asked.await?.map_err(|status| away(&status.message))?);
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), known.clone()));
        Ok(known)
    }

    async fn kind(&self, api_version: &str, kind: &str) -> Result<Option<(ApiResource, ApiCapabilities)>> {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(found) = self.known(KNOWN_FOR).await?.kinds.get(&key) {
            return Ok(Some(found.clone()));
        }
        Ok(self.known(UNKNOWN_FOR).await?.kinds.get(&key).cloned())
    }

    fn api(&self, (resource, capabilities): &(ApiResource, ApiCapabilities), namespace: &str) -> Api<DynamicObject> {
        if capabilities.scope == Scope::Cluster || namespace.is_empty() {
            return Api::all_with(self.0.client.clone(), resource);
        }
        Api::namespaced_with(self.0.client.clone(), namespace, resource)
    }

    /// The endpoint of a kind for watches; `None` if it is not served.
    pub(super) async fn watchable(&self, api_version: &str, kind: &str) -> Result<Option<Api<DynamicObject>>> {
        Ok(self.kind(api_version, kind).await?.map(|found| self.api(&found, "")))
    }

    async fn pages(&self, api: &Api<DynamicObject>, params: ListParams) -> Result<Vec<DynamicObject>> {
        'anew: for _ in 0..LISTS_MAX {
            let (mut all, mut token) = (Vec::new(), String::new());
            loop {
                let mut params = params.clone().limit(self.0.page);
                if !token.is_empty() {
                    params = params.continue_token(&token);
                }
                match self.call(api.list(&params)).await? {
                    Ok(page) => {
                        token = page.metadata.continue_.unwrap_or_default();
                        all.extend(page.items);
                    }
                    Err(status) if status.code == 410 => continue 'anew,
                    Err(status) if status.code == 404 => return Ok(Vec::new()),
                    Err(status) => return Err(unread(&status)),
                }
                if token.is_empty() {
                    return Ok(all);
                }
            }
        }
        Err(away("the cluster's list changes faster than it can be read"))
    }
}

impl Known {
    fn of(git_version: String, discovery: &Discovery) -> Self {
        let (mut kinds, mut preferred) = (BTreeMap::new(), Vec::new());
        for group in discovery.groups() {
            for version in group.versions() {
                for found in group.versioned_resources(version) {
                    kinds.insert((found.0.api_version.clone(), found.0.kind.clone()), found);
                }
            }
            preferred.extend(group.recommended_resources());
        }
        let mut apis: Vec<String> = kinds.keys().map(|(version, kind)| format!("{version}/{kind}")).collect();
        apis.extend(kinds.keys().map(|(version, _)| version.clone()));
        apis.sort();
        apis.dedup();
        Self { version: Version { git_version, apis }, kinds, preferred }
    }
}

/// Whether objects of a kind can stand in the way of a namespace's end.
fn is_removable(found: &&(ApiResource, ApiCapabilities)) -> bool {
    let (resource, capabilities) = found;
    capabilities.scope == Scope::Namespaced
        && capabilities.supports_operation(verbs::LIST)
        && capabilities.supports_operation(verbs::DELETE)
        && resource.kind != "Event"
}

fn away(text: &str) -> Error {
    Error::new(&CLUSTER_UNREACHABLE, text)
}

/// A read that was refused: of a permission that we lack, or of something that cannot be told.
fn unread(status: &Status) -> Error {
    let reason = if status.code == 403 { &CLUSTER_FORBIDS } else { &CLUSTER_UNREACHABLE };
    Error::new(reason, status.message.clone())
}

/// The error of an answer that decides nothing: too many calls, a server at fault, credentials that do not hold.
fn no_answer(status: &Status) -> Option<Error> {
    let wait = status.details.as_ref().map_or(0, |details| u64::from(details.retry_after_seconds) * 1_000);
    match status.code {
        429 => Some(Error::new(&CLUSTER_BUSY, "the cluster asks us to wait").retry_after_ms(wait.max(1_000))),
        401 => Some(away("the cluster does not take our credentials")),
        408 | 500.. => Some(away(&format!("the cluster is at fault: {}", status.message)).retry_after_ms(wait)),
        _ => None,
    }
}

/// What a refusal means, by the server's reason and causes.
fn refusal(status: &Status) -> Refusal {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let has = |reason: &str| causes.iter().any(|cause| cause.reason == reason);
    let says = |text: &str| status.message.contains(text);
    match status.code {
        404 if status.details.as_ref().is_some_and(|details| details.kind == "namespaces") => Refusal::NamespaceMissing,
        404 | 405 => Refusal::KindUnknown,
        409 if has("FieldManagerConflict") => {
            let conflicts = || causes.iter().filter(|cause| cause.reason == "FieldManagerConflict");
            let mut managers: Vec<String> =
                conflicts().filter_map(|c| c.message.split('"').nth(1).map(str::to_owned)).collect();
            managers.dedup();
            Refusal::Conflict { managers, fields: conflicts().map(|cause| cause.field.clone()).collect() }
        }
        409 => Refusal::Precondition,
        // The document names another life than the one that is there.
        422 if causes.iter().any(|cause| cause.field == "metadata.uid") => Refusal::Precondition,
        403 if has("NamespaceTerminating") || says("because it is being terminated") => Refusal::NamespaceTerminating,
        403 if says("status unknown for quota") => Refusal::QuotaPending,
        403 if says("exceeded quota") || says("failed quota") => Refusal::Quota(status.message.clone()),
        403 if says("violates PodSecurity") => Refusal::PodSecurity(status.message.clone()),
        403 if says("User \"") => Refusal::Rbac(status.message.clone()),
        _ => Refusal::Invalid(status.message.clone()),
    }
}

/// The document of an object, with the kind that lists leave out.
fn document(object: DynamicObject, resource: &ApiResource) -> Result<Doc> {
    let mut doc = serde_json::to_value(object).map_err(Error::internal)?;
    doc["apiVersion"] = json!(resource.api_version);
    doc["kind"] = json!(resource.kind);
    Ok(doc)
}

#[async_trait]
impl Cluster for Kubernetes {
    async fn version(&self) -> Result<Version> {
        Ok(self.known(KNOWN_FOR).await?.version.clone())
    }

    async fn apply(&self, doc: &Doc, how: Apply) -> Answer<Doc> {
        let Some(found) = self.kind(manifest::text(doc, "/apiVersion"), manifest::kind(doc)).await? else {
            return Ok(Err(Refusal::KindUnknown));
        };
        let api = self.api(&found, manifest::text(doc, "/metadata/namespace"));
        let params = PatchParams { dry_run: how.dry_run, force: how.force, ..PatchParams::apply(FIELD_MANAGER) };
        match self.call(api.patch(manifest::name(doc), &params, &Patch::Apply(doc))).await? {
            Ok(object) => document(object, &found.0).map(Ok),
            Err(status) => Ok(Err(refusal(&status))),
        }
    }

    async fn admit(&self, doc: &Doc) -> Answer<()> {
        let Some(found) = self.kind(manifest::text(doc, "/apiVersion"), manifest::kind(doc)).await? else {
            return Ok(Err(Refusal::KindUnknown));
        };
        let api = self.api(&found, manifest::text(doc, "/metadata/namespace"));
        let object: DynamicObject = match serde_json::from_value(doc.clone()) {
            Ok(object) => object,
            Err(error) => return Ok(Err(Refusal::Invalid(error.to_string()))),
        };
        let params = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
        Ok(self.call(api.create(&params, &object)).await?.map(drop).map_err(|status| refusal(&status)))
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Doc>> {
        let Some(found) = self.kind(&object.api_version, &object.kind).await? else { return Ok(None) };
        let api = self.api(&found, &object.namespace);
        match self.call(api.get(&object.name)).await? {
            Ok(live) => document(live, &found.0).map(Some),
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => Err(unread(&status)),
        }
    }

    async fn list(&self, api_version: &str, kind: &str, namespace: &str, labels: &[(&str, &str)]) -> Result<Vec<Doc>> {
        let Some(found) = self.kind(api_version, kind).await? else { return Ok(Vec::new()) };
        let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let params =
            ListParams { label_selector: (!selector.is_empty()).then(|| selector.join(",")), ..ListParams::default() };
        let objects = self.pages(&self.api(&found, namespace), params).await?;
        objects.into_iter().map(|object| document(object, &found.0)).collect()
    }

    async fn remaining(&self, namespace: &str) -> Result<Vec<Doc>> {
        let known = self.known(KNOWN_FOR).await?;
        let kinds: Vec<(ApiResource, ApiCapabilities)> = known.preferred.iter().filter(is_removable).cloned().collect();
        let lists = kinds.into_iter().map(|found| {
            let (cluster, api) = (self.clone(), self.api(&found, namespace));
            async move {
                let objects = match cluster.pages(&api, ListParams::default()).await {
                    // Secrets and what nobody of ours writes: the namespace does not end before they do.
                    Err(error) if error.is(&CLUSTER_FORBIDS) => Vec::new(),
                    listed => listed?,
                };
                objects.into_iter().map(|object| document(object, &found.0)).collect::<Result<Vec<Doc>>>()
            }
        });
        let lists: Vec<Result<Vec<Doc>>> = futures::stream::iter(lists).buffer_unordered(4).collect().await;
        let mut all = Vec::new();
        for list in lists {
            all.extend(list?);
        }
        all.sort_by_key(manifest::title);
        Ok(all)
    }

    async fn delete(&self, object: &ObjectRef, uid: &str) -> Answer<Deleted> {
        let Some(found) = self.kind(&object.api_version, &object.kind).await? else { return Ok(Ok(Deleted::Gone)) };
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match self.call(self.api(&found, &object.namespace).delete(&object.name, &params)).await? {
            Ok(either) if either.is_left() => Ok(Ok(Deleted::Going)),
            Ok(_) => Ok(Ok(Deleted::Gone)),
            Err(status) if status.code == 404 => Ok(Ok(Deleted::Gone)),
            // Another life, or a namespace that is emptied already: what is there now tells which.
            Err(status) if status.code == 409 => {
                let live = self.get(object).await?;
                let is_same = live.is_some_and(|live| manifest::text(&live, "/metadata/uid") == uid);
                Ok(Ok(if is_same { Deleted::Going } else { Deleted::Gone }))
            }
            Err(status) => Ok(Err(refusal(&status))),
        }
    }

    async fn logs(&self, namespace: &str, pod: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<String>>> {
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.0.client.clone(), namespace);
        let params = LogParams {
            container: (!query.container.is_empty()).then(|| query.container.clone()),
            follow: query.follow,
            previous: query.previous,
            tail_lines: Some(query.tail_lines.max(1)),
            // What is followed is bounded by who reads it.
            limit_bytes: (!query.follow).then_some(LOG_BYTES_MAX),
            ..LogParams::default()
        };
        match self.call(api.log_stream(pod, &params)).await? {
            Ok(reader) => {
                let lines = log_lines::lines(reader);
                Ok(lines.map(|line| line.map_err(|e| away("the log was cut off").source(e))).boxed())
            }
            // Nothing ran yet, or not before.
            Err(status) if matches!(status.code, 400 | 404) => Ok(futures::stream::empty().boxed()),
            Err(status) => Err(unread(&status)),
        }
    }

    async fn changes(&self) -> Result<BoxStream<'static, String>> {
        Ok(kubernetes_watch::changes(self.clone()))
    }

    async fn may(&self, verb: &str, group: &str, resource: &str, namespace: &str) -> Result<bool> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = ResourceAttributes {
            verb: text(verb),
            group: text(group),
            resource: text(resource),
            subresource: text(subresource),
            namespace: text(namespace),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.0.client.clone());
        let answer = self.call(api.create(&PostParams::default(), &review)).await?;
        let answer = answer.map_err(|status| away(&status.message))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn status(code: u16, message: &str, causes: &[(&str, &str, &str)]) -> Status {
        let cause = |(reason, message, field): &(&str, &str, &str)| StatusCause {
            reason: (*reason).to_owned(),
            message: (*message).to_owned(),
            field: (*field).to_owned(),
        };
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: causes.iter().map(cause).collect(),
            retry_after_seconds: 0,
        };
        Status { code, message: message.to_owned(), details: Some(details), ..Status::default() }
    }

    #[test]
    fn what_a_server_says_is_typed() {
        let conflict = status(
            409,
            "Apply failed",
            &[("FieldManagerConflict", "conflict with \"helm\" using apps/v1", ".spec.replicas")],
        );
        let want = Refusal::Conflict { managers: vec!["helm".to_owned()], fields: vec![".spec.replicas".to_owned()] };
        assert_eq!(refusal(&conflict), want);
        assert_eq!(refusal(&status(403, "x", &[("NamespaceTerminating", "", "")])), Refusal::NamespaceTerminating);
        assert_eq!(refusal(&status(403, "status unknown for quota: q", &[])), Refusal::QuotaPending);
        assert!(matches!(refusal(&status(403, "exceeded quota: q, requested: pods=1", &[])), Refusal::Quota(_)));
        assert!(matches!(refusal(&status(403, "violates PodSecurity \"restricted\"", &[])), Refusal::PodSecurity(_)));
        assert!(matches!(refusal(&status(403, "User \"x\" cannot patch", &[])), Refusal::Rbac(_)));
        assert!(
            no_answer(&status(429, "", &[])).is_some_and(|e| e.is(&CLUSTER_BUSY) && e.retry_after() == Some(1_000))
        );
        assert!(no_answer(&status(503, "etcd", &[])).is_some_and(|e| e.is(&CLUSTER_UNREACHABLE)));
        assert!(no_answer(&status(422, "bad", &[])).is_none());
    }
}
