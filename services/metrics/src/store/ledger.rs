//! The ledger: every accepted version of every fact, numbered in commit order. Refuses to take the same version twice.
use slipway_kit::{
    args,
    db::{Db, Row, Tx},
    error::{Error, Result},
};

use crate::model::fact::{Fact, Version, VersionKey};

/// One version on its way into the ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The fact.
    pub fact: Fact,
    /// Its place among the versions.
    pub key: VersionKey,
    /// Key of the fact; versions share it.
    pub fact_key: String,
    /// Owners it may count for, as `,group,`; empty: all.
    pub claim: String,
    /// Where it came from.
    pub source: String,
    /// Who brought it.
    pub principal: String,
    /// Service hinted at; empty if none.
    pub hint: String,
    /// Whether it waits for a service.
    pub parked: bool,
}

/// An entry that waits for a service.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its number.
    pub seq: i64,
    /// What it says.
    pub entry: Entry,
}

/// Takes `count` numbers and holds the ledger until the end of the transaction; answers the first.
pub async fn take_numbers(tx: &mut Tx, count: usize) -> Result<i64> {
    let count = i64::try_from(count).map_err(Error::internal)?;
    tx.execute("UPDATE ledger_head SET seq = seq + $1 WHERE id = 1", args![count]).await?;
    let row = tx.fetch_one("SELECT seq FROM ledger_head WHERE id = 1", vec![]).await?;
    Ok(row.int("seq")? - count + 1)
}

/// SHA-256 of the event that a caller sent under a key, if it did.
pub async fn event_body(tx: &mut Tx, principal: &str, key: &str) -> Result<Option<String>> {
    let sql = "SELECT body_sha256 FROM event_keys WHERE principal = $1 AND idempotency_key = $2";
    tx.fetch_optional(sql, args![principal, key]).await?.map(|row| row.text("body_sha256")).transpose()
}

/// Remembers an event by its caller's key.
pub async fn remember_event(tx: &mut Tx, principal: &str, key: &str, body_sha256: &str) -> Result<()> {
    let sql = "INSERT INTO event_keys (principal, idempotency_key, body_sha256) VALUES ($1, $2, $3)";
    tx.execute(sql, args![principal, key, body_sha256]).await.map(drop)
}

/// Whether the ledger has exactly this version.
pub async fn has(tx: &mut Tx, entry: &Entry) -> Result<bool> {
    let sql = "SELECT seq FROM facts WHERE kind = $1 AND fact_key = $2 AND occurred_us = $3 AND sequence = $4 AND payload_sha256 = $5";
    let key = &entry.key;
    let args = args![entry.fact.word(), &entry.fact_key, key.occurred_us, key.sequence, &key.payload_sha256];
    Ok(tx.fetch_optional(sql, args).await?.is_some())
}

/// Writes one version under its number.
pub async fn insert(tx: &mut Tx, seq: i64, entry: &Entry, now_us: i64) -> Result<()> {
    let sql = "INSERT INTO facts (seq, kind, fact_key, claim, source, principal, hint, occurred_us, sequence, payload_sha256, payload, \
               repository, environment, parked, ingested_us) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)";
    let args = args![
        seq,
        entry.fact.word(),
        &entry.fact_key,
        &entry.claim,
        &entry.source,
        &entry.principal,
        &entry.hint,
        entry.key.occurred_us,
        entry.key.sequence,
        &entry.key.payload_sha256,
        super::json(&entry.fact)?,
        entry.fact.repository(),
        entry.fact.environment(),
        entry.parked,
        now_us,
    ];
    tx.execute(sql, args).await.map(drop)
}

/// Every version of a fact.
pub async fn versions(tx: &mut Tx, kind: &str, fact_key: &str) -> Result<Vec<Version<Fact>>> {
    let sql = "SELECT occurred_us, sequence, payload_sha256, payload FROM facts WHERE kind = $1 AND fact_key = $2 AND parked < 2";
    let rows = tx.fetch_all(sql, args![kind, fact_key]).await?;
    rows.iter().map(|row| Ok(Version { key: version_key(row)?, fact: row.json("payload")? })).collect()
}

fn version_key(row: &Row) -> Result<VersionKey> {
    Ok(VersionKey {
        occurred_us: row.int("occurred_us")?,
        sequence: row.int("sequence")?,
        payload_sha256: row.text("payload_sha256")?,
    })
}

/// Entries of a repository that wait for a service.
pub async fn waiting(tx: &mut Tx, repository: &str) -> Result<Vec<Waiting>> {
    let sql = "SELECT seq, fact_key, claim, source, principal, hint, occurred_us, sequence, payload_sha256, payload FROM facts \
               WHERE parked = 1 AND repository = $1 ORDER BY seq";
    let rows = tx.fetch_all(sql, args![repository]).await?;
    let one = |row: &Row| {
        let entry = Entry {
            fact: row.json("payload")?,
            key: version_key(row)?,
            fact_key: row.text("fact_key")?,
            claim: row.text("claim")?,
            source: row.text("source")?,
            principal: row.text("principal")?,
            hint: row.text("hint")?,
            parked: true,
        };
        Ok(Waiting { seq: row.int("seq")?, entry })
    };
    rows.iter().map(one).collect()
}

/// Gives an entry the key it has now that its service is known.
pub async fn release(tx: &mut Tx, seq: i64, fact_key: &str) -> Result<()> {
    tx.execute("UPDATE facts SET parked = 0, fact_key = $2 WHERE seq = $1", args![seq, fact_key]).await.map(drop)
}

/// Facts that wait for a service, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Repository.
    pub repository: String,
    /// Environment.
    pub environment: String,
    /// How many.
    pub count: i64,
}

/// Groups of waiting facts after a place, in order.
pub async fn parked(db: &Db, after: Option<(&str, &str)>, limit: usize) -> Result<Vec<Parked>> {
    let (repository, environment) = after.unwrap_or(("", ""));
    let first = after.is_none();
    let sql = "SELECT repository, environment, CAST(COUNT(*) AS BIGINT) AS n FROM facts WHERE parked = 1 \
               AND ($1 = 1 OR repository > $2 OR (repository = $2 AND environment > $3)) \
               GROUP BY repository, environment ORDER BY repository, environment LIMIT $4";
    let rows = db.fetch_all(sql, args![i64::from(first), repository, environment, limit]).await?;
    let one = |row: &Row| {
        Ok(Parked { repository: row.text("repository")?, environment: row.text("environment")?, count: row.int("n")? })
    };
    rows.iter().map(one).collect()
}
