//! Sleep, wake, pin and retry: what changes how an environment lives, without a new generation.
//!
//! Owns who may sleep and for how long a pin holds. Refuses to touch a cluster: the reconcile loop makes it so.
use serde::{Deserialize, Serialize};
use slipway_kit::{
    audit::Change,
    error::{Error, Result, Violations},
    mutation::{Begun, Mutation},
    serve::Call,
    worker,
};

use super::{App, WORK_ENVIRONMENT, check_etag};
use crate::{
    error::{APPROVAL_MISSING, CLUSTER_NOT_OBSERVED, ENVIRONMENT_DELETING, NEVER_SLEEPS, NOTHING_TO_RETRY},
    model::{
        approval, budget,
        environment::{Environment, Pin, Power, Target},
        state::State,
        tier::Tier,
    },
};

/// Longest pin (ENV-111).
const PIN_MAX_US: i64 = 14 * 86_400_000_000;

/// A pin as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPin {
    /// Why.
    pub reason: String,
    /// Until when, in microseconds.
    pub until_us: i64,
}

impl App {
    /// Puts an environment to sleep; one that sleeps stays so.
    ///
    /// # Errors
    /// NEVER_SLEEPS for production; CLUSTER_NOT_OBSERVED with the target git.
    pub async fn sleep(&self, call: &Call, name: &str, etag: &str) -> Result<Environment> {
        self.change(call, name, etag, &["power"], |env, _| {
            if env.tier == Tier::Production {
                return Err(Error::new(&NEVER_SLEEPS, format!("{name} serves users")));
            }
            observed(env)?;
            env.power = Power::Asleep;
            budget::settle(env);
            Ok(())
        })
        .await
    }

    /// Wakes an environment; one that is awake counts as just used.
    ///
    /// # Errors
    /// CLUSTER_NOT_OBSERVED with the target git; APPROVAL_MISSING for a fork that waits; TEAM_BUDGET if there is no room for it awake.
    pub async fn wake(&self, call: &Call, name: &str) -> Result<Environment> {
        self.change(call, name, "", &["power", "use_time"], |env, now_us| {
            if approval::is_missing(env) {
                let text = format!("{name} shows a fork; commit {} is not approved", env.spec.source.head_sha);
                return Err(Error::new(&APPROVAL_MISSING, text));
            }
            observed(env)?;
            env.power = Power::Awake;
            env.used_us = env.used_us.max(now_us);
            Ok(())
        })
        .await
    }

    /// Keeps an environment; a second pin replaces the first.
    ///
    /// # Errors
    /// INVALID_FIELD for an end that is past, more than 14 days ahead, or beyond the day of an approved fork.
    pub async fn pin(&self, call: &Call, name: &str, pin: &NewPin, etag: &str) -> Result<Environment> {
        let now_us = self.now_us();
        let mut v = Violations::new();
        v.check(!pin.reason.trim().is_empty(), "reason", "must say why");
        v.check(pin.until_us > now_us, "expire_time", "must be in the future");
        v.check(pin.until_us <= now_us + PIN_MAX_US, "expire_time", "must be at most 14 days ahead");
        // Whose environment it is comes before what is wrong with the request.
        self.environment(call, name).await?;
        v.finish()?;
        let actor = call.caller.principal.clone();
        self.change(call, name, etag, &["pin"], |env, _| {
            let mut v = Violations::new();
            let rule = "a fork's preview lives at most 24 hours from its approval; no pin goes beyond";
            v.check(approval::limit_us(env).is_none_or(|limit| pin.until_us <= limit), "expire_time", rule);
            v.finish()?;
            env.pin = Some(Pin { reason: pin.reason.clone(), actor: actor.clone(), until_us: pin.until_us });
            Ok(())
        })
        .await
    }

    /// Takes a pin away; idleness counts from now on.
    ///
    /// # Errors
    /// As of a change of any environment.
    pub async fn unpin(&self, call: &Call, name: &str, etag: &str) -> Result<Environment> {
        self.change(call, name, etag, &["pin"], |env, now_us| {
            if env.pin.take().is_some() {
                env.used_us = env.used_us.max(now_us);
            }
            Ok(())
        })
        .await
    }

    /// Tries the newest generation again now.
    ///
    /// # Errors
    /// NOTHING_TO_RETRY unless it FAILED.
    pub async fn retry(&self, call: &Call, name: &str) -> Result<Environment> {
        self.change(call, name, "", &["state"], |env, now_us| {
            if env.state() != State::Failed {
                return Err(Error::new(&NOTHING_TO_RETRY, format!("{name} is {}", env.state().word())));
            }
            env.status.retry_us = Some(now_us);
            Ok(())
        })
        .await
    }

    /// One change of a living environment in one transaction; its worker is woken.
    async fn change(
        &self,
        call: &Call,
        name: &str,
        etag: &str,
        fields: &[&str],
        change: impl Fn(&mut Environment, i64) -> Result<()>,
    ) -> Result<Environment> {
        let found = self.environment(call, name).await?;
        let mut mutation = match Mutation::begin::<Environment>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let found = self.store.by_label(mutation.tx(), &found.label_id).await?;
        let mut env = super::check(call, found, name)?;
        check_etag(&env, etag)?;
        if env.retire.is_some() || env.deleted_us.is_some() {
            return Err(Error::new(&ENVIRONMENT_DELETING, format!("{name} is being torn down")));
        }
        let before = env.clone();
        change(&mut env, self.now_us())?;
        if env != before {
            self.admit(mutation.tx(), call, Some(&before), &mut env).await?;
            self.save_status(mutation.tx(), &before, &mut env).await?;
            worker::enqueue(mutation.tx(), WORK_ENVIRONMENT, &env.uid, 0).await?;
        }
        mutation.commit(&env, Change { resource: &env.name(), uid: &env.uid, fields }).await?;
        Ok(env)
    }
}

/// Only what runs in a cluster that is observed can sleep and wake.
pub(super) fn observed(env: &Environment) -> Result<()> {
    if env.target == Target::Apply {
        return Ok(());
    }
    let text = format!("{} is published to git; whether it runs is decided by what reads the repository", env.name());
    Err(Error::new(&CLUSTER_NOT_OBSERVED, text))
}
