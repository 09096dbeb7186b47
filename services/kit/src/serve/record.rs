//! The audit record of a call, as far as its method does not write it (SAFE-72, SAFE-73).
//!
//! Owns the records of reads, of failures and of refusals. Leaves the record of a change to its transaction, and that of a
//! sensitive answer to the method; refuses to let a call pass that cannot be recorded.
use http::HeaderMap;
use tonic::Code;

use super::{body::Done, call::Call, room::Place};
use crate::{
    audit::{Record, Recorder},
    authz::{self, Audit, Rule},
    caller::Caller,
    error::{self, Error, Kind, Result},
};

/// Records a call that was refused before it had a caller; only what concerns access, by methods that exist.
pub(super) fn refused(recorder: &Recorder, path: &str, peer: &str, request_id: &str, refusal: &Error) -> Result<()> {
    let Some(rule) = authz::rule(path) else { return Ok(()) };
    if !matches!(refusal.kind(), Kind::Unauthenticated | Kind::PermissionDenied) {
        return Ok(());
    }
    let mut call = Call::for_test(Caller::anonymous(), &rule.method);
    peer.clone_into(&mut call.peer);
    request_id.clone_into(&mut call.request_id);
    call.body_hash.clear();
    recorder.record(Record::denied(&call, refusal))
}

/// What records the call at its end, and gives its place back.
pub(super) fn at_end(recorder: &Recorder, call: &Call, rule: &'static Rule, place: Place) -> Done {
    let (recorder, call) = (recorder.clone(), call.clone());
    Done::new(move |trailers| {
        drop(place);
        let (code, reason) = trailers.map_or((Code::Cancelled, String::new()), outcome);
        if code == Code::Ok && (rule.audit != Audit::Read || rule.is_internal()) {
            return Ok(());
        }
        let noted = call.notes.get();
        let is_denied = matches!(code, Code::PermissionDenied | Code::Unauthenticated);
        let word = if code == Code::Ok { "OK".to_owned() } else { format!("{code:?}") };
        recorder.record(Record {
            resource: noted.resource,
            decision: if is_denied { "DENIED" } else { "ALLOWED" },
            reason: noted.denied.map_or(reason, |denied| denied.word().to_owned()),
            code: word,
            ..Record::allowed(&call)
        })
    })
}

/// Code and reason of a finished answer; an answer without a status was a success so far.
fn outcome(trailers: &HeaderMap) -> (Code, String) {
    error::outcome(trailers).unwrap_or((Code::Ok, String::new()))
}
