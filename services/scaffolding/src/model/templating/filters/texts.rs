//! Filters over text.
//!
//! Owns text as Nunjucks changes it, with positions counted as JavaScript does; refuses regular expressions that could run long.
use std::fmt::Write as _;
use std::sync::LazyLock;

use minijinja::value::Value;
use regex::{Regex, RegexBuilder};

use crate::model::templating::engine::Call;
use crate::model::templating::methods::{unit_at, units};
use crate::model::templating::value::{Fail, View, kind_name, text, to_number, view};

/// Compiled size of a pattern in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

static TAGS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?is)</?[a-z][a-z0-9]*\b[^>]*>|<!--.*?-->").expect("the pattern is constant"));
static BLANKS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\s+").expect("the pattern is constant"));
static EDGES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^ +| +$").expect("the pattern is constant"));
static SPACES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r" +").expect("the pattern is constant"));
static GAPS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\n\n\n+").expect("the pattern is constant"));
static WORDS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?-u:\w)+").expect("the pattern is constant"));
static LINK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[(<]?(?:&lt;)?((?:https?://|www\.).*?|[\w.!#$%&'*+\-/=?^`{|}~]+@[a-zA-Z\d\-]+(?:\.[a-zA-Z\d\-]+)+|\S+\.(?:org|net|com)(?:$|:|/).*?)(?:[.,)\n>]|&gt;)*$")
        .expect("the pattern is constant")
});

fn first_upper(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect())
}

pub(super) fn capitalize(call: &Call<'_>) -> Result<Value, Fail> {
    Ok(Value::from(first_upper(&call.text(0)?)))
}

pub(super) fn title(call: &Call<'_>) -> Result<Value, Fail> {
    Ok(Value::from(call.text(0)?.split(' ').map(first_upper).collect::<Vec<_>>().join(" ")))
}

pub(super) fn center(call: &Call<'_>) -> Result<Value, Fail> {
    let source = call.text(0)?;
    let width = call.named(1, "width").map_or(80.0, to_number);
    let spaces = width - source.encode_utf16().count() as f64;
    if spaces <= 0.0 {
        return Ok(Value::from(source));
    }
    call.charge(spaces as u64)?;
    let before = (spaces / 2.0 - spaces % 2.0).ceil().max(0.0) as usize;
    let after = (spaces / 2.0).ceil() as usize;
    Ok(Value::from(format!("{}{source}{}", " ".repeat(before), " ".repeat(after))))
}

pub(super) fn escape(call: &Call<'_>) -> Result<Value, Fail> {
    Ok(Value::from(escaped(&call.text(0)?)))
}

fn escaped(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for c in source.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' => out.push_str("&#92;"),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn indent(call: &Call<'_>) -> Result<Value, Fail> {
    let source = call.text(0)?;
    if source.is_empty() {
        return Ok(Value::from(""));
    }
    let width = call.named(1, "width").map_or(4.0, to_number).clamp(0.0, 1000.0) as usize;
    let first = call.named(2, "indentfirst").is_some_and(|v| v.is_true());
    call.charge((source.matches('\n').count() as u64 + 1) * width as u64)?;
    let blanks = " ".repeat(width);
    let lines = source
        .split('\n')
        .enumerate()
        .map(|(i, line)| if i == 0 && !first { line.to_owned() } else { format!("{blanks}{line}") });
    Ok(Value::from(lines.collect::<Vec<_>>().join("\n")))
}

pub(super) fn replace(call: &Call<'_>) -> Result<Value, Fail> {
    if !matches!(view(call.get(0)), View::Text(_) | View::Int(_) | View::Float(_)) {
        return Ok(call.get(0).clone());
    }
    let (source, old, new) = (call.text(0)?, text(call.get(1))?, text(call.get(2))?);
    let limit = call.named(3, "count").map(to_number).filter(|n| *n >= 0.0).map_or(usize::MAX, |n| n as usize);
    call.charge((source.len() as u64 + 1).saturating_mul(new.len() as u64 + 1))?;
    if old.is_empty() {
        let inner = source.chars().map(|c| c.to_string()).collect::<Vec<_>>().join(&new);
        return Ok(Value::from(format!("{new}{inner}{new}")));
    }
    Ok(Value::from(source.replacen(&old, &new, limit)))
}

pub(super) fn striptags(call: &Call<'_>) -> Result<Value, Fail> {
    let source = call.text(0)?;
    let bare = TAGS.replace_all(&source, "");
    let bare = bare.trim();
    if !call.named(1, "preserve_linebreaks").is_some_and(|v| v.is_true()) {
        return Ok(Value::from(BLANKS.replace_all(bare, " ").into_owned()));
    }
    let bare = EDGES.replace_all(bare, "");
    let bare = SPACES.replace_all(&bare, " ").replace("\r\n", "\n");
    Ok(Value::from(GAPS.replace_all(&bare, "\n\n").into_owned()))
}

pub(super) fn truncate(call: &Call<'_>) -> Result<Value, Fail> {
    let source = call.text(0)?;
    let length = call.named(1, "length").map_or(255.0, to_number).max(0.0) as usize;
    if source.encode_utf16().count() <= length {
        return Ok(Value::from(source));
    }
    let kill = call.named(2, "killwords").is_some_and(|v| v.is_true());
    let end = call.named(3, "end").map(text).transpose()?.unwrap_or_else(|| "...".to_owned());
    let head = units(&source, 0, length + 1);
    let cut = match head.rfind(' ') {
        Some(byte) if !kill => unit_at(&head, byte),
        _ => length,
    };
    Ok(Value::from(units(&source, 0, cut) + &end))
}

fn percent(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for byte in source.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

pub(super) fn urlencode(call: &Call<'_>) -> Result<Value, Fail> {
    let pairs: Vec<(String, String)> = match view(call.get(0)) {
        View::Dict(dict) => dict.entries.iter().map(|(k, v)| Ok((k.clone(), text(v)?))).collect::<Result<_, Fail>>()?,
        View::List(items) => items.iter().map(entry).collect::<Result<_, Fail>>()?,
        _ => return Ok(Value::from(percent(&call.text(0)?))),
    };
    Ok(Value::from(pairs.iter().map(|(k, v)| format!("{}={}", percent(k), percent(v))).collect::<Vec<_>>().join("&")))
}

fn entry(item: &Value) -> Result<(String, String), Fail> {
    match view(item) {
        View::List([key, value]) => Ok((text(key)?, text(value)?)),
        _ => Err(Fail::invalid(format!("expected a pair, found {}", kind_name(item)))),
    }
}

pub(super) fn urlize(call: &Call<'_>) -> Result<Value, Fail> {
    let source = call.text(0)?;
    let length = call.named(1, "length").map_or(usize::MAX, |v| to_number(v).max(0.0) as usize);
    let nofollow = if call.named(2, "nofollow").is_some_and(|v| v.is_true()) { " rel=\"nofollow\"" } else { "" };
    let mut out = String::new();
    let mut at = 0;
    for gap in BLANKS.find_iter(&source).map(|m| (m.start(), m.end())).chain([(source.len(), source.len())]) {
        let word = &source[at..gap.0];
        match LINK.captures(word).and_then(|c| c.get(1)).map(|m| m.as_str()) {
            Some(found) if !found.is_empty() => {
                let target = match found {
                    f if f.starts_with("http://") || f.starts_with("https://") => f.to_owned(),
                    f if f.contains('@') => format!("mailto:{f}"),
                    f => format!("http://{f}"),
                };
                let _ = write!(out, "<a href=\"{target}\"{nofollow}>{}</a>", units(found, 0, length));
            }
            _ => out.push_str(word),
        }
        out.push_str(&source[gap.0..gap.1]);
        at = gap.1;
    }
    Ok(Value::from(out))
}

pub(super) fn wordcount(call: &Call<'_>) -> Result<Value, Fail> {
    let count = WORDS.find_iter(&call.text(0)?).count();
    Ok(if count > 0 { Value::from(count) } else { Value::from(()) })
}

/// Whether the text has a match of a pattern; the engine runs in linear time.
pub(super) fn matches(call: &Call<'_>) -> Result<Value, Fail> {
    let pattern = RegexBuilder::new(&text(call.get(1))?).size_limit(PATTERN_BYTES_MAX).build();
    let pattern = pattern.map_err(|_| Fail::invalid("the pattern does not parse, or is too large"))?;
    call.charge(4096)?;
    Ok(Value::from(pattern.is_match(&call.text(0)?)))
}
