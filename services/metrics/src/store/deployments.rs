//! Deployments as their versions add up. Refuses history: that is the ledger's.
use slipway_kit::{
    args,
    db::{Db, Exec, Row, Tx, Value},
    error::Result,
    filter::{Field, Filter, Kind},
    id,
    page::{Cursor, OrderBy},
};

use crate::model::effective::Effective;
use crate::model::fact::Status;

/// A deployment as it is kept.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Id in its name.
    pub id: String,
    /// Canonical reference of the service.
    pub service: String,
    /// What is effective.
    pub effective: Effective,
    /// When it last changed here.
    pub updated_us: i64,
}

/// Fields of the filter.
pub const FIELDS: &[Field] = &[
    Field { name: "environment", column: "environment", kind: Kind::Text },
    Field {
        name: "tier",
        column: "tier",
        kind: Kind::Words(&[("PRODUCTION", "PRODUCTION"), ("STAGING", "STAGING"), ("DEVELOPMENT", "DEVELOPMENT")]),
    },
    Field { name: "status", column: "status", kind: Kind::Words(&[("SUCCEEDED", "SUCCEEDED"), ("FAILED", "FAILED")]) },
    Field { name: "finish_time", column: "finished_us", kind: Kind::Time },
];

/// Fields of the order.
pub const ORDER: &[(&str, &str)] = &[("finish_time", "finished_us"), ("environment", "environment")];

/// Id of a deployment.
pub fn id_of(service: &str, environment: &str, external_id: &str) -> String {
    use sha2::Digest as _;
    let text = format!("{service}\n{environment}\n{external_id}");
    id::base32(&sha2::Sha256::digest(text.as_bytes()), 20)
}

/// Word a status is stored by.
pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Succeeded => "SUCCEEDED",
        Status::Failed => "FAILED",
    }
}

/// Writes a deployment; answers whether it was new or changed.
pub async fn put(tx: &mut Tx, service: &str, d: &Effective, now_us: i64) -> Result<bool> {
    let sql = "INSERT INTO deployments (service, environment, external_id, id, tier, status, origin, finished_us, effective, updated_us) \
               VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) ON CONFLICT (service, environment, external_id) DO UPDATE SET \
               tier = excluded.tier, status = excluded.status, origin = excluded.origin, finished_us = excluded.finished_us, \
               effective = excluded.effective, updated_us = excluded.updated_us WHERE deployments.effective <> excluded.effective";
    let args = args![
        service,
        &d.environment,
        &d.external_id,
        id_of(service, &d.environment, &d.external_id),
        d.tier.word(),
        status_word(d.status),
        d.origin.word(),
        d.finished_us,
        super::json(d)?,
        now_us,
    ];
    Ok(tx.execute(sql, args).await? > 0)
}

fn stored(row: &Row) -> Result<Stored> {
    Ok(Stored {
        id: row.text("id")?,
        service: row.text("service")?,
        effective: row.json("effective")?,
        updated_us: row.int("updated_us")?,
    })
}

/// Every deployment of a service.
pub async fn of_service(exec: impl Into<Exec<'_>>, service: &str) -> Result<Vec<Effective>> {
    let sql = "SELECT effective FROM deployments WHERE service = $1 ORDER BY finished_us, environment, external_id";
    exec.into().fetch_all(sql, args![service]).await?.iter().map(|row| row.json("effective")).collect()
}

/// Whether a service has a deployment of that id.
pub async fn exists(exec: impl Into<Exec<'_>>, service: &str, external_id: &str) -> Result<bool> {
    let sql = "SELECT id FROM deployments WHERE service = $1 AND external_id = $2 LIMIT 1";
    Ok(exec.into().fetch_optional(sql, args![service, external_id]).await?.is_some())
}

/// Whether the service has any deployment, incident or run.
pub async fn has_facts(exec: impl Into<Exec<'_>>, service: &str) -> Result<bool> {
    let sql = "SELECT 1 AS one FROM revisions WHERE scope = $1";
    Ok(exec.into().fetch_optional(sql, args![service]).await?.is_some())
}

/// A page of a service's deployments; one more than `limit` tells that there are more. Each with its place in the order.
pub async fn page(
    db: &Db,
    service: &str,
    filter: &Filter,
    order: &OrderBy,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Vec<(Stored, Cursor)>> {
    let (wanted, mut binds) = filter.sql(FIELDS, 2)?;
    let (beyond, more) = order.after(after, 2 + binds.len())?;
    binds.extend(more);
    let sql = format!(
        "SELECT id, service, effective, updated_us{} FROM deployments WHERE service = $1 AND {wanted} AND {beyond} ORDER BY {} LIMIT {}",
        order.columns(),
        order.sql(),
        limit + 1
    );
    let args = std::iter::once(Value::from(service)).chain(binds).collect();
    db.fetch_all(&sql, args).await?.iter().map(|row| Ok((stored(row)?, order.cursor(row)?))).collect()
}

/// Number of a service's deployments, counted up to `most`.
pub async fn count(db: &Db, service: &str, filter: &Filter, most: i64) -> Result<i64> {
    let (wanted, binds) = filter.sql(FIELDS, 2)?;
    let sql = format!(
        "SELECT CAST(COUNT(*) AS BIGINT) AS n FROM (SELECT 1 AS one FROM deployments WHERE service = $1 AND {wanted} LIMIT {most}) AS counted"
    );
    db.fetch_one(&sql, std::iter::once(Value::from(service)).chain(binds).collect()).await?.int("n")
}
