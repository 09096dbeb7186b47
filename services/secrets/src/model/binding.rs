//! Bindings: which keys the environments of a tier get, and whether they can.
//!
//! Owns what a binding may refer to (SEC-13) and when it is ready (SEC-44). Refuses secrets of another service or a higher tier.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slipway_kit::error::{ETAG_MISMATCH, Error, Result, Violations};

use super::name::{BindingName, Path};
use crate::error::TIER_CROSSING;

/// Most bytes of all names in the items of a binding, so that its event stays below the journal's limit.
const ITEMS_BYTES_MAX: usize = 40 * 1024;

/// One key delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Secret the key is of.
    pub path: Path,
    /// Key in it.
    pub key: String,
    /// Version; 0 for the newest.
    pub version: i64,
    /// Key in the Kubernetes Secret.
    pub target: String,
    /// Whether the binding is ready without it.
    pub optional: bool,
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Uid.
    pub uid: String,
    /// Name.
    pub name: BindingName,
    /// Reference of the service.
    pub service: String,
    /// Owning group; empty if nobody owns it.
    pub owner: String,
    /// Uid of the one environment that gets the keys; empty for all of the tier.
    pub environment_uid: String,
    /// Keys delivered.
    pub items: Vec<Item>,
    /// Grows when the items change.
    pub generation: i64,
    /// Grows with each change; the etag.
    pub revision: i64,
    /// When it was created, µs.
    pub created_us: i64,
    /// When it last changed, µs.
    pub updated_us: i64,
    /// Who made the last change.
    pub updater: String,
    /// What is missing, one sentence per item; filled when read.
    pub missing: Vec<String>,
}

/// An item as a caller wrote it: the name of a secret, or nothing for the binding's own.
#[derive(Clone, Debug)]
pub struct WishedItem {
    /// Name of the secret; empty for the one of the binding's service and tier.
    pub secret: String,
    /// Key.
    pub key: String,
    /// Version; 0 for the newest.
    pub version: i64,
    /// Key in the Kubernetes Secret; empty for the same.
    pub target: String,
    /// Whether the binding is ready without it.
    pub optional: bool,
}

/// Which keys a secret has at a version: the newest under 0.
pub type Keys = BTreeMap<(Path, i64), BTreeSet<String>>;

/// Resolves the items of a binding. All faults at once, but a crossing of tiers is PERMISSION_DENIED by itself.
pub fn items(name: &BindingName, environment_uid: &str, wished: &[WishedItem]) -> Result<Vec<Item>> {
    let mut violations = Violations::new();
    let mut taken = BTreeSet::new();
    let mut items = Vec::new();
    for (at, wish) in wished.iter().enumerate() {
        let field = |f: &str| format!("secret_binding.items[{at}].{f}");
        let Some(path) = source(name, &wish.secret) else {
            violations.add(
                field("secret"),
                "must be `secrets/<service segment>/<tier>`, with `/env/<uid>` for one environment",
            );
            continue;
        };
        if path.tier() > name.tier() {
            return Err(crossing(name, &path));
        }
        violations.check(
            path.segment() == name.segment(),
            field("secret"),
            "must be a secret of the binding's own service",
        );
        let reachable = path.environment_uid().is_empty() || path.environment_uid() == environment_uid;
        violations.check(reachable, field("secret"), "must be of the tier, or of the binding's own environment");
        let target = if wish.target.is_empty() { &wish.key } else { &wish.target };
        violations.check(taken.insert(target.clone()), field("as"), "stands twice");
        let (key, version, optional) = (wish.key.clone(), wish.version, wish.optional);
        items.push(Item { path, key, version, target: target.clone(), optional });
    }
    let bytes: usize = items.iter().map(|item| item.path.name().len() + item.key.len() + item.target.len()).sum();
    let rule = format!("must have at most {ITEMS_BYTES_MAX} bytes of names in all; make two bindings");
    violations.check(bytes <= ITEMS_BYTES_MAX, "secret_binding.items", rule);
    violations.finish()?;
    Ok(items)
}

fn source(name: &BindingName, secret: &str) -> Option<Path> {
    if secret.is_empty() { Path::new(name.segment(), name.tier(), "") } else { Path::parse(secret) }
}

fn crossing(name: &BindingName, path: &Path) -> Error {
    let (want, have) = (path.tier().word(), name.tier().word());
    Error::new(&TIER_CROSSING, format!("a {have} environment never gets a {want} secret"))
        .meta("binding_tier", have)
        .meta("secret_tier", want)
}

impl Binding {
    /// The etag.
    pub fn etag(&self) -> String {
        self.revision.to_string()
    }

    /// ETAG_MISMATCH unless the etag is this one's or empty.
    pub fn guard(&self, etag: &str) -> Result<()> {
        if etag.is_empty() || etag == self.etag() {
            return Ok(());
        }
        Err(Error::new(&ETAG_MISMATCH, "the binding changed since it was read")
            .resource("slipway.dev/SecretBinding", self.name.to_string()))
    }

    /// The binding with other items; its generation grows only if they differ.
    #[must_use]
    pub fn with_items(mut self, items: Vec<Item>, now_us: i64, updater: &str) -> Self {
        if self.items != items {
            self.generation += 1;
            self.items = items;
        }
        self.revision += 1;
        self.updated_us = now_us;
        updater.clone_into(&mut self.updater);
        self
    }

    /// Whether it holds for an environment of its tier.
    pub fn holds_for(&self, environment_uid: &str) -> bool {
        self.environment_uid.is_empty() || self.environment_uid == environment_uid
    }

    /// Whether it delivers the newest version of this secret.
    pub fn follows(&self, path: &Path) -> bool {
        self.items.iter().any(|item| item.path == *path && item.version == 0)
    }

    /// The binding with what is missing of its items that are not optional.
    #[must_use]
    pub fn observed(mut self, keys: &Keys) -> Self {
        let lacks = |item: &&Item| {
            let has = keys.get(&(item.path.clone(), item.version)).is_some_and(|keys| keys.contains(&item.key));
            !has && !item.optional
        };
        self.missing = self.items.iter().filter(lacks).map(sentence).collect();
        self
    }
}

fn sentence(item: &Item) -> String {
    let version = if item.version == 0 { String::new() } else { format!(" at version {}", item.version) };
    format!("{} has no key {}{version}", item.path.name(), item.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::Tier;

    const UID: &str = "3f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b";
    const OTHER: &str = "4f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b";

    fn name(tier: Tier) -> BindingName {
        BindingName::new("pay-aaaaa", tier, "pay-db").unwrap()
    }

    fn wish(secret: &str, key: &str) -> WishedItem {
        WishedItem {
            secret: secret.to_owned(),
            key: key.to_owned(),
            version: 0,
            target: String::new(),
            optional: false,
        }
    }

    #[test]
    fn tiers_are_crossed_downwards_only() {
        for binding in Tier::ALL {
            for secret in Tier::ALL {
                let made = items(&name(binding), "", &[wish(&format!("secrets/pay-aaaaa/{}", secret.word()), "A")]);
                match made {
                    Ok(_) => assert!(secret <= binding),
                    Err(error) => assert!(secret > binding && error.is(&TIER_CROSSING)),
                }
            }
        }
    }

    #[test]
    fn only_secrets_of_the_own_service_and_environment() {
        let at = name(Tier::Development);
        let one = |uid: &str| format!("secrets/pay-aaaaa/development/env/{uid}");
        assert!(items(&at, UID, &[wish(&one(UID), "A"), wish("", "B")]).is_ok());
        for (environment, secret) in
            [("", one(UID)), (UID, one(OTHER)), ("", "secrets/other-bbbbb/development".to_owned())]
        {
            assert_eq!(items(&at, environment, &[wish(&secret, "A")]).unwrap_err().violations().len(), 1, "{secret}");
        }
        let faults = items(&at, "", &[wish("", "A"), wish("", "A"), wish("../x", "B")]).unwrap_err();
        assert_eq!(faults.violations().len(), 2);
        let many = (0..256).map(|n| wish("", &format!("{}{n}", "K".repeat(120)))).collect::<Vec<_>>();
        assert_eq!(items(&at, "", &many).unwrap_err().violations()[0].0, "secret_binding.items");
    }

    #[test]
    fn ready_when_every_needed_key_is_there() {
        let at = name(Tier::Staging);
        let mut items = items(&at, "", &[wish("", "A"), wish("", "B"), wish("", "C")]).unwrap();
        items[2].optional = true;
        let path = items[0].path.clone();
        let binding = Binding {
            uid: "u".to_owned(),
            name: at,
            service: String::new(),
            owner: String::new(),
            environment_uid: String::new(),
            items,
            generation: 1,
            revision: 1,
            created_us: 0,
            updated_us: 0,
            updater: String::new(),
            missing: Vec::new(),
        };
        let keys = Keys::from([((path, 0), BTreeSet::from(["A".to_owned()]))]);
        let seen = binding.clone().observed(&keys);
        assert_eq!(seen.missing, ["secrets/pay-aaaaa/staging has no key B"]);
        assert_eq!(binding.clone().with_items(binding.items.clone(), 5, "x").generation, 1);
        assert_eq!(binding.clone().with_items(Vec::new(), 5, "x").generation, 2);
    }
}
