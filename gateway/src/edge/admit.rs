//! From headers to an admitted call: who, whether at all, until when, and under which names.
//!
//! Refuses in this order: an unreadable deadline, a faulty credential, a used-up rate, a right that no resource could give.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use slipway_kit::{
    audit::Record,
    authz,
    caller::Caller,
    error::Error,
    id,
    serve::{Body, Client, Outgoing, Peer, REQUEST_ID_HEADER, deadline_of},
    telemetry,
};
use tokio::time::Instant;

use super::{Edge, methods::Method};
use crate::{
    app::authentication::{Admission, NO_CREDENTIAL, Refusal, refused},
    error::Result,
    model::credential,
};

/// Metadata that is for the gateway alone or of no meaning behind it.
const DROPPED: [&str; 5] = ["authorization", "cookie", "baggage", "host", "proxy-authorization"];

/// A call that may go on to its service.
pub(super) struct Admitted {
    /// Whose call it is.
    pub admission: Arc<Admission>,
    /// When it must have ended.
    pub deadline: Instant,
    /// What the call is in the trace.
    pub span: tracing::Span,
    outgoing: Outgoing,
}

/// Why a call goes no further, with the id it was to have.
pub(super) struct Turned {
    /// What the caller is told.
    pub error: Error,
    /// Its request id.
    pub request_id: String,
}

impl Edge {
    /// Decides whether the call goes on.
    pub(super) async fn admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        from: Option<IpAddr>,
    ) -> Result<Admitted, Turned> {
        let request_id = request_id(headers);
        match self.try_admit(method, headers, from, &request_id).await {
            Ok(admitted) => Ok(admitted),
            Err(error) => Err(Turned { error, request_id }),
        }
    }

    async fn try_admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        from: Option<IpAddr>,
        request_id: &str,
    ) -> Result<Admitted> {
        let parts = &self.0.parts;
        let deadline = deadline_of(headers, method.rule.deadline, Instant::now())?;
        let admission = match self.authenticate(headers).await {
            Ok(admission) => admission,
            Err(refusal) => return Err(self.turn_away(refusal, method, from, request_id)),
        };
        admission.buckets.take(method.is_write())?;
        let path = method.rule.method.as_str();
        // What is kept was allowed under the same facts: an admission ends when they change.
        let sign = || {
            authz::possible(&admission.caller, method.rule).map_err(|denied| {
                self.refused(method, Some(&admission.caller), denied.word(), denied.into(), request_id)
            })?;
            parts.signer.assert(&admission.caller, &method.audience, path, None)
        };
        let assertion = Some(admission.assertions.get(path, sign)?);
        let (span, traceparent) = telemetry::call_span(path, request_id, headers);
        let outgoing = Outgoing { assertion, traceparent, request_id: request_id.to_owned() };
        Ok(Admitted { admission, deadline, span, outgoing })
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Admission>, Refusal> {
        let mut given = headers.get_all(AUTHORIZATION).iter().map(http::HeaderValue::as_bytes);
        let values = [given.next(), given.next()];
        let values: &[&[u8]] = match &values {
            [None, _] => &[],
            [Some(one), None] => &[one],
            [Some(one), Some(two)] => &[one, two],
        };
        match credential::read(values) {
            Ok(credential) => self.0.parts.authentication.admit(credential).await,
            Err(_) => Err(refused("unreadable")),
        }
    }

    /// Counts a faulty credential against its sender; the cause stays in the log.
    fn turn_away(&self, refusal: Refusal, method: &Method, from: Option<IpAddr>, request_id: &str) -> Error {
        if !refusal.is_credential {
            return refusal.error;
        }
        // A call without any credential tells nothing that could be guessed, so it does not count.
        if refusal.cause != NO_CREDENTIAL
            && let Err(limited) = self.0.parts.limits.failed(from, refusal.token_id.as_deref())
        {
            return limited;
        }
        self.refused(method, None, refusal.cause, refusal.error, request_id)
    }

    /// Keeps the record of a refused call; if it cannot be kept, that is the answer (SAFE-73).
    fn refused(&self, method: &Method, caller: Option<&Caller>, cause: &str, error: Error, request_id: &str) -> Error {
        let code = format!("{:?}", error.kind().code());
        let record = Record {
            principal: caller.map(|c| c.principal.clone()).unwrap_or_default(),
            credential: caller.map(|c| c.credential.clone()).unwrap_or_default(),
            peer: String::new(),
            method: method.rule.method.clone(),
            resource: String::new(),
            uid: String::new(),
            decision: "DENIED",
            reason: format!("{}: {cause}", error.reason().name),
            code,
            request_id: request_id.to_owned(),
            body_hash: String::new(),
            trace_id: String::new(),
            fields: String::new(),
        };
        self.0.parts.recorder.record(record).err().unwrap_or(error)
    }
}

impl Admitted {
    /// The service to call, ready with everything that travels along.
    pub(super) fn client(&self, edge: &Edge, method: &Method) -> Client {
        edge.0.parts.peers.forwarding(method.service, self.outgoing.clone(), self.deadline)
    }

    /// Names the call.
    pub(super) fn request_id(&self) -> &str {
        &self.outgoing.request_id
    }
}

/// Where a request came from.
pub(super) fn source(request: &http::Request<Body>) -> Option<IpAddr> {
    request.extensions().get::<Peer>().and_then(|peer| peer.address).map(|address| address.ip())
}

/// Removes what no service may see of a caller's headers.
pub(super) fn strip(headers: &mut HeaderMap) {
    let doomed = |name: &&HeaderName| credential::is_stripped(name.as_str()) || DROPPED.contains(&name.as_str());
    let names: Vec<HeaderName> = headers.keys().filter(doomed).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// The id of a call: the caller's, if it is a UUID given once, else a new one (REL-39).
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let mut given = headers.get_all(REQUEST_ID_HEADER).iter();
    match (given.next().and_then(|v| v.to_str().ok()), given.next()) {
        (Some(text), None) if text.len() == 36 && uuid::Uuid::try_parse(text).is_ok() => text.to_owned(),
        _ => id::uuid4(),
    }
}
