//! Events of this service in commit order, written in the transaction that changes what they tell of (REL-43, REL-44).
//!
//! Owns the journal's numbering, reading, following, retention, the stream for other services, and the applying of theirs. Refuses
//! numbers from sequences: a counter row in the writing transaction makes them gap-free and in commit order on both engines.
use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use prost::{Message, Name};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};

use crate::{
    args,
    db::{Db, Exec, Row, Tx, insert_many},
    error::{Error, RESUME_TOKEN_EXPIRED, Result},
    id,
};

mod consume;
mod follow;
mod stream;

pub use consume::{Applied, Applier, Parked, consume, parked};
pub use follow::follow;
pub use stream::{JournalApi, service};

/// Most bytes of one event's payload.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Fewest events that retention keeps.
pub const KEEP_EVENTS_MIN: i64 = 100_000;
/// Most rows that one step of retention removes.
const TRIM_BATCH: i64 = 1_000;

/// An event that a transaction is about to append.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Full name of the message, `slipway.<service>.v1.<NounVerb>`.
    pub subject: &'static str,
    /// Uid or name of the resource; events of one key are ordered.
    pub key: String,
    /// Proto3 JSON form of the message.
    pub payload_json: String,
}

/// An event as kept.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Stored {
    /// Position: gap-free, in commit order.
    pub seq: i64,
    /// UUIDv7, for deduplication.
    pub event_id: String,
    /// Full name of the message.
    pub subject: String,
    /// Uid or name of the resource.
    pub key: String,
    /// Proto3 JSON form of the message.
    pub payload_json: String,
    /// When it was recorded, by the database's clock.
    pub created_us: i64,
    /// W3C trace context of the change; may be empty.
    pub traceparent: String,
}

/// A place in the journal of one store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Identity of the database; a position of another one means nothing here.
    pub store_id: String,
    /// Number of the last event seen.
    pub seq: i64,
}

/// The event that tells `message` about the resource `key`.
pub fn event<M: Message + Name>(key: impl Into<String>, message: &M) -> NewEvent {
    let descriptor = descriptor(&M::full_name()).expect("every generated message is among the contracts");
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).expect("a message is of its own type");
    let payload_json = serde_json::to_string(&dynamic).expect("a message of the contracts has a JSON form");
    NewEvent { subject: interned(M::full_name()), key: key.into(), payload_json }
}

fn descriptor(name: &str) -> Option<MessageDescriptor> {
    slipway_proto::pool().get_message_by_name(name)
}

/// Names of messages live as long as the process; there are only as many as the contracts have.
fn interned(name: String) -> &'static str {
    static NAMES: LazyLock<Mutex<HashMap<String, &'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.entry(name).or_insert_with_key(|name| Box::leak(name.clone().into_boxed_str()))
}

impl Stored {
    /// The message, if the event tells one of type `M`; fields of a newer producer are passed over.
    pub fn decode<M: Message + Name + Default>(&self) -> Result<M> {
        let name = M::full_name();
        if self.subject != name {
            return Err(Error::internal(format!("event {} is a {}, not a {name}", self.event_id, self.subject)));
        }
        let descriptor = descriptor(&name).ok_or_else(|| Error::internal(format!("{name} is not in the contracts")))?;
        let mut json = serde_json::Deserializer::from_str(&self.payload_json);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let dynamic =
            DynamicMessage::deserialize_with_options(descriptor, &mut json, &options).map_err(Error::internal)?;
        dynamic.transcode_to().map_err(Error::internal)
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            seq: row.int("seq")?,
            event_id: row.text("event_id")?,
            subject: row.text("subject")?,
            key: row.text("event_key")?,
            payload_json: row.text("payload")?,
            created_us: row.int("created_us")?,
            traceparent: row.text("traceparent")?,
        })
    }
}

/// Appends an event when the transaction commits, which wakes readers.
///
/// Numbers are taken last of all: writers of one database take turns only for the length of a commit, and nobody who holds a number
/// waits for a row that another holds.
pub async fn append(tx: &mut Tx, event: NewEvent) -> Result<()> {
    if event.payload_json.len() > PAYLOAD_BYTES_MAX {
        let (subject, key, bytes) = (event.subject, event.key, event.payload_json.len());
        return Err(Error::internal(format!("{subject} of {key} has {bytes} bytes")));
    }
    tx.push_event(event);
    Ok(())
}

/// Writes the events of a transaction that is about to commit.
pub(crate) async fn write(tx: &mut Tx, events: Vec<NewEvent>) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE journal_head SET seq = seq + $1 WHERE id = 1 RETURNING seq, NOW_US() AS now_us";
    let row = tx.fetch_one(sql, args![events.len()]).await?;
    let (last, now_us, traceparent) = (row.int("seq")?, row.int("now_us")?, tx.traceparent().to_owned());
    let first = last - i64::try_from(events.len()).unwrap_or(i64::MAX) + 1;
    let rows = (first..).zip(events);
    let rows =
        rows.map(|(seq, e)| args![seq, id::uuid7(), e.subject, e.key, e.payload_json, &traceparent, now_us]).collect();
    let into = "journal (seq, event_id, subject, event_key, payload, traceparent, created_us)";
    insert_many(tx, into, rows, "").await.map(drop)
}

/// Events after a position, oldest first; what retention has removed is not missed, see [`check`].
pub async fn read(db: &Db, after: i64, limit: usize) -> Result<Vec<Stored>> {
    let sql = "SELECT seq, event_id, subject, event_key, payload, traceparent, created_us \
               FROM journal WHERE seq > $1 ORDER BY seq LIMIT $2";
    db.fetch_all(sql, args![after, limit]).await?.iter().map(Stored::read).collect()
}

/// Events of one key after a position, oldest first: the history of a resource as far as it is kept.
pub async fn read_key(db: &Db, key: &str, after: i64, limit: usize) -> Result<Vec<Stored>> {
    let sql = "SELECT seq, event_id, subject, event_key, payload, traceparent, created_us \
               FROM journal WHERE event_key = $1 AND seq > $2 ORDER BY seq LIMIT $3";
    db.fetch_all(sql, args![key, after, limit]).await?.iter().map(Stored::read).collect()
}

/// The last position: read it before a snapshot, then follow from it, and nothing is missed. Inside a transaction it is exact.
pub async fn head(exec: impl Into<Exec<'_>>) -> Result<Position> {
    let row = exec.into().fetch_one("SELECT store_id, seq FROM journal_head WHERE id = 1", args![]).await?;
    Ok(Position { store_id: row.text("store_id")?, seq: row.int("seq")? })
}

/// Whether the events after a position are still all here; RESUME_TOKEN_EXPIRED otherwise. 0 is the oldest kept.
pub async fn check(db: &Db, after: i64) -> Result<()> {
    if after == 0 {
        return Ok(());
    }
    let sql = "SELECT h.seq AS head, COALESCE((SELECT MIN(seq) FROM journal), h.seq + 1) AS oldest \
               FROM journal_head h WHERE h.id = 1";
    let row = db.fetch_one(sql, args![]).await?;
    let (head, oldest) = (row.int("head")?, row.int("oldest")?);
    if after > head || after < oldest - 1 {
        return Err(expired());
    }
    Ok(())
}

/// As [`check`], for a position that says which store it is of.
pub async fn check_position(db: &Db, position: &Position) -> Result<()> {
    if head(db).await?.store_id != position.store_id {
        return Err(expired());
    }
    // A position of this store is never 0 by omission: it is the head as some reader saw it.
    let oldest = db.fetch_one("SELECT COALESCE(MIN(seq), 0) AS oldest FROM journal", args![]).await?.int("oldest")?;
    if position.seq == 0 && oldest > 1 {
        return Err(expired());
    }
    check(db, position.seq).await
}

fn expired() -> Error {
    Error::new(&RESUME_TOKEN_EXPIRED, "the position is older than what is kept, or of another store; list again")
}

/// Removes the oldest events beyond the newest `keep` (at least [`KEEP_EVENTS_MIN`]), in batches; answers how many.
pub async fn trim(db: &Db, keep: i64) -> Result<u64> {
    trim_to(db, keep.max(KEEP_EVENTS_MIN)).await
}

async fn trim_to(db: &Db, keep: i64) -> Result<u64> {
    let mut removed = 0;
    loop {
        let sql = "DELETE FROM journal WHERE seq <= (SELECT seq FROM journal_head WHERE id = 1) - $1 \
                   AND seq < (SELECT MIN(seq) FROM journal) + $2";
        let batch = db.execute(sql, args![keep, TRIM_BATCH]).await?;
        removed += batch;
        if batch == 0 {
            return Ok(removed);
        }
    }
}

#[cfg(test)]
mod tests;
