//! Reading, listing, deleting and undeleting secrets.
//!
//! Owns verbs on metadata; they work while the engine is sealed. Refuses values.
use slipway_kit::{
    audit::Change,
    error::{Error, NOT_FOUND, Result},
    journal,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::{App, List, Listed};
use crate::{
    model::{name::Path, secret::Secret, service::Service},
    store::{bindings, secrets, services},
    wire::event,
};

impl App {
    /// One secret with who consumes it.
    pub async fn get(&self, call: &Call, path: &Path) -> Result<Secret> {
        let service = self.owned(call, path.segment(), path.tier()).await?;
        let mut secret = self.stored(&service, path).await?;
        let bindings = bindings::of_service(&self.db, &service.segment, None).await?;
        let consumes = bindings.iter().filter(|b| b.items.iter().any(|item| item.path == *path));
        secret.consumers = consumes.map(|b| b.name.to_string()).collect();
        Ok(secret)
    }

    /// One page of secrets.
    pub async fn list(&self, call: &Call, list: &List) -> Result<Listed<Secret>> {
        let question = self.question(call, list, secrets::FIELDS, secrets::ORDERS)?;
        let page = secrets::list(&self.db, &question).await?;
        Ok(self.listed(call, list, page))
    }

    /// Deletes a secret softly.
    pub async fn delete(&self, call: &Call, path: &Path, etag: &str, validate_only: bool) -> Result<Secret> {
        let deleted = |secret: Secret, now_us, who: &str| secret.deleted(now_us, who);
        self.change(call, path, etag, validate_only, event::Secret::Deleted, deleted).await
    }

    /// Takes a soft deletion back.
    pub async fn undelete(&self, call: &Call, path: &Path, etag: &str) -> Result<Secret> {
        let undeleted = |secret: Secret, now_us, who: &str| secret.undeleted(now_us, who);
        self.change(call, path, etag, false, event::Secret::Undeleted, undeleted).await
    }

    async fn change(
        &self,
        call: &Call,
        path: &Path,
        etag: &str,
        validate_only: bool,
        kind: event::Secret,
        decide: impl Fn(Secret, i64, &str) -> Result<Secret>,
    ) -> Result<Secret> {
        let service = self.owned(call, path.segment(), path.tier()).await?;
        let mut change = match Mutation::begin::<Secret>(&self.db, call).await? {
            Begun::Replay(secret) => return Ok(secret),
            Begun::Fresh(change) => change,
        };
        services::ensure(change.tx(), &service.facts).await?;
        let before = secrets::find(change.tx(), path).await?.ok_or_else(|| missing(path))?;
        before.guard(etag)?;
        let secret = decide(before, self.clock.now_us(), &call.caller.principal)?;
        if validate_only {
            return Ok(secret);
        }
        secrets::save(change.tx(), &secret).await?;
        journal::append(change.tx(), event::secret_changed(&secret, kind, 0)).await?;
        self.tell_consumers(change.tx(), path).await?;
        let about = Change { resource: &path.name(), uid: &secret.uid, fields: &["delete_time"] };
        change.commit(&secret, about).await?;
        Ok(secret)
    }

    /// The secret of a path whose service the caller may see.
    pub(super) async fn stored(&self, service: &Service, path: &Path) -> Result<Secret> {
        let secret = secrets::find(&self.db, path).await?.ok_or_else(|| missing(path))?;
        Ok(Secret { owner: service.facts.owner.clone(), ..secret })
    }
}

pub(super) fn missing(path: &Path) -> Error {
    Error::new(&NOT_FOUND, "there is no such secret").resource("slipway.dev/Secret", path.name())
}
