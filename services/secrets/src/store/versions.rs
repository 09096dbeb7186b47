//! Versions of secrets: metadata, ciphertext and their chain.
//!
//! Owns the rows. Refuses to change a ciphertext: it is written once and at most removed.
use slipway_kit::{
    args,
    db::{Db, Exec, Row, Tx},
    error::{Error, Result},
};

use super::one;
use crate::{
    model::{name::Path, secret::Version},
    world::engine::{Sealed, WrappedKey},
};

const COLUMNS: &str = "v.version, v.key_names, v.created_us, v.creator, v.destroyed_us, v.destroy_reason, x.deleted_us";
const FROM: &str = "secret_version v JOIN secret x ON x.path = v.path";

/// One version with its link in the chain, for checks.
pub struct Link {
    /// Number.
    pub version: i64,
    /// Service key and digest; no ciphertext.
    pub sealed: Sealed,
    /// The link.
    pub chain: Vec<u8>,
}

fn read(row: &Row) -> Result<Version> {
    Ok(Version {
        version: row.int("version")?,
        keys: row.json("key_names")?,
        created_us: row.int("created_us")?,
        creator: row.text("creator")?,
        destroyed_us: row.int("destroyed_us")?,
        destroy_reason: row.text("destroy_reason")?,
        deleted: row.int("deleted_us")? != 0,
    })
}

/// One version.
pub async fn find(exec: impl Into<Exec<'_>>, path: &Path, version: i64) -> Result<Option<Version>> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE v.path = $1 AND v.version = $2");
    one(exec, &sql, args![path.to_string(), version]).await?.map(|row| read(&row)).transpose()
}

/// Versions below a number, newest first.
pub async fn before(db: &Db, path: &Path, below: i64, limit: usize) -> Result<Vec<Version>> {
    let sql =
        format!("SELECT {COLUMNS} FROM {FROM} WHERE v.path = $1 AND v.version < $2 ORDER BY v.version DESC LIMIT $3");
    db.fetch_all(&sql, args![path.to_string(), below, limit]).await?.iter().map(read).collect()
}

/// A version with all it takes to open it.
pub struct Stored {
    /// Ciphertext and data key.
    pub sealed: Sealed,
    /// The service's key.
    pub key: WrappedKey,
    /// Whether the ciphertext is gone.
    pub destroyed: bool,
}

/// What is sealed of one version; nothing if the version or its service's key does not exist.
pub async fn sealed(exec: impl Into<Exec<'_>>, path: &Path, version: i64) -> Result<Option<Stored>> {
    let sql = "SELECT v.key_id, v.wrapped_key, v.ciphertext, v.digest, v.destroyed_us, k.wrapped \
               FROM secret_version v JOIN service_key k ON k.key_id = v.key_id AND k.segment = $3 \
               WHERE v.path = $1 AND v.version = $2";
    let row = one(exec, sql, args![path.to_string(), version, path.segment()]).await?;
    row.map(|row| {
        let key_id = row.text("key_id")?;
        Ok(Stored {
            key: WrappedKey { id: key_id.clone(), wrapped: row.bytes("wrapped")? },
            destroyed: row.int("destroyed_us")? != 0,
            sealed: Sealed {
                key_id,
                wrapped_key: row.bytes("wrapped_key")?,
                ciphertext: row.bytes("ciphertext")?,
                digest: row.bytes("digest")?,
            },
        })
    })
    .transpose()
}

/// The link of one version; empty for a version that does not exist.
pub async fn chain(exec: impl Into<Exec<'_>>, path: &Path, version: i64) -> Result<Vec<u8>> {
    let sql = "SELECT chain FROM secret_version WHERE path = $1 AND version = $2";
    let row = one(exec, sql, args![path.to_string(), version]).await?;
    row.map_or(Ok(Vec::new()), |row| row.bytes("chain"))
}

/// Every link of a path, oldest first.
pub async fn links(db: &Db, path: &Path) -> Result<Vec<Link>> {
    let sql = "SELECT version, key_id, digest, chain FROM secret_version WHERE path = $1 ORDER BY version";
    let rows = db.fetch_all(sql, args![path.to_string()]).await?;
    let link = |row: &Row| {
        let sealed = Sealed { key_id: row.text("key_id")?, digest: row.bytes("digest")?, ..Sealed::default() };
        Ok(Link { version: row.int("version")?, sealed, chain: row.bytes("chain")? })
    };
    rows.iter().map(link).collect()
}

/// Adds a version.
pub async fn add(tx: &mut Tx, path: &Path, version: &Version, sealed: &Sealed, chain: &[u8]) -> Result<()> {
    let sql = "INSERT INTO secret_version (path, version, key_names, created_us, creator, destroyed_us, destroy_reason, key_id, \
               wrapped_key, ciphertext, digest, chain) VALUES ($1, $2, $3, $4, $5, 0, '', $6, $7, $8, $9, $10)";
    let keys = serde_json::to_string(&version.keys).map_err(Error::internal)?;
    let binds = args![
        path.to_string(),
        version.version,
        keys,
        version.created_us,
        &version.creator,
        &sealed.key_id,
        &sealed.wrapped_key,
        &sealed.ciphertext,
        &sealed.digest,
        chain,
    ];
    tx.execute(sql, binds).await.map(drop)
}

/// Removes the ciphertext and data key of a version for good.
pub async fn destroy(tx: &mut Tx, path: &Path, version: &Version) -> Result<()> {
    let nothing: &[u8] = &[];
    let sql = "UPDATE secret_version SET destroyed_us = $3, destroy_reason = $4, wrapped_key = $5, ciphertext = $5 \
               WHERE path = $1 AND version = $2";
    let binds = args![path.to_string(), version.version, version.destroyed_us, &version.destroy_reason, nothing];
    tx.execute(sql, binds).await.map(drop)
}
