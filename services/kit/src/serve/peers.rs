//! How a service calls its siblings: on behalf of a caller, as itself, or for a principal whose request is long over.
//!
//! Owns what travels with a call: time left, whose call it is, trace and request id. Refuses retries: one layer retries, and it is
//! not this one (REL-23).
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper_util::rt::TokioIo;
use slipway_proto::access::v1 as pb;
use tokio::time::Instant;
use tonic::{
    body::Body,
    transport::{Channel, Endpoint},
};

use super::{Call, Hub, REQUEST_ID_HEADER, body::Answer, deadline, mesh::Mesh};
use crate::{
    caller::ASSERTION_HEADER,
    error::{Error, Result, error_from, of_channel},
    id, telemetry,
};

/// Silence after which a sibling in another process is asked whether it is there.
const ASK_PERIOD: Duration = Duration::from_secs(5);
/// Time it has to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// The siblings of one service; cheap to clone.
#[derive(Clone)]
pub struct Peers {
    way: Way,
    me: &'static str,
    channels: Arc<Mutex<BTreeMap<&'static str, Channel>>>,
}

/// How siblings are reached.
#[derive(Clone)]
enum Way {
    /// They run in this process.
    Hub(Hub),
    /// They run in processes of their own.
    Mesh(Mesh),
}

/// What travels with calls made for somebody.
#[derive(Clone, Default)]
pub struct Outgoing {
    /// The caller's assertion, if the call is anybody's.
    pub assertion: Option<String>,
    /// W3C trace context; empty to take the current span's.
    pub traceparent: String,
    /// Request id; empty for a new one.
    pub request_id: String,
}

impl Peers {
    pub(super) fn over_hub(hub: Hub, me: &'static str) -> Self {
        Self { way: Way::Hub(hub), me, channels: Arc::default() }
    }

    pub(super) fn over_mesh(mesh: Mesh, me: &'static str) -> Self {
        Self { way: Way::Mesh(mesh), me, channels: Arc::default() }
    }

    /// Name of the service whose siblings these are.
    pub fn me(&self) -> &'static str {
        self.me
    }

    /// Calls for whoever made `call`, within what is left of its time (SAFE-26).
    pub fn on_behalf(&self, service: &'static str, call: &Call) -> Client {
        let outgoing = Outgoing {
            assertion: call.assertion.as_deref().map(str::to_owned),
            traceparent: call.traceparent.clone(),
            request_id: call.request_id.clone(),
        };
        self.forwarding(service, outgoing, call.deadline)
    }

    /// Calls with what the gateway found out about a request, until `deadline`.
    pub fn forwarding(&self, service: &'static str, outgoing: Outgoing, deadline: Instant) -> Client {
        Client { channel: self.channel(service), outgoing, time: Time::Until(deadline) }
    }

    /// Calls under the service's own identity: INTERNAL RPCs only; each call has `timeout`.
    pub fn as_service(&self, service: &'static str, timeout: Duration) -> Client {
        Client { channel: self.channel(service), outgoing: Outgoing::default(), time: Time::Each(timeout) }
    }

    /// Calls for a principal whose request is over, with the rights it has now; AUTHORIZATION_LOST if there are none.
    pub async fn delegated(
        &self,
        service: &'static str,
        principal: &str,
        credential: &str,
        timeout: Duration,
    ) -> Result<Client> {
        let mut gateway =
            pb::delegation_service_client::DelegationServiceClient::new(self.as_service("gateway", timeout));
        let request = pb::IssueAssertionRequest {
            principal: principal.to_owned(),
            credential: credential.to_owned(),
            audience: vec![service.to_owned()],
        };
        let issued = gateway.issue_assertion(request).await.map_err(error_from)?.into_inner();
        let outgoing = Outgoing { assertion: Some(issued.assertion), ..Outgoing::default() };
        Ok(Client { channel: self.channel(service), outgoing, time: Time::Each(timeout) })
    }

    fn channel(&self, service: &'static str) -> Channel {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.entry(service).or_insert_with(|| open(&self.way, self.me, service)).clone()
    }
}

/// A channel that connects at the first call, and again when the service was started again.
fn open(way: &Way, me: &'static str, service: &'static str) -> Channel {
    match way {
        Way::Hub(hub) => piped(hub.clone(), me, service),
        Way::Mesh(mesh) if service == me => piped(mesh.hub().clone(), me, service),
        Way::Mesh(mesh) => {
            let mesh = mesh.clone();
            let connector = tower::service_fn(move |_: http::Uri| {
                let mesh = mesh.clone();
                async move { mesh.connect(service).await.map(TokioIo::new) }
            });
            // A peer that stands still is noticed although its socket stays open.
            Endpoint::from_static("https://mesh.slipway")
                .http2_keep_alive_interval(ASK_PERIOD)
                .keep_alive_timeout(ASK_TIMEOUT)
                .keep_alive_while_idle(true)
                .connect_with_connector_lazy(connector)
        }
    }
}

fn piped(hub: Hub, me: &'static str, service: &'static str) -> Channel {
    let connector = tower::service_fn(move |_: http::Uri| {
        let hub = hub.clone();
        async move { hub.connect(me, service).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://in-process.slipway").connect_with_connector_lazy(connector)
}

#[derive(Clone, Copy)]
enum Time {
    Until(Instant),
    Each(Duration),
}

/// A sibling ready to be called: give it to a generated client, `FooServiceClient::new(client)`.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    outgoing: Outgoing,
    time: Time,
}

impl tower::Service<Request<Body>> for Client {
    type Response = Response<Body>;
    type Error = tonic::Status;
    type Future = BoxFuture<'static, std::result::Result<Response<Body>, tonic::Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), tonic::Status>> {
        self.channel.poll_ready(cx).map_err(of_channel)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let now = Instant::now();
        let remaining = match self.time {
            Time::Until(deadline) => deadline.saturating_duration_since(now),
            Time::Each(timeout) => timeout,
        };
        let Some(budget) = deadline::budget(remaining) else {
            return futures::future::ready(Err(deadline::expired().into())).boxed();
        };
        self.outgoing.write(request.headers_mut());
        request.headers_mut().insert(deadline::BUDGET_HEADER, deadline::header(budget));
        let (call, end) = (self.channel.call(request), now + remaining);
        async move {
            match tokio::time::timeout_at(end, call).await {
                Ok(answer) => Ok(answer.map_err(of_channel)?.map(|body| Answer::wrap(body, end, None, None))),
                Err(_) => Err(Error::into(deadline::expired())),
            }
        }
        .boxed()
    }
}

impl Outgoing {
    fn write(&self, headers: &mut HeaderMap) {
        let mut set = |name: &'static str, text: &str, sensitive: bool| {
            if let Ok(mut value) = HeaderValue::from_str(text) {
                value.set_sensitive(sensitive);
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        if let Some(assertion) = &self.assertion {
            set(ASSERTION_HEADER, assertion, true);
        }
        match self.request_id.as_str() {
            "" => set(REQUEST_ID_HEADER, &id::uuid4(), false),
            id => set(REQUEST_ID_HEADER, id, false),
        }
        let current =
            if self.traceparent.is_empty() { telemetry::current_traceparent() } else { self.traceparent.clone() };
        if !current.is_empty() {
            set(telemetry::TRACE_HEADER, &current, false);
        }
    }
}
