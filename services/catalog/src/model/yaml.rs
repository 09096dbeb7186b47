//! YAML 1.2 into a tree whose every node knows its place (CAT-5 to CAT-10).
//!
//! Owns splitting a file into documents, building trees from the parser's events, and resolving scalars. Refuses merge keys,
//! duplicate keys, alias bombs, and to know what a document means.

mod scalar;
mod split;
mod tree;

use super::finding::Span;

pub use split::{Chunk, DOCUMENTS_MAX, FILE_BYTES_MAX, split};
pub use tree::{DOCUMENT_BYTES_MAX, parse};

/// One value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub at: Span,
    /// What it is.
    pub value: Value,
}

/// A resolved value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null.
    Null,
    /// Boolean.
    Bool(bool),
    /// Number that JSON can hold.
    Number(serde_json::Number),
    /// `.inf` or `.nan`.
    NonFinite,
    /// String.
    Text(String),
    /// Sequence.
    List(Vec<Node>),
    /// Mapping, in the order written.
    Map(Vec<Entry>),
}

/// One key and value of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Key as text.
    pub key: String,
    /// Where the key stands.
    pub key_at: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// The entry of a mapping by key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.key == key)
    }

    /// The value of a mapping by key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.node)
    }

    /// The value below two keys.
    pub fn at_path(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Entries of a mapping; nothing for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Items of a sequence; nothing for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What people call this kind of value.
    pub fn noun(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) | Value::NonFinite => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The value as messages show it.
    pub fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) => super::finding::shown(text),
            Value::Null => "null".to_owned(),
            Value::Bool(b) => format!("`{b}`"),
            Value::Number(n) => format!("`{n}`"),
            Value::NonFinite | Value::List(_) | Value::Map(_) => self.noun().to_owned(),
        }
    }

    /// The value as JSON; what JSON cannot hold becomes null.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null | Value::NonFinite => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Number(n) => Json::Number(n.clone()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => Json::Object(entries.iter().map(|e| (e.key.clone(), e.node.to_json())).collect()),
        }
    }
}

#[cfg(test)]
#[path = "yaml/tests.rs"]
mod tests;
