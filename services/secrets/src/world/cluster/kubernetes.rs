//! Clusters by the Kubernetes API.
//!
//! Owns requests and the reading of answers. Refuses kube's typed calls: those log bodies that they cannot parse, and an error
//! body may repeat what was sent. Answers are asked for as PartialObjectMetadata, so that no value comes back.
use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use kube::{Client, client::Body, config::Config};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use slipway_credentials::Credentials;
use slipway_kit::error::{CONFLICT, Error, Result};
use zeroize::Zeroizing;

use super::{Cluster, Clusters, FIELD_MANAGER, Namespace};
use crate::{
    error::{CREDENTIAL_UNUSABLE, DELIVERY_DENIED, DELIVERY_REFUSED, DELIVERY_UNREACHABLE, NAMESPACE_CHANGED},
    model::delivery::{Access, Stored, Wanted},
};

const ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const PAGE: usize = 250;
/// Most pages of one list.
const PAGES_MAX: usize = 40;

/// Clusters whose credentials are files below a directory, or the one we run in.
pub struct Kubernetes {
    credentials: Option<Credentials>,
}

impl Kubernetes {
    /// Clusters with their credentials here.
    pub fn new(credentials_root: Option<PathBuf>) -> Self {
        Self { credentials: credentials_root.map(Credentials::new) }
    }

    fn credentials(&self) -> Result<&Credentials> {
        self.credentials.as_ref().ok_or_else(|| unusable("`credentials_root` is not set"))
    }

    async fn config(&self, access: &Access) -> Result<Config> {
        let mut config = match access {
            Access::InCluster => Config::incluster().map_err(|_| unusable("we do not run in a cluster"))?,
            Access::KubeconfigFile(name) => {
                self.credentials()?.kubeconfig(name).await.map_err(|e| unusable(e.why()))?
            }
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(ANSWER_TIMEOUT);
        config.write_timeout = Some(ANSWER_TIMEOUT);
        config.proxy_url = None;
        Ok(config)
    }
}

#[async_trait]
impl Clusters for Kubernetes {
    async fn open(&self, access: &Access) -> Result<Arc<dyn Cluster>> {
        let config = self.config(access).await?;
        let client = Client::try_from(config).map_err(|_| unusable("no client can be made of it"))?;
        Ok(Arc::new(Api(client)))
    }

    async fn registry_logins(&self, file: &str) -> Result<SecretString> {
        let logins = self.credentials()?.registry_logins(file).await;
        logins.map(|logins| SecretString::from(logins.expose())).map_err(|e| unusable(e.why()))
    }
}

/// One cluster.
struct Api(Client);

/// What is read of an answer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    metadata: Metadata,
    #[serde(deserialize_with = "or_nothing")]
    items: Vec<Answer>,
    reason: String,
    #[serde(deserialize_with = "or_nothing")]
    details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    uid: String,
    resource_version: String,
    #[serde(deserialize_with = "or_nothing")]
    labels: std::collections::BTreeMap<String, String>,
    #[serde(deserialize_with = "or_nothing")]
    annotations: std::collections::BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
    #[serde(rename = "continue")]
    next: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(deserialize_with = "or_nothing")]
    causes: Vec<Cause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
}

/// An API server writes `null` for what is empty.
fn or_nothing<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> std::result::Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

impl Answer {
    fn stored(self) -> Stored {
        let m = self.metadata;
        let (labels, annotations) = (m.labels, m.annotations);
        Stored { name: m.name, uid: m.uid, resource_version: m.resource_version, labels, annotations }
    }

    fn is_terminating(&self) -> bool {
        self.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
    }
}

impl Api {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        content: &str,
        body: Body,
    ) -> Result<(StatusCode, Answer)> {
        let request = Request::builder().method(method).uri(path).header(http::header::ACCEPT, accept);
        let request = request.header(http::header::CONTENT_TYPE, content).body(body).map_err(Error::internal)?;
        let asked = async {
            let response = self.0.send(request).await.map_err(|_| unreachable())?;
            let status = response.status();
            let bytes = response.into_body().collect_bytes().await.map_err(|_| unreachable())?;
            // The body is parsed and dropped; it never reaches a log or an error.
            let answer = serde_json::from_slice::<Answer>(&bytes);
            match answer {
                Ok(answer) => Ok((status, answer)),
                Err(_) if status.is_success() => Err(unreachable()),
                Err(_) => Ok((status, Answer::default())),
            }
        };
        let (status, answer) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await.map_err(|_| unreachable())??;
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
        {
            return Err(unreachable().meta("status", status.as_str()));
        }
        Ok((status, answer))
    }

    async fn get(&self, path: &str) -> Result<Option<Answer>> {
        match self.ask(Method::GET, path, ONE, "application/json", Body::empty()).await? {
            (StatusCode::OK, answer) => Ok(Some(answer)),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, answer) => Err(refusal(status, &answer)),
        }
    }
}

#[async_trait]
impl Cluster for Api {
    async fn namespace(&self, name: &str) -> Result<Option<Namespace>> {
        let found = self.get(&format!("/api/v1/namespaces/{name}")).await?;
        Ok(found.map(|a| Namespace { is_ending: a.metadata.deletion_timestamp.is_some(), uid: a.metadata.uid }))
    }

    async fn secrets(&self, namespace: &str, (key, value): (&str, &str)) -> Result<Vec<Stored>> {
        let (mut all, mut next) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let path = format!("{}?labelSelector={key}%3D{value}&limit={PAGE}&continue={next}", secrets(namespace));
            let (status, answer) = self.ask(Method::GET, &path, LIST, "application/json", Body::empty()).await?;
            if status != StatusCode::OK {
                return Err(refusal(status, &answer));
            }
            next = answer.metadata.next;
            all.extend(answer.items.into_iter().map(Answer::stored));
            if next.is_empty() {
                return Ok(all);
            }
        }
        Err(unreachable())
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Stored>> {
        Ok(self.get(&format!("{}/{name}", secrets(namespace))).await?.map(Answer::stored))
    }

    async fn claim(&self, namespace: &str, wanted: &Wanted) -> Result<Option<Stored>> {
        let path = format!("{}?fieldManager={FIELD_MANAGER}", secrets(namespace));
        match self.ask(Method::POST, &path, ONE, "application/json", Body::from(wanted.claim())).await? {
            (StatusCode::CREATED, answer) => Ok(Some(answer.stored())),
            (StatusCode::CONFLICT, answer) if answer.reason == "AlreadyExists" => Ok(None),
            (StatusCode::NOT_FOUND, _) => Err(changed()),
            (status, answer) => Err(refusal(status, &answer)),
        }
    }

    async fn write(&self, namespace: &str, wanted: &Wanted, at: &Stored) -> Result<Stored> {
        let path = format!("{}/{}?fieldManager={FIELD_MANAGER}&force=true", secrets(namespace), wanted.name);
        // The bytes are wiped when the last part of them was sent.
        let body = Body::from(Bytes::from_owner(Plain(wanted.body(at)?)));
        match self.ask(Method::PATCH, &path, ONE, "application/apply-patch+yaml", body).await? {
            (StatusCode::OK, answer) => Ok(answer.stored()),
            (StatusCode::CONFLICT | StatusCode::NOT_FOUND, answer) if !answer.is_terminating() => {
                Err(Error::new(&CONFLICT, "the Secret changed while it was written; deliver again"))
            }
            (status, answer) => Err(refusal(status, &answer)),
        }
    }

    async fn delete(&self, namespace: &str, name: &str, uid: &str) -> Result<bool> {
        let path = format!("{}/{name}", secrets(namespace));
        let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } });
        let body = Body::from(options.to_string().into_bytes());
        match self.ask(Method::DELETE, &path, ONE, "application/json", body).await? {
            (status, _) if status.is_success() => Ok(true),
            (StatusCode::NOT_FOUND | StatusCode::CONFLICT, _) => Ok(false),
            (status, answer) => Err(refusal(status, &answer)),
        }
    }
}

/// Bytes that are wiped when nobody needs them any more.
struct Plain(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

fn unusable(why: &str) -> Error {
    Error::new(&CREDENTIAL_UNUSABLE, format!("the cluster's credential cannot be used: {why}"))
}

fn unreachable() -> Error {
    Error::new(&DELIVERY_UNREACHABLE, "the cluster gives no usable answer")
}

fn changed() -> Error {
    Error::new(&NAMESPACE_CHANGED, "the namespace is gone, going, or another of the same name")
}

/// What a refusal means, by its code and its word; never by its text.
fn refusal(status: StatusCode, answer: &Answer) -> Error {
    if answer.is_terminating() {
        return changed();
    }
    let word = if answer.reason.bytes().all(|b| b.is_ascii_alphabetic()) { answer.reason.as_str() } else { "" };
    match status {
        StatusCode::UNAUTHORIZED => Error::new(&DELIVERY_DENIED, "the cluster does not know our credential"),
        StatusCode::FORBIDDEN => {
            Error::new(&DELIVERY_DENIED, "the cluster refuses: a right is missing, or a quota is used up")
        }
        _ => Error::new(&DELIVERY_REFUSED, format!("the cluster refuses the Secret: {} {word}", status.as_str())),
    }
}
