//! Operators, members, loops and tests of templates, as functions of the engine.
//!
//! Owns what `+`, `==`, `in`, `.key`, `is` and output mean (SCF-12, SCF-13, SCF-20); refuses what JavaScript would guess at.
use minijinja::value::Value;

use super::engine::Call;
use super::fault::Code;
use super::methods;
use super::value::{Fail, View, dict, equal, kind_name, list, number, text, to_number, view};

/// An operation of templates.
pub(super) type Op = fn(&Call<'_>) -> Result<Value, Fail>;

/// Operators by the name the emitter gives them.
pub(super) const OPERATORS: &[(&str, Op)] = &[
    ("op_out", output),
    ("op_iter", iterate),
    ("op_list", |c| Ok(list(c.args.clone()))),
    ("op_dict", object),
    ("op_get", member),
    ("op_undeclared", undeclared),
    ("op_neg", |c| arithmetic(c.get(0), c.get(0), "-", |a, _| -a)),
    ("op_pos", |c| arithmetic(c.get(0), c.get(0), "+", |a, _| a)),
    ("op_add", add),
    ("op_concat", concat),
    ("op_sub", |c| arithmetic(c.get(0), c.get(1), "-", |a, b| a - b)),
    ("op_mul", |c| arithmetic(c.get(0), c.get(1), "*", |a, b| a * b)),
    ("op_div", |c| arithmetic(c.get(0), c.get(1), "/", |a, b| a / b)),
    ("op_floor", |c| arithmetic(c.get(0), c.get(1), "//", |a, b| (a / b).floor())),
    ("op_mod", |c| arithmetic(c.get(0), c.get(1), "%", |a, b| a % b)),
    ("op_pow", |c| arithmetic(c.get(0), c.get(1), "**", f64::powf)),
    ("op_eq", |c| Ok(Value::from(equal(c.get(0), c.get(1))))),
    ("op_ne", |c| Ok(Value::from(!equal(c.get(0), c.get(1))))),
    ("op_lt", |c| compare(c, |o| o.is_lt())),
    ("op_le", |c| compare(c, |o| o.is_le())),
    ("op_gt", |c| compare(c, |o| o.is_gt())),
    ("op_ge", |c| compare(c, |o| o.is_ge())),
    ("op_in", |c| Ok(Value::from(contains(c.get(1), c.get(0))?))),
    ("op_is", is),
    ("op_method", methods::call),
    ("op_call", methods::call_object),
    ("op_always", |_| Ok(Value::from(true))),
    ("op_failure", |c| Ok(Value::from(c.failed()))),
    ("op_range", range),
    ("op_cycler", |c| Ok(methods::cycler(c.args.clone()))),
    ("op_joiner", |c| Ok(methods::joiner(if c.args.is_empty() { ",".to_owned() } else { text(c.get(0))? }))),
];

/// The function of an operator as written.
pub(super) fn name(op: &str) -> &'static str {
    match op {
        "==" | "===" => "op_eq",
        "!=" | "!==" => "op_ne",
        "<" => "op_lt",
        "<=" => "op_le",
        ">" => "op_gt",
        ">=" => "op_ge",
        "+" => "op_add",
        "-" => "op_sub",
        "*" => "op_mul",
        "/" => "op_div",
        "//" => "op_floor",
        "%" => "op_mod",
        "**" => "op_pow",
        "~" => "op_concat",
        _ => "op_in",
    }
}

const TESTS: [&str; 26] = [
    "callable",
    "defined",
    "undefined",
    "divisibleby",
    "eq",
    "equalto",
    "sameas",
    "ne",
    "even",
    "odd",
    "falsy",
    "truthy",
    "ge",
    "gt",
    "greaterthan",
    "le",
    "lt",
    "lessthan",
    "lower",
    "upper",
    "none",
    "null",
    "number",
    "string",
    "iterable",
    "mapping",
];

/// Whether a test of that name exists.
pub(super) fn is_test(name: &str) -> bool {
    TESTS.contains(&name)
}

fn output(call: &Call<'_>) -> Result<Value, Fail> {
    match view(call.get(0)) {
        View::Text(_) => Ok(call.get(0).clone()),
        _ => Ok(Value::from(text(call.get(0))?)),
    }
}

/// The items of a loop: elements, characters, or pairs of an object when there are two targets.
fn iterate(call: &Call<'_>) -> Result<Value, Fail> {
    let targets = to_number(call.get(0)) as usize;
    let items: Vec<Value> = match view(call.get(1)) {
        View::Null => Vec::new(),
        View::List(items) => items.to_vec(),
        View::Text(text) => text.chars().map(|c| Value::from(c.to_string())).collect(),
        View::Dict(dict) if targets == 2 => {
            return Ok(Value::from(
                dict.entries
                    .iter()
                    .map(|(k, v)| Value::from(vec![Value::from(k.as_str()), v.clone()]))
                    .collect::<Vec<_>>(),
            ));
        }
        View::Dict(_) => return Err(Fail::invalid("a loop over an object needs two names: `for key, value in …`")),
        _ => return Err(Fail::invalid(format!("cannot loop over {}", kind_name(call.get(1))))),
    };
    if targets <= 1 {
        return Ok(Value::from(items));
    }
    let unpacked = items.iter().map(|item| match view(item) {
        View::List(parts) => {
            let padded = (0..targets).map(|i| parts.get(i).cloned().unwrap_or_else(|| Value::from(())));
            Ok(Value::from(padded.collect::<Vec<_>>()))
        }
        _ => Err(Fail::invalid(format!("cannot unpack {} into {targets} names", kind_name(item)))),
    });
    Ok(Value::from(unpacked.collect::<Result<Vec<_>, _>>()?))
}

fn object(call: &Call<'_>) -> Result<Value, Fail> {
    let pairs =
        call.args.chunks(2).map(|pair| Ok((text(&pair[0])?, pair.get(1).cloned().unwrap_or_else(|| Value::from(())))));
    Ok(dict(pairs.collect::<Result<Vec<_>, Fail>>()?))
}

/// `base.a.b`: soft, base, then a place and a key for each step.
fn member(call: &Call<'_>) -> Result<Value, Fail> {
    let soft = call.get(0).is_true();
    let mut value = call.get(1).clone();
    for step in call.args[2..].chunks(2) {
        let at = step[0].as_usize().unwrap_or_default();
        value = match get(&value, &step[1]) {
            Got::Found(found) => found,
            Got::Missing(_, root) if soft && !root => return Ok(Value::UNDEFINED),
            Got::Missing(message, _) if call.lenient() => {
                call.warn(at, message);
                Value::from(())
            }
            Got::Missing(message, _) => return Err(Fail::new(Code::UndeclaredName, message).at(at)),
        };
    }
    Ok(value)
}

enum Got {
    Found(Value),
    /// What to say, and whether it is a root that lacks the key.
    Missing(String, bool),
}

fn get(base: &Value, key: &Value) -> Got {
    let name = text(key).unwrap_or_default();
    let missing = || Got::Missing(format!("{} has no `{name}`", kind_name(base)), false);
    match view(base) {
        View::Null => Got::Found(Value::from(())),
        View::Dict(dict) => match (dict.get(&name), &dict.root) {
            (Some(value), _) => Got::Found(value.clone()),
            (None, Some(root)) => Got::Missing(format!("`{root}.{name}` is not declared"), true),
            (None, None) => Got::Missing(format!("the object has no key `{name}`"), false),
        },
        View::List(items) if name == "length" => Got::Found(Value::from(items.len())),
        View::List(items) => match name.parse::<usize>() {
            Ok(index) => Got::Found(items.get(index).cloned().unwrap_or_else(|| Value::from(()))),
            Err(_) => missing(),
        },
        View::Text(text) if name == "length" => Got::Found(Value::from(text.encode_utf16().count())),
        View::Text(text) => match name.parse::<usize>() {
            Ok(index) => {
                Got::Found(text.chars().nth(index).map_or_else(|| Value::from(()), |c| Value::from(c.to_string())))
            }
            Err(_) => missing(),
        },
        View::Other => methods::property(base, &name).map_or_else(missing, Got::Found),
        View::Bool(_) | View::Int(_) | View::Float(_) => missing(),
    }
}

fn undeclared(call: &Call<'_>) -> Result<Value, Fail> {
    call.warn(call.at, format!("`{}` is not declared", text(call.get(0))?));
    Ok(Value::from(()))
}

fn arithmetic(a: &Value, b: &Value, op: &str, f: fn(f64, f64) -> f64) -> Result<Value, Fail> {
    for value in [a, b] {
        if !matches!(view(value), View::Int(_) | View::Float(_) | View::Bool(_) | View::Text(_)) {
            return Err(Fail::invalid(format!("`{op}` does not work with {}", kind_name(value))));
        }
    }
    let result = f(to_number(a), to_number(b));
    if result.is_nan() {
        return Err(Fail::invalid(format!("`{op}` gives no number here")));
    }
    Ok(number(result))
}

/// `a + b + …` from the left: numbers add, anything with a string or a list becomes text.
fn add(call: &Call<'_>) -> Result<Value, Fail> {
    let mut sum = call.get(0).clone();
    for next in &call.args[1..] {
        if matches!(view(&sum), View::Null) || matches!(view(next), View::Null) {
            return Err(Fail::invalid("`+` does not work with null; use `~` for text, or the filter `default`"));
        }
        let textual = |v: &Value| matches!(view(v), View::Text(_) | View::List(_) | View::Dict(_));
        sum = if textual(&sum) || textual(next) {
            Value::from(text(&sum)? + &text(next)?)
        } else {
            arithmetic(&sum, next, "+", |a, b| a + b)?
        };
        call.charge_value(&sum)?;
    }
    Ok(sum)
}

fn concat(call: &Call<'_>) -> Result<Value, Fail> {
    let parts = call.args.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(Value::from(parts.concat()))
}

fn compare(call: &Call<'_>, holds: fn(std::cmp::Ordering) -> bool) -> Result<Value, Fail> {
    let ordering = order(call.get(0), call.get(1))?;
    Ok(Value::from(ordering.is_some_and(holds)))
}

/// Order of two strings, or of two values as numbers; none when one is not a number.
pub(super) fn order(a: &Value, b: &Value) -> Result<Option<std::cmp::Ordering>, Fail> {
    if let (View::Text(a), View::Text(b)) = (view(a), view(b)) {
        return Ok(Some(a.encode_utf16().cmp(b.encode_utf16())));
    }
    for value in [a, b] {
        if matches!(view(value), View::List(_) | View::Dict(_) | View::Other) {
            return Err(Fail::invalid(format!("{} has no order", kind_name(value))));
        }
    }
    Ok(to_number(a).partial_cmp(&to_number(b)))
}

/// Whether `container` has `needle`: an element, a part of a string, or a key.
pub(super) fn contains(container: &Value, needle: &Value) -> Result<bool, Fail> {
    match view(container) {
        View::List(items) => Ok(items.iter().any(|item| equal(item, needle))),
        View::Text(haystack) => Ok(haystack.contains(&text(needle)?)),
        View::Dict(dict) => Ok(dict.get(&text(needle)?).is_some()),
        _ => Err(Fail::invalid(format!("`in` does not work with {}", kind_name(container)))),
    }
}

fn is(call: &Call<'_>) -> Result<Value, Fail> {
    let name = text(call.get(0))?;
    let rest = if call.args.len() > 2 { call.get(2).clone() } else { Value::UNDEFINED };
    Ok(Value::from(test(&name, call.get(1), &rest)?))
}

/// A test by its name, as `is` and `select` use it.
pub(super) fn test(name: &str, value: &Value, other: &Value) -> Result<bool, Fail> {
    let null = matches!(view(value), View::Null);
    Ok(match name {
        "defined" => !null,
        "undefined" | "none" | "null" => null,
        "callable" => matches!(view(value), View::Other),
        "divisibleby" => to_number(value) % to_number(other) == 0.0,
        "eq" | "equalto" | "sameas" => equal(value, other),
        "ne" => !equal(value, other),
        "even" => to_number(value) % 2.0 == 0.0,
        "odd" => (to_number(value) % 2.0).abs() == 1.0,
        "falsy" => !value.is_true(),
        "truthy" => value.is_true(),
        "ge" => order(value, other)?.is_some_and(|o| o.is_ge()),
        "gt" | "greaterthan" => order(value, other)?.is_some_and(|o| o.is_gt()),
        "le" => order(value, other)?.is_some_and(|o| o.is_le()),
        "lt" | "lessthan" => order(value, other)?.is_some_and(|o| o.is_lt()),
        "lower" => text(value).is_ok_and(|t| t.to_lowercase() == t),
        "upper" => text(value).is_ok_and(|t| t.to_uppercase() == t),
        "number" => matches!(view(value), View::Int(_) | View::Float(_)),
        "string" => matches!(view(value), View::Text(_)),
        "iterable" => matches!(view(value), View::List(_) | View::Text(_)),
        "mapping" => matches!(view(value), View::Dict(_)),
        _ => return Err(Fail::new(Code::UnknownFunction, format!("there is no test `{name}`"))),
    })
}

fn range(call: &Call<'_>) -> Result<Value, Fail> {
    let [start, stop, step] = match call.args.len() {
        1 => [0.0, to_number(call.get(0)), 1.0],
        2 => [to_number(call.get(0)), to_number(call.get(1)), 1.0],
        _ => [to_number(call.get(0)), to_number(call.get(1)), to_number(call.get(2))],
    };
    let count = ((stop - start) / step).ceil();
    if step == 0.0 || !count.is_finite() {
        return Err(Fail::invalid("`range` needs numbers and a step that is not 0"));
    }
    let count = count.max(0.0) as u64;
    call.charge(count.saturating_mul(32))?;
    Ok(list((0..count).map(|i| number(start + i as f64 * step)).collect()))
}
