//! Whom a verified token of an issuer speaks for: one claim, made a user reference.
//!
//! Refuses values that are no name of a user: nothing is repaired, so that two subjects never become one.

use serde_json::{Map, Value};

/// Longest name of a user, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// How an issuer's tokens name users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Claim that holds the name.
    pub claim: String,
    /// Text cut from the end of the value, for example `@example.com`; required to be there unless empty.
    pub suffix: String,
    /// Namespace of the user reference.
    pub namespace: String,
}

impl Mapping {
    /// The user reference of a token's claims, or `None` if they name nobody.
    #[must_use]
    pub fn principal(&self, claims: &Map<String, Value>) -> Option<String> {
        let value = claims.get(&self.claim)?.as_str()?;
        let name = value.strip_suffix(&self.suffix)?;
        is_name(name).then(|| format!("user:{}/{name}", self.namespace))
    }
}

/// Whether a text is a name of the reference grammar, in its canonical lower case.
fn is_name(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= NAME_BYTES_MAX
        && text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().all(|b| alphanumeric(b) || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_plain_names_become_users() {
        let mapping = Mapping { claim: "email".into(), suffix: "@example.com".into(), namespace: "default".into() };
        let said = |value: Value| mapping.principal(json!({ "email": value }).as_object().unwrap());
        assert_eq!(said(json!("ann@example.com")).as_deref(), Some("user:default/ann"));
        for bad in [
            "ann@evil.com",
            "@example.com",
            "Ann@example.com",
            "a b@example.com",
            "a/b@example.com",
            "user:default/a@example.com",
            "ann@example.com.evil",
            "-a@example.com",
            "ä@example.com",
        ] {
            assert_eq!(said(json!(bad)), None, "{bad}");
        }
        assert_eq!(said(json!(7)), None);
        assert_eq!(said(json!(format!("{}@example.com", "a".repeat(64)))), None);
        assert_eq!(mapping.principal(&Map::new()), None);
    }
}
