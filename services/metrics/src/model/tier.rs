//! Tier of an environment (MET-8). Refuses to guess production from anything but the environment's own name.
use serde::{Deserialize, Serialize};

/// Tier of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Tier {
    /// Serves customers.
    Production,
    /// Last step before production.
    Staging,
    /// Everything else.
    Development,
}

const PRODUCTION: &[&str] = &["prod", "production", "live", "prd"];
const STAGING: &[&str] = &["staging", "stage", "preprod", "uat"];

impl Tier {
    /// The word it is stored by.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Production => "PRODUCTION",
            Tier::Staging => "STAGING",
            Tier::Development => "DEVELOPMENT",
        }
    }

    /// Tier of a name by the default map: a part between `-`, `_` and `/` decides; production wins over staging.
    pub fn of_name(name: &str) -> Tier {
        let lower = name.to_lowercase();
        let has = |words: &[&str]| lower.split(['-', '_', '/']).any(|part| words.contains(&part.trim()));
        if has(PRODUCTION) {
            Tier::Production
        } else if has(STAGING) {
            Tier::Staging
        } else {
            Tier::Development
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_tiers() {
        for (name, tier) in [
            ("production", Tier::Production),
            ("PROD", Tier::Production),
            ("eu-west/live", Tier::Production),
            ("checkout_prd_1", Tier::Production),
            ("preprod", Tier::Staging),
            ("uat-2", Tier::Staging),
            ("reproduction", Tier::Development),
            ("product", Tier::Development),
            ("delivery", Tier::Development),
            ("", Tier::Development),
        ] {
            assert_eq!(Tier::of_name(name), tier, "{name}");
        }
    }
}
