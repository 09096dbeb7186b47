//! The OpenAPI 3 document, derived from the descriptors: paths, parameters, bodies, answers, comments.
//!
//! Refuses anything written by hand: what is wrong here is wrong in the contract.

mod schema;

use prost_reflect::{FieldDescriptor, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{
    methods::{Method, Methods},
    rest::{BodyRule, Route, bindings},
};
use schema::{Schemas, comment};

/// The document of these methods.
pub(super) fn document(methods: &Methods) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut schemas = Schemas::default();
    let mut sorted: Vec<&Method> = methods.iter().filter(|m| m.is_unary()).collect();
    sorted.sort_by_key(|m| m.rule.method.as_str());
    for method in sorted {
        for (at, route) in bindings(method).unwrap_or_default().iter().enumerate() {
            let place = paths.entry(route.template.openapi()).or_insert_with(|| json!({}));
            place[route.verb.as_str().to_ascii_lowercase()] = operation(method, route, at, &mut schemas);
        }
    }
    schemas.need("google.rpc.Status");
    json!({
        "openapi": "3.0.3",
        "info": { "title": "Slipway", "version": "v1", "description": "Derived from the contracts in proto/." },
        "paths": paths,
        "components": {
            "schemas": schemas.render(),
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "bearer": [] }],
    })
}

fn operation(method: &Method, route: &Route, at: usize, schemas: &mut Schemas) -> Value {
    let d = &method.descriptor;
    let suffix = if at == 0 { String::new() } else { format!("_{}", at + 1) };
    let service = d.parent_service();
    let text = comment(d.parent_service().parent_file().file_descriptor_proto(), d.path());
    let mut operation = json!({
        "operationId": format!("{}_{}{suffix}", service.name(), d.name()),
        "tags": [service.name()],
        "summary": text.lines().next().unwrap_or_default(),
        "description": text,
        "parameters": parameters(&d.input(), route, schemas),
        "responses": {
            "200": { "description": "OK", "content": content(schemas.reference(&d.output())) },
            "default": {
                "description": "An error, with its ErrorInfo among the details.",
                "content": content(json!({ "$ref": "#/components/schemas/google.rpc.Status" })),
            },
        },
    });
    let body = match &route.body {
        BodyRule::None => None,
        BodyRule::Whole => Some(schemas.reference(&d.input())),
        BodyRule::Field(name) => d.input().get_field_by_name(name).map(|field| schemas.field(&field)),
    };
    if let Some(body) = body {
        operation["requestBody"] = json!({ "required": true, "content": content(body) });
    }
    operation
}

fn content(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// Path and query parameters.
fn parameters(input: &MessageDescriptor, route: &Route, schemas: &mut Schemas) -> Value {
    let openapi = route.template.openapi();
    let wild = openapi.split('{').skip(1).filter_map(|part| part.split('}').next());
    let path = wild.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let mut all: Vec<Value> = path.collect();
    if route.body == BodyRule::Whole {
        return Value::Array(all);
    }
    let in_body = |field: &FieldDescriptor| matches!(&route.body, BodyRule::Field(name) if name == field.name());
    let in_path = |field: &FieldDescriptor| route.template.fields().any(|name| name == field.name());
    for field in input.fields().filter(|f| !in_body(f) && !in_path(f) && !f.is_map()) {
        let schema = schemas.field(&field);
        // A message without a text form cannot be a parameter.
        if schema.get("$ref").is_none() {
            let text = comment(input.parent_file().file_descriptor_proto(), field.path());
            all.push(json!({ "name": field.json_name(), "in": "query", "description": text, "schema": schema }));
        }
    }
    Value::Array(all)
}
