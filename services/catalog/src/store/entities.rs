//! Reading entities: one, many, a version of the past, and what decisions need of them.

use std::collections::{BTreeMap, HashMap};

use slipway_kit::{
    args,
    db::{Db, Exec, Row, Tx, Value, insert_many},
    error::{Error, Result},
};

use super::{IN_MAX, binds};
use crate::model::{
    document::{Body, Head},
    entity::{Cause, Entity, Place, State},
    settle::Standing,
};

/// What is read of an entity and its version.
const COLUMNS: &str = "e.uid, e.ref, e.kind, e.namespace, e.name, e.created_us, v.state, v.cause, v.number, v.findings, v.location, \
    v.path, v.idx, v.line, v.commit_sha, v.recorded_us, b.head, b.document";
const SERVED: &str =
    "entity e JOIN version v ON v.uid = e.uid AND v.number = e.version LEFT JOIN body b ON b.hash = v.hash";

fn place(row: &Row) -> Result<Place> {
    Ok(Place {
        location: row.text("location")?,
        path: row.text("path")?,
        index: row.int("idx")?,
        line: u32::try_from(row.int("line")?).unwrap_or(1),
        commit: row.text("commit_sha")?,
    })
}

fn read(row: &Row, raw: bool) -> Result<Entity> {
    let head = match row.opt_text("head")? {
        Some(json) => serde_json::from_str(&json).map_err(Error::internal)?,
        None => Head {
            kind: row.text("kind")?,
            namespace: row.text("namespace")?,
            name: row.text("name")?,
            ..Head::default()
        },
    };
    Ok(Entity {
        uid: row.text("uid")?,
        identity: row.text("ref")?,
        state: State::parse(&row.text("state")?).unwrap_or_default(),
        version: row.int("number")?,
        head,
        json: row.opt_text("document")?.unwrap_or_default(),
        raw: if raw { row.opt_text("raw")?.unwrap_or_default() } else { String::new() },
        relations: Vec::new(),
        findings: row.json("findings")?,
        place: place(row)?,
        created_us: row.int("created_us")?,
        updated_us: row.int("recorded_us")?,
    })
}

/// One entity by canonical reference, tombstones included.
pub async fn get(exec: impl Into<Exec<'_>>, reference: &str, raw: bool) -> Result<Option<Entity>> {
    let extra = if raw { ", b.raw" } else { "" };
    let sql = format!("SELECT {COLUMNS}{extra} FROM {SERVED} WHERE e.ref = $1");
    exec.into().fetch_optional(&sql, args![reference]).await?.map(|row| read(&row, raw)).transpose()
}

/// Entities by canonical reference, tombstones left out.
pub async fn by_refs(exec: impl Into<Exec<'_>>, refs: &[String]) -> Result<HashMap<String, Entity>> {
    let mut exec = exec.into();
    let mut all = HashMap::new();
    for chunk in refs.chunks(IN_MAX) {
        let sql = format!(
            "SELECT {COLUMNS} FROM {SERVED} WHERE e.state <> 'DELETED' AND e.ref IN ({})",
            binds(1, chunk.len())
        );
        for row in exec.fetch_all(&sql, chunk.iter().map(Value::from).collect()).await? {
            let entity = read(&row, false)?;
            all.insert(entity.identity.clone(), entity);
        }
    }
    Ok(all)
}

/// Entities by uid, in the order asked.
pub async fn by_uid(db: &Db, uids: &[String]) -> Result<Vec<Entity>> {
    let mut all = HashMap::new();
    for chunk in uids.chunks(IN_MAX) {
        let sql = format!("SELECT {COLUMNS} FROM {SERVED} WHERE e.uid IN ({})", binds(1, chunk.len()));
        for row in db.fetch_all(&sql, chunk.iter().map(Value::from).collect()).await? {
            let entity = read(&row, false)?;
            all.insert(entity.uid.clone(), entity);
        }
    }
    Ok(uids.iter().filter_map(|uid| all.remove(uid)).collect())
}

/// One version of an entity and why it was made; absent if history no longer has it.
pub async fn history(db: &Db, uid: &str, number: i64) -> Result<Option<(Cause, Entity)>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM entity e JOIN version v ON v.uid = e.uid AND v.number = $2 \
         LEFT JOIN body b ON b.hash = v.hash WHERE e.uid = $1"
    );
    let Some(row) = db.fetch_optional(&sql, args![uid, number]).await? else { return Ok(None) };
    let cause = Cause::parse(&row.text("cause")?).unwrap_or(Cause::Changed);
    Ok(Some((cause, read(&row, false)?)))
}

/// Living entities in order of reference, after one.
pub async fn snapshot_page(db: &Db, after: &str, limit: usize) -> Result<Vec<Entity>> {
    let key = if after.is_empty() { Vec::new() } else { crate::model::attribute::sort_key(after) };
    let sql =
        format!("SELECT {COLUMNS} FROM {SERVED} WHERE e.k_ref > $1 AND e.state <> 'DELETED' ORDER BY e.k_ref LIMIT $2");
    db.fetch_all(&sql, args![key, limit]).await?.iter().map(|row| read(row, false)).collect()
}

/// Whether a living group of that reference exists.
pub async fn group_exists(exec: impl Into<Exec<'_>>, reference: &str) -> Result<bool> {
    let sql = "SELECT uid FROM entity WHERE ref = $1 AND kind = 'group' AND state <> 'DELETED'";
    Ok(exec.into().fetch_optional(sql, args![reference]).await?.is_some())
}

/// An entity as a decision sees it, with uid, version and creation.
#[derive(Clone, Debug)]
pub struct Known {
    /// Uid.
    pub uid: String,
    /// Number of the newest version.
    pub version: i64,
    /// When the catalog first knew it.
    pub created_us: i64,
    /// What it is now.
    pub standing: Standing,
}

/// Entities by canonical reference, tombstones included.
pub async fn standing(tx: &mut Tx, refs: &[String]) -> Result<BTreeMap<String, Known>> {
    let mut all = BTreeMap::new();
    for chunk in refs.chunks(IN_MAX) {
        let sql = format!(
            "SELECT e.ref, e.uid, e.version, e.created_us, v.state, v.hash, v.location, v.path, v.idx, v.line, v.commit_sha, v.findings \
             FROM entity e JOIN version v ON v.uid = e.uid AND v.number = e.version WHERE e.ref IN ({})",
            binds(1, chunk.len())
        );
        for row in tx.fetch_all(&sql, chunk.iter().map(Value::from).collect()).await? {
            let standing = Standing {
                state: State::parse(&row.text("state")?).unwrap_or_default(),
                hash: row.text("hash")?,
                place: place(&row)?,
                findings: row.json("findings")?,
            };
            let known = Known {
                uid: row.text("uid")?,
                version: row.int("version")?,
                created_us: row.int("created_us")?,
                standing,
            };
            all.insert(row.text("ref")?, known);
        }
    }
    Ok(all)
}

/// Keeps content that is not kept yet.
pub async fn put_bodies(tx: &mut Tx, bodies: &[(String, &Body, &str)]) -> Result<()> {
    for chunk in bodies.chunks(IN_MAX) {
        let mut rows = Vec::with_capacity(chunk.len());
        for (hash, body, raw) in chunk {
            let head = serde_json::to_string(&body.head).map_err(Error::internal)?;
            rows.push(args![hash, head, body.json.to_string(), *raw]);
        }
        insert_many(&mut *tx, "body (hash, head, document, raw)", rows, "ON CONFLICT (hash) DO NOTHING").await?;
    }
    Ok(())
}

/// Kept content by hash: summary and JSON.
pub async fn heads(tx: &mut Tx, hashes: &[String]) -> Result<HashMap<String, Body>> {
    let mut all = HashMap::new();
    for chunk in hashes.chunks(IN_MAX) {
        let sql = format!("SELECT hash, head, document FROM body WHERE hash IN ({})", binds(1, chunk.len()));
        for row in tx.fetch_all(&sql, chunk.iter().map(Value::from).collect()).await? {
            all.insert(row.text("hash")?, Body { head: row.json("head")?, json: row.json("document")? });
        }
    }
    Ok(all)
}
