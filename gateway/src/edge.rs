//! The edge: one HTTP service for gRPC, gRPC-web, REST, webhooks, health and reflection, forwarding without decoding.
//!
//! Owns the way from a request of the outside to an admitted call of a service. Refuses INTERNAL methods on every path, and every
//! header by which a caller could speak as the gateway (SAFE-24, SAFE-25).

mod admit;
mod forward;
mod local;
mod methods;
mod openapi;
mod proxy;
mod respond;
mod rest;
mod sign_in;
mod stream;
mod web;
mod webhook;

use std::{convert::Infallible, sync::Arc, task::Poll};

use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyStream, StreamBody};
use slipway_kit::{
    audit::Recorder,
    caller::Signer,
    error::{Error, METHOD_UNKNOWN},
    serve::{Body, Peers, Shutdown},
};
use tower::ServiceExt as _;

use crate::app::{access::Access, authentication::Authentication, rates::Limits, sessions::Sessions};
pub use proxy::{Probed, Proxy};
pub use webhook::Webhooks;

/// Everything the edge is made of.
pub struct Parts {
    /// Facts that decisions rest on.
    pub access: Access,
    /// Who is calling.
    pub authentication: Authentication,
    /// Browsers that signed in.
    pub sessions: Sessions,
    /// Signs whose call it is.
    pub signer: Arc<Signer>,
    /// The services behind.
    pub peers: Peers,
    /// How often is too often.
    pub limits: Arc<Limits>,
    /// Endpoints of webhooks.
    pub webhooks: Webhooks,
    /// The proxy, if there is one.
    pub proxy: Option<Arc<Proxy>>,
    /// Keeps the records of refused calls.
    pub recorder: Recorder,
    /// Ends everything in order.
    pub shutdown: Shutdown,
}

/// The HTTP service of the outside; cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    parts: Parts,
    methods: methods::Methods,
    local: local::Local,
    rest: rest::Rest,
    openapi: std::sync::OnceLock<bytes::Bytes>,
}

impl Edge {
    /// The edge over its parts; the routes come from the descriptors.
    ///
    /// # Errors
    /// INTERNAL when the contract has a route that cannot be served.
    pub fn new(parts: Parts) -> slipway_kit::error::Result<Self> {
        let methods = methods::Methods::from_descriptors();
        let local = local::Local::new(&methods)?;
        let rest = rest::Rest::new(&methods)?;
        Ok(Self(Arc::new(Inner { parts, methods, local, rest, openapi: std::sync::OnceLock::new() })))
    }

    async fn handle(self, request: Request<Body>) -> Response<Body> {
        // Before anything else: a host of the proxy never reaches the platform's own paths.
        if let Some(proxy) = &self.0.parts.proxy {
            match proxy.claim(&request) {
                crate::model::host::Claim::Elsewhere => {}
                claim => return self.proxied(proxy, claim, request).await,
            }
        }
        match Kind::of(request.headers()) {
            Kind::Grpc => self.grpc(request).await,
            Kind::Web => {
                let inner = tower::service_fn(move |request: Request<Body>| {
                    let edge = self.clone();
                    // Text in base64 is longer than what it decodes to, so its size is not the message's.
                    let request = request.map(|body| Body::new(StreamBody::new(BodyStream::new(body))));
                    async move { Ok::<_, Infallible>(edge.grpc(request).await) }
                });
                let web = tower::Layer::layer(&tonic_web::GrpcWebLayer::new(), inner);
                web.oneshot(request).await.unwrap_or_else(|never| match never {})
            }
            Kind::Other => self.http(request).await,
        }
    }

    /// One gRPC call: ours, of a service, or of nobody.
    async fn grpc(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        if local::is_local(path) {
            return self.0.local.call(request).await;
        }
        match self.0.methods.get(path) {
            Some(method) if request.method() == http::Method::POST => self.call(method, request).await,
            _ => respond::grpc(Error::new(&METHOD_UNKNOWN, "there is no such method"), None),
        }
    }
}

/// How a request wants to be answered.
enum Kind {
    Grpc,
    Web,
    Other,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Self {
        let content = headers.get(CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
        match content.strip_prefix(b"application/grpc") {
            Some(rest) if rest.starts_with(b"-web") => Self::Web,
            Some([] | [b'+' | b';' | b' ', ..]) => Self::Grpc,
            _ => Self::Other,
        }
    }
}

impl tower::Service<Request<Body>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let edge = self.clone();
        let is_grpc = !matches!(Kind::of(request.headers()), Kind::Other);
        let run = std::panic::AssertUnwindSafe(edge.handle(request)).catch_unwind();
        async move {
            Ok(run.await.unwrap_or_else(|_| {
                let error = Error::internal("a panic at the edge");
                if is_grpc { respond::grpc(error, None) } else { respond::json(error, None) }
            }))
        }
        .boxed()
    }
}
