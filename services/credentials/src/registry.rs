//! Logins of image registries.
//!
//! Owns the shape of a Docker configuration that a kubelet can use. Refuses helpers, which are programs, and to show a login.
use std::fmt;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::{Result, Unusable};

/// Whether a Docker configuration may have this name: a DNS label and `.json`, so that every file has a Secret of its own.
pub fn is_registry_file(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = |label: &str| label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-');
    name.strip_suffix(".json").is_some_and(|label| (1..=55).contains(&label.len()) && is_label(label))
}

/// Name of the Kubernetes Secret that a Docker configuration becomes in each namespace.
pub fn pull_secret_name(file: &str) -> String {
    format!("slipway-pull-{}", file.strip_suffix(".json").unwrap_or(file))
}

/// A Docker configuration: which registries it logs in to, and its text for a Secret of the type `kubernetes.io/dockerconfigjson`.
pub struct RegistryLogins {
    registries: Vec<String>,
    text: Zeroizing<String>,
}

impl RegistryLogins {
    pub(crate) fn parse(text: Zeroizing<String>) -> Result<Self> {
        let unusable =
            |why: &str| Unusable::new(format!("the file is no Docker configuration for a pull secret: {why}"));
        // The parser's own words may repeat the text.
        let doc: Value = serde_json::from_str(&text).map_err(|_| unusable("it is not JSON"))?;
        if ["credHelpers", "credsStore"].iter().any(|key| doc.get(key).is_some()) {
            return Err(unusable("it asks a helper, which is a program; write the login itself"));
        }
        let auths = doc.get("auths").and_then(Value::as_object).ok_or_else(|| unusable("it has no object `auths`"))?;
        let is_login = |login: &Value| {
            let has = |key: &str| login.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
            has("auth") || (has("username") && has("password"))
        };
        if auths.is_empty() || !auths.values().all(is_login) {
            return Err(unusable("each registry in `auths` needs `auth`, or `username` and `password`"));
        }
        Ok(Self { registries: auths.keys().cloned().collect(), text })
    }

    /// The registries, as written.
    pub fn registries(&self) -> &[String] {
        &self.registries
    }

    /// The whole text; for the Secret alone.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for RegistryLogins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryLogins({}, ***)", self.registries.join(", "))
    }
}
