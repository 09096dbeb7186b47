//! Revisions: channels, and which version may follow which (SCF-2).
use semver::Version;
use serde::{Deserialize, Serialize};

/// Who a revision is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Instances that opted in.
    Canary,
    /// Everyone.
    Stable,
    /// Nobody new.
    Retired,
}

impl Channel {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Canary => "canary",
            Channel::Stable => "stable",
            Channel::Retired => "retired",
        }
    }

    /// The channel of a stored word; an unknown one is retired.
    #[must_use]
    pub fn from_word(word: &str) -> Channel {
        match word {
            "canary" => Channel::Canary,
            "stable" => Channel::Stable,
            _ => Channel::Retired,
        }
    }
}

/// Whether a version may be published after the others: above all of them, or the highest of an older minor line.
#[must_use]
pub fn may_follow(new: &Version, published: &[Version]) -> bool {
    let Some(newest) = published.iter().max() else { return true };
    if new > newest {
        return true;
    }
    let line = |v: &&Version| (v.major, v.minor) == (new.major, new.minor);
    let older = (new.major, new.minor) < (newest.major, newest.minor);
    older && new.patch > 0 && published.iter().filter(line).max().is_some_and(|highest| new > highest)
}

/// A template or one revision of it, from its resource name.
#[must_use]
pub fn parse_name(name: &str) -> Option<(&str, Option<&str>)> {
    let mut parts = name.split('/');
    let found = match (parts.next()?, parts.next()?, parts.next(), parts.next()) {
        ("templates", id, None, None) => (id, None),
        ("templates", id, Some("revisions"), Some(version)) => (id, Some(version)),
        _ => return None,
    };
    (parts.next().is_none() && !found.0.is_empty() && found.1 != Some("")).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_version_is_only_a_patch_of_an_older_line() {
        let published: Vec<Version> =
            ["1.0.0", "1.0.1", "1.1.0", "2.0.0"].iter().map(|v| Version::parse(v).expect("a version")).collect();
        for (version, want) in [
            ("2.0.1", true),
            ("3.0.0", true),
            ("1.0.2", true),
            ("1.1.1", true),
            ("1.0.0", false),
            ("1.2.0", false),
            ("1.0.1", false),
            ("0.9.1", false),
            ("2.0.0-rc.1", false),
        ] {
            assert_eq!(may_follow(&Version::parse(version).expect("a version"), &published), want, "{version}");
        }
        assert!(may_follow(&Version::new(0, 1, 0), &[]));
    }

    #[test]
    fn names_are_read_strictly() {
        assert_eq!(parse_name("templates/a"), Some(("a", None)));
        assert_eq!(parse_name("templates/a/revisions/1.0.0"), Some(("a", Some("1.0.0"))));
        for wrong in [
            "a",
            "templates/",
            "templates/a/revisions",
            "templates/a/revisions/",
            "templates/a/b/c",
            "templates/a/revisions/1/2",
        ] {
            assert_eq!(parse_name(wrong), None, "{wrong}");
        }
    }
}
