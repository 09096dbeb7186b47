//! Webhook ingress: the signature over the raw body first, then the body to every service that subscribes, then the answer.
//!
//! Refuses to parse: what a delivery says is the services' business, and what they say is wrong with it is the answer. An unknown endpoint and a bad signature are one answer.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use slipway_kit::{
    authz,
    error::{Error, Kind},
    serve::{Body, error_from},
};
use slipway_proto::journal::v1::{ReceiveWebhookRequest, webhook_service_client::WebhookServiceClient};
use tokio::sync::Semaphore;

use super::{Edge, methods::service_of, respond};
use crate::{
    error::Result,
    model::webhook::{MAX_BODY_BYTES, Secrets},
};

const SIGNATURE: &str = "x-hub-signature-256";
const EVENT: &str = "x-github-event";
const DELIVERY: &str = "x-github-delivery";
/// What a provider sends when a webhook is set up.
const PING: &str = "ping";
const WORD_BYTES_MAX: usize = 100;
/// Time a service has to store a delivery.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Most KiB of bodies that are in memory at once, from all senders.
const ROOM_KIB: usize = 64 * 1024;
/// Longest wait for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// Time a body has to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Endpoints and subscriptions.
pub struct Webhooks {
    secrets: BTreeMap<String, Secrets>,
    /// Room for bodies that are being read, in KiB.
    room: Semaphore,
    subscribers: BTreeMap<String, Vec<&'static str>>,
}

impl Webhooks {
    /// These endpoints, and the subscriptions the descriptors declare.
    #[must_use]
    pub fn new(secrets: BTreeMap<String, Secrets>) -> Self {
        Self { secrets, room: Semaphore::new(ROOM_KIB), subscribers: subscribers() }
    }
}

/// A delivery whose signature held.
struct Signed {
    source: String,
    event: String,
    delivery: String,
    body: Bytes,
}

impl Edge {
    /// One delivery.
    pub(super) async fn webhook(&self, request: Request<Body>) -> Response<Body> {
        if request.method() != http::Method::POST {
            return respond::empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        if let Err(code) = self.first_look(&request) {
            return respond::empty(code);
        }
        // A body without a length may be as large as any.
        let length = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|n| n > MAX_BODY_BYTES) {
            return respond::empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let kib = u32::try_from(length.unwrap_or(MAX_BODY_BYTES) / 1024 + 1).unwrap_or(u32::MAX);
        let room = tokio::time::timeout(ROOM_TIMEOUT, self.0.parts.webhooks.room.acquire_many(kib)).await;
        let Ok(Ok(_room)) = room else { return respond::empty(StatusCode::SERVICE_UNAVAILABLE) };
        match self.verify(request).await {
            Ok(signed) => self.hand_out(signed).await,
            Err(code) => respond::empty(code),
        }
    }

    /// Refuses what no body could make good: an unknown endpoint, or not exactly one signature.
    fn first_look(&self, request: &Request<Body>) -> Result<(), StatusCode> {
        let source = request.uri().path().strip_prefix("/webhooks/").unwrap_or_default();
        let known = self.0.parts.webhooks.secrets.contains_key(source);
        let signed = request.headers().get_all(SIGNATURE).iter().count() == 1;
        if known && signed { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }

    /// Reads the raw body and checks its signature, and that it is JSON; nothing else of it is looked at.
    async fn verify(&self, request: Request<Body>) -> Result<Signed, StatusCode> {
        let (head, body) = request.into_parts();
        let source = head.uri.path().strip_prefix("/webhooks/").unwrap_or_default();
        let Some(secrets) = self.0.parts.webhooks.secrets.get(source) else { return Err(StatusCode::UNAUTHORIZED) };
        let signatures: Vec<&[u8]> = head.headers.get_all(SIGNATURE).iter().map(http::HeaderValue::as_bytes).collect();
        let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
        let body = match read {
            Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Err(_)) => return Err(StatusCode::BAD_REQUEST),
            Ok(Ok(body)) => body.to_bytes(),
        };
        if !secrets.verify_github(&signatures, &body) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        // MET-15: what no subscriber could read is told to the sender, who else would never learn of it.
        if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
            return Err(StatusCode::BAD_REQUEST);
        }
        let (event, delivery) = (word(&head.headers, EVENT)?, word(&head.headers, DELIVERY)?);
        Ok(Signed { source: source.to_owned(), event, delivery, body })
    }

    /// Lets every subscriber store the delivery; the sender is told to come again unless all of them have.
    async fn hand_out(&self, signed: Signed) -> Response<Body> {
        let Some(services) = self.0.parts.webhooks.subscribers.get(&signed.event) else {
            return respond::empty(if signed.event == PING { StatusCode::OK } else { StatusCode::ACCEPTED });
        };
        let stored = join_all(services.iter().map(|service| self.store(service, &signed))).await;
        let mut failed: Vec<Error> = stored.into_iter().filter_map(Result::err).collect();
        // What is wrong with the body stays wrong, however often it comes.
        if let Some(at) = failed.iter().position(|error| error.kind() == Kind::InvalidArgument) {
            return respond::json(failed.swap_remove(at), None);
        }
        if let Some(error) = failed.first() {
            tracing::warn!(source = signed.source, delivery = signed.delivery, %error, "a delivery was not stored");
            return respond::empty(StatusCode::SERVICE_UNAVAILABLE);
        }
        respond::empty(StatusCode::OK)
    }

    async fn store(&self, service: &'static str, signed: &Signed) -> Result<()> {
        let client = self.0.parts.peers.as_service(service, TIMEOUT);
        let mut client = WebhookServiceClient::new(client).max_encoding_message_size(MAX_BODY_BYTES + 4096);
        let request = ReceiveWebhookRequest {
            source: signed.source.clone(),
            delivery_id: signed.delivery.clone(),
            event: signed.event.clone(),
            body: signed.body.to_vec(),
        };
        client.receive_webhook(request).await.map(|_| ()).map_err(error_from)
    }
}

/// A header given once, as a short plain word.
fn word(headers: &HeaderMap, name: &str) -> Result<String, StatusCode> {
    let mut given = headers.get_all(name).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return Err(StatusCode::BAD_REQUEST) };
    let text = value.to_str().map_err(|_| StatusCode::BAD_REQUEST)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let fits = !text.is_empty() && text.len() <= WORD_BYTES_MAX && text.bytes().all(plain);
    if fits { Ok(text.to_owned()) } else { Err(StatusCode::BAD_REQUEST) }
}

/// Which services want which event, by the option of their gRPC services.
fn subscribers() -> BTreeMap<String, Vec<&'static str>> {
    let mut by_event: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    let pool = slipway_proto::pool();
    let Some(option) = pool.get_extension_by_name("slipway.access.v1.webhooks") else { return by_event };
    let services = pool.services().collect::<Vec<_>>();
    for descriptor in services {
        let options = descriptor.options();
        if !options.has_extension(&option) {
            continue;
        }
        let value = options.get_extension(&option);
        let events = value.as_message().and_then(|m| m.get_field_by_name("events").map(std::borrow::Cow::into_owned));
        let rule =
            |m: prost_reflect::MethodDescriptor| authz::rule(&format!("/{}/{}", descriptor.full_name(), m.name()));
        let Some(service) = descriptor.methods().find_map(rule).and_then(|rule| service_of(&rule.method)) else {
            continue;
        };
        for event in events.iter().filter_map(|v| v.as_list()).flatten().filter_map(|v| v.as_str()) {
            let wanting = by_event.entry(event.to_owned()).or_default();
            if !wanting.contains(&service) {
                wanting.push(service);
            }
        }
    }
    by_event
}
