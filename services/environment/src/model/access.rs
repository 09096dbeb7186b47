//! Who may use the address of an environment (ENV-103).
//!
//! Owns the words of `access` in `.slipway/environments.yaml`. Refuses to decide on a caller: the gateway knows who that is.
use serde::{Deserialize, Serialize};

/// Most entries of an allow list.
const ALLOWED_MAX: usize = 100;

/// Who may use it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Everybody.
    Public,
    /// Whoever is signed in to the platform.
    #[default]
    Login,
    /// These users, and members of these groups.
    AllowList(Vec<String>),
}

impl Access {
    /// What is wrong with it, if anything is.
    pub fn fault(&self) -> Option<String> {
        let Access::AllowList(allowed) = self else { return None };
        if allowed.is_empty() || allowed.len() > ALLOWED_MAX {
            return Some(format!("access.allow-list: 1 to {ALLOWED_MAX} entries"));
        }
        let bad = allowed.iter().find(|entry| !is_reference(entry))?;
        Some(format!("access.allow-list: {bad:?} must be a reference such as group:default/shop or user:default/ann"))
    }
}

fn is_reference(text: &str) -> bool {
    let Some((kind, rest)) = text.split_once(':') else { return false };
    let Some((namespace, name)) = rest.split_once('/') else { return false };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let word = |w: &str| !w.is_empty() && w.len() <= 63 && w.chars().all(plain);
    matches!(kind, "user" | "group") && word(namespace) && word(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_canonical() {
        let list = |entries: &[&str]| Access::AllowList(entries.iter().map(|e| (*e).to_owned()).collect());
        assert_eq!(list(&["group:default/shop", "user:default/ann"]).fault(), None);
        for bad in ["shop", "group:shop", "component:default/x", "user:default/Ann", "user:/x", "user:a/b/c"] {
            assert!(list(&[bad]).fault().is_some(), "{bad}");
        }
        assert!(list(&[]).fault().is_some());
        assert_eq!((Access::Public.fault(), Access::default()), (None, Access::Login));
    }
}
