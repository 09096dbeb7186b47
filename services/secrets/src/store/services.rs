//! Services with secrets or bindings; their row is what changes of one service take turns on.
//!
//! Owns which segment a service has. Refuses to give one segment to two services.
use slipway_kit::{
    args,
    db::{Db, Exec, Row, Tx},
    error::{CONFLICT, Error, Result},
};

use super::one;
use crate::model::{
    name,
    service::{Facts, Service},
};

const COLUMNS: &str = "segment, uid, ref, owner, service_tier, key_id";

fn read(row: &Row) -> Result<Service> {
    Ok(Service {
        segment: row.text("segment")?,
        facts: Facts {
            reference: row.text("ref")?,
            uid: row.text("uid")?,
            owner: row.text("owner")?,
            service_tier: row.text("service_tier")?,
        },
        key_id: row.text("key_id")?,
    })
}

/// The service of a segment.
pub async fn find(exec: impl Into<Exec<'_>>, segment: &str) -> Result<Option<Service>> {
    let sql = format!("SELECT {COLUMNS} FROM service WHERE segment = $1");
    one(exec, &sql, args![segment]).await?.map(|row| read(&row)).transpose()
}

/// The service of an entity.
pub async fn of_uid(exec: impl Into<Exec<'_>>, uid: &str) -> Result<Option<Service>> {
    let sql = format!("SELECT {COLUMNS} FROM service WHERE uid = $1");
    one(exec, &sql, args![uid]).await?.map(|row| read(&row)).transpose()
}

/// The service's row with these facts, made if there is none, and locked until the transaction ends.
pub async fn ensure(tx: &mut Tx, facts: &Facts) -> Result<Service> {
    if let Some(service) = refresh(tx, facts).await? {
        return Ok(service);
    }
    let short = name::segment(&facts.reference, &facts.uid, false);
    let taken = find(&mut *tx, &short).await?.is_some();
    let segment = if taken { name::segment(&facts.reference, &facts.uid, true) } else { short };
    let sql = "INSERT INTO service (segment, uid, ref, owner, service_tier, key_id) VALUES ($1, $2, $3, $4, $5, '') \
               ON CONFLICT DO NOTHING";
    tx.execute(sql, args![segment, &facts.uid, &facts.reference, &facts.owner, &facts.service_tier]).await?;
    refresh(tx, facts).await?.ok_or_else(|| Error::new(&CONFLICT, "a concurrent change won"))
}

async fn refresh(tx: &mut Tx, facts: &Facts) -> Result<Option<Service>> {
    let sql = format!("UPDATE service SET ref = $2, owner = $3, service_tier = $4 WHERE uid = $1 RETURNING {COLUMNS}");
    let binds = args![&facts.uid, &facts.reference, &facts.owner, &facts.service_tier];
    tx.fetch_optional(&sql, binds).await?.map(|row| read(&row)).transpose()
}

/// Keeps what the catalog told of an entity; nothing happens if it has no secrets here.
pub async fn keep(exec: impl Into<Exec<'_>>, facts: &Facts) -> Result<()> {
    let sql = "UPDATE service SET ref = $2, owner = $3, service_tier = $4 \
               WHERE uid = $1 AND (ref <> $2 OR owner <> $3 OR service_tier <> $4)";
    let binds = args![&facts.uid, &facts.reference, &facts.owner, &facts.service_tier];
    exec.into().execute(sql, binds).await.map(drop)
}

/// Every service, for checks at start.
pub async fn all(db: &Db) -> Result<Vec<Service>> {
    db.fetch_all(&format!("SELECT {COLUMNS} FROM service ORDER BY segment"), args![]).await?.iter().map(read).collect()
}
