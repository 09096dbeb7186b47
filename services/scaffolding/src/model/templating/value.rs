//! Values as templates see them: lists and objects that are true even when empty, and the text form of each value.
//!
//! Owns conversion from and to JSON, the text form of SCF-12 and the numbers of JavaScript; refuses objects in text.
use std::{collections::HashMap, sync::Arc};

use minijinja::value::{Enumerator, Object, ObjectExt as _, ObjectRepr, Value, ValueKind};
use serde_json::{Map, Number, Value as Json};

use super::fault::Code;

/// Why an operation failed; `at` is set when the place is another than that of the operation.
#[derive(Debug)]
pub(super) struct Fail {
    pub code: Code,
    pub message: String,
    pub at: Option<usize>,
}

impl Fail {
    pub fn new(code: Code, message: impl Into<String>) -> Fail {
        Fail { code, message: message.into(), at: None }
    }

    pub fn invalid(message: impl Into<String>) -> Fail {
        Fail::new(Code::InvalidOperation, message)
    }

    pub fn at(mut self, at: usize) -> Fail {
        self.at = Some(at);
        self
    }
}

/// A list of a template.
#[derive(Debug)]
pub(super) struct List(pub Vec<Value>);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

/// An object of a template, with its keys in order.
#[derive(Debug, Default)]
pub(super) struct Dict {
    pub entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
    /// Set for a root such as `values`: a key it lacks is undeclared, whatever asks for it.
    pub root: Option<String>,
}

impl Dict {
    pub fn insert(&mut self, key: String, value: Value) {
        if let Some(at) = self.index.get(&key) {
            self.entries[*at].1 = value;
            return;
        }
        self.index.insert(key.clone(), self.entries.len());
        self.entries.push((key, value));
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|at| &self.entries[*at].1)
    }
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|this| Box::new(this.entries.iter().map(|(k, _)| Value::from(k.as_str()))))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

pub(super) fn list(items: Vec<Value>) -> Value {
    Value::from_object(List(items))
}

pub(super) fn dict(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut dict = Dict::default();
    for (key, value) in entries {
        dict.insert(key, value);
    }
    Value::from_object(dict)
}

/// A value seen by its kind.
pub(super) enum View<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'v str),
    List(&'v [Value]),
    Dict(&'v Dict),
    /// A macro, a loop, a cycler, a joiner.
    Other,
}

pub(super) fn view(value: &Value) -> View<'_> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => View::Null,
        ValueKind::Bool => View::Bool(value.is_true()),
        ValueKind::Number => match value.as_i64() {
            Some(int) if value.is_integer() => View::Int(int),
            _ => View::Float(f64::try_from(value.clone()).unwrap_or(f64::NAN)),
        },
        ValueKind::String => View::Text(value.as_str().unwrap_or_default()),
        _ => {
            if let Some(list) = value.downcast_object_ref::<List>() {
                View::List(&list.0)
            } else if let Some(dict) = value.downcast_object_ref::<Dict>() {
                View::Dict(dict)
            } else {
                View::Other
            }
        }
    }
}

/// A number: an integer when it is one and fits exactly.
pub(super) fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        Value::from(value as i64)
    } else {
        Value::from(value)
    }
}

/// A number as JavaScript writes it.
pub(super) fn number_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        return if magnitude >= 1.0 { text.replace('e', "e+") } else { text };
    }
    if value == 0.0 { "0".to_owned() } else { format!("{value}") }
}

/// The text form of SCF-12.
pub(super) fn text(value: &Value) -> Result<String, Fail> {
    Ok(match view(value) {
        View::Null => String::new(),
        View::Bool(value) => value.to_string(),
        View::Int(value) => value.to_string(),
        View::Float(value) => number_text(value),
        View::Text(value) => value.to_owned(),
        View::List(items) => items.iter().map(text).collect::<Result<Vec<_>, _>>()?.join(","),
        View::Dict(_) => {
            return Err(Fail::new(
                Code::ObjectInText,
                "an object has no text form; name one of its keys, or use the filter `dump`",
            ));
        }
        View::Other => return Err(Fail::invalid("a macro or loop has no text form")),
    })
}

/// A value of JSON as a value of templates.
pub(super) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(value) => match value.as_i64() {
            Some(int) => Value::from(int),
            None => number(value.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(value) => Value::from(value.as_str()),
        Json::Array(items) => list(items.iter().map(from_json).collect()),
        Json::Object(entries) => dict(entries.iter().map(|(k, v)| (k.clone(), from_json(v)))),
    }
}

/// A root of the context: its keys are all that is declared.
pub(super) fn root(name: &str, entries: &Map<String, Json>) -> Value {
    let mut dict = Dict { root: Some(name.to_owned()), ..Dict::default() };
    for (key, value) in entries {
        dict.insert(key.clone(), from_json(value));
    }
    Value::from_object(dict)
}

/// A value of templates as JSON; what has no JSON form is an error.
pub(super) fn to_json(value: &Value) -> Result<Json, Fail> {
    Ok(match view(value) {
        View::Null => Json::Null,
        View::Bool(value) => Json::Bool(value),
        View::Int(value) => Json::Number(value.into()),
        View::Float(value) => match Number::from_f64(value) {
            Some(value) => Json::Number(value),
            None => Json::Null,
        },
        View::Text(value) => Json::String(value.to_owned()),
        View::List(items) => Json::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        View::Dict(dict) => {
            let entries = dict.entries.iter().map(|(k, v)| Ok((k.clone(), to_json(v)?)));
            Json::Object(entries.collect::<Result<_, Fail>>()?)
        }
        View::Other => return Err(Fail::invalid("a macro or loop is not a value")),
    })
}

/// Equality of SCF-20: by value, without conversion between kinds.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (view(a), view(b)) {
        (View::Null, View::Null) => true,
        (View::Bool(a), View::Bool(b)) => a == b,
        (View::Text(a), View::Text(b)) => a == b,
        (View::List(a), View::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (View::Dict(a), View::Dict(b)) => {
            a.entries.len() == b.entries.len() && a.entries.iter().all(|(k, a)| b.get(k).is_some_and(|b| equal(a, b)))
        }
        (View::Int(a), View::Int(b)) => a == b,
        (View::Int(_) | View::Float(_), View::Int(_) | View::Float(_)) => to_number(a) == to_number(b),
        _ => false,
    }
}

/// Conversion to a number as JavaScript's `Number()`, for the kinds that have one.
pub(super) fn to_number(value: &Value) -> f64 {
    match view(value) {
        View::Null => 0.0,
        View::Bool(value) => f64::from(u8::from(value)),
        View::Int(value) => value as f64,
        View::Float(value) => value,
        View::Text(value) => {
            let value = value.trim();
            if value.is_empty() { 0.0 } else { value.parse().unwrap_or(f64::NAN) }
        }
        View::List(_) | View::Dict(_) | View::Other => f64::NAN,
    }
}

/// What a kind of value is called in messages.
pub(super) fn kind_name(value: &Value) -> &'static str {
    match view(value) {
        View::Null => "null",
        View::Bool(_) => "a boolean",
        View::Int(_) | View::Float(_) => "a number",
        View::Text(_) => "a string",
        View::List(_) => "a list",
        View::Dict(_) => "an object",
        View::Other => "a macro or loop",
    }
}
