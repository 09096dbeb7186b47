//! The layers around every RPC of a service, in one place and one order: rule, request id, deadline, peer, caller, panic, audit.
//!
//! Owns what is refused before a method runs and how every answer ends. Refuses paths without a rule.
use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::time::Instant;
use tonic::body::Body;
use tracing::Instrument as _;

use super::{
    Peer, Shutdown,
    body::{Answer, Done, Single},
    call::{Call, Notes},
    deadline, record,
    room::Room,
};
use crate::{
    audit::Recorder,
    authz::{self, Relation, Rule},
    caller::{ASSERTION_HEADER, Caller, Verifier},
    error::{self, Error, INVALID_CREDENTIALS, METHOD_UNKNOWN, PERMISSION_DENIED, Result},
    id, telemetry,
};

/// Header that names a call; echoed in every answer.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Longest request id that is taken over, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// Paths that any peer may call and no rule covers.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// Longest wait for the key of an assertion.
const KEY_PATIENCE: Duration = Duration::from_secs(2);
/// Longest such call.
const HEALTH_TIME: Duration = Duration::from_secs(900);

/// Wraps a service's routes; cheap to clone.
#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    shared: Arc<Shared>,
}

struct Shared {
    me: &'static str,
    verifier: Verifier,
    recorder: Recorder,
    room: Room,
    shutdown: Shutdown,
}

impl<S> Guard<S> {
    /// Layers for the service `me`.
    pub fn new(inner: S, me: &'static str, verifier: Verifier, recorder: Recorder, shutdown: Shutdown) -> Self {
        Self { inner, shared: Arc::new(Shared { me, verifier, recorder, room: Room::default(), shutdown }) }
    }
}

impl<S> tower::Service<Request<Body>> for Guard<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, std::result::Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let shared = self.shared.clone();
        async move { Ok(shared.run(inner, request).await) }.boxed()
    }
}

impl Shared {
    async fn run<S>(&self, inner: S, request: Request<Body>) -> Response<Body>
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
        S::Future: Send,
    {
        let request_id = request_id(request.headers());
        let (span, traceparent) = telemetry::call_span(request.uri().path(), &request_id, request.headers());
        let mut answer = if request.uri().path().starts_with(HEALTH) {
            self.bounded(inner, request, Instant::now() + HEALTH_TIME, true, None).await
        } else {
            let run = telemetry::within(traceparent.clone(), self.ruled(inner, request, &request_id, traceparent));
            run.instrument(span).await
        };
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            answer.headers_mut().insert(REQUEST_ID_HEADER, value);
        }
        answer
    }

    /// A call of a method with a rule, if there is one; refused, it is recorded here, else at its end.
    async fn ruled<S>(
        &self,
        inner: S,
        mut request: Request<Body>,
        request_id: &str,
        traceparent: String,
    ) -> Response<Body>
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
        S::Future: Send,
    {
        let admitted = match self.admit(&request, request_id, &traceparent) {
            Err(refused) if refused.is(&INVALID_CREDENTIALS) && self.learns_key(request.headers()).await => {
                self.admit(&request, request_id, &traceparent)
            }
            admitted => admitted,
        };
        let (call, rule) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => {
                let peer = peer(&request);
                let recorded = record::refused(&self.recorder, request.uri().path(), peer, request_id, &refused);
                return error::response(recorded.err().unwrap_or(refused));
            }
        };
        let place = match self.room.enter(rule) {
            Ok(place) => place,
            Err(full) => return error::response(full),
        };
        let done = record::at_end(&self.recorder, &call, rule, place);
        let deadline = call.deadline;
        request.extensions_mut().insert(call);
        if rule.unary_request {
            request = request.map(Single::wrap);
        }
        self.bounded(inner, request, deadline, rule.unary_answer, Some(done)).await
    }

    /// Whether the assertion came before its key did, and the key is here now.
    async fn learns_key(&self, headers: &HeaderMap) -> bool {
        match headers.get(ASSERTION_HEADER).and_then(|token| token.to_str().ok()) {
            Some(token) => self.verifier.learn(token, KEY_PATIENCE).await,
            None => false,
        }
    }

    /// Everything that is decided before the method runs.
    fn admit(&self, request: &Request<Body>, request_id: &str, traceparent: &str) -> Result<(Call, &'static Rule)> {
        let method = request.uri().path();
        let rule = authz::rule(method).ok_or_else(|| Error::new(&METHOD_UNKNOWN, "there is no such method"))?;
        let deadline = deadline::of(request.headers(), rule.deadline, Instant::now())?;
        let peer = peer(request);
        if !rule.admits(peer) {
            return Err(Error::new(&PERMISSION_DENIED, "this peer may not call the method"));
        }
        let (caller, assertion) = self.caller(request.headers(), rule, peer)?;
        let call = Call {
            caller,
            peer: peer.to_owned(),
            method: rule.method.as_str(),
            request_id: request_id.to_owned(),
            body_hash: String::new(),
            deadline,
            traceparent: traceparent.to_owned(),
            assertion,
            notes: Notes::default(),
        };
        Ok((call, rule))
    }

    fn caller(&self, headers: &HeaderMap, rule: &Rule, peer: &str) -> Result<(Caller, Option<Arc<str>>)> {
        if rule.relation == Relation::Internal {
            return Ok((Caller::service(peer), None));
        }
        let refused = || Error::new(&INVALID_CREDENTIALS, "the credentials are not valid");
        let mut given = headers.get_all(ASSERTION_HEADER).iter();
        let (first, second) = (given.next(), given.next());
        match (first, second) {
            (None, _) if rule.relation == Relation::Public => Ok((Caller::anonymous(), None)),
            (Some(token), None) => {
                let token = token.to_str().map_err(|_| refused())?;
                let assertion = self.verifier.verify(token, self.me, peer, &rule.method)?;
                Ok((assertion.caller(), Some(Arc::from(token))))
            }
            _ => Err(refused()),
        }
    }

    /// Runs the method inside its time; a panic becomes INTERNAL, and every error answer carries an ErrorInfo.
    async fn bounded<S>(
        &self,
        mut inner: S,
        request: Request<Body>,
        deadline: Instant,
        unary: bool,
        done: Option<Done>,
    ) -> Response<Body>
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
        S::Future: Send,
    {
        let run = AssertUnwindSafe(async move { inner.call(request).await }).catch_unwind();
        let mut answer = match tokio::time::timeout_at(deadline, run).await {
            Err(_) => error::response(deadline::expired()),
            Ok(Err(_)) => error::response(telemetry::panicked()),
            Ok(Ok(Ok(answer))) => answer,
        };
        error::repair(answer.headers_mut());
        if answer.headers().contains_key("grpc-status") {
            let recorded = done.map_or(Ok(()), |done| done.end(answer.headers()));
            return recorded.map_or_else(error::response, |()| answer);
        }
        let stop = (!unary).then(|| self.shutdown.clone());
        answer.map(|body| Answer::wrap(body, deadline, stop, done))
    }
}

/// The service at the other end, or nothing.
fn peer(request: &Request<Body>) -> &'static str {
    request.extensions().get::<Peer>().and_then(|peer| peer.service).unwrap_or_default()
}

/// The id of a call: what the caller sent, if it is short and plain, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |id: &&str| {
        !id.is_empty()
            && id.len() <= REQUEST_ID_BYTES_MAX
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    headers.get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok()).filter(plain).map_or_else(id::uuid4, str::to_owned)
}
