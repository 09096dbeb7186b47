//! The admin port of a process: `/healthz` while it lives, `/readyz` while it should get calls (REL-17). Plain HTTP.
//!
//! Refuses everything else, and anything that tells of data.
use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use tokio::{net::TcpListener, sync::watch};
use tonic::body::Body;

use crate::serve::{
    Shutdown,
    transport::{self, Limits, Security},
};

/// Serves until `shutdown`.
pub(super) async fn serve(listener: TcpListener, ready: watch::Receiver<bool>, shutdown: Shutdown) {
    let answer = tower::service_fn(move |request: Request<Body>| {
        let (status, text) = match request.uri().path() {
            "/healthz" => (StatusCode::OK, "ok\n"),
            "/readyz" if *ready.borrow() => (StatusCode::OK, "ok\n"),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            _ => (StatusCode::NOT_FOUND, "there are /healthz and /readyz\n"),
        };
        let mut response = Response::new(http_body_util::Full::from(text));
        *response.status_mut() = status;
        async move { Ok::<_, Infallible>(response) }
    });
    transport::serve(listener, Security::Plain, Limits::default(), answer, shutdown).await;
}
