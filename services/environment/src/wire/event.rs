//! Events of the environment service.
//!
//! Owns their making and reading. Refuses payloads that a reader would have to guess at.
use slipway_kit::{
    error::Result,
    journal::{NewEvent, Stored, event},
};
use slipway_proto::{environment::v1 as pb, secrets::v1 as secrets};

use super::environment::{Rendered, render, state_to};
use crate::{
    config::Platform,
    model::{
        environment::Environment,
        expiry::{Warned, Warning},
        hold::Hold,
        orphan::{Orphan, Stage},
        state::State,
    },
};

/// Tells that a life began.
pub fn created(env: &Environment, platform: &Platform) -> NewEvent {
    changed(env, platform, pb::environment_changed::Change::Created, None)
}

/// Tells that spec or status changed, or that the life is over.
pub fn updated(env: &Environment, platform: &Platform, previous: State) -> NewEvent {
    let change = match env.deleted_us {
        Some(_) => pb::environment_changed::Change::Deleted,
        None => pb::environment_changed::Change::Updated,
    };
    changed(env, platform, change, Some(previous))
}

fn changed(
    env: &Environment,
    platform: &Platform,
    change: pb::environment_changed::Change,
    previous: Option<State>,
) -> NewEvent {
    let message = pb::EnvironmentChanged {
        environment: Some(render(env, platform)),
        change: change.into(),
        previous_state: previous.map_or(pb::EnvironmentState::Unspecified, state_to).into(),
    };
    event(&env.uid, &message)
}

/// Tells that its time ends soon.
pub fn expiring(env: &Environment, warned: &Warned) -> NewEvent {
    let warning = match warned.warning {
        Warning::Day => pb::environment_expiring::Warning::Day,
        Warning::Hour => pb::environment_expiring::Warning::Hour,
    };
    let message = pb::EnvironmentExpiring {
        environment: env.name(),
        uid: env.uid.clone(),
        service: env.service.clone(),
        owner: env.owner.clone(),
        user: env.user.clone(),
        expire_time: Some(super::time(warned.ends_us)),
        warning: warning.into(),
    };
    event(&env.uid, &message)
}

/// Tells that a hold was placed or let go.
pub fn hold(hold: &Hold) -> NewEvent {
    use pb::hold_changed::Change;
    let change = match (hold.released_us, hold.released_by.is_empty()) {
        (0, _) => Change::Placed,
        (_, true) => Change::Lifted,
        (_, false) => Change::Released,
    };
    event(&hold.uid, &pb::HoldChanged { hold: Some(super::hold::render(hold, &[])), change: change.into() })
}

/// Tells that an orphan was found, decided on, or is gone.
pub fn orphan(orphan: &Orphan, previous: Option<Stage>) -> NewEvent {
    let previous = previous.map_or(pb::OrphanState::Unspecified, super::orphan::state);
    let message = pb::OrphanChanged { orphan: Some(super::orphan::render(orphan)), previous_state: previous.into() };
    event(&orphan.uid, &message)
}

/// An environment as an event tells of it.
pub struct Seen {
    /// Uid of the life.
    pub uid: String,
    /// Owning group.
    pub owner: String,
    /// Whether the life is over.
    pub is_over: bool,
    /// The environment after the change.
    pub message: Box<Rendered>,
}

impl Seen {
    /// The value of a filter's field, in the words of the contract.
    pub fn field(&self, name: &str) -> Option<Vec<String>> {
        let env = &self.message;
        let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_owned();
        let text = match name {
            "service" => env.service.clone(),
            "owner" => env.owner.clone(),
            "cluster" => env.cluster.clone(),
            "user" => env.user.clone(),
            "kind" => word(env.kind().as_str_name(), "ENVIRONMENT_KIND_"),
            "tier" => word(env.tier().as_str_name(), "ENVIRONMENT_TIER_"),
            "state" => word(env.state().as_str_name(), "ENVIRONMENT_STATE_"),
            _ => return None,
        };
        Some(vec![text])
    }
}

/// The environment of an event; `None` for events of another subject.
pub fn seen(stored: &Stored) -> Result<Option<Seen>> {
    if !stored.subject.ends_with(".EnvironmentChanged") {
        return Ok(None);
    }
    let message: pb::EnvironmentChanged = stored.decode()?;
    let is_over = message.change() == pb::environment_changed::Change::Deleted;
    Ok(message.environment.map(|env| Seen {
        uid: env.uid.clone(),
        owner: env.owner.clone(),
        is_over,
        message: Box::new(env),
    }))
}

/// A binding of secrets that changed.
pub struct BindingChange {
    /// Canonical reference of the service.
    pub service: String,
    /// Tier concerned.
    pub tier: Option<crate::model::tier::Tier>,
    /// Uid of the one environment concerned; every one of the tier if empty.
    pub environment_uid: String,
    /// Name of the Secret.
    pub secret_name: String,
    /// Whether it is gone.
    pub is_gone: bool,
}

/// The change of a binding that an event of the secrets service tells; `None` for other subjects.
pub fn binding(stored: &Stored) -> Result<Option<BindingChange>> {
    if !stored.subject.ends_with(".SecretBindingChanged") {
        return Ok(None);
    }
    let message: secrets::SecretBindingChanged = stored.decode()?;
    let is_gone = message.change() == secrets::secret_binding_changed::Change::Deleted;
    Ok(message.secret_binding.map(|binding| BindingChange {
        tier: super::environment::tier_from(binding.tier()),
        service: binding.service,
        environment_uid: binding.environment_uid,
        secret_name: binding.secret_name,
        is_gone,
    }))
}

/// One condition as a reader of events is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// State of the environment then.
    pub state: pb::EnvironmentState,
    /// The condition.
    pub condition: slipway_proto::resource::v1::Condition,
}

impl Told {
    /// Every condition of a rendered environment.
    pub fn all(env: &Rendered) -> Vec<Self> {
        let state = env.state();
        env.conditions.iter().cloned().map(|condition| Self { state, condition }).collect()
    }

    /// Which condition.
    pub fn aspect(&self) -> &str {
        &self.condition.r#type
    }

    /// Whether it says nothing new: state, verdict, reason and words are the same.
    pub fn says_as(&self, other: &Self) -> bool {
        let words = |told: &Self| {
            let c = &told.condition;
            (c.status, c.reason.clone(), c.message.clone(), c.observed_generation)
        };
        words(self) == words(other)
    }
}

/// Every condition of an environment as it is now.
pub fn told(env: &Environment, platform: &Platform) -> Vec<Told> {
    Told::all(&render(env, platform))
}
