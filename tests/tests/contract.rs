//! The contracts against AIP and our own rules, read from the descriptors.
//!
//! Owns what api-linter would check and what access, validation and REST need. Refuses an RPC or field that breaks a rule.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, MethodDescriptor, Value};

fn methods() -> Vec<MethodDescriptor> {
    let services = slipway_proto::pool().services().filter(|s| s.full_name().starts_with("slipway."));
    services.flat_map(|s| s.methods().collect::<Vec<_>>()).collect()
}

fn messages() -> Vec<MessageDescriptor> {
    slipway_proto::pool()
        .all_messages()
        .filter(|m| m.full_name().starts_with("slipway.") && !m.is_map_entry())
        .collect()
}

fn none(what: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{what}:\n  {}", offences.join("\n  "));
}

fn option(options: &DynamicMessage, name: &str) -> Option<Value> {
    let extension = slipway_proto::pool().get_extension_by_name(name).unwrap();
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

fn rule(method: &MethodDescriptor) -> Option<DynamicMessage> {
    option(&method.options(), "slipway.access.v1.rule").map(|v| v.as_message().unwrap().clone())
}

fn number(rule: &DynamicMessage, field: &str) -> i32 {
    rule.get_field_by_name(field).unwrap().as_enum_number().unwrap()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).unwrap().as_str().unwrap().to_owned()
}

fn words(message: &DynamicMessage, field: &str) -> Vec<String> {
    let value = message.get_field_by_name(field).unwrap();
    value.as_list().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

const SCOPE_INTERNAL: i32 = 6;
const AUDIT_MUTATION: i32 = 2;

fn is_internal(method: &MethodDescriptor) -> bool {
    rule(method).is_some_and(|r| number(&r, "scope") == SCOPE_INTERNAL)
}

#[test]
fn every_rpc_has_a_whole_access_rule() {
    assert!(methods().len() > 40, "the contracts are there");
    let mut offences = Vec::new();
    for method in methods() {
        let name = method.full_name().to_owned();
        let Some(rule) = rule(&method) else {
            offences.push(format!("{name}: no rule"));
            continue;
        };
        for field in ["scope", "audit", "class", "deadline"] {
            if number(&rule, field) == 0 {
                offences.push(format!("{name}: {field} is not stated"));
            }
        }
        let permission = text(&rule, "permission");
        if permission.split('.').count() != 2
            || !permission.chars().all(|c| c.is_ascii_lowercase() || c == '.' || c == '_')
        {
            offences.push(format!("{name}: permission {permission:?} is not <noun>.<verb>"));
        }
        let callers = words(&rule, "callers");
        if callers.is_empty() || (!is_internal(&method) && !callers.contains(&"gateway".to_owned())) {
            offences.push(format!("{name}: callers {callers:?}"));
        }
        let resource = text(&rule, "resource");
        if !resource.is_empty() && method.input().get_field_by_name(&resource).is_none() {
            offences.push(format!("{name}: resource field {resource:?} does not exist"));
        }
    }
    none("an access rule is missing or broken", offences);
}

#[test]
fn every_public_unary_rpc_has_a_rest_path_of_its_own() {
    let mut offences = Vec::new();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for method in methods() {
        let http = option(&method.options(), "google.api.http");
        let streams = method.is_client_streaming() || method.is_server_streaming();
        match (http, streams || is_internal(&method)) {
            (None, false) => offences.push(format!("{}: no google.api.http", method.full_name())),
            (Some(_), true) => {
                offences.push(format!("{}: streams and INTERNAL calls have no REST path", method.full_name()))
            }
            (Some(http), false) => {
                let http = http.as_message().unwrap().clone();
                let verbs = ["get", "put", "post", "delete", "patch"];
                let bound = verbs.into_iter().find(|verb| !text(&http, verb).is_empty());
                let Some(verb) = bound else {
                    offences.push(format!("{}: no HTTP verb", method.full_name()));
                    continue;
                };
                if let Some(other) =
                    taken.insert(format!("{verb} {}", text(&http, verb)), method.full_name().to_owned())
                {
                    offences.push(format!("{} and {other}: the same REST path", method.full_name()));
                }
            }
            (None, true) => {}
        }
    }
    none("REST annotations", offences);
}

#[test]
fn every_change_can_be_repeated_safely() {
    let mut offences = Vec::new();
    for method in methods().into_iter().filter(|m| !is_internal(m)) {
        let mutates = number(&rule(&method).unwrap(), "audit") == AUDIT_MUTATION;
        let has_id = method.input().get_field_by_name("request_id").is_some();
        // A batch of facts carries an idempotency key per event instead (MET-13).
        let keyed = method.name() == "IngestEvents";
        if mutates && !has_id && !keyed && !method.is_client_streaming() {
            offences.push(format!("{}: a mutation without request_id", method.full_name()));
        }
    }
    none("request_id", offences);
}

#[test]
fn lists_page() {
    let mut offences = Vec::new();
    for method in methods().into_iter().filter(|m| m.name().starts_with("List") && !is_internal(m)) {
        // The list of built-in actions is short and fixed.
        if method.name() == "ListActions" {
            continue;
        }
        for field in ["page_size", "page_token"] {
            if method.input().get_field_by_name(field).is_none() {
                offences.push(format!("{}: no {field}", method.full_name()));
            }
        }
        if method.output().get_field_by_name("next_page_token").is_none() {
            offences.push(format!("{}: no next_page_token", method.full_name()));
        }
    }
    none("lists", offences);
}

fn behaviors(field: &FieldDescriptor) -> BTreeSet<i32> {
    let Some(value) = option(&field.options(), "google.api.field_behavior") else { return BTreeSet::new() };
    value.as_list().unwrap().iter().filter_map(Value::as_enum_number).collect()
}

#[test]
fn every_field_states_its_behavior() {
    let mut offences = Vec::new();
    let options = ["slipway.access.v1.Rule", "slipway.access.v1.WebhookSubscription"];
    for message in messages().iter().filter(|m| !options.contains(&m.full_name())) {
        for field in message.fields().filter(|f| behaviors(f).is_empty()) {
            offences.push(format!("{}.{}", message.full_name(), field.name()));
        }
    }
    none("google.api.field_behavior is missing", offences);
}

#[test]
fn server_owned_fields_are_output_only() {
    const OUTPUT_ONLY: i32 = 3;
    let mut offences = Vec::new();
    for message in messages() {
        // A message with both a name and a uid is a resource.
        if message.get_field_by_name("uid").is_none() || message.name().ends_with("Request") {
            continue;
        }
        for name in ["uid", "create_time", "update_time", "delete_time", "state"] {
            if let Some(field) = message.get_field_by_name(name)
                && !behaviors(&field).contains(&OUTPUT_ONLY)
            {
                offences.push(format!("{}.{name}", message.full_name()));
            }
        }
    }
    none("the server owns these fields", offences);
}

#[test]
fn secrets_are_marked_and_rare() {
    let places = ["PutSecret", "RevealSecret", "CreateToken", "IssueAssertion"];
    let extension = slipway_proto::pool().get_extension_by_name("slipway.access.v1.secret").unwrap();
    let mut offences = Vec::new();
    let mut seen = 0;
    for message in messages() {
        for field in message.fields().filter(|f| f.options().has_extension(&extension)) {
            seen += 1;
            let redacted = field.options().get_field_by_name("debug_redact").is_some_and(|v| v.as_bool() == Some(true));
            if !redacted || !places.iter().any(|place| message.name().starts_with(place)) {
                offences.push(format!("{}.{}", message.full_name(), field.name()));
            }
        }
    }
    assert!(seen > 0, "the contracts carry secrets somewhere");
    none("a secret field stands where none may, or is not redacted", offences);
}

#[test]
fn nothing_measures_people() {
    let words = ["author", "reviewer", "committer", "assignee", "person", "user"];
    let mut offences = Vec::new();
    // A correction is an act, kept with its author and reason (MET-47); it is no measure.
    let measures = |m: &&MessageDescriptor| m.full_name().starts_with("slipway.metrics.") && m.name() != "Correction";
    for message in messages().iter().filter(measures) {
        for field in message.fields().filter(|f| f.name() != "author_kind") {
            if words.iter().any(|word| field.name().split('_').any(|part| part == *word)) {
                offences.push(format!("{}.{}", message.full_name(), field.name()));
            }
        }
    }
    none("metrics keep no person (MET-2)", offences);
}

#[test]
fn every_field_rule_is_understood() {
    none("field rules that nothing evaluates", slipway_kit::validate::unsupported(slipway_proto::pool()));
}
