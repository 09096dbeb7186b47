//! Filters of Backstage: repository addresses and entity references.
//!
//! Owns their textual form; refuses to know which hosts exist.
use minijinja::value::Value;

use super::attribute;
use crate::model::templating::engine::Call;
use crate::model::templating::value::{Fail, View, dict, text, view};

const PARTS: [&str; 5] = ["owner", "repo", "organization", "workspace", "project"];

/// The parts of `host?owner=…&repo=…`, host first.
fn parts(source: &str) -> Result<Vec<(String, String)>, Fail> {
    let bare = source.strip_prefix("https://").unwrap_or(source);
    let address = url::Url::parse(&format!("https://{bare}"))
        .map_err(|_| Fail::invalid(format!("`{source}` is not a repository address")))?;
    let host = bare.split(['?', '/']).next().unwrap_or_default();
    let mut found = vec![("host".to_owned(), host.to_owned())];
    for part in PARTS {
        if let Some((_, value)) = address.query_pairs().find(|(k, v)| k == part && !v.is_empty()) {
            found.push((part.to_owned(), value.into_owned()));
        }
    }
    if !found.iter().any(|(k, _)| k == "repo") {
        return Err(Fail::invalid(format!("`{source}` names no `repo`")));
    }
    Ok(found)
}

pub(super) fn parse_repo_url(call: &Call<'_>) -> Result<Value, Fail> {
    Ok(dict(parts(&call.text(0)?)?.into_iter().map(|(k, v)| (k, Value::from(v)))))
}

pub(super) fn project_slug(call: &Call<'_>) -> Result<Value, Fail> {
    let parts = parts(&call.text(0)?)?;
    let part = |name: &str| parts.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    match (part("owner"), part("repo")) {
        (Some(owner), Some(repo)) => Ok(Value::from(format!("{owner}/{repo}"))),
        _ => Err(Fail::invalid("a project slug needs `owner` and `repo`")),
    }
}

pub(super) fn parse_entity_ref(call: &Call<'_>) -> Result<Value, Fail> {
    let source = call.text(0)?;
    let fallback =
        |name: &str| call.named(1, "context").map(|c| attribute(c, name)).filter(|v| !matches!(view(v), View::Null));
    let (kind, rest) = match source.split_once(':') {
        Some((kind, rest)) => (Some(kind.to_owned()), rest),
        None => (fallback("defaultKind").map(|v| text(&v)).transpose()?, source.as_str()),
    };
    let (namespace, name) = match rest.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name),
        None => {
            (fallback("defaultNamespace").map(|v| text(&v)).transpose()?.unwrap_or_else(|| "default".to_owned()), rest)
        }
    };
    let Some(kind) = kind.filter(|k| !k.is_empty() && !namespace.is_empty() && !name.is_empty()) else {
        return Err(Fail::invalid(format!("`{source}` is not an entity reference `kind:namespace/name`")));
    };
    let entry = |key: &str, value: &str| (key.to_owned(), Value::from(value));
    Ok(dict([entry("kind", &kind), entry("namespace", &namespace), entry("name", name)]))
}

/// The value at a path such as `a.b.0`; null when there is none.
pub(super) fn pick(call: &Call<'_>) -> Result<Value, Fail> {
    Ok(attribute(call.get(0), &text(call.get(1))?))
}
