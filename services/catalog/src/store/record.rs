//! Writing entities: rows, versions, attributes and edges, in bulk.

use slipway_kit::{
    args,
    db::{Tx, Value, insert_many},
    error::{Error, Result},
};

use super::{IN_MAX, binds};
use crate::model::{
    attribute::{self, sort_key},
    document::{Body, Head},
    entity::{Cause, State},
    entity_ref::EntityRef,
    settle::Standing,
    tier::Tier,
};

/// One new version of an entity.
pub struct Write<'b> {
    /// Uid.
    pub uid: String,
    /// Canonical reference.
    pub identity: EntityRef,
    /// Why.
    pub cause: Cause,
    /// Number of the new version.
    pub version: i64,
    /// What it is now.
    pub standing: Standing,
    /// Content; absent if it never was good.
    pub body: Option<&'b Body>,
    /// Whether attributes and edges differ from those of the version before.
    pub content_changed: bool,
    /// When the catalog first knew it.
    pub created_us: i64,
}

const ENTITY: &str = "entity (uid, ref, kind, namespace, name, title, state, tier, owner, system, lifecycle, kind_type, location, \
    version, hash, created_us, updated_us, k_ref, k_kind, k_namespace, k_name, k_title, k_state, k_tier, k_owner, k_system, \
    k_lifecycle, k_type)";
const ENTITY_UPDATE: &str = "ON CONFLICT (uid) DO UPDATE SET title = excluded.title, state = excluded.state, tier = excluded.tier, \
    owner = excluded.owner, system = excluded.system, lifecycle = excluded.lifecycle, kind_type = excluded.kind_type, \
    location = excluded.location, version = excluded.version, hash = excluded.hash, updated_us = excluded.updated_us, \
    k_title = excluded.k_title, k_state = excluded.k_state, k_tier = excluded.k_tier, k_owner = excluded.k_owner, \
    k_system = excluded.k_system, k_lifecycle = excluded.k_lifecycle, k_type = excluded.k_type";
const VERSION: &str =
    "version (uid, number, cause, state, hash, location, path, idx, line, commit_sha, findings, recorded_us)";

/// Writes new versions, and what lists read of them.
pub async fn write(tx: &mut Tx, writes: &[Write<'_>], now_us: i64) -> Result<()> {
    let empty = Head::default();
    let head = |w: &Write<'_>| w.body.map_or_else(|| empty.clone(), |b| b.head.clone());
    let rows = writes.iter().map(|w| entity_row(w, &head(w), now_us)).collect();
    insert_many(&mut *tx, ENTITY, rows, ENTITY_UPDATE).await?;
    let rows = writes.iter().map(|w| version_row(w, now_us)).collect::<Result<_>>()?;
    insert_many(&mut *tx, VERSION, rows, "").await?;
    let changed: Vec<_> = writes.iter().filter(|w| w.content_changed).collect();
    let old: Vec<_> = changed.iter().filter(|w| w.version > 1).collect();
    delete(tx, "DELETE FROM attribute WHERE uid IN", &old.iter().map(|w| w.uid.as_str()).collect::<Vec<_>>()).await?;
    delete(tx, "DELETE FROM edge WHERE source IN", &old.iter().map(|w| w.identity.as_str()).collect::<Vec<_>>())
        .await?;
    let living = || changed.iter().filter(|w| w.standing.state != State::Deleted);
    let attributes = living().flat_map(|w| {
        let all = w.body.map(attribute::of).unwrap_or_default();
        all.into_iter().map(|a| args![a.field, a.value, &w.uid, a.rank])
    });
    let attributes = attributes.collect();
    insert_many(&mut *tx, "attribute (field, value, uid, rank)", attributes, "").await?;
    let edges = living().flat_map(|w| {
        let edges = w.body.map(|b| b.head.edges.as_slice()).unwrap_or_default();
        edges.iter().map(|e| args![w.identity.as_str(), &e.relation, &e.target])
    });
    let edges = edges.collect();
    insert_many(tx, "edge (source, relation, target)", edges, "").await.map(drop)
}

async fn delete(tx: &mut Tx, sql: &str, values: &[&str]) -> Result<()> {
    for chunk in values.chunks(IN_MAX) {
        tx.execute(&format!("{sql} ({})", binds(1, chunk.len())), chunk.iter().map(|v| Value::from(*v)).collect())
            .await?;
    }
    Ok(())
}

fn entity_row(w: &Write<'_>, head: &Head, now_us: i64) -> Vec<Value> {
    let id = &w.identity;
    let title = if head.title.is_empty() { "" } else { &head.title };
    args![
        &w.uid,
        id.as_str(),
        id.kind(),
        id.namespace(),
        id.name(),
        title,
        w.standing.state.word(),
        head.tier.word(),
        &head.owner,
        &head.system,
        &head.lifecycle,
        &head.kind_type,
        &w.standing.place.location,
        w.version,
        &w.standing.hash,
        w.created_us,
        now_us,
        sort_key(id.as_str()),
        sort_key(id.kind()),
        sort_key(id.namespace()),
        sort_key(id.name()),
        sort_key(title),
        state_rank(w.standing.state),
        tier_rank(head.tier),
        sort_key(&head.owner),
        sort_key(&head.system),
        sort_key(&head.lifecycle),
        sort_key(&head.kind_type)
    ]
}

fn state_rank(state: State) -> i64 {
    State::ALL.iter().position(|s| *s == state).map_or(0, |n| n as i64)
}

fn tier_rank(tier: Tier) -> i64 {
    match tier {
        Tier::Critical => 0,
        Tier::Standard => 1,
        Tier::Experimental => 2,
    }
}

fn version_row(w: &Write<'_>, now_us: i64) -> Result<Vec<Value>> {
    let (standing, place) = (&w.standing, &w.standing.place);
    let findings = serde_json::to_string(&standing.findings).map_err(Error::internal)?;
    Ok(args![
        &w.uid,
        w.version,
        w.cause.word(),
        standing.state.word(),
        &standing.hash,
        &place.location,
        &place.path,
        place.index,
        place.line,
        &place.commit,
        findings,
        now_us
    ])
}

/// Notes where the document of a version stands in its file now, and what is remarked on it.
pub async fn touch(tx: &mut Tx, uid: &str, version: i64, standing: &Standing) -> Result<()> {
    let findings = serde_json::to_string(&standing.findings).map_err(Error::internal)?;
    let place = &standing.place;
    tx.execute(
        "UPDATE version SET idx = $1, line = $2, findings = $3 WHERE uid = $4 AND number = $5",
        args![place.index, place.line, findings, uid, version],
    )
    .await
    .map(drop)
}
