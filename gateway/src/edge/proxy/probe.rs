//! One request of our own to what stands behind a host: whether it answers.
//!
//! Refuses to wake anything, and to count as use.

use std::time::Duration;

use http::{HeaderMap, Method, Request, header};
use slipway_kit::serve::Body;
use tokio::time::Instant;

use super::{Proxy, headers};
use crate::model::upstream::State;

/// How long the table may take to know what is asked for.
const KNOWN_TIME: Duration = Duration::from_millis(1_500);
/// How long the answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// An answer with this code, of this life.
    Answered(u16, String),
    /// Nothing is ready there, or it gave no answer.
    Silent,
    /// Nothing is to be served there.
    NotServed,
}

impl Proxy {
    /// Asks a host for a path.
    pub async fn probe(&self, host: &str, path: &str) -> Probed {
        let until = Instant::now() + KNOWN_TIME;
        let mut changes = self.routes.subscribe();
        // The table follows what was observed by a moment.
        let route = loop {
            changes.mark_unchanged();
            let route = self.routes.find(host).flatten();
            match route {
                Some(route) if route.is_ready() => break route,
                Some(route) if route.state != State::None && route.upstreams.is_empty() => return Probed::NotServed,
                _ if Instant::now() >= until => return Probed::Silent,
                _ => {}
            }
            tokio::select! { _ = changes.changed() => {}, () = tokio::time::sleep_until(until) => {} }
        };
        let Some(request) = request(host, path) else { return Probed::Silent };
        match tokio::time::timeout(ANSWER_TIME, self.send(host, request)).await {
            Ok(Ok((mut answer, _going))) => {
                headers::answer(answer.headers_mut(), &route.uid);
                let uid = answer.headers().get("x-slipway-env-uid").and_then(|v| v.to_str().ok());
                Probed::Answered(answer.status().as_u16(), uid.unwrap_or_default().to_owned())
            }
            Ok(Err(http::StatusCode::NOT_FOUND)) => Probed::NotServed,
            _ => Probed::Silent,
        }
    }
}

fn request(host: &str, path: &str) -> Option<Request<Body>> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = path.parse().ok()?;
    let mut found = HeaderMap::new();
    found.insert(header::USER_AGENT, http::HeaderValue::from_static("slipway-probe"));
    found.insert(header::ACCEPT, http::HeaderValue::from_static("*/*"));
    headers::request(&mut found, &headers::Came { from: None, host, tls: false, is_ours: true });
    *request.headers_mut() = found;
    Some(request)
}
