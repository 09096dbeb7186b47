//! Options to plans: reads `buf.validate` from the descriptors once and notes every rule that is not understood.
//!
//! Owns the list of supported rules; refuses to skip an unknown one silently.

use std::collections::{HashMap, HashSet};

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use regex::RegexBuilder;

use super::rule::{Form, Range, Rule};

/// Largest compiled pattern in bytes (SAFE-56).
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// When a value is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ignore {
    /// Always looked at.
    Never,
    /// Not when it is the zero value.
    IfZero,
    /// Not at all.
    Always,
}

/// What one value must meet.
#[derive(Debug)]
pub(super) struct ValuePlan {
    pub(super) kind: Kind,
    pub(super) ignore: Ignore,
    pub(super) rules: Vec<Rule>,
    pub(super) defined_only: bool,
}

/// What one field must meet; `value` is each element of a list or map.
#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) descriptor: FieldDescriptor,
    pub(super) required: bool,
    pub(super) size_min: Option<u64>,
    pub(super) size_max: Option<u64>,
    pub(super) unique: bool,
    pub(super) keys: Option<ValuePlan>,
    pub(super) value: ValuePlan,
}

/// Fields of which at most one is set.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) fields: Vec<FieldDescriptor>,
}

/// What one message must meet.
#[derive(Debug, Default)]
pub(super) struct MessagePlan {
    pub(super) fields: Vec<FieldPlan>,
    pub(super) choices: Vec<Choice>,
    pub(super) unknown: Vec<String>,
}

/// The plans of all messages that have a rule or lead to one.
pub(super) struct Plans(HashMap<String, MessagePlan>);

impl Plans {
    /// Reads every message of the pool.
    pub(super) fn compile(pool: &DescriptorPool) -> Self {
        let Some(options) = Options::find(pool) else {
            return Self(HashMap::new());
        };
        let concerned = concerned(pool, &options);
        let plan = |message: MessageDescriptor| (message.full_name().to_owned(), options.message(&message, &concerned));
        Self(pool.all_messages().filter(|message| concerned.contains(message.full_name())).map(plan).collect())
    }

    /// Whether the message has rules, itself or in what it holds.
    pub(super) fn concerns(&self, message: &str) -> bool {
        self.0.contains_key(message)
    }

    /// The plan of a message.
    pub(super) fn of(&self, message: &str) -> Option<&MessagePlan> {
        self.0.get(message)
    }

    /// All rules that are not understood.
    pub(super) fn unsupported(&self) -> Vec<String> {
        let mut all: Vec<String> = self.0.values().flat_map(|plan| plan.unknown.iter().cloned()).collect();
        all.sort();
        all
    }
}

/// Names of messages that carry a rule or hold, however deep, one that does.
fn concerned(pool: &DescriptorPool, options: &Options) -> HashSet<String> {
    let own = |m: &MessageDescriptor| {
        m.options().has_extension(&options.message)
            || m.oneofs().any(|oneof| oneof.options().has_extension(&options.oneof))
            || m.fields().any(|field| field.options().has_extension(&options.field))
    };
    // The rules themselves are described with rules; they are not part of any request.
    let relevant: Vec<MessageDescriptor> =
        pool.all_messages().filter(|m| !m.full_name().starts_with("buf.validate.")).collect();
    let mut found: HashSet<String> = relevant.iter().filter(|m| own(m)).map(|m| m.full_name().to_owned()).collect();
    loop {
        let before = found.len();
        for message in &relevant {
            let leads = message.fields().any(|field| held(&field).is_some_and(|name| found.contains(&name)));
            if leads {
                found.insert(message.full_name().to_owned());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Full name of the message a field holds, also as element or map value.
fn held(field: &FieldDescriptor) -> Option<String> {
    match element_kind(field) {
        Kind::Message(message) => Some(message.full_name().to_owned()),
        _ => None,
    }
}

fn element_kind(field: &FieldDescriptor) -> Kind {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    }
}

/// The extensions that carry rules.
struct Options {
    field: ExtensionDescriptor,
    message: ExtensionDescriptor,
    oneof: ExtensionDescriptor,
}

impl Options {
    fn find(pool: &DescriptorPool) -> Option<Self> {
        Some(Self {
            field: pool.get_extension_by_name("buf.validate.field")?,
            message: pool.get_extension_by_name("buf.validate.message")?,
            oneof: pool.get_extension_by_name("buf.validate.oneof")?,
        })
    }

    fn message(&self, message: &MessageDescriptor, concerned: &HashSet<String>) -> MessagePlan {
        let mut plan = MessagePlan::default();
        if let Some(rules) = extension(&message.options(), &self.message) {
            self.choices(message, &rules, &mut plan);
        }
        for oneof in message.oneofs() {
            let Some(rules) = extension(&oneof.options(), &self.oneof) else { continue };
            let required = truth(&rules, "required");
            plan.choices.push(Choice { name: oneof.name().to_owned(), required, fields: oneof.fields().collect() });
        }
        for field in message.fields() {
            let rules = extension(&field.options(), &self.field);
            let leads = held(&field).is_some_and(|name| concerned.contains(&name));
            if rules.is_none() && !leads {
                continue;
            }
            let place = format!("{}.{}", message.full_name(), field.name());
            let (field, unknown) = FieldReader::new(place, field).read(rules.as_ref());
            plan.fields.push(field);
            plan.unknown.extend(unknown);
        }
        plan
    }

    fn choices(&self, message: &MessageDescriptor, rules: &DynamicMessage, plan: &mut MessagePlan) {
        for (option, value) in rules.fields() {
            match (option.name(), value) {
                ("oneof", Value::List(list)) => {
                    for item in list.iter().filter_map(Value::as_message) {
                        let names = texts(item, "fields");
                        let fields = names.iter().filter_map(|name| message.get_field_by_name(name)).collect();
                        let name = names.join(",");
                        plan.choices.push(Choice { name, required: truth(item, "required"), fields });
                    }
                }
                (other, _) => plan.unknown.push(format!("{}: message.{other}", message.full_name())),
            }
        }
    }
}

/// Reads the options of one field.
struct FieldReader {
    place: String,
    unknown: Vec<String>,
    plan: FieldPlan,
}

impl FieldReader {
    fn new(place: String, descriptor: FieldDescriptor) -> Self {
        let value = ValuePlan::of(element_kind(&descriptor));
        let plan = FieldPlan {
            descriptor,
            required: false,
            size_min: None,
            size_max: None,
            unique: false,
            keys: None,
            value,
        };
        Self { place, unknown: Vec::new(), plan }
    }

    fn read(mut self, rules: Option<&DynamicMessage>) -> (FieldPlan, Vec<String>) {
        let Some(rules) = rules else { return (self.plan, self.unknown) };
        for (option, value) in rules.fields() {
            match (option.name(), value) {
                ("required", value) => self.plan.required = value.as_bool().unwrap_or(false),
                ("repeated", Value::Message(list)) => self.list(list),
                ("map", Value::Message(map)) => self.map(map),
                _ => {}
            }
        }
        self.unknown.extend(self.plan.value.read(&self.place, rules, &["required", "repeated", "map"]));
        (self.plan, self.unknown)
    }

    fn list(&mut self, rules: &DynamicMessage) {
        for (option, value) in rules.fields() {
            match (option.name(), value) {
                ("min_items", value) => self.plan.size_min = value.as_u64(),
                ("max_items", value) => self.plan.size_max = value.as_u64(),
                ("unique", value) => self.plan.unique = value.as_bool().unwrap_or(false),
                ("items", Value::Message(items)) => {
                    self.unknown.extend(self.plan.value.read(&self.place, items, &[]));
                }
                (other, _) => self.unknown.push(format!("{}: repeated.{other}", self.place)),
            }
        }
    }

    fn map(&mut self, rules: &DynamicMessage) {
        for (option, value) in rules.fields() {
            match (option.name(), value) {
                ("min_pairs", value) => self.plan.size_min = value.as_u64(),
                ("max_pairs", value) => self.plan.size_max = value.as_u64(),
                ("values", Value::Message(values)) => {
                    self.unknown.extend(self.plan.value.read(&self.place, values, &[]));
                }
                ("keys", Value::Message(keys)) => {
                    let Kind::Message(entry) = self.plan.descriptor.kind() else { continue };
                    let mut plan = ValuePlan::of(entry.map_entry_key_field().kind());
                    self.unknown.extend(plan.read(&self.place, keys, &[]));
                    self.plan.keys = Some(plan);
                }
                (other, _) => self.unknown.push(format!("{}: map.{other}", self.place)),
            }
        }
    }
}

impl ValuePlan {
    fn of(kind: Kind) -> Self {
        Self { kind, ignore: Ignore::Never, rules: Vec::new(), defined_only: false }
    }

    /// Takes the rules of a `FieldRules`, except those named in `handled`; answers what it does not know.
    fn read(&mut self, place: &str, rules: &DynamicMessage, handled: &[&str]) -> Vec<String> {
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

/// Sets the bound that the option names; false if it names none.
fn bound<T: PartialOrd + Copy>(range: &mut Range<T>, option: &str, value: Option<T>) -> bool {
    let Some(value) = value else { return false };
    match option {
        "const" => *range = Range::only(value),
        "gt" => range.low = Some((value, false)),
        "gte" => range.low = Some((value, true)),
        "lt" => range.high = Some((value, false)),
        "lte" => range.high = Some((value, true)),
        _ => return false,
    }
    true
}

/// Adds the range as a rule; the "outside of" meaning of crossed bounds is not supported.
fn push_range<T: PartialOrd + Copy>(
    rules: &mut Vec<Rule>,
    unknown: &mut Vec<String>,
    range: Range<T>,
    rule: fn(Range<T>) -> Rule,
) {
    if !range.is_possible() {
        unknown.push("crossed bounds".to_owned());
    } else if !range.is_open() {
        rules.push(rule(range));
    }
}

fn done(unknown: Vec<String>) -> Result<(), Vec<String>> {
    if unknown.is_empty() { Ok(()) } else { Err(unknown) }
}

fn extension(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Option<DynamicMessage> {
    if !options.has_extension(extension) {
        return None;
    }
    options.get_extension(extension).as_message().cloned()
}

fn truth(message: &DynamicMessage, field: &str) -> bool {
    message.get_field_by_name(field).and_then(|value| value.as_bool()).unwrap_or(false)
}

fn texts(message: &DynamicMessage, field: &str) -> Vec<String> {
    message.get_field_by_name(field).map(|value| list_of_texts(&value)).unwrap_or_default()
}

fn list_of_texts(value: &Value) -> Vec<String> {
    value.as_list().unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn list_of_ints(value: &Value) -> Vec<i128> {
    value.as_list().unwrap_or_default().iter().filter_map(int_of).collect()
}

fn int_of(value: &Value) -> Option<i128> {
    match value {
        Value::I32(n) | Value::EnumNumber(n) => Some(i128::from(*n)),
        Value::I64(n) => Some(i128::from(*n)),
        Value::U32(n) => Some(i128::from(*n)),
        Value::U64(n) => Some(i128::from(*n)),
        _ => None,
    }
}
