//! Secrets: their metadata.
//!
//! Owns the rows and what lists may ask of them. Refuses to remove one: deletion is a time.
use slipway_kit::{
    args,
    db::{Db, Exec, Row, Tx},
    error::{Error, Result},
    filter::{Field, Kind},
};

use super::{Page, Question, one, page};
use crate::model::{
    name::{Path, Tier},
    secret::Secret,
};

const COLUMNS: &str = "x.uid, x.segment, x.tier, x.environment_uid, s.ref, s.owner, x.description, x.version, x.key_names, \
                       x.revision, x.created_us, x.updated_us, x.deleted_us, x.creator, x.updater";
const FROM: &str = "secret x JOIN service s ON s.segment = x.segment";

/// Words of a tier in filters.
pub const TIERS: &[(&str, &str)] =
    &[("DEVELOPMENT", "development"), ("STAGING", "staging"), ("PRODUCTION", "production")];

/// Fields of a filter.
pub const FIELDS: &[Field] = &[
    Field { name: "service", column: "s.ref", kind: Kind::Text },
    Field { name: "owner", column: "s.owner", kind: Kind::Text },
    Field { name: "tier", column: "x.tier", kind: Kind::Words(TIERS) },
    Field { name: "environment_uid", column: "x.environment_uid", kind: Kind::Text },
    Field { name: "version", column: "x.version", kind: Kind::Int },
    Field { name: "create_time", column: "x.created_us", kind: Kind::Time },
    Field { name: "update_time", column: "x.updated_us", kind: Kind::Time },
];
/// Fields of an order; the last is without ties.
pub const ORDERS: &[(&str, &str)] =
    &[("create_time", "x.created_us"), ("update_time", "x.updated_us"), ("name", "x.path")];

fn read(row: &Row) -> Result<Secret> {
    let (tier, path) = (row.text("tier")?, || Error::internal("a secret's row has no valid path"));
    let tier = Tier::parse(&tier).ok_or_else(path)?;
    Ok(Secret {
        uid: row.text("uid")?,
        path: Path::new(&row.text("segment")?, tier, &row.text("environment_uid")?).ok_or_else(path)?,
        service: row.text("ref")?,
        owner: row.text("owner")?,
        description: row.text("description")?,
        version: row.int("version")?,
        keys: row.json("key_names")?,
        revision: row.int("revision")?,
        created_us: row.int("created_us")?,
        updated_us: row.int("updated_us")?,
        deleted_us: row.int("deleted_us")?,
        creator: row.text("creator")?,
        updater: row.text("updater")?,
        consumers: Vec::new(),
    })
}

/// The secret of a path.
pub async fn find(exec: impl Into<Exec<'_>>, path: &Path) -> Result<Option<Secret>> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE x.path = $1");
    one(exec, &sql, args![path.to_string()]).await?.map(|row| read(&row)).transpose()
}

/// One page of secrets.
pub async fn list(db: &Db, question: &Question) -> Result<Page<Secret>> {
    let also = if question.show_deleted { "1 = 1" } else { "x.deleted_us = 0" };
    page(db, (COLUMNS, FROM, also), FIELDS, question, read).await
}

/// Writes the secret as it now is; the caller holds the lock of its service.
pub async fn save(tx: &mut Tx, secret: &Secret) -> Result<()> {
    let sql = "INSERT INTO secret (uid, path, segment, tier, environment_uid, description, version, key_names, revision, \
               created_us, updated_us, deleted_us, creator, updater) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
               ON CONFLICT (path) DO UPDATE SET description = excluded.description, version = excluded.version, \
               key_names = excluded.key_names, revision = excluded.revision, updated_us = excluded.updated_us, \
               deleted_us = excluded.deleted_us, updater = excluded.updater";
    let path = &secret.path;
    let keys = serde_json::to_string(&secret.keys).map_err(Error::internal)?;
    let binds = args![
        &secret.uid,
        path.to_string(),
        path.segment(),
        path.tier().word(),
        path.environment_uid(),
        &secret.description,
        secret.version,
        keys,
        secret.revision,
        secret.created_us,
        secret.updated_us,
        secret.deleted_us,
        &secret.creator,
        &secret.updater,
    ];
    tx.execute(sql, binds).await.map(drop)
}

/// Newest version of every path of a service, for checks at start.
pub async fn heads(db: &Db, segment: &str) -> Result<Vec<(Path, i64)>> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE x.segment = $1 ORDER BY x.path");
    let rows = db.fetch_all(&sql, args![segment]).await?;
    rows.iter().map(|row| read(row).map(|secret| (secret.path, secret.version))).collect()
}
