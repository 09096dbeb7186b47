//! JSON schemas of messages and enums, each rendered once and referred to by its full name.
//!
//! Refuses to describe well-known types by their fields: their JSON form is another.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use prost_types::FileDescriptorProto;
use serde_json::{Map, Value, json};

/// Value of google.api.FieldBehavior.
const REQUIRED: i32 = 2;
/// Value of google.api.FieldBehavior.
const OUTPUT_ONLY: i32 = 3;

/// The schemas a document needs.
#[derive(Default)]
pub(super) struct Schemas {
    wanted: BTreeSet<String>,
}

impl Schemas {
    /// Adds a message by name.
    pub fn need(&mut self, name: &str) {
        self.wanted.insert(name.to_owned());
    }

    /// The schema of a message where it is used.
    pub fn reference(&mut self, message: &MessageDescriptor) -> Value {
        match well_known(message.full_name()) {
            Some(schema) => schema,
            None => self.refer(message.full_name()),
        }
    }

    fn refer(&mut self, name: &str) -> Value {
        self.need(name);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// The schema of a field's value.
    pub fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map()
            && let Kind::Message(entry) = field.kind()
        {
            let value = self.field(&entry.map_entry_value_field());
            return json!({ "type": "object", "additionalProperties": value });
        }
        let one = self.kind(&field.kind());
        if field.is_list() { json!({ "type": "array", "items": one }) } else { one }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32 => {
                json!({ "type": "integer", "format": "int32" })
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 => {
                json!({ "type": "string", "format": "int64" })
            }
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "format": "byte" }),
            Kind::Enum(e) if e.full_name() == "google.protobuf.NullValue" => json!({ "nullable": true }),
            Kind::Enum(e) => self.refer(e.full_name()),
            Kind::Message(m) => self.reference(m),
        }
    }

    /// Every schema that was needed, and what those need.
    pub fn render(mut self) -> Value {
        let mut done: BTreeMap<String, Value> = BTreeMap::new();
        while let Some(name) = self.wanted.iter().find(|name| !done.contains_key(*name)).cloned() {
            let pool = slipway_proto::pool();
            let schema = match (pool.get_message_by_name(&name), pool.get_enum_by_name(&name)) {
                (Some(message), _) => self.message(&message),
                (None, Some(e)) => enumeration(&e),
                (None, None) => json!({}),
            };
            done.insert(name, schema);
        }
        json!(done)
    }

    fn message(&mut self, message: &MessageDescriptor) -> Value {
        let file = message.parent_file();
        let file = file.file_descriptor_proto();
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in message.fields() {
            let text = comment(file, field.path());
            let mut schema = self.field(&field);
            let behavior = behavior(&field);
            // Beside a reference nothing else is read, so it goes into an `allOf`.
            if schema.get("$ref").is_some() {
                schema = json!({ "allOf": [schema] });
            }
            schema["description"] = json!(text);
            if behavior.contains(&OUTPUT_ONLY) {
                schema["readOnly"] = json!(true);
            }
            if behavior.contains(&REQUIRED) {
                required.push(field.json_name().to_owned());
            }
            properties.insert(field.json_name().to_owned(), schema);
        }
        let mut schema = json!({
            "type": "object",
            "description": comment(file, message.path()),
            "properties": properties,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }
}

fn enumeration(e: &EnumDescriptor) -> Value {
    let names: Vec<String> = e.values().map(|v| v.name().to_owned()).collect();
    let file = e.parent_file();
    json!({ "type": "string", "enum": names, "description": comment(file.file_descriptor_proto(), e.path()) })
}

/// The JSON form of a well-known type.
fn well_known(name: &str) -> Option<Value> {
    Some(match name {
        "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "google.protobuf.Duration" => json!({ "type": "string", "example": "3.5s" }),
        "google.protobuf.FieldMask" => json!({ "type": "string", "example": "displayName,owner" }),
        "google.protobuf.Empty" => json!({ "type": "object" }),
        "google.protobuf.Struct" => json!({ "type": "object", "additionalProperties": true }),
        "google.protobuf.Value" => json!({}),
        "google.protobuf.ListValue" => json!({ "type": "array", "items": {} }),
        "google.protobuf.Any" => {
            json!({ "type": "object", "properties": { "@type": { "type": "string" } }, "additionalProperties": true })
        }
        "google.protobuf.BoolValue" => json!({ "type": "boolean" }),
        "google.protobuf.StringValue" => json!({ "type": "string" }),
        "google.protobuf.BytesValue" => json!({ "type": "string", "format": "byte" }),
        "google.protobuf.DoubleValue" | "google.protobuf.FloatValue" => json!({ "type": "number" }),
        "google.protobuf.Int32Value" | "google.protobuf.UInt32Value" => json!({ "type": "integer" }),
        "google.protobuf.Int64Value" | "google.protobuf.UInt64Value" => json!({ "type": "string", "format": "int64" }),
        _ => return None,
    })
}

fn behavior(field: &FieldDescriptor) -> Vec<i32> {
    let Some(option) = slipway_proto::pool().get_extension_by_name("google.api.field_behavior") else {
        return Vec::new();
    };
    let options = field.options();
    let value = options.get_extension(&option);
    value.as_list().unwrap_or_default().iter().filter_map(prost_reflect::Value::as_enum_number).collect()
}

/// The comment above a declaration.
pub(super) fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let info = file.source_code_info.iter().flat_map(|info| &info.location);
    let found = info.into_iter().find(|location| location.path == path);
    found.and_then(|location| location.leading_comments.as_deref()).map(str::trim).unwrap_or_default().to_owned()
}
