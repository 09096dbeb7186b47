//! Edges read from both ends, and the facts other services decide by.

use std::collections::{BTreeSet, HashMap};

use slipway_kit::{
    args,
    db::{Db, Exec, Row, Value},
    error::Result,
};

use super::{IN_MAX, binds};
use crate::model::{
    entity::Ownership,
    location::Target,
    membership::Declared,
    relation::{Edge, both_ways},
};

fn edge(row: &Row, other: &str) -> Result<Edge> {
    Ok(Edge { relation: row.text("relation")?, target: row.text(other)? })
}

/// All relations of an entity, both ways, sorted.
pub async fn relations(exec: impl Into<Exec<'_>>, reference: &str) -> Result<Vec<Edge>> {
    let sql = "SELECT source, relation, target FROM edge WHERE source = $1 \
               UNION ALL SELECT source, relation, target FROM edge WHERE target = $1 AND source <> $1";
    let (mut declared, mut inbound) = (Vec::new(), Vec::new());
    for row in exec.into().fetch_all(sql, args![reference]).await? {
        if row.text("source")? == reference {
            declared.push(edge(&row, "target")?);
            if row.text("target")? == reference {
                inbound.push(edge(&row, "source")?);
            }
        } else {
            inbound.push(edge(&row, "source")?);
        }
    }
    Ok(both_ways(declared, inbound))
}

/// All relations of many entities, both ways, sorted.
pub async fn relations_of(db: &Db, refs: &[String]) -> Result<HashMap<String, Vec<Edge>>> {
    let mut declared: HashMap<String, Vec<Edge>> = HashMap::new();
    let mut inbound: HashMap<String, Vec<Edge>> = HashMap::new();
    for chunk in refs.chunks(IN_MAX) {
        let wanted: Vec<Value> = chunk.iter().map(Value::from).collect();
        let list = binds(1, chunk.len());
        let sql = format!("SELECT source, relation, target FROM edge WHERE source IN ({list})");
        for row in db.fetch_all(&sql, wanted.clone()).await? {
            declared.entry(row.text("source")?).or_default().push(edge(&row, "target")?);
        }
        let sql = format!("SELECT source, relation, target FROM edge WHERE target IN ({list})");
        for row in db.fetch_all(&sql, wanted).await? {
            inbound.entry(row.text("target")?).or_default().push(edge(&row, "source")?);
        }
    }
    let both = |r: &String| {
        let own = declared.get(r).cloned().unwrap_or_default();
        (r.clone(), both_ways(own, inbound.get(r).cloned().unwrap_or_default()))
    };
    Ok(refs.iter().map(both).collect())
}

/// References of the APIs an entity provides.
pub async fn provided_apis(db: &Db, reference: &str) -> Result<Vec<String>> {
    let sql = "SELECT target FROM edge WHERE source = $1 AND relation = 'providesApi' ORDER BY target";
    db.fetch_all(sql, args![reference]).await?.iter().map(|row| row.text("target")).collect()
}

/// Living groups and users of trusted organisation locations, and the edges between groups and users.
pub async fn declared_in_organizations(exec: impl Into<Exec<'_>>) -> Result<(BTreeSet<String>, Vec<Declared>)> {
    let mut exec = exec.into();
    let sql = "SELECT e.ref FROM entity e JOIN location l ON l.uid = e.location \
               WHERE l.organization = 1 AND e.kind IN ('group', 'user') AND e.state <> 'DELETED'";
    let known =
        exec.fetch_all(sql, args![]).await?.iter().map(|row| row.text("ref")).collect::<Result<BTreeSet<_>>>()?;
    let sql = "SELECT d.source, d.relation, d.target FROM edge d JOIN entity e ON e.ref = d.source \
               WHERE e.kind IN ('group', 'user') AND d.relation IN ('memberOf', 'hasMember', 'childOf', 'parentOf')";
    let rows = exec.fetch_all(sql, args![]).await?;
    let declared = rows
        .iter()
        .map(|row| Ok(Declared { source: row.text("source")?, edge: edge(row, "target")? }))
        .collect::<Result<_>>()?;
    Ok((known, declared))
}

/// Annotation of a user with the login at the source provider, as it is kept.
const USER_LOGIN: &str = "annotations.github.com/user-login";

/// The deciding facts of a living entity.
pub async fn ownership(db: &Db, reference: &str) -> Result<Option<Ownership>> {
    let sql = "SELECT e.ref, e.uid, e.owner, e.tier, e.system, v.path, COALESCE(l.target, '\"Builtin\"') AS target, \
               COALESCE((SELECT MIN(a.value) FROM attribute a WHERE a.uid = e.uid AND a.field = $2), '') AS login \
               FROM entity e JOIN version v ON v.uid = e.uid AND v.number = e.version LEFT JOIN location l ON l.uid = e.location \
               WHERE e.ref = $1 AND e.state <> 'DELETED' AND e.hash <> ''";
    let Some(row) = db.fetch_optional(sql, args![reference, USER_LOGIN]).await? else { return Ok(None) };
    let target: Target = row.json("target")?;
    let (scm, repository) = target.repository();
    let path = row.text("path")?;
    let owner = row.text("owner")?;
    Ok(Some(Ownership {
        identity: row.text("ref")?,
        uid: row.text("uid")?,
        owner: if owner.starts_with("group:") { owner } else { String::new() },
        tier: row.text("tier")?,
        scm: scm.to_owned(),
        repository: repository.to_owned(),
        folder: path.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default(),
        system: row.text("system")?,
        login: row.text("login")?,
    }))
}
