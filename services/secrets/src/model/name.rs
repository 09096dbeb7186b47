//! Names and paths (SEC-10, SEC-11): a path is only ever built from parts that were checked.
//!
//! Owns the grammar of segments, keys, paths and binding names. Refuses every other text, so that nothing a caller writes can
//! climb out of its service or tier.
use std::fmt;

use serde::{Deserialize, Serialize};
use slipway_kit::id;

/// Longest slug of a service in its segment.
const SLUG_CHARS: usize = 30;
/// Longest segment and longest binding id.
const SEGMENT_CHARS_MAX: usize = 40;
/// Longest key.
const KEY_CHARS_MAX: usize = 128;
/// Names that engines use themselves.
const RESERVED: [&str; 4] = ["root", "default", "slipway", "sys"];

/// Tier of the environments a secret or binding is for; ordered by what they protect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Previews, branches, personal.
    Development,
    /// Mirrors production.
    Staging,
    /// Serves users.
    Production,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Tier; 3] = [Tier::Development, Tier::Staging, Tier::Production];

    /// The word used in paths.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Development => "development",
            Tier::Staging => "staging",
            Tier::Production => "production",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.word() == word)
    }
}

/// Whether the text is one segment: lower-case letters, digits and inner hyphens, and not reserved.
pub fn is_segment(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=SEGMENT_CHARS_MAX).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !RESERVED.contains(&text)
}

/// Whether the text is a key of a document.
pub fn is_key(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().next().is_some_and(first) && text.bytes().all(inner)
}

fn is_uid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

/// The segment of a service: slug of its short name and hash of its uid; `long` takes eight characters of the hash (ENV-5).
pub fn segment(service: &str, uid: &str, long: bool) -> String {
    let short = service.rsplit('/').next().unwrap_or(service);
    let hash = if long { id::h8(uid) } else { id::h5(uid) };
    format!("{}-{hash}", id::slug(short, SLUG_CHARS))
}

/// Path of a secret in the engine: of a tier, or of one environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path {
    segment: String,
    tier: Tier,
    environment_uid: String,
}

impl Path {
    /// A path of checked parts; `None` if one breaks the grammar. An empty environment means the whole tier.
    pub fn new(segment: &str, tier: Tier, environment_uid: &str) -> Option<Self> {
        let sound = is_segment(segment) && (environment_uid.is_empty() || is_uid(environment_uid));
        sound.then(|| Self { segment: segment.to_owned(), tier, environment_uid: environment_uid.to_owned() })
    }

    /// Reads a resource name `secrets/<segment>/<tier>[/env/<uid>]`.
    pub fn parse(name: &str) -> Option<Self> {
        let parts = name.strip_prefix("secrets/")?.split('/').collect::<Vec<_>>();
        match parts[..] {
            [segment, tier] => Self::new(segment, Tier::parse(tier)?, ""),
            [segment, tier, "env", uid] if !uid.is_empty() => Self::new(segment, Tier::parse(tier)?, uid),
            _ => None,
        }
    }

    /// The resource name.
    pub fn name(&self) -> String {
        format!("secrets/{self}")
    }

    /// First part: the service.
    pub fn segment(&self) -> &str {
        &self.segment
    }

    /// Second part.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Uid of the one environment; empty for the whole tier.
    pub fn environment_uid(&self) -> &str {
        &self.environment_uid
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.segment, self.tier.word())?;
        if self.environment_uid.is_empty() { Ok(()) } else { write!(f, "/env/{}", self.environment_uid) }
    }
}

/// Name of a binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BindingName {
    segment: String,
    tier: Tier,
    id: String,
}

impl BindingName {
    /// A name of checked parts.
    pub fn new(segment: &str, tier: Tier, id: &str) -> Option<Self> {
        let sound = is_segment(segment) && is_segment(id);
        sound.then(|| Self { segment: segment.to_owned(), tier, id: id.to_owned() })
    }

    /// Reads a resource name `secretBindings/<segment>/<tier>/<id>`.
    pub fn parse(name: &str) -> Option<Self> {
        let parts = name.strip_prefix("secretBindings/")?.split('/').collect::<Vec<_>>();
        let [segment, tier, id] = parts[..] else { return None };
        Self::new(segment, Tier::parse(tier)?, id)
    }

    /// First part: the service.
    pub fn segment(&self) -> &str {
        &self.segment
    }

    /// Tier of the environments.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Last part, also the name of the Kubernetes Secret.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for BindingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secretBindings/{}/{}/{}", self.segment, self.tier.word(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "3f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b";

    #[test]
    fn paths_of_sec_11() {
        let at = segment("component:default/payments", UID, false);
        assert_eq!(at, "payments-h4vyy");
        let tier = Path::new(&at, Tier::Production, "").unwrap();
        assert_eq!(tier.to_string(), "payments-h4vyy/production");
        let one = Path::parse(&format!("secrets/payments-h4vyy/development/env/{UID}")).unwrap();
        assert_eq!((one.tier(), one.environment_uid()), (Tier::Development, UID));
        assert_eq!(Path::parse(&one.name()), Some(one));
    }

    #[test]
    fn a_segment_of_the_longest_service_fits() {
        let long = format!("component:default/{}", "a".repeat(63));
        assert!(is_segment(&segment(&long, UID, false)) && is_segment(&segment(&long, UID, true)));
    }

    #[test]
    fn nothing_climbs_out() {
        let bad = [
            "secrets/../production",
            "secrets/payments-h4vyy/production/..",
            "secrets/payments-h4vyy/production/",
            "secrets//payments-h4vyy/production",
            "secrets/Payments/production",
            "secrets/payments/env",
            "secrets/payments/development/env/",
            "secrets/payments/development/env/../production",
            "secrets/pay%2fments/production",
            "secrets/pay+/production",
            "secrets/*/production",
            "secrets/{{x}}/production",
            "secrets/päy/production",
            "secrets/sys/production",
            "secrets/-a/production",
            "payments/production",
            "secrets/payments/production/env/3F2B8C1E-5A4D-4E6F-9B7A-0C1D2E3F4A5B",
        ];
        for name in bad {
            assert_eq!(Path::parse(name), None, "{name}");
        }
        for name in [
            "secretBindings/a/production",
            "secretBindings/a/production/Upper",
            "secretBindings/a/prod/x",
            "secretBindings/a/production/default",
        ] {
            assert_eq!(BindingName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn keys_of_sec_10() {
        for good in ["A", "_x", "DATABASE_URL", "tls.crt", "a-b", &"k".repeat(128)] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", "1a", ".x", "a/b", "a b", "ä", "a%", "../x", &"k".repeat(129)] {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
