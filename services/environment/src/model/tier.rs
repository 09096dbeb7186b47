//! Tiers and what each decides by default (ENV-10).
//!
//! Owns lifetimes, two-step deletion and Pod Security levels per tier. Refuses numbers that a profile owns.
use serde::{Deserialize, Serialize};

use super::environment::Kind;

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Longest life of a development environment from now on.
pub const DEVELOPMENT_TTL_CAP_US: i64 = 30 * DAY_US;
/// Shortest life that may be asked for; less would expire while it is being made.
pub const TTL_MIN_US: i64 = 60_000_000;

/// Tier of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Previews, branches, personal.
    Development,
    /// Mirrors production.
    Staging,
    /// Serves users.
    Production,
}

/// A tier that the product does not know.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownTier;

impl Tier {
    /// Every tier, the least first.
    pub const ALL: [Tier; 3] = [Tier::Development, Tier::Staging, Tier::Production];

    /// The word used in labels, folders and filters.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Development => "development",
            Tier::Staging => "staging",
            Tier::Production => "production",
        }
    }

    /// Reads the word.
    ///
    /// # Errors
    /// `UnknownTier` for any other word.
    pub fn parse(word: &str) -> Result<Self, UnknownTier> {
        [Tier::Development, Tier::Staging, Tier::Production].into_iter().find(|t| t.word() == word).ok_or(UnknownTier)
    }

    /// Longest time to live; none for tiers that never expire.
    pub fn ttl_cap_us(self) -> Option<i64> {
        (self == Tier::Development).then_some(DEVELOPMENT_TTL_CAP_US)
    }

    /// People who must confirm a deletion after it was asked for.
    pub fn delete_confirmations(self) -> i32 {
        match self {
            Tier::Development => 0,
            Tier::Staging => 1,
            Tier::Production => 2,
        }
    }

    /// Pod Security level that is enforced.
    pub fn pod_security(self) -> &'static str {
        match self {
            Tier::Development | Tier::Staging => "restricted",
            Tier::Production => "baseline",
        }
    }
}

/// Time to live when nothing else is asked for: 7 days for personal ones, 72 hours after the last push for previews.
pub fn ttl_default_us(kind: Kind) -> Option<i64> {
    match kind {
        Kind::Personal => Some(7 * DAY_US),
        Kind::Branch | Kind::PullRequest => Some(72 * HOUR_US),
        Kind::LongLived => None,
    }
}

/// What is wrong with a wished time to live.
#[derive(Debug, PartialEq, Eq)]
pub enum TtlFault {
    /// Above the cap of the tier.
    TooLong {
        /// The cap in seconds.
        cap_seconds: i64,
    },
    /// Below the minimum.
    TooShort,
    /// The tier never expires.
    NotAllowed,
}

impl TtlFault {
    /// The rule that was broken, for the caller.
    pub fn rule(&self) -> String {
        match self {
            TtlFault::TooLong { cap_seconds } => {
                format!("TTL_TOO_LONG: at most {cap_seconds}s ({} days) in this tier", cap_seconds / 86_400)
            }
            TtlFault::TooShort => format!("at least {}s", TTL_MIN_US / 1_000_000),
            TtlFault::NotAllowed => "staging and production do not expire; leave it out".to_owned(),
        }
    }
}

/// Checks a wished time to live.
///
/// # Errors
/// The rule it breaks.
pub fn check_ttl(tier: Tier, ttl_us: i64) -> Result<(), TtlFault> {
    let cap_us = tier.ttl_cap_us().ok_or(TtlFault::NotAllowed)?;
    if ttl_us < TTL_MIN_US {
        return Err(TtlFault::TooShort);
    }
    if ttl_us > cap_us { Err(TtlFault::TooLong { cap_seconds: cap_us / 1_000_000 }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_caps_of_env_10() {
        assert_eq!(ttl_default_us(Kind::Personal), Some(7 * DAY_US));
        assert_eq!(ttl_default_us(Kind::PullRequest), Some(72 * HOUR_US));
        assert_eq!(ttl_default_us(Kind::LongLived), None);
        assert_eq!(check_ttl(Tier::Development, 30 * DAY_US), Ok(()));
        assert_eq!(check_ttl(Tier::Development, 30 * DAY_US + 1), Err(TtlFault::TooLong { cap_seconds: 2_592_000 }));
        assert_eq!(check_ttl(Tier::Development, 0), Err(TtlFault::TooShort));
        assert_eq!(check_ttl(Tier::Production, DAY_US), Err(TtlFault::NotAllowed));
        assert_eq!([Tier::Development, Tier::Staging, Tier::Production].map(Tier::delete_confirmations), [0, 1, 2]);
    }
}
