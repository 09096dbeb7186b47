//! Values that the platform forces over those of the chart (ENV-74).
//!
//! Owns how images, host, labels and names of Secrets reach the keys a service names for them. Refuses to guess keys.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::config::Config;

/// A reference that is not `<repository>@sha256:<64 hex>`.
#[derive(Debug, PartialEq, Eq)]
pub struct NotPinned;

/// Repository and digest of a pinned reference.
///
/// # Errors
/// `NotPinned` for tags, short digests and odd characters.
pub fn pinned(reference: &str) -> Result<(&str, &str), NotPinned> {
    let (repository, digest) = reference.split_once('@').ok_or(NotPinned)?;
    let hex = digest.strip_prefix("sha256:").ok_or(NotPinned)?;
    let is_hex = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let starts = repository.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    // A colon may end a host with a port, never a tag.
    let tagged = repository.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if is_hex && starts && !tagged && repository.len() <= 300 && repository.chars().all(plain) {
        Ok((repository, digest))
    } else {
        Err(NotPinned)
    }
}

/// What the platform sets.
#[derive(Clone, Debug, Default)]
pub struct Forced<'a> {
    /// Images by name.
    pub images: BTreeMap<String, String>,
    /// Reserved host.
    pub host: &'a str,
    /// Labels of ENV-50.
    pub labels: Vec<(&'static str, String)>,
    /// Names of Secrets.
    pub secret_names: &'a [String],
}

/// The last layer of values.
pub fn overlay(config: &Config, forced: &Forced<'_>) -> Value {
    let mut root = Value::Object(Map::new());
    for image in &config.images {
        if let Some(Ok((repository, digest))) = forced.images.get(&image.name).map(|r| pinned(r)) {
            put(&mut root, &format!("{}.repository", image.values), json!(repository));
            put(&mut root, &format!("{}.digest", image.values), json!(digest));
        }
    }
    if let Some(key) = &config.platform.host {
        put(&mut root, key, json!(forced.host));
    }
    if let Some(key) = &config.platform.labels {
        let labels: Map<String, Value> = forced.labels.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        put(&mut root, key, Value::Object(labels));
    }
    if let Some(key) = &config.platform.secret_names {
        put(&mut root, key, json!(forced.secret_names));
    }
    root
}

/// Sets a value at keys joined by dots; a value in the way is replaced.
fn put(root: &mut Value, key: &str, value: Value) {
    let mut at = root;
    for part in key.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Some(map) = at.as_object_mut() else { return };
        at = map.entry(part).or_insert(Value::Null);
    }
    *at = value;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config;

    #[test]
    fn the_platform_sets_only_the_keys_it_was_told() {
        let text = "apiVersion: slipway.dev/v1\nkind: Environments\nimages: [{name: app, values: image}, {name: w, values: worker.image}]\nplatform: {host: route.host, secretNames: envFromSecrets}\n";
        let config = config::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let digest = format!("sha256:{}", "a".repeat(64));
        let forced = Forced {
            images: BTreeMap::from([
                ("app".to_owned(), format!("ghcr.io/x@{digest}")),
                ("z".to_owned(), "y".to_owned()),
            ]),
            host: "pr-1-x.preview.localhost",
            labels: vec![("slipway.dev/team", "t".to_owned())],
            secret_names: &["db".to_owned()],
        };
        let want = json!({
            "image": { "repository": "ghcr.io/x", "digest": digest },
            "route": { "host": "pr-1-x.preview.localhost" },
            "envFromSecrets": ["db"],
        });
        assert_eq!(overlay(&config, &forced), want);
    }

    #[test]
    fn only_digests_are_pinned() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for good in ["ghcr.io/a/b", "localhost:5000/a", "a"] {
            assert!(pinned(&format!("{good}@{digest}")).is_ok(), "{good}");
        }
        for bad in [
            "ghcr.io/a/b:1.0".to_owned(),
            format!("a:1@{digest}"),
            "a@sha256:00".to_owned(),
            format!("-a@{digest}"),
            format!("A@{digest}"),
        ] {
            assert_eq!(pinned(&bad), Err(NotPinned), "{bad}");
        }
    }
}
