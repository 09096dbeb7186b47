//! The warnings before an environment's time ends (ENV-111).
//!
//! Owns when each is due and that it is given once for each end. Refuses to repeat one, also when clocks go back or the service starts
//! again.
use serde::{Deserialize, Serialize};

use super::{
    approval,
    condition::{Aspect, Verdict},
    environment::Environment,
};

const HOUR_US: i64 = 3_600_000_000;

/// A warning, by how far ahead it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// At most a day is left.
    Day,
    /// At most an hour is left.
    Hour,
}

impl Warning {
    fn ahead_us(self) -> i64 {
        match self {
            Warning::Day => 24 * HOUR_US,
            Warning::Hour => HOUR_US,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Warning::Day => "EXPIRES_WITHIN_A_DAY",
            Warning::Hour => "EXPIRES_WITHIN_AN_HOUR",
        }
    }

    /// What people are told.
    pub fn sentence(self) -> &'static str {
        match self {
            Warning::Day => "Its time ends within a day; extend or pin it to keep it.",
            Warning::Hour => "Its time ends within an hour; extend or pin it to keep it.",
        }
    }
}

/// The warning that was given last, and of which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warned {
    /// The end that was warned of, in microseconds.
    pub ends_us: i64,
    /// The warning.
    pub warning: Warning,
}

/// When its time is over: not before its pin ends; never for tiers that nothing ends.
pub fn ends_at_us(env: &Environment) -> Option<i64> {
    let at = env.expire_us.filter(|_| env.tier.ttl_cap_us().is_some())?;
    let at = env.pin.as_ref().map_or(at, |pin| at.max(pin.until_us));
    Some(approval::limit_us(env).map_or(at, |limit| at.min(limit)))
}

fn due(ends_us: i64, now_us: i64) -> Option<Warning> {
    [Warning::Hour, Warning::Day].into_iter().find(|warning| ends_us - now_us <= warning.ahead_us())
}

/// Gives the warning that is due, if it was not given yet; another end begins anew.
pub fn warn(env: &mut Environment, now_us: i64) {
    let due = ends_at_us(env).and_then(|ends_us| Some(Warned { ends_us, warning: due(ends_us, now_us)? }));
    let given = env.status.warned.filter(|given| Some(given.ends_us) == ends_at_us(env));
    match due {
        Some(due) if given.is_none_or(|given| given.warning < due.warning) => {
            let at = env.at(now_us);
            let (reason, text) = (due.warning.reason(), due.warning.sentence());
            env.status.conditions.set(Aspect::Expiring, Verdict::True, reason, text, at);
            env.status.warned = Some(due);
        }
        _ if given.is_none() && env.status.warned.is_some() => {
            env.status.conditions.clear(Aspect::Expiring);
            env.status.warned = None;
        }
        _ => {}
    }
}

/// When the next warning is due.
pub fn next_at_us(env: &Environment) -> Option<i64> {
    let ends_us = ends_at_us(env)?;
    let given = env.status.warned.filter(|given| given.ends_us == ends_us).map(|given| given.warning);
    let next = if given.is_none() { Warning::Day } else { Warning::Hour };
    (given != Some(Warning::Hour)).then(|| ends_us - next.ahead_us())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment::{Pin, fixture};

    #[test]
    fn each_end_is_warned_of_twice_and_each_warning_given_once() {
        let mut env = fixture::preview();
        let ends_us = 100 * HOUR_US;
        env.expire_us = Some(ends_us);
        let mut given = Vec::new();
        // The clock goes back now and then.
        for hour in [1, 75, 76, 77, 75, 80, 98, 99, 98, 99] {
            let before = env.status.warned;
            warn(&mut env, hour * HOUR_US);
            if env.status.warned != before {
                given.push((hour, env.status.warned.map(|w| w.warning)));
            }
        }
        assert_eq!(given, [(76, Some(Warning::Day)), (99, Some(Warning::Hour))]);
        assert_eq!(next_at_us(&env), None);
        // A pin moves the end: nothing is near any more, and the new end is warned of again.
        env.pin = Some(Pin { reason: "demo".to_owned(), actor: "x".to_owned(), until_us: 200 * HOUR_US });
        assert_eq!(next_at_us(&env), Some(176 * HOUR_US));
        warn(&mut env, 99 * HOUR_US);
        assert!(env.status.warned.is_none() && env.status.conditions.get(Aspect::Expiring).is_none());
        warn(&mut env, 199 * HOUR_US + 1);
        assert_eq!(env.status.warned.map(|w| w.warning), Some(Warning::Hour));
        assert!(env.status.conditions.get(Aspect::Expiring).is_some_and(|c| c.reason == "EXPIRES_WITHIN_AN_HOUR"));
    }
}
