//! How long an environment may lie idle before it sleeps, as services and callers say it (ENV-1, ENV-10).
//!
//! Owns the bounds of each tier and the words of the configuration. Refuses `never` where the tier has no room for it.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tier::Tier;

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;
/// Shortest idle time: less would put to sleep what is being looked at.
pub const IDLE_MIN_US: i64 = 5 * MINUTE_US;
/// Key of previews of pull requests and branches, instead of their tier's.
const PREVIEW: &str = "preview";
/// The word for no idle sleep.
const NEVER: &str = "never";

/// What a service's configuration says about the lives of its environments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Lifecycle {
    /// Idle time by tier, or `preview`: `90m`, `4h`, `2d`, or `never`.
    pub idle_sleep: BTreeMap<String, String>,
}

impl Lifecycle {
    /// What is said for an environment, in microseconds; 0 means never.
    pub fn idle_us(&self, tier: Tier, is_preview: bool) -> Option<i64> {
        let own = self.idle_sleep.get(PREVIEW).filter(|_| is_preview);
        parse(own.or_else(|| self.idle_sleep.get(tier.word()))?)
    }

    /// Every fault, in the words of the file.
    pub fn faults(&self) -> Vec<String> {
        let fault = |(key, text): (&String, &String)| {
            let tier = if key == PREVIEW { Ok(Tier::Development) } else { Tier::parse(key) };
            let Ok(tier) = tier else { return Some(format!("lifecycle.idleSleep.{key}: no such tier")) };
            let Some(idle_us) = parse(text) else {
                return Some(format!("lifecycle.idleSleep.{key}: {text:?} must be like 90m, 4h or 2d, or never"));
            };
            check_idle(tier, idle_us).err().map(|rule| format!("lifecycle.idleSleep.{key}: {rule}"))
        };
        self.idle_sleep.iter().filter_map(fault).collect()
    }
}

/// Reads an idle time.
fn parse(text: &str) -> Option<i64> {
    if text == NEVER {
        return Some(0);
    }
    let unit_us = match text.chars().last()? {
        's' => 1_000_000,
        'm' => MINUTE_US,
        'h' => 60 * MINUTE_US,
        'd' => DAY_US,
        _ => return None,
    };
    let number: i64 = text[..text.len() - 1].parse().ok().filter(|n| (1..=1_000_000).contains(n))?;
    Some(number * unit_us)
}

/// Checks a wished idle time; 0 means never.
///
/// # Errors
/// The rule it breaks.
pub fn check_idle(tier: Tier, idle_us: i64) -> Result<(), String> {
    let most_us = match tier {
        Tier::Development if idle_us == 0 => {
            return Err("never is not for development; pin what has to stay awake".to_owned());
        }
        Tier::Development => 7 * DAY_US,
        Tier::Staging => 30 * DAY_US,
        Tier::Production => 0,
    };
    match (tier, idle_us) {
        (_, 0) => Ok(()),
        (Tier::Production, _) => Err("production never sleeps; leave it out, or say never".to_owned()),
        (_, idle_us) if (IDLE_MIN_US..=most_us).contains(&idle_us) => Ok(()),
        _ => Err(format!("must be {} minutes to {} days in this tier", IDLE_MIN_US / MINUTE_US, most_us / DAY_US)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_times_have_bounds_by_tier() {
        for (tier, text, is_allowed) in [
            (Tier::Development, "5m", true),
            (Tier::Development, "299s", false),
            (Tier::Development, "7d", true),
            (Tier::Development, "169h", false),
            (Tier::Development, "never", false),
            (Tier::Staging, "never", true),
            (Tier::Staging, "30d", true),
            (Tier::Production, "never", true),
            (Tier::Production, "2h", false),
        ] {
            let idle_us = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(check_idle(tier, idle_us).is_ok(), is_allowed, "{tier:?} {text}");
        }
        for bad in ["", "h", "2", "-2h", "2 h", "1.5h", "soon"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn previews_have_their_own_word() {
        let lifecycle = |text: &str| serde_saphyr::from_str::<Lifecycle>(text).unwrap_or_else(|e| panic!("{e}"));
        let two = lifecycle("idleSleep: {preview: 4h, development: 12h, staging: never}");
        let hour_us = 60 * MINUTE_US;
        assert_eq!(two.idle_us(Tier::Development, true), Some(4 * hour_us));
        assert_eq!(two.idle_us(Tier::Development, false), Some(12 * hour_us));
        assert_eq!((two.idle_us(Tier::Staging, false), two.idle_us(Tier::Production, false)), (Some(0), None));
        let faults = lifecycle("idleSleep: {moon: 4h, preview: never, staging: soon}").faults();
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
