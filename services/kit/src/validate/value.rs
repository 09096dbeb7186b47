//! Options of one value to its plan: strings, bytes, enumerations, numbers, durations.
//!
//! Owns which option of a value type means which rule; refuses an option it does not know by name.
use prost_reflect::{DynamicMessage, Kind, Value};
use regex::RegexBuilder;

use super::compile::{Ignore, ValuePlan, bound, done, int_of, list_of_ints, list_of_texts, push_range};
use super::rule::{Form, Range, Rule};

/// Largest compiled pattern in bytes (SAFE-56).
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl ValuePlan {
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, ignore: Ignore::Never, rules: Vec::new(), defined_only: false }
    }

    /// Takes the rules of a `FieldRules`, except those named in `handled`; answers what it does not know.
    pub(super) fn read(&mut self, place: &str, rules: &DynamicMessage, handled: &[&str]) -> Vec<String> {
        let mut unknown = Vec::new();
        for (option, value) in rules.fields().filter(|(option, _)| !handled.contains(&option.name())) {
            let read = match (option.name(), value) {
                ("ignore", Value::EnumNumber(number)) => self.ignore(*number),
                ("string", Value::Message(rules)) => self.string(rules),
                ("bytes", Value::Message(rules)) => self.bytes(rules),
                ("enum", Value::Message(rules)) => self.enumeration(rules),
                ("bool", Value::Message(rules)) => self.bool(rules),
                ("double" | "float", Value::Message(rules)) => self.float(rules),
                ("duration", Value::Message(rules)) => self.duration(rules),
                (
                    "int32" | "int64" | "uint32" | "uint64" | "sint32" | "sint64" | "fixed32" | "fixed64" | "sfixed32"
                    | "sfixed64",
                    Value::Message(rules),
                ) => self.int(rules),
                (other, _) => Err(vec![other.to_owned()]),
            };
            let kind = option.name();
            unknown.extend(read.err().unwrap_or_default().into_iter().map(|rule| format!("{place}: {kind}.{rule}")));
        }
        unknown
    }

    fn ignore(&mut self, number: i32) -> Result<(), Vec<String>> {
        self.ignore = match number {
            0 => Ignore::Never,
            1 => Ignore::IfZero,
            3 => Ignore::Always,
            other => return Err(vec![other.to_string()]),
        };
        Ok(())
    }

    fn string(&mut self, rules: &DynamicMessage) -> Result<(), Vec<String>> {
        let (mut chars, mut bytes) = (Range::default(), Range::default());
        let mut unknown = Vec::new();
        for (option, value) in rules.fields() {
            let text = || value.as_str().unwrap_or_default().to_owned();
            match option.name() {
                "len" => chars = Range::only(value.as_u64().unwrap_or_default()),
                "min_len" => chars.low = value.as_u64().map(|n| (n, true)),
                "max_len" => chars.high = value.as_u64().map(|n| (n, true)),
                "len_bytes" => bytes = Range::only(value.as_u64().unwrap_or_default()),
                "min_bytes" => bytes.low = value.as_u64().map(|n| (n, true)),
                "max_bytes" => bytes.high = value.as_u64().map(|n| (n, true)),
                "const" => self.rules.push(Rule::OneOf(vec![text()])),
                "in" => self.rules.push(Rule::OneOf(list_of_texts(value))),
                "not_in" => self.rules.push(Rule::NoneOf(list_of_texts(value))),
                "prefix" => self.rules.push(Rule::Prefix(text())),
                "suffix" => self.rules.push(Rule::Suffix(text())),
                "contains" => self.rules.push(Rule::Contains(text())),
                "not_contains" => self.rules.push(Rule::NotContains(text())),
                "pattern" => match RegexBuilder::new(&text()).size_limit(PATTERN_BYTES_MAX).build() {
                    Ok(pattern) => self.rules.push(Rule::Pattern(pattern)),
                    Err(error) => unknown.push(format!("pattern ({error})")),
                },
                "uuid" => self.form(value, Form::Uuid),
                "hostname" => self.form(value, Form::Hostname),
                "ip" => self.form(value, Form::Ip),
                "uri" => self.form(value, Form::Uri),
                "example" => {}
                other => unknown.push(other.to_owned()),
            }
        }
        push_range(&mut self.rules, &mut unknown, chars, Rule::Chars);
        push_range(&mut self.rules, &mut unknown, bytes, Rule::Bytes);
        done(unknown)
    }

    fn form(&mut self, value: &Value, form: Form) {
        if value.as_bool() == Some(true) {
            self.rules.push(Rule::Form(form));
        }
    }

    fn bytes(&mut self, rules: &DynamicMessage) -> Result<(), Vec<String>> {
        let mut range = Range::default();
        let mut unknown = Vec::new();
        for (option, value) in rules.fields() {
            match option.name() {
                "len" => range = Range::only(value.as_u64().unwrap_or_default()),
                "min_len" => range.low = value.as_u64().map(|n| (n, true)),
                "max_len" => range.high = value.as_u64().map(|n| (n, true)),
                "example" => {}
                other => unknown.push(other.to_owned()),
            }
        }
        push_range(&mut self.rules, &mut unknown, range, Rule::Bytes);
        done(unknown)
    }

    fn enumeration(&mut self, rules: &DynamicMessage) -> Result<(), Vec<String>> {
        let mut unknown = Vec::new();
        for (option, value) in rules.fields() {
            match option.name() {
                "defined_only" => self.defined_only = value.as_bool().unwrap_or(false),
                "const" => self.rules.push(Rule::IntOneOf(int_of(value).into_iter().collect())),
                "in" => self.rules.push(Rule::IntOneOf(list_of_ints(value))),
                "not_in" => self.rules.push(Rule::IntNoneOf(list_of_ints(value))),
                "example" => {}
                other => unknown.push(other.to_owned()),
            }
        }
        done(unknown)
    }

    fn bool(&mut self, rules: &DynamicMessage) -> Result<(), Vec<String>> {
        let mut unknown = Vec::new();
        for (option, value) in rules.fields() {
            match option.name() {
                "const" => self.rules.push(Rule::Bool(value.as_bool().unwrap_or_default())),
                "example" => {}
                other => unknown.push(other.to_owned()),
            }
        }
        done(unknown)
    }

    fn int(&mut self, rules: &DynamicMessage) -> Result<(), Vec<String>> {
        let mut range = Range::default();
        let mut unknown = Vec::new();
        for (option, value) in rules.fields() {
            match option.name() {
                "in" => self.rules.push(Rule::IntOneOf(list_of_ints(value))),
                "not_in" => self.rules.push(Rule::IntNoneOf(list_of_ints(value))),
                "example" => {}
                name => {
                    if !bound(&mut range, name, int_of(value)) {
                        unknown.push(name.to_owned());
                    }
                }
            }
        }
        push_range(&mut self.rules, &mut unknown, range, Rule::Int);
        done(unknown)
    }

    fn float(&mut self, rules: &DynamicMessage) -> Result<(), Vec<String>> {
        let mut range = Range::default();
        let mut unknown = Vec::new();
        for (option, value) in rules.fields() {
            match option.name() {
                "finite" if value.as_bool() == Some(true) => self.rules.push(Rule::Finite),
                "finite" | "example" => {}
                name => {
                    let number = value.as_f64().or_else(|| value.as_f32().map(f64::from));
                    if !bound(&mut range, name, number) {
                        unknown.push(name.to_owned());
                    }
                }
            }
        }
        push_range(&mut self.rules, &mut unknown, range, Rule::Float);
        done(unknown)
    }

    fn duration(&mut self, rules: &DynamicMessage) -> Result<(), Vec<String>> {
        let mut range = Range::default();
        let mut unknown = Vec::new();
        for (option, value) in rules.fields() {
            let nanos = value.as_message().map(|message| {
                let part = |name: &str| message.get_field_by_name(name).and_then(|v| int_of(&v)).unwrap_or_default();
                part("seconds") * 1_000_000_000 + part("nanos")
            });
            match option.name() {
                "example" => {}
                name => {
                    if !bound(&mut range, name, nanos) {
                        unknown.push(name.to_owned());
                    }
                }
            }
        }
        push_range(&mut self.rules, &mut unknown, range, Rule::Nanos);
        done(unknown)
    }
}
