//! Bindings: references from environments of a tier to keys of secrets.
//!
//! Owns the rows and which keys there are. Refuses values.
use std::collections::BTreeSet;

use slipway_kit::{
    args,
    db::{Db, Exec, Row, Tx},
    error::{Error, Result},
    filter::{Field, Kind},
};

use super::{Page, Question, one, page, secrets::TIERS};
use crate::model::{
    binding::{Binding, Item, Keys},
    name::{BindingName, Path, Tier},
};

const COLUMNS: &str = "b.uid, b.segment, b.tier, b.binding_id, s.ref, s.owner, b.environment_uid, b.items, b.generation, \
                       b.revision, b.created_us, b.updated_us, b.updater";
const FROM: &str = "secret_binding b JOIN service s ON s.segment = b.segment";

/// Fields of a filter.
pub const FIELDS: &[Field] = &[
    Field { name: "service", column: "s.ref", kind: Kind::Text },
    Field { name: "owner", column: "s.owner", kind: Kind::Text },
    Field { name: "tier", column: "b.tier", kind: Kind::Words(TIERS) },
    Field { name: "environment_uid", column: "b.environment_uid", kind: Kind::Text },
    Field { name: "create_time", column: "b.created_us", kind: Kind::Time },
    Field { name: "update_time", column: "b.updated_us", kind: Kind::Time },
];
/// Fields of an order; the last is without ties.
pub const ORDERS: &[(&str, &str)] =
    &[("create_time", "b.created_us"), ("update_time", "b.updated_us"), ("name", "b.name")];

fn read(row: &Row) -> Result<Binding> {
    let (tier, name) = (row.text("tier")?, || Error::internal("a binding's row has no valid name"));
    let tier = Tier::parse(&tier).ok_or_else(name)?;
    Ok(Binding {
        uid: row.text("uid")?,
        name: BindingName::new(&row.text("segment")?, tier, &row.text("binding_id")?).ok_or_else(name)?,
        service: row.text("ref")?,
        owner: row.text("owner")?,
        environment_uid: row.text("environment_uid")?,
        items: row.json::<Vec<Item>>("items")?,
        generation: row.int("generation")?,
        revision: row.int("revision")?,
        created_us: row.int("created_us")?,
        updated_us: row.int("updated_us")?,
        updater: row.text("updater")?,
        missing: Vec::new(),
    })
}

/// One binding.
pub async fn find(exec: impl Into<Exec<'_>>, name: &BindingName) -> Result<Option<Binding>> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE b.name = $1");
    one(exec, &sql, args![name.to_string()]).await?.map(|row| read(&row)).transpose()
}

/// One page of bindings.
pub async fn list(db: &Db, question: &Question) -> Result<Page<Binding>> {
    page(db, (COLUMNS, FROM, "1 = 1"), FIELDS, question, read).await
}

/// Every binding of a service, by name; of one tier if given.
pub async fn of_service(exec: impl Into<Exec<'_>>, segment: &str, tier: Option<Tier>) -> Result<Vec<Binding>> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE b.segment = $1 AND ($2 = '' OR b.tier = $2) ORDER BY b.name");
    let rows = exec.into().fetch_all(&sql, args![segment, tier.map_or("", Tier::word)]).await?;
    rows.iter().map(read).collect()
}

/// Writes the binding as it now is; the caller holds the lock of its service.
pub async fn save(tx: &mut Tx, binding: &Binding) -> Result<()> {
    let sql = "INSERT INTO secret_binding (uid, name, segment, tier, environment_uid, binding_id, items, generation, revision, \
               created_us, updated_us, updater) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
               ON CONFLICT (name) DO UPDATE SET items = excluded.items, generation = excluded.generation, \
               revision = excluded.revision, updated_us = excluded.updated_us, updater = excluded.updater";
    let name = &binding.name;
    let items = serde_json::to_string(&binding.items).map_err(Error::internal)?;
    let binds = args![
        &binding.uid,
        name.to_string(),
        name.segment(),
        name.tier().word(),
        &binding.environment_uid,
        name.id(),
        items,
        binding.generation,
        binding.revision,
        binding.created_us,
        binding.updated_us,
        &binding.updater,
    ];
    tx.execute(sql, binds).await.map(drop)
}

/// Removes a binding.
pub async fn remove(tx: &mut Tx, name: &BindingName) -> Result<()> {
    tx.execute("DELETE FROM secret_binding WHERE name = $1", args![name.to_string()]).await.map(drop)
}

/// Which keys can be delivered of each secret and version that the items refer to; what cannot is absent.
pub async fn keys(exec: impl Into<Exec<'_>>, wanted: BTreeSet<(Path, i64)>) -> Result<Keys> {
    let mut exec = exec.into();
    let sql = "SELECT v.key_names FROM secret x JOIN secret_version v ON v.path = x.path \
               WHERE x.path = $1 AND x.deleted_us = 0 AND v.destroyed_us = 0 \
               AND v.version = (CASE WHEN $2 = 0 THEN x.version ELSE $2 END)";
    let mut keys = Keys::new();
    for (path, version) in wanted {
        if let Some(row) = exec.fetch_optional(sql, args![path.to_string(), version]).await? {
            keys.insert((path, version), row.json::<BTreeSet<String>>("key_names")?);
        }
    }
    Ok(keys)
}
