//! Versions of a secret: listing them, and destroying the values of one.
//!
//! Owns both verbs. Refuses to bring a destroyed version back.
use slipway_kit::{
    audit::Change,
    error::Result,
    journal,
    mutation::{Begun, Mutation},
    page,
    serve::Call,
};

use super::{App, Listed, secrets::missing};
use crate::{
    model::{name::Path, secret::Version},
    store::{engine, secrets, services, versions},
    wire::event,
};

/// A destruction as asked for.
pub struct Destroy {
    /// Path of the secret.
    pub path: Path,
    /// Version whose values go.
    pub version: i64,
    /// Why.
    pub reason: String,
}

impl App {
    /// One page of versions, newest first.
    pub async fn versions(&self, call: &Call, path: &Path, size: i32, token: &str) -> Result<Listed<Version>> {
        let service = self.owned(call, path.segment(), path.tier()).await?;
        self.stored(&service, path).await?;
        let below = self.sealer.open::<i64>(call, &path.name(), token)?.unwrap_or(i64::MAX);
        let limit = page::size(size);
        let mut items = versions::before(&self.db, path, below, limit + 1).await?;
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more);
        let next_page_token = last.map(|v| self.sealer.seal(call, &path.name(), &v.version)).unwrap_or_default();
        Ok(Listed { items, next_page_token, total: None })
    }

    /// Removes the values of a version for good.
    pub async fn destroy(&self, call: &Call, ask: &Destroy) -> Result<Version> {
        let path = &ask.path;
        let service = self.owned(call, path.segment(), path.tier()).await?;
        let mut change = match Mutation::begin::<Version>(&self.db, call).await? {
            Begun::Replay(version) => return Ok(version),
            Begun::Fresh(change) => change,
        };
        services::ensure(change.tx(), &service.facts).await?;
        let (now_us, who) = (self.clock.now_us(), call.caller.principal.as_str());
        let mut secret = secrets::find(change.tx(), path).await?.ok_or_else(|| missing(path))?.touched(now_us, who);
        let version =
            versions::find(change.tx(), path, ask.version).await?.ok_or_else(|| secret.no_version(ask.version))?;
        let version = version.destroyed(now_us, ask.reason.trim())?;
        if version.version == secret.version {
            secret.keys.clear();
        }
        versions::destroy(change.tx(), path, &version).await?;
        secrets::save(change.tx(), &secret).await?;
        let writes = engine::count_write(change.tx()).await?;
        journal::append(change.tx(), event::secret_changed(&secret, event::Secret::Destroyed, version.version)).await?;
        let about = Change { resource: &path.name(), uid: &secret.uid, fields: &["versions"] };
        change.commit(&version, about).await?;
        if let Ok(ring) = self.engine.ring() {
            self.witness(ring, writes).await;
        }
        Ok(version)
    }
}
