//! What a plain scalar means: the core schema of YAML 1.2, and the rules of 1.1 where a document asks for them (CAT-7).
//!
//! Written out by hand: the rules are short, and every library departs from them somewhere.

use super::Value;

/// Resolves a plain scalar.
pub fn plain(text: &str, yaml_1_1: bool) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" if yaml_1_1 => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" if yaml_1_1 => Value::Bool(false),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
            number(text, yaml_1_1).unwrap_or_else(|| Value::Text(text.to_owned()))
        }
        _ => Value::Text(text.to_owned()),
    }
}

/// Resolves a scalar with a core tag such as `!!int`; `None` if the text does not fit the tag.
pub fn tagged(suffix: &str, text: &str, yaml_1_1: bool) -> Option<Value> {
    let value = plain(text, yaml_1_1);
    match suffix {
        "str" => Some(Value::Text(text.to_owned())),
        "null" => matches!(value, Value::Null).then_some(value),
        "bool" => matches!(value, Value::Bool(_)).then_some(value),
        "int" => matches!(&value, Value::Number(n) if !n.is_f64()).then_some(value),
        "float" => matches!(value, Value::Number(_) | Value::NonFinite).then_some(value),
        _ => None,
    }
}

fn number(text: &str, yaml_1_1: bool) -> Option<Value> {
    if yaml_1_1 && text.contains('_') && text.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c)) {
        return number_1_1(&text.replace('_', ""));
    }
    if yaml_1_1 {
        return number_1_1(text);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    decimal(text)
}

/// As in YAML 1.1: binary, octal by a leading zero, base 60.
fn number_1_1(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = if let Some(bits) = digits.strip_prefix("0b") {
        radix(bits, 2)
    } else if let Some(hex) = digits.strip_prefix("0x") {
        radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        radix(&digits[1..], 8)
    } else if digits.contains(':') {
        sexagesimal(digits)
    } else {
        return decimal(text);
    };
    match magnitude? {
        Value::Number(n) if negative => n.as_i64().map(|v| Value::Number((-v).into())),
        other => Some(other),
    }
}

fn sexagesimal(text: &str) -> Option<Value> {
    let mut sum: i64 = 0;
    for (at, part) in text.split(':').enumerate() {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let value: i64 = part.parse().ok().filter(|_| digits)?;
        if at > 0 && value > 59 {
            return None;
        }
        sum = sum.checked_mul(60)?.checked_add(value)?;
    }
    Some(Value::Number(sum.into()))
}

fn radix(digits: &str, base: u32) -> Option<Value> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    match u64::from_str_radix(digits, base) {
        Ok(n) => Some(Value::Number(n.into())),
        Err(_) => Some(float(
            digits.chars().fold(0.0, |sum, c| sum * f64::from(base) + f64::from(c.to_digit(base).unwrap_or(0))),
        )),
    }
}

/// `[-+]?[0-9]+`, or a float with a point or an exponent; `.inf` and `.nan`.
fn decimal(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Value::NonFinite);
    }
    if digits.is_empty() {
        return None;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let plus_free = text.strip_prefix('+').unwrap_or(text);
        return Some(match plus_free.parse::<i64>() {
            Ok(n) => Value::Number(n.into()),
            Err(_) => plus_free
                .parse::<u64>()
                .map_or_else(|_| float(plus_free.parse().unwrap_or(f64::INFINITY)), |n| Value::Number(n.into())),
        });
    }
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && all_digits(e)
    });
    let some_digit = !whole.is_empty() || fraction.is_some_and(|f| !f.is_empty());
    let fits = all_digits(whole) && fraction.is_none_or(all_digits) && some_digit && exponent_fits;
    fits.then(|| text.parse().map_or(Value::NonFinite, float))
}

fn float(n: f64) -> Value {
    if n.fract() == 0.0 && n.abs() < 9e15 {
        // As JavaScript: 1.0 is the number 1.
        return Value::Number((n as i64).into());
    }
    serde_json::Number::from_f64(n).map_or(Value::NonFinite, Value::Number)
}
