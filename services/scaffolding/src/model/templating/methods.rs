//! Methods of strings, lists and numbers that templates call as in JavaScript, and the small objects `cycler` and `joiner`.
//!
//! Owns the methods SCF-20 promises; refuses those that would change a list in place.
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use minijinja::value::{Object, ObjectRepr, Value};

use super::engine::Call;
use super::fault::Code;
use super::operators::contains;
use super::value::{Fail, View, equal, kind_name, list, number_text, text, to_number, view};

#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    next: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

#[derive(Debug)]
struct Joiner {
    separator: String,
    begun: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

pub(super) fn cycler(items: Vec<Value>) -> Value {
    Value::from_object(Cycler { items, next: AtomicUsize::new(0) })
}

pub(super) fn joiner(separator: String) -> Value {
    Value::from_object(Joiner { separator, begun: AtomicBool::new(false) })
}

/// A property of a loop or a cycler.
pub(super) fn property(base: &Value, name: &str) -> Option<Value> {
    if let Some(cycler) = base.downcast_object_ref::<Cycler>() {
        let next = cycler.next.load(Ordering::Relaxed);
        let current = next.checked_sub(1).and_then(|i| cycler.items.get(i % cycler.items.len().max(1)));
        return (name == "current").then(|| current.cloned().unwrap_or_else(|| Value::from(())));
    }
    let known = ["index", "index0", "revindex", "revindex0", "first", "last", "length"].contains(&name);
    base.get_attr(name).ok().filter(|v| known && !v.is_undefined())
}

/// Calls an object that is no macro: only a joiner can be.
pub(super) fn call_object(call: &Call<'_>) -> Result<Value, Fail> {
    match call.get(0).downcast_object_ref::<Joiner>() {
        Some(joiner) => {
            let begun = joiner.begun.swap(true, Ordering::Relaxed);
            Ok(Value::from(if begun { joiner.separator.as_str() } else { "" }))
        }
        None => Err(Fail::new(Code::UnknownFunction, format!("{} cannot be called", kind_name(call.get(0))))),
    }
}

/// `base.method(arguments)`: method, base, arguments.
pub(super) fn call(call: &Call<'_>) -> Result<Value, Fail> {
    let name = text(call.get(0))?;
    let base = call.get(1);
    let args = Args(&call.args[2..]);
    let found = match view(base) {
        View::Text(this) => of_text(this, &name, &args, call)?,
        View::List(this) => of_list(this, &name, &args)?,
        View::Int(_) | View::Float(_) => of_number(to_number(base), &name, &args)?,
        View::Other => of_cycler(base, &name),
        View::Bool(value) if name == "toString" => Some(Value::from(value.to_string())),
        View::Dict(dict) if name == "hasOwnProperty" => Some(Value::from(dict.get(&args.text(0)?).is_some())),
        View::Null => {
            return Err(Fail::invalid(format!("null has no method `{name}`; use the filter `default` first")));
        }
        _ => None,
    };
    found.ok_or_else(|| {
        let hint = match name.as_str() {
            "push" | "pop" | "shift" | "unshift" | "splice" | "sort" => {
                "; lists do not change, use `concat` or a filter"
            }
            "items" | "keys" | "values" => "; use `for key, value in …` or the filter `dictsort`",
            "map" | "filter" => "; use `for`, `select` or `selectattr`",
            _ => "",
        };
        Fail::new(Code::UnknownFunction, format!("{} has no method `{name}`{hint}", kind_name(base)))
    })
}

fn of_cycler(base: &Value, name: &str) -> Option<Value> {
    let cycler = base.downcast_object_ref::<Cycler>()?;
    match name {
        "next" => {
            let next = cycler.next.fetch_add(1, Ordering::Relaxed);
            Some(cycler.items.get(next % cycler.items.len().max(1)).cloned().unwrap_or_else(|| Value::from(())))
        }
        "reset" => {
            cycler.next.store(0, Ordering::Relaxed);
            Some(Value::from(()))
        }
        _ => None,
    }
}

struct Args<'a>(&'a [Value]);

impl Args<'_> {
    fn given(&self, i: usize) -> Option<&Value> {
        self.0.get(i).filter(|v| !matches!(view(v), View::Null))
    }

    fn text(&self, i: usize) -> Result<String, Fail> {
        self.given(i).map_or_else(|| Err(Fail::invalid("an argument is missing")), text)
    }

    fn text_or(&self, i: usize, default: &str) -> Result<String, Fail> {
        self.given(i).map_or_else(|| Ok(default.to_owned()), text)
    }

    fn value(&self, i: usize) -> Value {
        self.0.get(i).cloned().unwrap_or_else(|| Value::from(()))
    }

    /// An index counted from the end when negative, cut to the length.
    fn index(&self, i: usize, length: usize, default: usize) -> usize {
        let Some(value) = self.given(i) else { return default };
        let at = to_number(value);
        let at = if at < 0.0 { length as f64 + at } else { at };
        at.clamp(0.0, length as f64) as usize
    }

    /// An index as `substring` takes it: negative is 0.
    fn plain_index(&self, i: usize, length: usize, default: usize) -> usize {
        self.given(i).map_or(default, |v| to_number(v).clamp(0.0, length as f64) as usize)
    }
}

/// A part of a string by UTF-16 positions, as JavaScript counts.
pub(super) fn units(text: &str, from: usize, to: usize) -> String {
    let units: Vec<u16> = text.encode_utf16().skip(from).take(to.saturating_sub(from)).collect();
    String::from_utf16_lossy(&units)
}

/// The UTF-16 position of a byte offset.
pub(super) fn unit_at(text: &str, byte: usize) -> usize {
    text[..byte].encode_utf16().count()
}

fn position(text: &str, found: Option<usize>) -> Value {
    found.map_or_else(|| Value::from(-1), |byte| Value::from(unit_at(text, byte)))
}

fn of_text(this: &str, name: &str, args: &Args<'_>, call: &Call<'_>) -> Result<Option<Value>, Fail> {
    let length = this.encode_utf16().count();
    Ok(Some(match name {
        "toUpperCase" => Value::from(this.to_uppercase()),
        "toLowerCase" => Value::from(this.to_lowercase()),
        "trim" => Value::from(this.trim()),
        "trimStart" => Value::from(this.trim_start()),
        "trimEnd" => Value::from(this.trim_end()),
        "toString" => Value::from(this),
        "includes" => Value::from(this.contains(&args.text(0)?)),
        "startsWith" => Value::from(this.starts_with(&args.text(0)?)),
        "endsWith" => Value::from(this.ends_with(&args.text(0)?)),
        "indexOf" => position(this, this.find(&args.text(0)?)),
        "lastIndexOf" => position(this, this.rfind(&args.text(0)?)),
        "slice" => Value::from(units(this, args.index(0, length, 0), args.index(1, length, length))),
        "substring" => {
            let (a, b) = (args.plain_index(0, length, 0), args.plain_index(1, length, length));
            Value::from(units(this, a.min(b), a.max(b)))
        }
        "substr" => {
            let from = args.index(0, length, 0);
            Value::from(units(this, from, from + args.plain_index(1, length, length)))
        }
        "charAt" => {
            let at = args.plain_index(0, length, 0);
            Value::from(units(this, at, at + 1))
        }
        "split" => split(this, args)?,
        "replace" => Value::from(this.replacen(&args.text(0)?, &args.text(1)?, 1)),
        "replaceAll" => replace_all(this, args, call)?,
        "concat" => Value::from(this.to_owned() + &args.0.iter().map(text).collect::<Result<Vec<_>, _>>()?.concat()),
        "repeat" => {
            let times = to_number(&args.value(0)).max(0.0) as usize;
            call.charge((this.len() as u64).saturating_mul(times as u64))?;
            Value::from(this.repeat(times))
        }
        "padStart" => Value::from(padding(length, args, call)? + this),
        "padEnd" => Value::from(this.to_owned() + &padding(length, args, call)?),
        _ => return Ok(None),
    }))
}

fn replace_all(this: &str, args: &Args<'_>, call: &Call<'_>) -> Result<Value, Fail> {
    let (old, new) = (args.text(0)?, args.text(1)?);
    call.charge((this.len() as u64 + 1).saturating_mul(new.len() as u64))?;
    Ok(Value::from(this.replace(&old, &new)))
}

fn split(this: &str, args: &Args<'_>) -> Result<Value, Fail> {
    let Some(separator) = args.given(0) else {
        return Ok(list(vec![Value::from(this)]));
    };
    let separator = text(separator)?;
    let mut parts: Vec<Value> = if separator.is_empty() {
        this.chars().map(|c| Value::from(c.to_string())).collect()
    } else {
        this.split(&separator).map(Value::from).collect()
    };
    if let Some(limit) = args.given(1) {
        parts.truncate(to_number(limit).max(0.0) as usize);
    }
    Ok(list(parts))
}

fn padding(length: usize, args: &Args<'_>, call: &Call<'_>) -> Result<String, Fail> {
    let target = to_number(&args.value(0)).max(0.0) as usize;
    let filler = args.text_or(1, " ")?;
    let missing = target.saturating_sub(length);
    call.charge(missing as u64)?;
    if filler.is_empty() {
        return Ok(String::new());
    }
    let unit = filler.encode_utf16().count();
    Ok(units(&filler.repeat(missing / unit + 1), 0, missing))
}

fn of_list(this: &[Value], name: &str, args: &Args<'_>) -> Result<Option<Value>, Fail> {
    Ok(Some(match name {
        "includes" => Value::from(contains(&list(this.to_vec()), &args.value(0))?),
        "indexOf" => this.iter().position(|v| equal(v, &args.value(0))).map_or_else(|| Value::from(-1), Value::from),
        "join" => {
            let parts = this.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Value::from(parts.join(&args.text_or(0, ",")?))
        }
        "slice" => {
            let (from, to) = (args.index(0, this.len(), 0), args.index(1, this.len(), this.len()));
            list(this.get(from..to.max(from)).unwrap_or_default().to_vec())
        }
        "concat" => {
            let mut all = this.to_vec();
            for value in args.0 {
                match view(value) {
                    View::List(items) => all.extend_from_slice(items),
                    _ => all.push(value.clone()),
                }
            }
            list(all)
        }
        "reverse" => list(this.iter().rev().cloned().collect()),
        "toString" => Value::from(text(&list(this.to_vec()))?),
        _ => return Ok(None),
    }))
}

fn of_number(this: f64, name: &str, args: &Args<'_>) -> Result<Option<Value>, Fail> {
    Ok(Some(match name {
        "toString" => Value::from(number_text(this)),
        "toFixed" => {
            let digits = to_number(&args.value(0));
            if !(0.0..=100.0).contains(&digits) {
                return Err(Fail::invalid("`toFixed` takes 0 to 100 digits"));
            }
            Value::from(format!("{this:.*}", digits as usize))
        }
        _ => return Ok(None),
    }))
}
