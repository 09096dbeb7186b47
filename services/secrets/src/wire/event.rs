//! Events: those this service writes, and the one of the catalog that it reads.
//!
//! Owns their making from the model. Refuses values in them.
use slipway_kit::{
    error::Result,
    journal::{NewEvent, Stored, event},
};
use slipway_proto::{catalog::v1 as catalog, secrets::v1 as pb};

use super::{bindings, secrets};
use crate::model::{self, service::Facts};

/// What happened to a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A version was written.
    Written,
    /// It was softly deleted.
    Deleted,
    /// The deletion was taken back.
    Undeleted,
    /// A version was destroyed.
    Destroyed,
}

/// What happened to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// It was created.
    Created,
    /// Its items changed.
    Updated,
    /// It was deleted.
    Deleted,
    /// A secret that it follows has other values.
    Refreshed,
}

/// A value was shown.
pub struct Revealed<'a> {
    /// The secret.
    pub secret: &'a model::secret::Secret,
    /// Key shown.
    pub key: &'a str,
    /// Version shown.
    pub version: i64,
    /// To whom.
    pub person: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Whether by break-glass.
    pub break_glass: bool,
    /// Ticket of the break-glass.
    pub ticket: &'a str,
}

/// The event of a changed secret; 0 as version is the secret as a whole.
pub fn secret_changed(secret: &model::secret::Secret, kind: Secret, version: i64) -> NewEvent {
    use pb::secret_changed::Change;
    let change = match kind {
        Secret::Written => Change::Written,
        Secret::Deleted => Change::Deleted,
        Secret::Undeleted => Change::Undeleted,
        Secret::Destroyed => Change::Destroyed,
    };
    let message = pb::SecretChanged { secret: Some(secrets::secret(secret)), change: change.into(), version };
    event(&secret.uid, &message)
}

/// The event of a value that is shown.
pub fn secret_revealed(told: &Revealed<'_>) -> NewEvent {
    let message = pb::SecretRevealed {
        secret: told.secret.path.name(),
        key: told.key.to_owned(),
        version: told.version,
        person: told.person.to_owned(),
        reason: told.reason.to_owned(),
        owner: told.secret.owner.clone(),
        break_glass: told.break_glass,
        ticket: told.ticket.trim().to_owned(),
    };
    event(&told.secret.uid, &message)
}

/// The event of a changed binding.
pub fn binding_changed(binding: &model::binding::Binding, kind: Binding) -> NewEvent {
    use pb::secret_binding_changed::Change;
    let change = match kind {
        Binding::Created => Change::Created,
        Binding::Updated => Change::Updated,
        Binding::Deleted => Change::Deleted,
        Binding::Refreshed => Change::Refreshed,
    };
    let message = pb::SecretBindingChanged { secret_binding: Some(bindings::binding(binding)), change: change.into() };
    event(&binding.uid, &message)
}

/// The event of an accepted rollback.
pub fn rollback_accepted(engine_id: &str, person: &str, reason: &str, known: i64, witnessed: i64) -> NewEvent {
    let (person, reason) = (person.to_owned(), reason.to_owned());
    let message = pb::RollbackAccepted { person, reason, known_writes: known, witnessed_writes: witnessed };
    event(engine_id, &message)
}

/// What an event of the catalog says about an entity's owner; nothing if it is of another kind.
pub fn ownership(stored: &Stored) -> Result<Option<Facts>> {
    if stored.subject != <catalog::EntityChanged as prost::Name>::full_name() {
        return Ok(None);
    }
    let told: catalog::EntityChanged = stored.decode()?;
    let gone = told.state == "DELETED";
    Ok(Some(Facts {
        reference: told.r#ref,
        uid: told.uid,
        owner: if gone { String::new() } else { told.owner },
        service_tier: told.service_tier,
    }))
}
