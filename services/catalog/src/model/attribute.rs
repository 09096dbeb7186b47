//! What lists filter and order by: values of a document by field, and keys that sort alike on every engine (CAT-72 to CAT-74).
//!
//! Owns folding of case, shortening of long values and the order of numbers and times.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::document::Body;

/// Most values kept of one entity.
const VALUES_MAX: usize = 300;
/// Deepest `spec` path kept.
const DEPTH_MAX: usize = 4;
/// Longest value kept as it is, in characters; a longer one is kept by its beginning and its hash.
const VALUE_MAX: usize = 200;

/// One value of one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    /// Field as filters name it, for example `labels.tier` or `spec.replicas`.
    pub field: String,
    /// The value, shortened.
    pub value: String,
    /// A key that orders numbers and times; empty for other text.
    pub rank: String,
}

impl Attribute {
    fn new(field: String, text: &str) -> Self {
        Self { field, value: kept(text), rank: rank(text) }
    }
}

/// The value as kept and compared: long text by its beginning and its hash.
pub fn kept(text: &str) -> String {
    match text.char_indices().nth(VALUE_MAX) {
        None => text.to_owned(),
        Some(_) => {
            let begin: String = text.chars().take(VALUE_MAX - 40).collect();
            format!("{begin}\u{1}{}", hex::encode(Sha256::digest(text.as_bytes())))
        }
    }
}

/// A key whose byte order is the order of numbers or of times; empty for other text.
pub fn rank(text: &str) -> String {
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if let Some(n) = text.parse::<f64>().ok().filter(|n| numeric && n.is_finite()) {
        let bits = (n + 0.0).to_bits();
        let ordered = if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits };
        return format!("n{ordered:016x}");
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) if text.contains('T') => format!("t{:016x}", at.as_microsecond().wrapping_sub(i64::MIN) as u64),
        _ => String::new(),
    }
}

/// A key by which text sorts: folded case first, then the text itself; missing text last.
pub fn sort_key(text: &str) -> Vec<u8> {
    if text.is_empty() {
        return MISSING.to_vec();
    }
    let mut key = text.to_lowercase().into_bytes();
    key.push(0);
    key.extend_from_slice(text.as_bytes());
    key
}

/// Sort key of a missing value, above every other.
pub const MISSING: &[u8] = &[0xff];

/// The values of a document for `tags`, `labels.*`, `annotations.*` and `spec.*`.
pub fn of(body: &Body) -> Vec<Attribute> {
    let mut all = BTreeSet::new();
    for tag in &body.head.tags {
        all.insert(Attribute::new("tags".to_owned(), tag));
    }
    for (key, value) in &body.head.labels {
        all.insert(Attribute::new(format!("labels.{key}"), value));
    }
    for (key, value) in &body.head.annotations {
        all.insert(Attribute::new(format!("annotations.{key}"), value));
    }
    if let Some(spec) = body.json.get("spec") {
        walk(spec, "spec", 0, &mut all);
    }
    all.into_iter().take(VALUES_MAX).collect()
}

fn walk(value: &serde_json::Value, field: &str, depth: usize, all: &mut BTreeSet<Attribute>) {
    use serde_json::Value as Json;
    match value {
        Json::Object(map) if depth < DEPTH_MAX => {
            for (key, inner) in map {
                // Text of an API, not a property of it.
                if !(depth == 0 && key == "definition") {
                    walk(inner, &format!("{field}.{key}"), depth + 1, all);
                }
            }
        }
        Json::Array(items) => {
            for item in items.iter().filter(|i| !i.is_array()) {
                walk(item, field, depth + 1, all);
            }
        }
        Json::String(text) => drop(all.insert(Attribute::new(field.to_owned(), text))),
        Json::Number(n) => drop(all.insert(Attribute::new(field.to_owned(), &n.to_string()))),
        Json::Bool(b) => drop(all.insert(Attribute::new(field.to_owned(), &b.to_string()))),
        Json::Null | Json::Object(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_ranked() {
        let mut texts = ["10", "9", "-1", "-2.5", "0", "1e3", "0.5"].map(|t| (rank(t), t));
        texts.sort();
        assert_eq!(texts.map(|t| t.1), ["-2.5", "-1", "0", "0.5", "9", "10", "1e3"]);
        assert!(rank("2024-01-01T00:00:00Z") < rank("2024-01-01T00:00:01Z"));
        for text in ["", "abc", "inf", "NaN", "1.2.3", "2024-01-01", "v1"] {
            assert_eq!(rank(text), "", "{text}");
        }
    }

    #[test]
    fn text_sorts_by_folded_case_and_missing_last() {
        let mut texts = ["b", "A", "", "a", "B", "é"].map(|t| (sort_key(t), t));
        texts.sort();
        assert_eq!(texts.map(|t| t.1), ["A", "a", "B", "b", "é", ""]);
    }

    #[test]
    fn long_values_keep_their_identity() {
        let (a, b) = ("x".repeat(300), format!("{}y", "x".repeat(299)));
        assert_ne!(kept(&a), kept(&b));
        assert!(kept(&a).starts_with(&"x".repeat(160)));
        assert_eq!(kept("short"), "short");
    }
}
