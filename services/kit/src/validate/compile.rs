//! Options to plans: reads `buf.validate` from the descriptors once and notes every rule that is not understood.
//!
//! Owns the list of supported rules; refuses to skip an unknown one silently.

use std::collections::{HashMap, HashSet};

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};

use super::rule::{Range, Rule};

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
        let plan =
            FieldPlan { descriptor, required: false, size_min: None, size_max: None, unique: false, keys: None, value };
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

/// Sets the bound that the option names; false if it names none.
pub(super) fn bound<T: PartialOrd + Copy>(range: &mut Range<T>, option: &str, value: Option<T>) -> bool {
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
pub(super) fn push_range<T: PartialOrd + Copy>(
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

pub(super) fn done(unknown: Vec<String>) -> Result<(), Vec<String>> {
    if unknown.is_empty() { Ok(()) } else { Err(unknown) }
}

fn extension(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Option<DynamicMessage> {
    if !options.has_extension(extension) {
        return None;
    }
    options.get_extension(extension).as_message().cloned()
}

pub(super) fn truth(message: &DynamicMessage, field: &str) -> bool {
    message.get_field_by_name(field).and_then(|value| value.as_bool()).unwrap_or(false)
}

pub(super) fn texts(message: &DynamicMessage, field: &str) -> Vec<String> {
    message.get_field_by_name(field).map(|value| list_of_texts(&value)).unwrap_or_default()
}

pub(super) fn list_of_texts(value: &Value) -> Vec<String> {
    value.as_list().unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(super) fn list_of_ints(value: &Value) -> Vec<i128> {
    value.as_list().unwrap_or_default().iter().filter_map(int_of).collect()
}

pub(super) fn int_of(value: &Value) -> Option<i128> {
    match value {
        Value::I32(n) | Value::EnumNumber(n) => Some(i128::from(*n)),
        Value::I64(n) => Some(i128::from(*n)),
        Value::U32(n) => Some(i128::from(*n)),
        Value::U64(n) => Some(i128::from(*n)),
        _ => None,
    }
}
