//! Who did what, decided how (SAFE-72, SAFE-73): one record per decision, kept in the service's own database.
//!
//! Owns the record, its writing in a change's transaction, and the bounded buffer for what changes nothing. Refuses to lose one:
//! if it cannot be written, the call fails.
use crate::{
    args,
    db::{Db, Tx, Value, insert_many},
    error::{AUDIT_UNAVAILABLE, Error, Result},
    id,
    serve::Call,
};

mod recorder;

pub use recorder::Recorder;

/// What a change did, for its record; never values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// Name of the resource.
    pub resource: &'a str,
    /// Its uid; empty if it has none.
    pub uid: &'a str,
    /// Names of the changed fields.
    pub fields: &'a [&'a str],
}

/// One decision about one call.
#[derive(Clone, Debug)]
pub struct Record {
    /// Who called.
    pub principal: String,
    /// With which credential, for example `tokens/ab12cd34`.
    pub credential: String,
    /// Through which service.
    pub peer: String,
    /// `/package.Service/Method`.
    pub method: String,
    /// Name of the resource, if known.
    pub resource: String,
    /// Uid of the resource, if known.
    pub uid: String,
    /// `ALLOWED` or `DENIED`.
    pub decision: &'static str,
    /// Why: the reason of an error, or what the caller gave.
    pub reason: String,
    /// gRPC code of the answer, if known.
    pub code: String,
    /// Id of the request.
    pub request_id: String,
    /// Hash of the request.
    pub body_hash: String,
    /// Trace the call belongs to.
    pub trace_id: String,
    /// Names of changed fields, separated by commas.
    pub fields: String,
}

impl Record {
    /// The record of a call that was let in.
    pub fn allowed(call: &Call) -> Self {
        Self {
            principal: call.caller.principal.clone(),
            credential: call.caller.credential.clone(),
            peer: call.peer.clone(),
            method: call.method.to_owned(),
            resource: String::new(),
            uid: String::new(),
            decision: "ALLOWED",
            reason: String::new(),
            code: "OK".to_owned(),
            request_id: call.request_id.clone(),
            body_hash: call.body_hash.clone(),
            trace_id: call.traceparent.split('-').nth(1).unwrap_or_default().to_owned(),
            fields: String::new(),
        }
    }

    /// The record of a call that was refused.
    pub fn denied(call: &Call, error: &Error) -> Self {
        let code = format!("{:?}", error.kind().code());
        Self { decision: "DENIED", reason: error.reason().name.to_owned(), code, ..Self::allowed(call) }
    }

    /// The same, about a resource.
    #[must_use]
    pub fn about(mut self, change: Change<'_>) -> Self {
        change.resource.clone_into(&mut self.resource);
        change.uid.clone_into(&mut self.uid);
        self.fields = change.fields.join(",");
        self
    }

    fn row(&self, recorded_us: Option<i64>) -> Vec<Value> {
        let mut row = args![id::uuid7()];
        row.extend(recorded_us.map(Value::from));
        row.extend(args![
            &self.principal,
            &self.credential,
            &self.peer,
            &self.method,
            &self.resource,
            &self.uid,
            self.decision,
            &self.reason,
            &self.code,
            &self.request_id,
            &self.body_hash,
            &self.trace_id,
            &self.fields,
        ]);
        row
    }
}

/// Writes a record in the transaction of the change it tells of; AUDIT_UNAVAILABLE, and so no change, if it cannot be.
pub async fn write(tx: &mut Tx, record: &Record) -> Result<()> {
    let sql = "INSERT INTO audit (id, recorded_us, principal, credential, peer, method, resource, resource_uid, decision, reason, \
               code, request_id, body_hash, trace_id, fields) \
               VALUES ($1, NOW_US(), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    tx.execute(sql, record.row(None)).await.map(drop).map_err(unavailable)
}

/// Makes the record of a SENSITIVE answer durable before it is given; `reason` is what the caller said it is for.
pub async fn sensitive(db: &Db, call: &Call, change: Change<'_>, reason: &str) -> Result<()> {
    let record = Record { reason: reason.to_owned(), ..Record::allowed(call).about(change) };
    let mut tx = db.reserved().begin().await.map_err(unavailable)?;
    write(&mut tx, &record).await?;
    tx.commit().await.map_err(unavailable)
}

async fn write_many(db: &Db, records: &[(i64, Record)]) -> Result<()> {
    let into = "audit (id, recorded_us, principal, credential, peer, method, resource, resource_uid, decision, reason, \
                code, request_id, body_hash, trace_id, fields)";
    let rows = records.iter().map(|(recorded_us, record)| record.row(Some(*recorded_us))).collect();
    insert_many(db, into, rows, "").await.map(drop)
}

fn unavailable(error: Error) -> Error {
    Error::new(&AUDIT_UNAVAILABLE, "the audit record could not be written, so nothing was done").source(error)
}
