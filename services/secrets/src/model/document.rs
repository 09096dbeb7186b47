//! The values of one version: a document of keys.
//!
//! Owns its limits (SEC-17) and its one encoding. Refuses `Serialize`, and a `Debug` that shows anything (SEC-1).
use std::{collections::BTreeMap, fmt};

use secrecy::{ExposeSecret as _, SecretString};
use slipway_kit::error::Violations;
use zeroize::Zeroizing;

use super::name::is_key;

/// Most keys of a document.
pub const KEYS_MAX: usize = 256;
/// Most bytes of all keys and values together.
pub const BYTES_MAX: usize = 512 * 1024;

/// Values by key.
#[derive(Clone, Default)]
pub struct Document(BTreeMap<String, SecretString>);

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromIterator<(String, SecretString)> for Document {
    fn from_iter<I: IntoIterator<Item = (String, SecretString)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Document {
    /// Names of the keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// One value.
    pub fn get(&self, key: &str) -> Option<&SecretString> {
        self.0.get(key)
    }

    /// The document after a patch: this one's values over `base`'s, without `removed`.
    #[must_use]
    pub fn over(self, base: Document, removed: &[String]) -> Document {
        let mut all = base.0;
        all.retain(|key, _| !removed.contains(key));
        all.extend(self.0);
        Self(all)
    }

    /// Tells every broken limit; names of keys only where they follow the grammar, for a value may have been put there by mistake.
    pub fn check(&self, violations: &mut Violations) {
        violations.check(!self.0.is_empty(), "values", "must have at least one key");
        violations.check(self.0.len() <= KEYS_MAX, "values", format!("must have at most {KEYS_MAX} keys"));
        violations.check(self.bytes() <= BYTES_MAX, "values", format!("must have at most {BYTES_MAX} bytes in all"));
        let bad = self.0.keys().filter(|key| !is_key(key)).count();
        violations.check(
            bad == 0,
            "values",
            format!("{bad} of the keys do not match `[A-Za-z_][A-Za-z0-9_.-]{{0,127}}`"),
        );
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.expose_secret().len()).sum()
    }

    /// The bytes that are sealed: each key and value after its length.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(self.bytes() + 8 * self.0.len()));
        for (key, value) in &self.0 {
            for part in [key.as_bytes(), value.expose_secret().as_bytes()] {
                out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
                out.extend_from_slice(part);
            }
        }
        out
    }

    /// Reads what [`Document::encode`] wrote.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut all = BTreeMap::new();
        while !bytes.is_empty() {
            let key = take(&mut bytes)?.to_owned();
            all.insert(key, SecretString::from(take(&mut bytes)?));
        }
        Some(Self(all))
    }
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let text = rest.get(..length)?;
    *bytes = &rest[length..];
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(pairs: &[(&str, &str)]) -> Document {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), SecretString::from(*v))).collect()
    }

    #[test]
    fn encoding_is_read_back_and_cut_text_is_refused() {
        let doc = document(&[("A", "1"), ("B", ""), ("C", "ü\n")]);
        let bytes = doc.encode();
        let back = Document::decode(&bytes).unwrap();
        assert_eq!(back.keys(), ["A", "B", "C"]);
        assert_eq!(back.get("C").unwrap().expose_secret(), "ü\n");
        assert!(Document::decode(&bytes[..bytes.len() - 1]).is_none());
    }

    #[test]
    fn a_patch_changes_single_keys() {
        let base = document(&[("A", "1"), ("B", "2"), ("C", "3")]);
        let now = document(&[("B", "9"), ("D", "4")]).over(base, &["C".to_owned()]);
        assert_eq!(now.keys(), ["A", "B", "D"]);
        assert_eq!(now.get("B").unwrap().expose_secret(), "9");
    }

    #[test]
    fn limits_are_told_all_at_once_and_show_nothing() {
        let doc = document(&[("bad key", "v"), ("A", &"x".repeat(BYTES_MAX))]);
        let mut violations = Violations::new();
        doc.check(&mut violations);
        let error = violations.finish().unwrap_err();
        assert_eq!(error.violations().len(), 2);
        assert!(!format!("{error:?}").contains("bad key"));
        assert_eq!(format!("{doc:?}"), "***");
        let mut empty = Violations::new();
        Document::default().check(&mut empty);
        assert!(empty.finish().is_err());
    }
}
