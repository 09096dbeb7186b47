//! From path, query and body to the request message.
//!
//! Refuses lenience: a field may come from one place only, and every value must be the JSON form of its type.

use bytes::Bytes;
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};
use slipway_kit::{
    error::{CANCELLED, DEADLINE_EXCEEDED, Error, MESSAGE_TOO_LARGE, Result},
    serve::Body,
};
use tokio::time::Instant;

use super::BodyRule;
use crate::{
    error::REQUEST_UNREADABLE,
    model::{route::percent, strict_json},
};

/// Largest JSON body in bytes (REL-14).
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Deepest JSON body.
const DEPTH_MAX: usize = 100;
/// Most faults of a body or query that are named.
const FAULTS_MAX: usize = 50;
/// Most parameters in a query.
const PARAMETERS_MAX: usize = 200;

/// Reads the whole body, which is JSON or nothing.
pub(super) async fn body(headers: &HeaderMap, body: Body, deadline: Instant) -> Result<Bytes> {
    let too_large = || Error::new(&MESSAGE_TOO_LARGE, "the body is larger than 4 MiB");
    let read = tokio::time::timeout_at(deadline, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    let bytes = match read {
        Err(_) => return Err(Error::new(&DEADLINE_EXCEEDED, "the body did not arrive in time")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(Error::new(&CANCELLED, "the body ended early")),
        Ok(Ok(body)) => body.to_bytes(),
    };
    if headers.get(CONTENT_ENCODING).is_some_and(|v| v != "identity") {
        return Err(unreadable("the body must not be compressed"));
    }
    let content = headers.get(CONTENT_TYPE).map_or("application/json", |v| v.to_str().unwrap_or_default());
    let is_json = content.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"));
    if !bytes.is_empty() && !is_json {
        return Err(unreadable("the body must be application/json"));
    }
    Ok(bytes)
}

/// The request message.
pub(super) fn message(
    input: &MessageDescriptor,
    rule: &BodyRule,
    bound: Vec<(&str, String)>,
    query: &str,
    body: &[u8],
) -> Result<DynamicMessage> {
    let mut document = match rule {
        BodyRule::Whole if !body.is_empty() => object(body)?,
        BodyRule::None if !body.is_empty() => return Err(unreadable("this path takes no body")),
        BodyRule::Field(name) if !body.is_empty() => Map::from_iter([(json_name(input, name), value(body)?)]),
        _ => Map::new(),
    };
    // With the whole request in the body, nothing is left for the query.
    for (name, text) in parameters(query)? {
        if *rule == BodyRule::Whole {
            return Err(unreadable_at(&name, "this path takes its fields in the body"));
        }
        put_parameter(input, &mut document, &name, text)?;
    }
    for (name, text) in bound {
        put_bound(input, &mut document, name, text)?;
    }
    decode(input, Value::Object(document.clone())).map_err(|error| faults(input, &document, &error))
}

fn decode(of: &MessageDescriptor, value: Value) -> std::result::Result<DynamicMessage, serde_json::Error> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(of.clone(), value, &options)
}

/// Every field that is not the JSON form of its type, by trying each alone: the decoder itself stops at the first and names none.
fn faults(input: &MessageDescriptor, document: &Map<String, Value>, whole: &serde_json::Error) -> Error {
    let mut found = Vec::new();
    find_faults(input, document, "", &mut found);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let error = match names.as_slice() {
        [] => unreadable(whole.to_string()),
        names => unreadable(format!("unreadable: {}", names.join(", "))),
    };
    found.into_iter().fold(error, |error, (name, rule)| error.violation(name, rule))
}

fn find_faults(of: &MessageDescriptor, object: &Map<String, Value>, at: &str, found: &mut Vec<(String, String)>) {
    for (key, value) in object {
        if found.len() >= FAULTS_MAX {
            return;
        }
        let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        let Err(error) = decode(of, alone) else { continue };
        let field = of.get_field_by_json_name(key).or_else(|| of.get_field_by_name(key));
        let name = format!("{at}{}", field.as_ref().map_or(key.as_str(), FieldDescriptor::name));
        let before = found.len();
        if let Some(Kind::Message(inner)) = field.map(|f| f.kind()) {
            match value {
                Value::Object(inside) => find_faults(&inner, inside, &format!("{name}."), found),
                Value::Array(list) => {
                    for (i, inside) in list.iter().enumerate() {
                        let Value::Object(inside) = inside else { continue };
                        find_faults(&inner, inside, &format!("{name}[{i}]."), found);
                    }
                }
                _ => {}
            }
        }
        if found.len() == before {
            found.push((name, error.to_string()));
        }
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>> {
    strict_json::object(body, DEPTH_MAX).map_err(|error| unreadable(error.to_string()))
}

fn value(body: &[u8]) -> Result<Value> {
    strict_json::parse(body, DEPTH_MAX).map_err(|error| unreadable(error.to_string()))
}

fn parameters(query: &str) -> Result<Vec<(String, String)>> {
    let parts: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
    if parts.len() > PARAMETERS_MAX {
        return Err(unreadable("too many parameters"));
    }
    let one = |part: &&str| {
        let (name, text) = part.split_once('=').unwrap_or((part, ""));
        percent(name, true)
            .zip(percent(text, true))
            .ok_or_else(|| unreadable("a parameter is not percent-encoded UTF-8"))
    };
    parts.iter().map(one).collect()
}

/// Puts a query parameter where its dotted name points.
fn put_parameter(input: &MessageDescriptor, document: &mut Map<String, Value>, name: &str, text: String) -> Result<()> {
    let (field, place) = walk(input, document, name)?;
    let key = field.json_name().to_owned();
    let value = scalar(&field, name, text)?;
    match place.entry(key) {
        serde_json::map::Entry::Vacant(entry) => {
            entry.insert(if field.is_list() { Value::Array(vec![value]) } else { value });
        }
        serde_json::map::Entry::Occupied(mut entry) => match entry.get_mut() {
            Value::Array(list) if field.is_list() => list.push(value),
            _ => return Err(unreadable_at(name, "given more than once")),
        },
    }
    Ok(())
}

/// Puts what the path binds; the body may say the same, and nothing else.
fn put_bound(input: &MessageDescriptor, document: &mut Map<String, Value>, name: &str, text: String) -> Result<()> {
    let (field, place) = walk(input, document, name)?;
    let value = scalar(&field, name, text)?;
    let said = place.remove(field.name()).into_iter().chain(place.remove(field.json_name())).find(|v| *v != value);
    if said.is_some_and(|v| v != Value::String(String::new())) {
        return Err(unreadable_at(name, "differs from the path"));
    }
    place.insert(field.json_name().to_owned(), value);
    Ok(())
}

/// The field at the end of a dotted name, and the object it goes into.
fn walk<'a>(
    input: &MessageDescriptor,
    document: &'a mut Map<String, Value>,
    name: &str,
) -> Result<(FieldDescriptor, &'a mut Map<String, Value>)> {
    let unknown = || unreadable_at(name, "there is no such field");
    let (mut at, mut place) = (input.clone(), document);
    let mut parts = name.split('.').peekable();
    while let Some(part) = parts.next() {
        let field = at.get_field_by_name(part).or_else(|| at.get_field_by_json_name(part)).ok_or_else(unknown)?;
        if parts.peek().is_none() {
            return Ok((field, place));
        }
        let Kind::Message(inner) = field.kind() else { return Err(unknown()) };
        if field.is_list() || field.is_map() || inner.full_name().starts_with("google.protobuf.") {
            return Err(unknown());
        }
        let key = if place.contains_key(field.name()) { field.name() } else { field.json_name() };
        let next = place.entry(key.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else { return Err(unknown()) };
        (at, place) = (inner, next);
    }
    Err(unknown())
}

/// The JSON form of a text for a field.
fn scalar(field: &FieldDescriptor, name: &str, text: String) -> Result<Value> {
    let wrong = |what: &str| unreadable_at(name, &format!("must be {what}"));
    if field.is_map() {
        return Err(wrong("given in a body"));
    }
    Ok(match field.kind() {
        Kind::Bool => Value::Bool(text.parse().map_err(|_| wrong("true or false"))?),
        Kind::Double | Kind::Float => {
            let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            Value::Number(number.ok_or_else(|| wrong("a number"))?)
        }
        Kind::Enum(_) => text.parse::<i32>().map_or(Value::String(text), Value::from),
        Kind::Message(inner) if is_text(inner.full_name()) => Value::String(text),
        Kind::Message(inner) => match inner.full_name() {
            "google.protobuf.BoolValue" => Value::Bool(text.parse().map_err(|_| wrong("true or false"))?),
            _ => return Err(wrong("given in a body")),
        },
        // Integers, strings and bytes are texts in JSON as well.
        _ => Value::String(text),
    })
}

/// Whether the JSON form of a well-known type is a text.
fn is_text(name: &str) -> bool {
    matches!(
        name,
        "google.protobuf.Timestamp"
            | "google.protobuf.Duration"
            | "google.protobuf.FieldMask"
            | "google.protobuf.StringValue"
            | "google.protobuf.BytesValue"
            | "google.protobuf.Int32Value"
            | "google.protobuf.Int64Value"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.UInt64Value"
    )
}

fn json_name(input: &MessageDescriptor, name: &str) -> String {
    input.get_field_by_name(name).map_or_else(|| name.to_owned(), |field| field.json_name().to_owned())
}

fn unreadable(text: impl Into<String>) -> Error {
    Error::new(&REQUEST_UNREADABLE, text)
}

fn unreadable_at(name: &str, rule: &str) -> Error {
    unreadable(format!("{name}: {rule}")).violation(name, rule)
}
