//! Filters by name: those of Nunjucks 3.2 without `random`, those of Backstage, and `matches`.
//!
//! Owns the table and the filters over any value; refuses filters that depend on chance or time.
mod lists;
mod repository;
mod texts;

use minijinja::value::Value;

use super::engine::Call;
use super::operators::Op;
use super::value::{Fail, View, dict, kind_name, list, number, text, to_json, to_number, view};

const FILTERS: &[(&str, Op)] = &[
    ("abs", |c| Ok(number(to_number(c.get(0)).abs()))),
    ("batch", lists::batch),
    ("capitalize", texts::capitalize),
    ("center", texts::center),
    ("d", default),
    ("default", default),
    ("dictsort", lists::dictsort),
    ("dump", dump),
    ("e", texts::escape),
    ("escape", texts::escape),
    ("first", |c| Ok(lists::item(c.get(0), |items| items.first()))),
    ("float", |c| parse_number(c, false)),
    ("forceescape", texts::escape),
    ("groupby", lists::groupby),
    ("indent", texts::indent),
    ("int", |c| parse_number(c, true)),
    ("join", lists::join),
    ("last", |c| Ok(lists::item(c.get(0), |items| items.last()))),
    ("length", length),
    ("list", lists::to_list),
    ("lower", |c| Ok(Value::from(c.text(0)?.to_lowercase()))),
    ("matches", texts::matches),
    ("nl2br", |c| Ok(Value::from(c.text(0)?.replace("\r\n", "\n").replace('\n', "<br />\n")))),
    ("parseEntityRef", repository::parse_entity_ref),
    ("parseRepoUrl", repository::parse_repo_url),
    ("pick", repository::pick),
    ("projectSlug", repository::project_slug),
    ("reject", |c| lists::select(c, false)),
    ("rejectattr", |c| lists::select_attribute(c, false)),
    ("replace", texts::replace),
    ("reverse", lists::reverse),
    ("round", round),
    ("safe", |c| Ok(Value::from(c.text(0)?))),
    ("select", |c| lists::select(c, true)),
    ("selectattr", |c| lists::select_attribute(c, true)),
    ("slice", lists::slice),
    ("sort", lists::sort),
    ("string", |c| Ok(Value::from(c.text(0)?))),
    ("striptags", texts::striptags),
    ("sum", lists::sum),
    ("title", texts::title),
    ("trim", |c| Ok(Value::from(c.text(0)?.trim()))),
    ("truncate", texts::truncate),
    ("upper", |c| Ok(Value::from(c.text(0)?.to_uppercase()))),
    ("urlencode", texts::urlencode),
    ("urlize", texts::urlize),
    ("wordcount", texts::wordcount),
];

/// Every filter with its name.
pub(super) fn all() -> &'static [(&'static str, Op)] {
    FILTERS
}

/// Whether a filter of that name exists.
pub(super) fn exists(name: &str) -> bool {
    FILTERS.iter().any(|(n, _)| *n == name)
}

/// What to use instead of a filter that does not exist, worded to follow its name.
pub(super) fn instead(name: &str) -> &'static str {
    match name {
        "random" => ": the same input gives the same output here",
        "tojson" | "json" => "; use `dump`",
        "items" | "keys" | "values" => "; use `for key, value in …` or `dictsort`",
        "map" => "; use a loop, `select` or `selectattr`",
        "lowercase" => "; use `lower`",
        "uppercase" => "; use `upper`",
        _ => "",
    }
}

fn default(call: &Call<'_>) -> Result<Value, Fail> {
    let falsy = call.named(2, "boolean").is_some_and(|v| v.is_true());
    let missing = matches!(view(call.get(0)), View::Null) || (falsy && !call.get(0).is_true());
    Ok(if missing { call.get(1).clone() } else { call.get(0).clone() })
}

/// Compact JSON without escapes for HTML; with a number, indented by so many blanks.
fn dump(call: &Call<'_>) -> Result<Value, Fail> {
    let json = to_json(call.get(0))?;
    let blanks = call.named(1, "spaces").map_or(0, |v| to_number(v).clamp(0.0, 10.0) as usize);
    if blanks == 0 {
        return Ok(Value::from(json.to_string()));
    }
    let indent = " ".repeat(blanks);
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut writer = serde_json::Serializer::with_formatter(&mut out, format);
    serde::Serialize::serialize(&json, &mut writer).map_err(|e| Fail::invalid(e.to_string()))?;
    Ok(Value::from(String::from_utf8_lossy(&out).into_owned()))
}

/// The number a text begins with, as `parseInt` and `parseFloat` read it; the default, else 0, when there is none.
fn parse_number(call: &Call<'_>, whole: bool) -> Result<Value, Fail> {
    let source = match view(call.get(0)) {
        View::Dict(_) | View::Other => String::new(),
        _ => call.text(0)?,
    };
    let base = if whole { call.named(2, "base").map_or(10, |v| to_number(v) as u32) } else { 10 };
    if !(2..=36).contains(&base) {
        return Err(Fail::invalid("a base lies between 2 and 36"));
    }
    let parsed = if whole { leading_int(source.trim(), base) } else { leading_float(source.trim()) };
    match parsed {
        Some(value) => Ok(number(value)),
        None => Ok(call.named(1, "default").cloned().unwrap_or_else(|| Value::from(0))),
    }
}

fn leading_int(text: &str, base: u32) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = if base == 16 { digits.trim_start_matches("0x") } else { digits };
    let end = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
    let value =
        digits[..end].chars().filter_map(|c| c.to_digit(base)).fold(0.0, |sum, d| sum * f64::from(base) + f64::from(d));
    (end > 0).then_some(sign * value)
}

fn leading_float(text: &str) -> Option<f64> {
    let ends = text.char_indices().map(|(i, c)| i + c.len_utf8());
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
    let longest = ends.take_while(|end| text[..*end].chars().all(numeric)).collect::<Vec<_>>();
    longest.into_iter().rev().find_map(|end| text[..end].parse().ok())
}

fn length(call: &Call<'_>) -> Result<Value, Fail> {
    Ok(Value::from(match view(call.get(0)) {
        View::Null => 0,
        View::Text(text) => text.encode_utf16().count(),
        View::List(items) => items.len(),
        View::Dict(dict) => dict.entries.len(),
        _ => return Err(Fail::invalid(format!("{} has no length", kind_name(call.get(0))))),
    }))
}

fn round(call: &Call<'_>) -> Result<Value, Fail> {
    let factor = 10_f64.powf(call.named(1, "precision").map_or(0.0, to_number));
    let method = call.named(2, "method").map(text).transpose()?;
    let scaled = to_number(call.get(0)) * factor;
    let rounded = match method.as_deref() {
        Some("ceil") => scaled.ceil(),
        Some("floor") => scaled.floor(),
        _ => (scaled + 0.5).floor(),
    };
    Ok(number(rounded / factor))
}

/// The value of a key, or null.
fn attribute(value: &Value, path: &str) -> Value {
    let mut current = value.clone();
    for key in path.split('.') {
        current = match view(&current) {
            View::Dict(dict) => dict.get(key).cloned().unwrap_or_else(|| Value::from(())),
            View::List(items) => {
                key.parse::<usize>().ok().and_then(|i| items.get(i).cloned()).unwrap_or_else(|| Value::from(()))
            }
            _ => Value::from(()),
        };
    }
    current
}

fn pair(key: &str, value: Value) -> Value {
    dict([("key".to_owned(), Value::from(key)), ("value".to_owned(), value)])
}

fn characters(text: &str) -> Value {
    list(text.chars().map(|c| Value::from(c.to_string())).collect())
}
