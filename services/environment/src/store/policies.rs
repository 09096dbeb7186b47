//! Manifest policies.
//!
//! Owns one row per tier that was changed. Refuses a lost update: the row is written for the revision that was read.
use slipway_kit::{
    args,
    db::{Exec, Tx},
    error::{CONFLICT, Error, Result},
};

use super::Store;
use crate::model::{policy::catalog::Kept, tier::Tier};

impl Store {
    /// The policy of a tier; the built-in one if nobody changed it.
    pub async fn policy(&self, exec: impl Into<Exec<'_>>, tier: Tier) -> Result<Kept> {
        let sql = "SELECT body, revision, updated_us, updater FROM manifest_policies WHERE tier = $1";
        let Some(row) = exec.into().fetch_optional(sql, args![tier.word()]).await? else { return Ok(Kept::default()) };
        Ok(Kept {
            policy: row.json("body")?,
            revision: row.int("revision")?,
            updated_us: row.int("updated_us")?,
            updater: row.text("updater")?,
        })
    }

    /// Keeps a policy that follows the revision before it.
    pub async fn keep_policy(&self, tx: &mut Tx, tier: Tier, kept: &Kept) -> Result<()> {
        let sql = "INSERT INTO manifest_policies (tier, body, revision, updated_us, updater) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (tier) DO UPDATE SET body = excluded.body, revision = excluded.revision, \
                   updated_us = excluded.updated_us, updater = excluded.updater \
                   WHERE manifest_policies.revision = excluded.revision - 1 RETURNING revision";
        let body = serde_json::to_string(&kept.policy).map_err(Error::internal)?;
        let binds = args![tier.word(), body, kept.revision, kept.updated_us, &kept.updater];
        let row = tx.fetch_optional(sql, binds).await?;
        row.map(drop).ok_or_else(|| Error::new(&CONFLICT, "the policy changed meanwhile; read it again"))
    }
}
