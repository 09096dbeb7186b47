//! The engine's own row, and the service keys it wraps.
//!
//! Owns where key material lies, always wrapped. Refuses a second engine in one database.
use slipway_kit::{
    args,
    db::{Db, Exec, Row, Tx},
    error::Result,
};

use super::one;
use crate::world::engine::{Identity, WrappedKey};

/// The engine's identity and its count of writes, once there is one.
pub async fn identity(exec: impl Into<Exec<'_>>) -> Result<Option<(Identity, i64)>> {
    let row = one(exec, "SELECT engine_id, key_check, row_sum, seq FROM engine WHERE id = 1", args![]).await?;
    row.map(|row| read(&row)).transpose()
}

fn read(row: &Row) -> Result<(Identity, i64)> {
    let identity = Identity {
        engine_id: row.text("engine_id")?,
        key_check: row.bytes("key_check")?,
        row_sum: row.bytes("row_sum")?,
    };
    Ok((identity, row.int("seq")?))
}

/// Gives the database an engine, unless it has one.
pub async fn found(db: &Db, identity: &Identity, now_us: i64) -> Result<()> {
    let sql = "INSERT INTO engine (id, engine_id, key_check, row_sum, seq, created_us) VALUES (1, $1, $2, $3, 0, $4) \
               ON CONFLICT (id) DO NOTHING";
    db.execute(sql, args![&identity.engine_id, &identity.key_check, &identity.row_sum, now_us]).await.map(drop)
}

/// Counts a write; answers the new count.
pub async fn count_write(tx: &mut Tx) -> Result<i64> {
    tx.fetch_one("UPDATE engine SET seq = seq + 1 WHERE id = 1 RETURNING seq", args![]).await?.int("seq")
}

/// A service's key by id.
pub async fn service_key(exec: impl Into<Exec<'_>>, segment: &str, id: &str) -> Result<Option<WrappedKey>> {
    let sql = "SELECT key_id, wrapped FROM service_key WHERE segment = $1 AND key_id = $2";
    let row = one(exec, sql, args![segment, id]).await?;
    row.map(|row| Ok(WrappedKey { id: row.text("key_id")?, wrapped: row.bytes("wrapped")? })).transpose()
}

/// Keeps a service's new key and makes it the one for new versions.
pub async fn add_service_key(tx: &mut Tx, segment: &str, key: &WrappedKey, now_us: i64) -> Result<()> {
    let sql = "INSERT INTO service_key (segment, key_id, wrapped, created_us) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![segment, &key.id, &key.wrapped, now_us]).await?;
    tx.execute("UPDATE service SET key_id = $2 WHERE segment = $1", args![segment, &key.id]).await.map(drop)
}
