//! Rules against values: a table over one contract made here, and the promise that ours hold nothing unknown.
#![allow(clippy::unwrap_used)]

use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value as Json, json};

use super::compile::Plans;

const CONTRACT: &str = r#"
syntax = "proto3";
package t;
import "buf/validate/validate.proto";
import "google/protobuf/duration.proto";
enum Color { COLOR_UNSPECIFIED = 0; COLOR_RED = 1; }
message Inner { string name = 1 [(buf.validate.field).string = {min_len: 1, max_len: 3}]; Inner next = 2; }
message Outer {
  string name = 1 [(buf.validate.field).string = {min_len: 2, max_len: 5, pattern: "^[a-zü]*$"}];
  string id = 2 [(buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE, (buf.validate.field).string.uuid = true];
  string word = 3 [(buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE, (buf.validate.field).string = {in: ["a", "b"]}];
  int32 size = 4 [(buf.validate.field).int32 = {gte: 0, lt: 10}];
  double share = 5 [(buf.validate.field).double = {gte: 0, lte: 1, finite: true}];
  bytes body = 6 [(buf.validate.field).bytes.max_len = 2];
  Color color = 7 [(buf.validate.field).enum.defined_only = true];
  Color must = 8 [(buf.validate.field).required = true, (buf.validate.field).enum.not_in = 0];
  Color stated = 60 [(buf.validate.field).enum.not_in = 0];
  repeated string tags = 9 [(buf.validate.field).repeated = {max_items: 2, unique: true, items: {string: {max_len: 2}}}];
  map<string, string> labels = 10 [(buf.validate.field).map = {
    max_pairs: 2, keys: {string: {max_len: 1}}, values: {string: {min_len: 1}}}];
  Inner inner = 11;
  repeated Inner list = 12;
  google.protobuf.Duration ttl = 13 [(buf.validate.field).duration = {gte: {seconds: 1}, lte: {seconds: 60}}];
  optional int64 maybe = 14 [(buf.validate.field).int64.gt = 5];
  oneof pick { option (buf.validate.oneof).required = true; string left = 15; string right = 16; }
  map<string, Inner> held = 17;
}
message Odd { string address = 1 [(buf.validate.field).string.email = true]; }
message Free { string anything = 1; }
"#;

fn pool() -> DescriptorPool {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t.proto"), CONTRACT).unwrap();
    let third_party = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/third_party");
    let mut compiler = protox::Compiler::new([dir.path(), std::path::Path::new(third_party)]).unwrap();
    compiler.include_imports(true).open_file("t.proto").unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

fn sound() -> Json {
    json!({"name": "abc", "must": "COLOR_RED", "stated": "COLOR_RED", "left": "x"})
}

fn found(change: Json) -> Vec<String> {
    let pool = pool();
    let mut body = sound();
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    if change.get("right").is_some() && change.get("left").is_none() {
        body.as_object_mut().unwrap().remove("left");
    }
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let message = DynamicMessage::deserialize(pool.get_message_by_name("t.Outer").unwrap(), body).unwrap();
    // Through the wire, as a request comes.
    let message = DynamicMessage::decode(message.descriptor_of(), message.encode_to_vec().as_slice()).unwrap();
    let found = super::violations(&Plans::compile(&pool), &message).unwrap();
    match found.finish() {
        Ok(()) => Vec::new(),
        Err(error) => error.to_string().split("; ").skip(1).map(str::to_owned).collect(),
    }
}

trait DescriptorOf {
    fn descriptor_of(&self) -> prost_reflect::MessageDescriptor;
}

impl DescriptorOf for DynamicMessage {
    fn descriptor_of(&self) -> prost_reflect::MessageDescriptor {
        prost_reflect::ReflectMessage::descriptor(self)
    }
}

#[test]
fn a_sound_message_has_no_violation() {
    assert_eq!(found(json!({})), Vec::<String>::new());
    let full = json!({
        "name": "üüüüü", "id": "0198c0de-0000-7000-8000-000000000000", "word": "b", "size": 9, "share": 1.0, "body": "AAA=",
        "color": "COLOR_RED", "tags": ["a", "b"], "labels": {"k": "v"}, "inner": {"name": "x"}, "ttl": "60s", "maybe": "6",
        "held": {"k": {"name": "x"}}
    });
    assert_eq!(found(full), Vec::<String>::new());
}

#[test]
fn each_rule_names_its_field_and_itself() {
    let cases = [
        (json!({"name": "a"}), "name: must have at least 2 and at most 5 characters"),
        (json!({"name": "ABC"}), "name: must match `^[a-zü]*$`"),
        (json!({"id": "no"}), "id: must be a UUID"),
        (json!({"id": "0198c0de000070008000000000000000"}), "id: must be a UUID"),
        (json!({"word": "c"}), "word: must be one of: a, b"),
        (json!({"size": 10}), "size: must be at least 0 and less than 10"),
        (json!({"size": -1}), "size: must be at least 0 and less than 10"),
        (json!({"share": 1.5}), "share: must be at least 0 and at most 1"),
        (json!({"body": "AAAA"}), "body: must have at most 2 bytes"),
        (json!({"color": 7}), "color: must be a value of the enumeration"),
        (json!({"must": null}), "must: is required"),
        (json!({"stated": null}), "stated: must be stated"),
        (json!({"tags": ["a", "b", "c"]}), "tags: must have at most 2 items"),
        (json!({"tags": ["a", "a"]}), "tags: must not hold an item twice"),
        (json!({"tags": ["a", "long"]}), "tags[1]: must have at most 2 characters"),
        (json!({"labels": {"kk": "v"}}), "labels[\"kk\"]: must have at most 1 characters"),
        (json!({"labels": {"k": ""}}), "labels[\"k\"]: must have at least 1 characters"),
        (
            json!({"inner": {"next": {"name": "long"}, "name": "x"}}),
            "inner.next.name: must have at least 1 and at most 3 characters",
        ),
        (json!({"list": [{"name": "x"}, {}]}), "list[1].name: must have at least 1 and at most 3 characters"),
        (json!({"held": {"k": {}}}), "held[\"k\"].name: must have at least 1 and at most 3 characters"),
        (json!({"ttl": "61s"}), "ttl: must be at least 1s and at most 60s"),
        (json!({"ttl": "0.5s"}), "ttl: must be at least 1s and at most 60s"),
        (json!({"maybe": "0"}), "maybe: must be more than 5"),
        (json!({"left": null}), "pick: exactly one must be set of: left, right"),
    ];
    for (change, wanted) in cases {
        assert_eq!(found(change.clone()), [wanted], "{change}");
    }
}

#[test]
fn nan_and_infinity_are_no_share() {
    assert_eq!(found(json!({"share": "NaN"})).len(), 2);
    assert_eq!(found(json!({"share": "Infinity"})).len(), 2);
}

#[test]
fn all_violations_come_at_once() {
    let all = found(json!({"name": "", "size": 99, "color": 9, "ttl": "0s", "left": null}));
    assert_eq!(all.len(), 5, "{all:?}");
}

#[test]
fn depth_is_limited() {
    let pool = pool();
    let inner = pool.get_message_by_name("t.Inner").unwrap();
    let mut message = DynamicMessage::new(inner.clone());
    for _ in 0..150 {
        let mut outer = DynamicMessage::new(inner.clone());
        outer.set_field_by_name("next", prost_reflect::Value::Message(message));
        outer.set_field_by_name("name", prost_reflect::Value::String("x".into()));
        message = outer;
    }
    assert!(super::violations(&Plans::compile(&pool), &message).is_err());
}

#[test]
fn an_unknown_rule_is_reported_and_refuses_the_message() {
    let pool = pool();
    assert_eq!(super::unsupported(&pool), ["t.Odd.address: string.email"]);
    let odd = DynamicMessage::new(pool.get_message_by_name("t.Odd").unwrap());
    assert!(super::violations(&Plans::compile(&pool), &odd).is_err());
}

#[test]
fn messages_without_rules_are_not_walked() {
    let plans = Plans::compile(&pool());
    assert!(!plans.concerns("t.Free"));
    assert!(plans.concerns("t.Outer"));
}

#[test]
fn our_contracts_hold_no_unknown_rule() {
    assert_eq!(super::unsupported(slipway_proto::pool()), Vec::<String>::new());
}

#[test]
fn a_typed_request_is_checked() {
    use slipway_proto::access::v1::ResolveOwnerRequest;
    assert!(super::check(&ResolveOwnerRequest { r#ref: "component:default/x".into() }).is_ok());
    let error = super::check(&ResolveOwnerRequest::default()).unwrap_err();
    assert!(error.is(&crate::error::INVALID_FIELD));
}
