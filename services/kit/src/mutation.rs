//! A change as one transaction: request id, change, audit record and events, or none of them (REL-39 to REL-41, SAFE-73).
//!
//! Owns replays. Refuses a second effect of one request id, and to keep an answer that holds a secret.
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout_at};

use crate::{
    args, audit,
    db::{Db, Row, Tx},
    error::{CONFLICT, Error, OPERATION_IN_PROGRESS, REQUEST_ID_REUSED, RESPONSE_NOT_REPLAYABLE, Result},
    id,
    serve::Call,
};

/// How long an answer is kept for replays.
const KEEP_US: i64 = 24 * 3600 * 1_000_000;
/// Longest answer that is kept; of a longer one only the resource's name is.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Most rows that one step of the purge removes.
const PURGE_BATCH: i64 = 1_000;
/// Wait before another look at a twin that is being worked on.
const TWIN_WAIT: Duration = Duration::from_millis(20);

const PENDING: &str = "pending";
const ANSWERED: &str = "answered";
const SECRET: &str = "secret";
const LARGE: &str = "large";

/// What beginning a change finds.
#[allow(clippy::large_enum_variant, reason = "matched and moved at once, never kept")]
pub enum Begun<R> {
    /// The same request was done before, and this was its answer.
    Replay(R),
    /// The request is new.
    Fresh(Mutation),
}

/// A change under way; dropped without commit, nothing of it happened.
pub struct Mutation {
    tx: Tx,
    record: audit::Record,
    body_hash: String,
}

impl Mutation {
    /// Begins the change that `call` asks for, or finds its earlier answer.
    ///
    /// Waits for a twin that is being worked on until the call's deadline, then OPERATION_IN_PROGRESS; another body under the same
    /// id is REQUEST_ID_REUSED. The caller's right to the change is checked before, at each replay anew.
    pub async fn begin<R: DeserializeOwned>(db: &Db, call: &Call) -> Result<Begun<R>> {
        let mut record = audit::Record::allowed(call);
        if record.request_id.is_empty() {
            record.request_id = id::uuid4();
        }
        loop {
            let tried = timeout_at(call.deadline, Self::attempt(db, call, &record)).await;
            let wait = match tried {
                Ok(Ok(Some(Found::Fresh(tx)))) => {
                    return Ok(Begun::Fresh(Self { tx, record, body_hash: call.body_hash.clone() }));
                }
                Ok(Ok(Some(Found::Before(row)))) => return replay(&row, call).map(Begun::Replay),
                Ok(Ok(None)) => TWIN_WAIT,
                // Postgres ends a wait for the twin's lock after a while.
                Ok(Err(error)) if error.is(&CONFLICT) => TWIN_WAIT,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(in_progress()),
            };
            if Instant::now() + wait >= call.deadline {
                return Err(in_progress());
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// The earlier answer to `call`, if there is one: for changes that look outside before they begin.
    pub async fn replayed<R: DeserializeOwned>(db: &Db, call: &Call) -> Result<Option<R>> {
        let sql = "SELECT body_hash, outcome, response FROM idempotency \
                   WHERE principal = $1 AND method = $2 AND request_id = $3 AND expires_us > NOW_US()";
        let row = db.fetch_optional(sql, args![&call.caller.principal, call.method, &call.request_id]).await?;
        row.map(|row| replay(&row, call)).transpose()
    }

    /// Takes the request id: whoever has it in an open transaction lets the others wait in this statement.
    async fn attempt(db: &Db, call: &Call, record: &audit::Record) -> Result<Option<Found>> {
        let mut tx = db.begin().await?;
        let key = args![&call.caller.principal, call.method, &record.request_id];
        let mut binds = key.clone();
        binds.extend(args![&call.body_hash, PENDING, KEEP_US]);
        let taken = tx
            .execute(
                "INSERT INTO idempotency (principal, method, request_id, body_hash, outcome, response, expires_us) \
                 VALUES ($1, $2, $3, $4, $5, '', NOW_US() + $6) ON CONFLICT (principal, method, request_id) \
                 DO UPDATE SET body_hash = excluded.body_hash, outcome = excluded.outcome, response = excluded.response, \
                 expires_us = excluded.expires_us WHERE idempotency.expires_us <= NOW_US()",
                binds,
            )
            .await?;
        if taken == 1 {
            tx.set_traceparent(&call.traceparent);
            return Ok(Some(Found::Fresh(tx)));
        }
        let sql = "SELECT body_hash, outcome, response FROM idempotency WHERE principal = $1 AND method = $2 AND request_id = $3";
        Ok(tx.fetch_optional(sql, key).await?.map(Found::Before))
    }

    /// The transaction; everything the change does happens in it.
    pub fn tx(&mut self) -> &mut Tx {
        &mut self.tx
    }

    /// Makes the change durable with its answer and its audit record.
    pub async fn commit<R: Serialize>(self, answer: &R, change: audit::Change<'_>) -> Result<()> {
        let json = serde_json::to_string(answer).map_err(Error::internal)?;
        let (outcome, response) =
            if json.len() > ANSWER_BYTES_MAX { (LARGE, change.resource.to_owned()) } else { (ANSWERED, json) };
        self.finish(outcome, response, change).await
    }

    /// As [`Mutation::commit`] for an answer that holds a secret: it is not kept, and a replay is RESPONSE_NOT_REPLAYABLE.
    pub async fn commit_secret(self, change: audit::Change<'_>) -> Result<()> {
        let resource = change.resource.to_owned();
        self.finish(SECRET, resource, change).await
    }

    async fn finish(mut self, outcome: &str, response: String, change: audit::Change<'_>) -> Result<()> {
        let (principal, method) = (self.record.principal.clone(), self.record.method.clone());
        let sql = "UPDATE idempotency SET outcome = $1, response = $2 \
                   WHERE principal = $3 AND method = $4 AND request_id = $5 AND body_hash = $6";
        self.tx
            .execute(sql, args![outcome, response, principal, method, &self.record.request_id, self.body_hash])
            .await?;
        audit::write(&mut self.tx, &self.record.about(change)).await?;
        self.tx.commit().await
    }
}

enum Found {
    Fresh(Tx),
    Before(Row),
}

fn replay<R: DeserializeOwned>(row: &Row, call: &Call) -> Result<R> {
    if row.text("body_hash")? != call.body_hash {
        return Err(Error::new(&REQUEST_ID_REUSED, "the request id was used before with another request")
            .violation("request_id", "must be new for a new request"));
    }
    let unreplayable = |why: &str| Err(Error::new(&RESPONSE_NOT_REPLAYABLE, why));
    match row.text("outcome")?.as_str() {
        ANSWERED => row.json("response"),
        SECRET => unreplayable("the request was done; its answer held a secret and was not kept"),
        LARGE => {
            let resource = row.text("response")?;
            unreplayable("the request was done; its answer was too large to keep")
                .map_err(|e: Error| e.meta("resource", resource))
        }
        other => Err(Error::internal(format!("idempotency outcome {other}"))),
    }
}

fn in_progress() -> Error {
    Error::new(&OPERATION_IN_PROGRESS, "the same request is being worked on").retry_after_ms(500)
}

/// Removes expired answers in batches; a repeat after that counts as new. Answers how many were removed.
pub async fn purge(db: &Db) -> Result<u64> {
    let mut removed = 0;
    loop {
        let sql = "DELETE FROM idempotency WHERE (principal, method, request_id) IN \
                   (SELECT principal, method, request_id FROM idempotency WHERE expires_us <= NOW_US() LIMIT $1)";
        let batch = db.execute(sql, args![PURGE_BATCH]).await?;
        removed += batch;
        if batch == 0 {
            return Ok(removed);
        }
    }
}

#[cfg(test)]
mod tests;
