//! Showing one value to one person (SEC-63, SAFE-80).
//!
//! Owns the order: right, words, budget, event, audit, and only then the value. Refuses programs.
use secrecy::SecretString;
use slipway_kit::{
    audit::{self, Change},
    authz,
    caller::Role,
    error::{Error, NOT_FOUND, Result},
    journal,
    serve::Call,
};

use super::{App, decisive, secrets::missing};
use crate::{
    model::{name::Path, reveal, secret::Secret},
    store::{reveals, versions},
    wire::event,
};

const PERMISSION: &str = "secrets.reveal";

/// A reveal as asked for.
pub struct Reveal {
    /// Path of the secret.
    pub path: Path,
    /// Key whose value is wanted.
    pub key: String,
    /// Version; the newest under 0.
    pub version: i64,
    /// Why.
    pub reason: String,
    /// Ticket of a break-glass.
    pub ticket: String,
}

/// What is shown.
pub struct Revealed {
    /// The value.
    pub value: SecretString,
    /// Version it is of.
    pub version: i64,
    /// Reveals left in this hour.
    pub remaining: i32,
}

impl App {
    /// One value, once its showing is on record.
    pub async fn reveal(&self, call: &Call, ask: &Reveal) -> Result<Revealed> {
        let path = &ask.path;
        let service = self.service(call, path.segment()).await?;
        let facts = service.as_ref().map_or_else(authz::Facts::default, |s| decisive(&s.facts, path.tier()));
        let break_glass = may(call, &facts)?;
        reveal::check_words(&ask.reason, &ask.ticket, break_glass)?;
        let service = service.ok_or_else(|| missing(path))?;
        let ring = self.engine.ring()?;
        let secret = self.stored(&service, path).await?;
        let version = self.revealable(&secret, ask).await?;
        let remaining = self.spend(call, ask, &secret, version, break_glass).await?;
        let words = if break_glass {
            format!("break-glass {}: {}", ask.ticket.trim(), ask.reason.trim())
        } else {
            ask.reason.clone()
        };
        let about = Change { resource: &path.name(), uid: &secret.uid, fields: &[ask.key.as_str()] };
        audit::sensitive(&self.db, call, about, &words).await?;
        let document = self.document(&self.db, &ring, &service, path, version).await?;
        let value = document.get(&ask.key).ok_or_else(|| no_key(ask, version))?.clone();
        Ok(Revealed { value, version, remaining })
    }

    async fn revealable(&self, secret: &Secret, ask: &Reveal) -> Result<i64> {
        let version = secret.version_meant(ask.version)?;
        let row = versions::find(&self.db, &secret.path, version).await?.ok_or_else(|| secret.no_version(version))?;
        row.readable()?;
        if row.keys.contains(&ask.key) { Ok(version) } else { Err(no_key(ask, version)) }
    }

    /// Takes one of the person's reveals and tells the owner.
    async fn spend(&self, call: &Call, ask: &Reveal, secret: &Secret, version: i64, break_glass: bool) -> Result<i32> {
        let mut tx = self.db.begin().await?;
        let person = &call.caller.principal;
        let (earlier, now_us) = reveals::recent(&mut tx, person).await?;
        let remaining = reveal::remaining(&earlier, now_us)?;
        reveals::add(&mut tx, person, now_us).await?;
        let told = event::Revealed {
            secret,
            key: &ask.key,
            version,
            person,
            reason: ask.reason.trim(),
            break_glass,
            ticket: &ask.ticket,
        };
        journal::append(&mut tx, event::secret_revealed(&told)).await?;
        tx.commit().await?;
        Ok(remaining)
    }
}

/// Whether it is break-glass: a platform administrator who is no maintainer of the owner.
fn may(call: &Call, facts: &authz::Facts) -> Result<bool> {
    reveal::check_person(&call.caller)?;
    let break_glass = !call.allows(PERMISSION, facts) && call.caller.has_role(Role::PlatformAdmin);
    call.check(&authz::Facts { break_glass, ..*facts })?;
    Ok(break_glass)
}

fn no_key(ask: &Reveal, version: i64) -> Error {
    Error::new(&NOT_FOUND, format!("version {version} has no such key")).resource("slipway.dev/Secret", ask.path.name())
}
