//! Writing a secret: check-and-set, then a new sealed version.
//!
//! Owns the write and the loading of documents. Refuses to write while the engine is sealed (SEC-3).
use slipway_kit::{
    audit::Change,
    db::{Exec, Tx},
    error::{Error, NOT_FOUND, Result, Violations},
    id, journal,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::App;
use crate::{
    error::{VALUE_DAMAGED, VERSION_DESTROYED},
    model::{
        document::Document,
        name::{Path, Tier},
        secret::{Secret, Version, next_version},
        service::{Facts, Service},
    },
    store::{engine, secrets, services, versions},
    wire::event,
    world::engine::{Ring, ServiceKey},
};

/// A write as asked for.
pub struct Put {
    /// Reference of the service.
    pub service: String,
    /// Tier.
    pub tier: Tier,
    /// Environment; empty for the whole tier.
    pub environment_uid: String,
    /// What it is for; kept as it is if empty.
    pub description: String,
    /// Values by key.
    pub values: Document,
    /// Whether keys that are not named are kept.
    pub patch: bool,
    /// Keys to drop in a patch.
    pub remove_keys: Vec<String>,
    /// Version the write is meant for.
    pub expected_version: Option<i64>,
    /// Whether only to check.
    pub validate_only: bool,
}

impl Put {
    fn check(&self) -> Result<()> {
        let mut violations = Violations::new();
        if !self.patch || !self.values.keys().is_empty() {
            self.values.check(&mut violations);
        } else {
            violations.check(!self.remove_keys.is_empty(), "values", "must have a key, or `remove_keys` must");
        }
        violations.check(self.patch || self.remove_keys.is_empty(), "remove_keys", "is for mode PATCH");
        violations.finish()
    }

    /// Tells a repeat from a reuse; the plain hash of a short value could be guessed from, so this one is keyed.
    fn hash(&self, ring: &Ring, call: &Call) -> String {
        let values = self.values.encode();
        let removed = self.remove_keys.join("/");
        let expected = self.expected_version.map_or(String::new(), |v| v.to_string());
        let (patch, dry) = (u8::from(self.patch), u8::from(self.validate_only));
        ring.request_hash(&[
            call.caller.principal.as_bytes(),
            call.request_id.as_bytes(),
            self.service.as_bytes(),
            self.tier.word().as_bytes(),
            self.environment_uid.as_bytes(),
            self.description.as_bytes(),
            &[patch, dry],
            removed.as_bytes(),
            expected.as_bytes(),
            &values,
        ])
    }
}

impl App {
    /// Writes a new version.
    pub async fn put(&self, call: &Call, put: Put) -> Result<Secret> {
        let facts = self.entitled(call, &put.service, put.tier).await?;
        put.check()?;
        let ring = self.engine.ring()?;
        let mut call = call.clone();
        call.body_hash = put.hash(&ring, &call);
        let mut change = match Mutation::begin::<Secret>(&self.db, &call).await? {
            Begun::Replay(secret) => return Ok(secret),
            Begun::Fresh(change) => change,
        };
        let validate_only = put.validate_only;
        let secret = self.write(change.tx(), &ring, &facts, put, &call.caller.principal).await?;
        if validate_only {
            return Ok(secret);
        }
        let writes = engine::count_write(change.tx()).await?;
        journal::append(change.tx(), event::secret_changed(&secret, event::Secret::Written, secret.version)).await?;
        self.tell_consumers(change.tx(), &secret.path).await?;
        let about = Change { resource: &secret.path.name(), uid: &secret.uid, fields: &["values", "description"] };
        change.commit(&secret, about).await?;
        self.witness(ring, writes).await;
        Ok(secret)
    }

    async fn write(&self, tx: &mut Tx, ring: &Ring, facts: &Facts, put: Put, who: &str) -> Result<Secret> {
        let service = services::ensure(tx, facts).await?;
        let path = Path::new(&service.segment, put.tier, &put.environment_uid)
            .ok_or_else(|| Error::internal("the contract lets only sound paths through"))?;
        let before = secrets::find(&mut *tx, &path).await?;
        let version = next_version(before.as_ref().map_or(0, |secret| secret.version), put.expected_version)?;
        let description = put.description.clone();
        let document = self.merged(tx, ring, &service, before.as_ref(), put).await?;
        let key = self.key_for_writing(tx, ring, &service).await?;
        let sealed = ring.seal(&key, &path, version, &document);
        let previous = versions::chain(&mut *tx, &path, version - 1).await?;
        let chain = ring.link(&path, version, &sealed, &previous);
        let secret = self.next(before, &path, &service, who).written(version, document.keys(), description);
        let row = Version {
            version,
            keys: secret.keys.clone(),
            created_us: secret.updated_us,
            creator: who.to_owned(),
            destroyed_us: 0,
            destroy_reason: String::new(),
            deleted: false,
        };
        secrets::save(tx, &secret).await?;
        versions::add(tx, &path, &row, &sealed, &chain).await?;
        Ok(secret)
    }

    /// The document to write; limits hold for the whole of it.
    async fn merged(
        &self,
        tx: &mut Tx,
        ring: &Ring,
        service: &Service,
        before: Option<&Secret>,
        put: Put,
    ) -> Result<Document> {
        if !put.patch {
            return Ok(put.values);
        }
        let Some(secret) = before else {
            return Err(Error::new(&NOT_FOUND, "there is no secret to patch; write it with mode REPLACE"));
        };
        let version = secret.version_meant(0)?;
        let base = self.document(tx, ring, service, &secret.path, version).await?;
        let document = put.values.over(base, &put.remove_keys);
        let mut violations = Violations::new();
        document.check(&mut violations);
        violations.finish()?;
        Ok(document)
    }

    /// Opens the document of a version.
    pub(super) async fn document(
        &self,
        exec: impl Into<Exec<'_>>,
        ring: &Ring,
        service: &Service,
        path: &Path,
        version: i64,
    ) -> Result<Document> {
        let stored = versions::sealed(exec, path, version).await?;
        let stored = stored.ok_or_else(|| Error::new(&VALUE_DAMAGED, "the stored value is incomplete"))?;
        if stored.destroyed {
            return Err(Error::new(&VERSION_DESTROYED, format!("version {version} is destroyed")));
        }
        ring.open(&ring.service_key(&service.segment, &stored.key)?, path, version, &stored.sealed)
    }

    async fn key_for_writing(&self, tx: &mut Tx, ring: &Ring, service: &Service) -> Result<ServiceKey> {
        if service.key_id.is_empty() {
            let (key, wrapped) = ring.new_service_key(&service.segment);
            engine::add_service_key(tx, &service.segment, &wrapped, self.clock.now_us()).await?;
            return Ok(key);
        }
        let stored = engine::service_key(tx, &service.segment, &service.key_id).await?;
        let stored = stored.ok_or_else(|| Error::new(&VALUE_DAMAGED, "the service's key is missing"))?;
        ring.service_key(&service.segment, &stored)
    }

    fn next(&self, before: Option<Secret>, path: &Path, service: &Service, who: &str) -> Secret {
        let now_us = self.clock.now_us();
        let fresh = || Secret {
            uid: id::uuid7(),
            path: path.clone(),
            service: service.facts.reference.clone(),
            owner: service.facts.owner.clone(),
            description: String::new(),
            version: 0,
            keys: Vec::new(),
            revision: 0,
            created_us: now_us,
            updated_us: now_us,
            deleted_us: 0,
            creator: who.to_owned(),
            updater: who.to_owned(),
            consumers: Vec::new(),
        };
        before.unwrap_or_else(fresh).touched(now_us, who)
    }
}
