//! Rows of locations.

use slipway_kit::{
    args,
    db::{Exec, Row, Tx},
    error::{Error, Result},
};

use crate::model::location::{Location, State, Target};

const COLUMNS: &str = "l.uid, l.target, l.owner, l.organization, l.templates, l.state, l.reason, l.message, l.commit_sha, \
    l.content_hash, l.sequence, l.version, l.created_us, l.updated_us, l.refreshed_us, \
    (SELECT COUNT(*) FROM entity e WHERE e.location = l.uid AND e.state <> 'DELETED') AS entity_count";

fn read(row: &Row) -> Result<Location> {
    let state = if row.text("state")? == "STALE" { State::Stale } else { State::Ready };
    Ok(Location {
        uid: row.text("uid")?,
        target: row.json("target")?,
        owner: row.text("owner")?,
        organization: row.bool("organization")?,
        templates: row.bool("templates")?,
        state,
        reason: row.text("reason")?,
        message: row.text("message")?,
        commit: row.text("commit_sha")?,
        content_hash: row.text("content_hash")?,
        sequence: row.int("sequence")?,
        version: row.int("version")?,
        created_us: row.int("created_us")?,
        updated_us: row.int("updated_us")?,
        refreshed_us: row.int("refreshed_us")?,
        entity_count: row.int("entity_count")?,
        reports: Vec::new(),
    })
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Ready => "READY",
        State::Stale => "STALE",
    }
}

/// One location by uid.
pub async fn get(exec: impl Into<Exec<'_>>, uid: &str) -> Result<Option<Location>> {
    let sql = format!("SELECT {COLUMNS} FROM location l WHERE l.uid = $1");
    exec.into().fetch_optional(&sql, args![uid]).await?.as_ref().map(read).transpose()
}

/// Whether a target is registered.
pub async fn target_exists(exec: impl Into<Exec<'_>>, target: &Target) -> Result<bool> {
    let sql = "SELECT uid FROM location WHERE target_key = $1";
    Ok(exec.into().fetch_optional(sql, args![target.key()]).await?.is_some())
}

/// A page of locations, oldest first, after the cursor (creation, uid).
pub async fn list(exec: impl Into<Exec<'_>>, after: Option<(i64, String)>, limit: usize) -> Result<Vec<Location>> {
    let (at, uid) = after.unwrap_or((-1, String::new()));
    let sql = format!(
        "SELECT {COLUMNS} FROM location l WHERE l.created_us > $1 OR (l.created_us = $1 AND l.uid > $2) \
         ORDER BY l.created_us, l.uid LIMIT $3"
    );
    exec.into().fetch_all(&sql, args![at, uid, limit]).await?.iter().map(read).collect()
}

/// Uids of the locations that read from a repository.
pub async fn with_repository(exec: impl Into<Exec<'_>>, scm: &str, repository: &str) -> Result<Vec<String>> {
    let sql = "SELECT uid FROM location WHERE scm = $1 AND repository = $2";
    let rows = exec.into().fetch_all(sql, args![scm, repository.to_lowercase()]).await?;
    rows.iter().map(|row| row.text("uid")).collect()
}

/// A new location.
pub async fn insert(tx: &mut Tx, location: &Location) -> Result<()> {
    let (scm, repository) = location.target.repository();
    let target = serde_json::to_string(&location.target).map_err(Error::internal)?;
    tx.execute(
        "INSERT INTO location (uid, target_key, target, scm, repository, owner, organization, templates, state, reason, message, \
         commit_sha, content_hash, sequence, version, created_us, updated_us, refreshed_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        args![
            &location.uid, location.target.key(), target, scm, repository.to_lowercase(), &location.owner, location.organization,
            location.templates, state_word(location.state), &location.reason, &location.message, &location.commit,
            &location.content_hash, location.sequence, location.version, location.created_us, location.updated_us,
            location.refreshed_us
        ],
    )
    .await
    .map(drop)
}

/// Saves what a read changed; false if the location changed since `version` or is gone.
pub async fn save(tx: &mut Tx, location: &Location, version: i64) -> Result<bool> {
    let saved = tx
        .execute(
            "UPDATE location SET state = $1, reason = $2, message = $3, commit_sha = $4, content_hash = $5, sequence = $6, \
             version = $7, updated_us = $8, refreshed_us = $9 WHERE uid = $10 AND version = $11",
            args![
                state_word(location.state), &location.reason, &location.message, &location.commit, &location.content_hash,
                location.sequence, location.version, location.updated_us, location.refreshed_us, &location.uid, version
            ],
        )
        .await?;
    Ok(saved == 1)
}

/// Removes a location's row; its owner stays known.
pub async fn delete(tx: &mut Tx, location: &Location) -> Result<()> {
    let sql = "INSERT INTO location_gone (uid, owner, deleted_us) VALUES ($1, $2, NOW_US())";
    tx.execute(sql, args![&location.uid, &location.owner]).await?;
    tx.execute("DELETE FROM location WHERE uid = $1", args![&location.uid]).await.map(drop)
}

/// The owner of a location that was deleted.
pub async fn owner_of_gone(exec: impl Into<Exec<'_>>, uid: &str) -> Result<Option<String>> {
    let sql = "SELECT owner FROM location_gone WHERE uid = $1";
    exec.into().fetch_optional(sql, args![uid]).await?.map(|row| row.text("owner")).transpose()
}

/// Waits until no other transaction decides references, and keeps others waiting until this one ends.
pub async fn take_turn(tx: &mut Tx) -> Result<()> {
    tx.execute("UPDATE ingest_turn SET id = id WHERE id = 1", args![]).await.map(drop)
}

/// Number of locations.
pub async fn count(exec: impl Into<Exec<'_>>) -> Result<i64> {
    exec.into().fetch_one("SELECT COUNT(*) AS n FROM location", args![]).await?.int("n")
}
