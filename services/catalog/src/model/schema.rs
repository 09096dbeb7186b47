//! Shapes of fields: required, type, not empty, with every failure told and placed.
//!
//! Owns the codes `FIELD_REQUIRED`, `FIELD_TYPE`, `FIELD_EMPTY` and `FIELD_VALUE`. Refuses formats and meaning.

use super::{
    finding::{Findings, Span, pointer_to},
    kind::{Field, Shape},
    yaml::{Entry, Node, Value},
};

/// Checks one field of a mapping; `parent` is the pointer of the mapping.
pub fn field(map: &Node, parent: &str, field: &Field, findings: &mut Findings) {
    match map.entry(field.name) {
        Some(entry) => shape(entry, &pointer_to(parent, field.name), field.shape, findings),
        None if field.required => missing(map.at, parent, field.name, findings),
        None => {}
    }
}

/// Says that a field is missing from a mapping.
pub fn missing(at: Span, parent: &str, name: &str, findings: &mut Findings) {
    let message = format!("`{}` is required", dotted(&pointer_to(parent, name)));
    findings.error("FIELD_REQUIRED", &pointer_to(parent, name), at, message);
}

/// A string that is not empty; anything else is an error and gives `None`.
pub fn text<'n>(node: &'n Node, pointer: &str, findings: &mut Findings) -> Option<&'n str> {
    match node.text() {
        Some("") => {
            findings.error("FIELD_EMPTY", pointer, node.at, format!("`{}` must not be empty", dotted(pointer)));
            None
        }
        Some(text) => Some(text),
        None => {
            wrong_type(node, pointer, "a string", findings);
            None
        }
    }
}

/// Says that a value has the wrong type.
pub fn wrong_type(node: &Node, pointer: &str, want: &str, findings: &mut Findings) {
    let hint = match &node.value {
        Value::Number(_) | Value::Bool(_) if want == "a string" => "; put it in quotes",
        _ => "",
    };
    let message = format!("`{}` must be {want}, not {}{hint}", dotted(pointer), node.noun());
    findings.error("FIELD_TYPE", pointer, node.at, message);
}

/// A mapping; anything else is an error.
pub fn is_map(node: &Node, pointer: &str, findings: &mut Findings) -> bool {
    let is = matches!(node.value, Value::Map(_));
    if !is {
        wrong_type(node, pointer, "a mapping", findings);
    }
    is
}

/// A list; anything else is an error.
pub fn is_list(node: &Node, pointer: &str, findings: &mut Findings) -> bool {
    let is = matches!(node.value, Value::List(_));
    if !is {
        wrong_type(node, pointer, "a list", findings);
    }
    is
}

/// `/spec/owner` as people write it: `spec.owner`.
pub fn dotted(pointer: &str) -> String {
    let parts: Vec<_> = pointer.split('/').skip(1).map(|p| p.replace("~1", "/").replace("~0", "~")).collect();
    if parts.is_empty() { "document".to_owned() } else { parts.join(".") }
}

fn shape(entry: &Entry, pointer: &str, shape: Shape, findings: &mut Findings) {
    let node = &entry.node;
    match shape {
        Shape::Text => {
            text(node, pointer, findings);
        }
        Shape::Texts => {
            if is_list(node, pointer, findings) {
                each(node, pointer, |item, at| {
                    text(item, at, findings);
                });
            }
        }
        Shape::Record(names) => {
            if is_map(node, pointer, findings) {
                for entry in node.entries().iter().filter(|e| names.contains(&e.key.as_str())) {
                    text(&entry.node, &pointer_to(pointer, &entry.key), findings);
                }
            }
        }
        Shape::Word(words) => {
            if let Some(word) = text(node, pointer, findings).filter(|w| !words.contains(w)) {
                let message = format!("`{}` must be one of {}, not `{word}`", dotted(pointer), words.join(", "));
                findings.error("FIELD_VALUE", pointer, node.at, message);
            }
        }
        Shape::Map => {
            is_map(node, pointer, findings);
        }
        Shape::MapOrMaps => match node.value {
            Value::Map(_) => {}
            Value::List(_) => each(node, pointer, |item, at| {
                is_map(item, at, findings);
            }),
            _ => wrong_type(node, pointer, "a mapping or a list of mappings", findings),
        },
        Shape::Steps => {
            if is_list(node, pointer, findings) {
                each(node, pointer, |item, at| step(item, at, findings));
            }
        }
    }
}

fn each(list: &Node, pointer: &str, mut check: impl FnMut(&Node, &str)) {
    for (at, item) in list.items().iter().enumerate() {
        check(item, &format!("{pointer}/{at}"));
    }
}

fn step(node: &Node, pointer: &str, findings: &mut Findings) {
    if !is_map(node, pointer, findings) {
        return;
    }
    match node.get("action") {
        None => missing(node.at, pointer, "action", findings),
        Some(action) if action.text().is_none() => {
            wrong_type(action, &pointer_to(pointer, "action"), "a string", findings)
        }
        Some(_) => {}
    }
    for name in ["id", "name"] {
        if let Some(value) = node.get(name).filter(|v| v.text().is_none()) {
            wrong_type(value, &pointer_to(pointer, name), "a string", findings);
        }
    }
    if let Some(condition) = node.get("if").filter(|v| !matches!(v.value, Value::Text(_) | Value::Bool(_))) {
        wrong_type(condition, &pointer_to(pointer, "if"), "a string or a boolean", findings);
    }
    if let Some(input) = node.get("input") {
        is_map(input, &pointer_to(pointer, "input"), findings);
    }
}
