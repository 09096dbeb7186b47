//! Configuration: defaults, then a TOML file, then the environment; what is wrong is told before a socket opens.
//!
//! Owns the layering and the wording of what is wrong. Refuses unknown keys where the configuration's types do
//! (`deny_unknown_fields`), and secrets as values: a service's configuration names files.
use std::path::Path;

use figment::{
    Figment,
    error::Kind,
    providers::{Env, Format as _, Toml},
};
use serde::de::DeserializeOwned;

use crate::error::{Error, INVALID_CONFIG, Result};

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
    layers.extract::<T>().map_err(|errors| {
        let problems = errors.into_iter().map(problem).collect::<Vec<_>>();
        let text = problems.iter().map(|(key, what)| format!("{key}: {what}")).collect::<Vec<_>>().join("; ");
        problems.into_iter().fold(Error::new(&INVALID_CONFIG, text), |error, (key, what)| error.violation(key, what))
    })
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
    fn a_missing_file_is_told() {
        assert!(
            load::<Example>(Some(Path::new("/nowhere/slipway.toml")), "SLIPWAY_TEST_")
                .expect_err("missing")
                .is(&INVALID_CONFIG)
        );
    }
}
