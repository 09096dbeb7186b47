//! The walk over one message: applies each field's plan and keeps the path of every violation.
//!
//! Owns presence, nesting and paths; refuses to interpret options.

use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage, Value};

use super::compile::{FieldPlan, Ignore, Plans, ValuePlan};
use super::{DEPTH_MAX, ELEMENTS_MAX};
use crate::error::{self, Error, Result, Violations};

/// State of one walk.
pub(super) struct Walk<'a> {
    plans: &'a Plans,
    found: Violations,
    path: Vec<String>,
    elements: usize,
}

impl<'a> Walk<'a> {
    /// A walk that has found nothing.
    pub(super) fn new(plans: &'a Plans) -> Self {
        Self { plans, found: Violations::new(), path: Vec::new(), elements: 0 }
    }

    /// Every violation found.
    pub(super) fn finish(self) -> Violations {
        self.found
    }

    /// Visits a message; fails only on limits and on contracts with unknown rules.
    pub(super) fn message(&mut self, message: &DynamicMessage, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::new(&error::INVALID_FIELD, "the request is nested too deeply"));
        }
        let descriptor = message.descriptor();
        let Some(plan) = self.plans.of(descriptor.full_name()) else {
            return Ok(());
        };
        if let Some(rule) = plan.unknown.first() {
            return Err(Error::internal(format!("rule not understood: {rule}")));
        }
        for choice in &plan.choices {
            let set = choice.fields.iter().filter(|field| message.has_field(field)).count();
            let names = choice.fields.iter().map(|field| field.name().to_owned()).collect::<Vec<_>>().join(", ");
            if set > 1 {
                self.add(&choice.name, format!("only one may be set of: {names}"));
            } else if set == 0 && choice.required {
                self.add(&choice.name, format!("exactly one must be set of: {names}"));
            }
        }
        for field in &plan.fields {
            self.path.push(field.descriptor.name().to_owned());
            self.field(message, field, depth)?;
            self.path.pop();
        }
        Ok(())
    }

    fn field(&mut self, message: &DynamicMessage, plan: &FieldPlan, depth: usize) -> Result<()> {
        let set = message.has_field(&plan.descriptor);
        if plan.value.ignore == Ignore::Always {
            return Ok(());
        }
        if !set && plan.required {
            self.add("", "is required");
            return Ok(());
        }
        let skips = plan.descriptor.supports_presence() || plan.value.ignore == Ignore::IfZero;
        if !set && skips {
            return Ok(());
        }
        let value = message.get_field(&plan.descriptor);
        match value.as_ref() {
            Value::List(list) => self.list(list, plan, depth),
            Value::Map(map) => self.map(map, plan, depth),
            single => self.value(single, &plan.value, depth),
        }
    }

    fn list(&mut self, list: &[Value], plan: &FieldPlan, depth: usize) -> Result<()> {
        self.size(list.len(), plan, "items");
        if plan.unique && list.iter().enumerate().any(|(i, item)| list.iter().take(i).any(|other| other == item)) {
            self.add("", "must not hold an item twice");
        }
        // Beyond its own limit a list is not looked at further: one violation says it all.
        let most = plan.size_max.unwrap_or(u64::MAX).min(ELEMENTS_MAX as u64) as usize;
        for (i, item) in list.iter().take(most).enumerate() {
            self.step(format!("[{i}]"), |walk| walk.item(item, &plan.value, depth))?;
        }
        Ok(())
    }

    fn map(&mut self, map: &std::collections::HashMap<MapKey, Value>, plan: &FieldPlan, depth: usize) -> Result<()> {
        self.size(map.len(), plan, "entries");
        let most = plan.size_max.unwrap_or(u64::MAX).min(ELEMENTS_MAX as u64) as usize;
        let mut entries: Vec<(String, &MapKey, &Value)> =
            map.iter().take(most).map(|(key, value)| (key_text(key), key, value)).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (text, key, value) in entries {
            self.step(format!("[{text}]"), |walk| {
                if let Some(keys) = &plan.keys {
                    walk.item(&Value::from(key.clone()), keys, depth)?;
                }
                walk.item(value, &plan.value, depth)
            })?;
        }
        Ok(())
    }

    fn size(&mut self, len: usize, plan: &FieldPlan, what: &str) {
        if plan.size_min.is_some_and(|min| (len as u64) < min) {
            self.add("", format!("must have at least {} {what}", plan.size_min.unwrap_or_default()));
        }
        if plan.size_max.is_some_and(|max| len as u64 > max) {
            self.add("", format!("must have at most {} {what}", plan.size_max.unwrap_or_default()));
        }
    }

    /// An element of a list or map: zero counts as a value unless told otherwise.
    fn item(&mut self, value: &Value, plan: &ValuePlan, depth: usize) -> Result<()> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(Error::new(&error::INVALID_FIELD, "the request has too many elements"));
        }
        let ignored = match plan.ignore {
            Ignore::Always => true,
            Ignore::IfZero => value.is_default(&plan.kind),
            Ignore::Never => false,
        };
        if ignored { Ok(()) } else { self.value(value, plan, depth) }
    }

    fn value(&mut self, value: &Value, plan: &ValuePlan, depth: usize) -> Result<()> {
        if let Value::Message(message) = value {
            if let Some(nanos) = nanos(message) {
                self.judge(plan, |rule| rule.holds_nanos(nanos));
                return Ok(());
            }
            return self.message(message, depth + 1);
        }
        match value {
            Value::String(text) => self.judge(plan, |rule| rule.holds_text(text)),
            Value::Bytes(bytes) => self.judge(plan, |rule| rule.holds_bytes(bytes.len())),
            Value::Bool(truth) => self.judge(plan, |rule| rule.holds_bool(*truth)),
            Value::F32(number) => self.judge(plan, |rule| rule.holds_float(f64::from(*number))),
            Value::F64(number) => self.judge(plan, |rule| rule.holds_float(*number)),
            Value::EnumNumber(number) => {
                self.judge(plan, |rule| rule.holds_int(i128::from(*number)));
                if let (true, Kind::Enum(kind)) = (plan.defined_only, &plan.kind)
                    && kind.get_value(*number).is_none()
                {
                    self.add("", "must be a value of the enumeration");
                }
            }
            Value::I32(number) => self.judge(plan, |rule| rule.holds_int(i128::from(*number))),
            Value::I64(number) => self.judge(plan, |rule| rule.holds_int(i128::from(*number))),
            Value::U32(number) => self.judge(plan, |rule| rule.holds_int(i128::from(*number))),
            Value::U64(number) => self.judge(plan, |rule| rule.holds_int(i128::from(*number))),
            Value::Message(_) | Value::List(_) | Value::Map(_) => {}
        }
        Ok(())
    }

    fn judge(&mut self, plan: &ValuePlan, holds: impl Fn(&super::rule::Rule) -> bool) {
        for rule in plan.rules.iter().filter(|rule| !holds(rule)) {
            self.add("", rule.to_string());
        }
    }

    fn step(&mut self, index: String, then: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.path.push(index);
        then(self)?;
        self.path.pop();
        Ok(())
    }

    fn add(&mut self, child: &str, rule: impl Into<String>) {
        let mut path = String::new();
        for part in self.path.iter().map(String::as_str).chain(std::iter::once(child)).filter(|part| !part.is_empty()) {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        self.found.add(path, rule);
    }
}

fn nanos(message: &DynamicMessage) -> Option<i128> {
    if message.descriptor().full_name() != "google.protobuf.Duration" {
        return None;
    }
    let seconds = message.get_field_by_name("seconds")?.as_i64()?;
    let nanos = message.get_field_by_name("nanos")?.as_i32()?;
    Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => format!("{key:?}"),
    }
}
