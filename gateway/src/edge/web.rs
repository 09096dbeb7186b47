//! Plain HTTP: liveness and readiness, the OpenAPI document, the sign-in page, webhooks and REST.
//!
//! Refuses other origins: no CORS header is ever sent, so only pages of the same origin may read answers.

use http::{Method, Request, Response, StatusCode};
use slipway_kit::serve::Body;

use super::{Edge, openapi, respond};

impl Edge {
    /// One request that is not gRPC.
    pub(super) async fn http(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET | &Method::HEAD, "/healthz") => respond::empty(StatusCode::OK),
            (&Method::GET | &Method::HEAD, "/readyz") => self.ready().await,
            (&Method::GET, "/openapi.json") => self.openapi(),
            (_, crate::model::session::SIGN_IN_PATH) => self.sign_in(request).await,
            (_, path) if path.starts_with("/webhooks/") => self.webhook(request).await,
            _ => self.rest(request).await,
        }
    }

    /// Whether calls should come: the facts are young, which the database and the migrations are needed for, and no drain is on.
    async fn ready(&self) -> Response<Body> {
        let parts = &self.0.parts;
        let ready = !parts.shutdown.is_down() && parts.access.known().await.is_ok();
        respond::empty(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
    }

    fn openapi(&self) -> Response<Body> {
        let document = self.0.openapi.get_or_init(|| openapi::document(&self.0.methods).to_string().into());
        respond::bytes(StatusCode::OK, document.clone())
    }
}
