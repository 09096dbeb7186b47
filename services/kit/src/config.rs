//! Configuration: defaults, then a TOML file, then the environment; what is wrong is told before a socket opens.
//!
//! Owns the layering and the wording of what is wrong. Refuses unknown keys where the configuration's types do
//! (`deny_unknown_fields`), and secrets as values: a service's configuration names files.
use std::path::Path;

use figment::{
    Figment,
    error::Kind,
    providers::{Env, Format as _, Serialized, Toml},
    value::{Dict, Value},
};
use serde::de::DeserializeOwned;

use crate::error::{Error, INVALID_CONFIG, Result};

/// Most problems told at once.
const PROBLEMS_MAX: usize = 20;

/// Reads `T`: its serde defaults, then the file, then variables `<env_prefix>KEY` where `__` goes down a level.
///
/// All problems that can be told apart come back in one INVALID_CONFIG, each with its key.
pub fn load<T: DeserializeOwned>(path: Option<&Path>, env_prefix: &str) -> Result<T> {
    let mut layers = Figment::new();
    if let Some(path) = path {
        if !path.is_file() {
            return Err(Error::new(&INVALID_CONFIG, format!("{} is not a file", path.display())));
        }
        layers = layers.merge(Toml::file_exact(path));
    }
    extract(&layers.merge(Env::prefixed(env_prefix).split("__")))
}

/// Reads `T` from TOML text alone.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    extract(&Figment::from(Toml::string(text)))
}

fn extract<T: DeserializeOwned>(layers: &Figment) -> Result<T> {
    let mut layers = layers.clone();
    let mut problems: Vec<(String, String)> = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let error = match layers.extract::<T>() {
            Ok(config) if problems.is_empty() => return Ok(config),
            Ok(_) => break,
            Err(error) => error,
        };
        let culprit = culprit(&error);
        let found = error.into_iter().map(problem).filter(|(key, _)| problems.iter().all(|(known, _)| known != key));
        let found = found.collect::<Vec<_>>();
        let is_new = !found.is_empty();
        problems.extend(found);
        // What is wrong is left out and the rest read again, so that the next problem shows.
        match culprit.and_then(|key| without(&layers, &key)) {
            Some(rest) if is_new => layers = rest,
            _ => break,
        }
    }
    let text = problems.iter().map(|(key, what)| format!("{key}: {what}")).collect::<Vec<_>>().join("; ");
    let error = Error::new(&INVALID_CONFIG, text);
    Err(problems.into_iter().fold(error, |error, (key, what)| error.violation(key, what)))
}

/// The key that is wrong by itself and can be left out.
fn culprit(error: &figment::Error) -> Option<String> {
    match error.kind {
        Kind::UnknownField(..) | Kind::UnknownVariant(..) | Kind::InvalidType(..) | Kind::InvalidValue(..) => {
            Some(problem(error.clone()).0)
        }
        _ => None,
    }
}

/// The same layers as one, without a key.
fn without(layers: &Figment, key: &str) -> Option<Figment> {
    let mut all: Dict = layers.extract().ok()?;
    let (parents, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut at = &mut all;
    for part in parents.split('.').filter(|part| !part.is_empty()) {
        let Some(Value::Dict(_, inner)) = at.get_mut(part) else { return None };
        at = inner;
    }
    at.remove(last)?;
    Some(Figment::from(Serialized::defaults(all)))
}

/// Key and wording of one problem; values are not repeated, for one might be a secret put in the wrong place.
fn problem(error: figment::Error) -> (String, String) {
    let at = error.path.join(".");
    let below = |name: &str| match error.path.last() {
        None => name.to_owned(),
        Some(last) if last == name => at.clone(),
        Some(_) => format!("{at}.{name}"),
    };
    match error.kind {
        Kind::UnknownField(name, known) => (below(&name), format!("is not a key; known are {}", known.join(", "))),
        Kind::MissingField(name) => (below(&name), "is missing".to_owned()),
        Kind::DuplicateField(name) => (below(name), "is given twice".to_owned()),
        Kind::UnknownVariant(_, known) => (at, format!("must be one of {}", known.join(", "))),
        Kind::InvalidType(_, wanted) | Kind::InvalidValue(_, wanted) => (at, format!("must be {wanted}")),
        Kind::InvalidLength(_, wanted) => (at, format!("must have length {wanted}")),
        Kind::Message(text) => (at, text),
        other => (at, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Example {
        listen: String,
        limits: Limits,
        scm: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Limits {
        calls_max: u32,
    }

    impl Default for Example {
        fn default() -> Self {
            Self { listen: "127.0.0.1:7400".to_owned(), limits: Limits::default(), scm: BTreeMap::new() }
        }
    }

    impl Default for Limits {
        fn default() -> Self {
            Self { calls_max: 10 }
        }
    }

    #[test]
    fn defaults_then_file() {
        let config: Example = parse("[limits]\ncalls_max = 3\n[scm]\nlocal = 'x'").expect("valid");
        assert_eq!((config.listen.as_str(), config.limits.calls_max), ("127.0.0.1:7400", 3));
        assert_eq!(config.scm.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        for (text, key, wording) in [
            ("lisen = 'x'", "lisen", "is not a key"),
            ("[limits]\ncalls = 3", "limits.calls", "is not a key"),
            ("[limits]\ncalls_max = 'many'", "limits.calls_max", "must be"),
            ("listen = 3", "listen", "must be a string"),
        ] {
            let error = parse::<Example>(text).expect_err(text);
            let (found, what) = &error.violations()[0];
            assert_eq!(found, key, "{text}");
            assert!(what.contains(wording), "{text}: {what}");
            assert!(!what.contains("many"), "the value is not repeated");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let text = "lisen = 'x'\nlisten = 3\ncolour = 'red'\n[limits]\ncalls = 3\ncalls_max = 'many'";
        let error = parse::<Example>(text).expect_err("five things are wrong");
        let mut keys = error.violations().iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>();
        keys.sort_unstable();
        assert_eq!(keys, ["colour", "limits.calls", "limits.calls_max", "lisen", "listen"]);
    }

    #[test]
    fn a_missing_file_is_told() {
        assert!(
            load::<Example>(Some(Path::new("/nowhere/slipway.toml")), "SLIPWAY_TEST_")
                .expect_err("missing")
                .is(&INVALID_CONFIG)
        );
    }
}
