//! One accepted call: who calls what, until when, and under which ids.
//!
//! Owns the way from a decoded request to a checked one. Refuses a request that breaks its rules, and a method that is served
//! without the layers of kit.
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, Value};
use sha2::{Digest as _, Sha256};
use slipway_proto::RequestId;
use tokio::time::Instant;

use crate::{
    authz::{self, Denied, Facts, Rule, Visible},
    caller::Caller,
    error::{Error, Result},
    id, validate,
};

/// Longest resource name that is kept for the audit record, in bytes.
const RESOURCE_BYTES_MAX: usize = 512;

/// A verified call of a method with a rule.
#[derive(Clone)]
pub struct Call {
    /// Whose call it is.
    pub caller: Caller,
    /// Service that called directly, for example `gateway`.
    pub peer: String,
    /// `/package.Service/Method`.
    pub method: &'static str,
    /// Names the call in logs, audit and replays.
    pub request_id: String,
    /// SHA-256 of the request without its request id, hex; empty for calls that change nothing.
    pub body_hash: String,
    /// When the call must have ended.
    pub deadline: Instant,
    /// W3C trace context of the call.
    pub traceparent: String,
    pub(super) assertion: Option<Arc<str>>,
    pub(super) notes: Notes,
}

/// What the methods learn that the layers' audit record needs.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Noted>>);

/// Contents of [`Notes`].
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    /// Name of the resource in the request.
    pub resource: String,
    /// Why the call was denied.
    pub denied: Option<Denied>,
}

impl Notes {
    pub(super) fn get(&self) -> Noted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Noted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Call {
    /// The binding decision by the method's rule and the facts of the stored row; PERMISSION_DENIED otherwise.
    pub fn check(&self, facts: &Facts) -> Result<()> {
        self.keep(authz::decide(&self.caller, self.rule()?, facts))
    }

    /// Whether the caller has a permission other than the method's, by its role in the owning team or on the platform.
    pub fn allows(&self, permission: &str, facts: &Facts) -> bool {
        authz::decide_permission(&self.caller, authz::Relation::OwnerTeam, permission, facts).is_ok()
    }

    /// Whether the caller, if it is a CI job, may do this to a service's thing: by the trust entry of the service and, where the
    /// thing comes from a repository, by that and its pull request (SAFE-18). Other callers pass.
    pub fn check_job(&self, service: &str, source: Option<(&str, Option<i64>)>) -> Result<()> {
        let Some(job) = &self.caller.job else { return Ok(()) };
        let granted = job.may(&self.rule()?.permission, service);
        let reached = source.is_none_or(|(repository_id, pull)| job.reaches(repository_id, pull));
        self.keep(if granted && reached { Ok(()) } else { Err(Denied::Scope) })
    }

    /// Refuses a CI job: what comes from a fork gives no job of the repository a right (SAFE-18).
    pub fn refuse_job(&self) -> Result<()> {
        self.keep(if self.caller.job.is_none() { Ok(()) } else { Err(Denied::Scope) })
    }

    /// Which rows the caller may read under the method's permission.
    pub fn visible(&self) -> Visible {
        self.rule().map_or(Visible::Owners(Vec::new()), |rule| Visible::of(&self.caller, &rule.permission))
    }

    /// Time that is left.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Trace id of the call, 32 hex digits.
    pub fn trace_id(&self) -> &str {
        self.traceparent.split('-').nth(1).unwrap_or_default()
    }

    /// A call as a test needs it: half a minute, fresh ids.
    pub fn for_test(caller: Caller, method: &'static str) -> Call {
        Call {
            caller,
            peer: "gateway".to_owned(),
            method,
            request_id: id::uuid4(),
            body_hash: id::uuid4(),
            deadline: Instant::now() + Duration::from_secs(30),
            traceparent: String::new(),
            assertion: None,
            notes: Notes::default(),
        }
    }

    fn rule(&self) -> Result<&'static Rule> {
        authz::rule(self.method).ok_or_else(|| Error::from(Denied::UnknownPermission))
    }

    fn keep(&self, decision: std::result::Result<(), Denied>) -> Result<()> {
        decision.map_err(|denied| {
            self.notes.set(|noted| noted.denied = Some(denied));
            Error::from(denied)
        })
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("principal", &self.caller.principal)
            .field("peer", &self.peer)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// The call and its message, once the message keeps its rules; every violation is told at once.
pub fn accept<T: Message + Name>(request: tonic::Request<T>) -> Result<(Call, T)> {
    let (_, extensions, message) = request.into_parts();
    let call = found(&extensions)?;
    note_resource(&call, &message);
    validate::check(&message)?;
    Ok((call, message))
}

/// As [`accept`], for a call that changes something: with the hash that tells a repeat from a reuse (REL-39).
/// The message comes back without its request id, which is the call's now.
pub fn accept_change<T: Message + Name + RequestId>(request: tonic::Request<T>) -> Result<(Call, T)> {
    let (mut call, mut message) = accept(request)?;
    let chosen = message.request_id().to_owned();
    message.clear_request_id();
    call.body_hash = hex::encode(Sha256::digest(message.encode_to_vec()));
    if !chosen.is_empty() {
        call.request_id = chosen;
    }
    Ok((call, message))
}

/// The call of a method that takes a stream; its messages are checked by [`validate::check`] as they come.
pub fn accept_stream<T>(request: tonic::Request<tonic::Streaming<T>>) -> Result<(Call, tonic::Streaming<T>)> {
    let (_, extensions, messages) = request.into_parts();
    Ok((found(&extensions)?, messages))
}

fn found(extensions: &tonic::Extensions) -> Result<Call> {
    extensions.get::<Call>().cloned().ok_or_else(|| Error::internal("the method is served without kit's layers"))
}

/// Keeps the resource name that the rule points at, for the audit record.
fn note_resource<T: Message + Name>(call: &Call, message: &T) {
    let Some(rule) = authz::rule(call.method).filter(|rule| !rule.resource.is_empty()) else { return };
    let Some(descriptor) = slipway_proto::pool().get_message_by_name(&T::full_name()) else { return };
    let Ok(mut at) = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()) else { return };
    let mut parts = rule.resource.split('.').peekable();
    while let Some(part) = parts.next() {
        let Some(value) = at.get_field_by_name(part).map(std::borrow::Cow::into_owned) else { return };
        match (value, parts.peek()) {
            (Value::String(name), None) => {
                let end =
                    (0..=name.len().min(RESOURCE_BYTES_MAX)).rev().find(|i| name.is_char_boundary(*i)).unwrap_or(0);
                return call.notes.set(|noted| noted.resource = name[..end].to_owned());
            }
            (Value::Message(inner), Some(_)) => at = inner,
            _ => return,
        }
    }
}
