//! One rule each: the condition a value must meet and the words that tell it.
//!
//! Owns the meaning of the scalar rules; refuses to know where in a message a value stands.

use std::fmt;

use regex::Regex;

/// A condition on one value.
#[derive(Debug)]
pub(super) enum Rule {
    /// Length in characters.
    Chars(Range<u64>),
    /// Length in bytes, of a string or a bytes field.
    Bytes(Range<u64>),
    /// Linear-time pattern that must be found.
    Pattern(Regex),
    /// Text at the start.
    Prefix(String),
    /// Text at the end.
    Suffix(String),
    /// Text somewhere.
    Contains(String),
    /// Text nowhere.
    NotContains(String),
    /// One of these texts.
    OneOf(Vec<String>),
    /// None of these texts.
    NoneOf(Vec<String>),
    /// A textual form with a name.
    Form(Form),
    /// Whole number in a range.
    Int(Range<i128>),
    /// One of these numbers.
    IntOneOf(Vec<i128>),
    /// None of these numbers.
    IntNoneOf(Vec<i128>),
    /// Fraction in a range; NaN never is.
    Float(Range<f64>),
    /// Neither NaN nor infinite.
    Finite,
    /// This truth value.
    Bool(bool),
    /// Duration in a range, in nanoseconds.
    Nanos(Range<i128>),
}

/// Textual forms that have a rule of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 9562 with hyphens.
    Uuid,
    /// RFC 1034 host name.
    Hostname,
    /// An IP address.
    Ip,
    /// An absolute URI.
    Uri,
}

/// Bounds of a number; each is optional.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<T> {
    /// Lowest value and whether it is itself allowed.
    pub(super) low: Option<(T, bool)>,
    /// Highest value and whether it is itself allowed.
    pub(super) high: Option<(T, bool)>,
}

impl<T> Default for Range<T> {
    fn default() -> Self {
        Self { low: None, high: None }
    }
}

impl<T: PartialOrd + Copy> Range<T> {
    /// Exactly one value.
    pub(super) fn only(value: T) -> Self {
        Self { low: Some((value, true)), high: Some((value, true)) }
    }

    /// Whether no bound is set.
    pub(super) fn is_open(&self) -> bool {
        self.low.is_none() && self.high.is_none()
    }

    /// Whether some value can meet the bounds.
    pub(super) fn is_possible(&self) -> bool {
        match (self.low, self.high) {
            (Some((low, _)), Some((high, _))) => low <= high,
            _ => true,
        }
    }

    fn holds(&self, value: T) -> bool {
        let low = self.low.is_none_or(|(low, inclusive)| value > low || (inclusive && value == low));
        let high = self.high.is_none_or(|(high, inclusive)| value < high || (inclusive && value == high));
        low && high
    }
}

impl<T: fmt::Display + PartialOrd> Range<T> {
    fn text(&self, unit: &str) -> String {
        let low = self.low.as_ref().map(|(v, inc)| format!("{} {v}", if *inc { "at least" } else { "more than" }));
        let high = self.high.as_ref().map(|(v, inc)| format!("{} {v}", if *inc { "at most" } else { "less than" }));
        let bounds = match (low, high) {
            (Some(_), Some(_)) if self.low.as_ref().map(|l| &l.0) == self.high.as_ref().map(|h| &h.0) => {
                self.low.as_ref().map(|(v, _)| format!("exactly {v}")).unwrap_or_default()
            }
            (Some(low), Some(high)) => format!("{low} and {high}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => "anything".to_owned(),
        };
        if unit.is_empty() { format!("must be {bounds}") } else { format!("must have {bounds} {unit}") }
    }
}

impl Rule {
    /// Whether the text meets the rule; rules for other kinds of values hold.
    pub(super) fn holds_text(&self, text: &str) -> bool {
        match self {
            Rule::Chars(range) => range.holds(text.chars().count() as u64),
            Rule::Bytes(range) => range.holds(text.len() as u64),
            Rule::Pattern(pattern) => pattern.is_match(text),
            Rule::Prefix(part) => text.starts_with(part.as_str()),
            Rule::Suffix(part) => text.ends_with(part.as_str()),
            Rule::Contains(part) => text.contains(part.as_str()),
            Rule::NotContains(part) => !text.contains(part.as_str()),
            Rule::OneOf(list) => list.iter().any(|item| item == text),
            Rule::NoneOf(list) => !list.iter().any(|item| item == text),
            Rule::Form(form) => form.holds(text),
            _ => true,
        }
    }

    /// Whether the number meets the rule.
    pub(super) fn holds_int(&self, value: i128) -> bool {
        match self {
            Rule::Int(range) => range.holds(value),
            Rule::IntOneOf(list) => list.contains(&value),
            Rule::IntNoneOf(list) => !list.contains(&value),
            _ => true,
        }
    }

    /// Whether the fraction meets the rule.
    pub(super) fn holds_float(&self, value: f64) -> bool {
        match self {
            Rule::Float(range) => range.holds(value) && !value.is_nan(),
            Rule::Finite => value.is_finite(),
            _ => true,
        }
    }

    /// Whether the number of bytes meets the rule.
    pub(super) fn holds_bytes(&self, len: usize) -> bool {
        if let Rule::Bytes(range) = self { range.holds(len as u64) } else { true }
    }

    /// Whether the truth value meets the rule.
    pub(super) fn holds_bool(&self, value: bool) -> bool {
        if let Rule::Bool(wanted) = self { value == *wanted } else { true }
    }

    /// Whether the duration meets the rule.
    pub(super) fn holds_nanos(&self, nanos: i128) -> bool {
        if let Rule::Nanos(range) = self { range.holds(nanos) } else { true }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Chars(range) => f.write_str(&range.text("characters")),
            Rule::Bytes(range) => f.write_str(&range.text("bytes")),
            Rule::Pattern(pattern) => write!(f, "must match `{pattern}`"),
            Rule::Prefix(part) => write!(f, "must start with `{part}`"),
            Rule::Suffix(part) => write!(f, "must end with `{part}`"),
            Rule::Contains(part) => write!(f, "must contain `{part}`"),
            Rule::NotContains(part) => write!(f, "must not contain `{part}`"),
            Rule::OneOf(list) => write!(f, "must be one of: {}", list.join(", ")),
            Rule::NoneOf(list) => write!(f, "must be none of: {}", list.join(", ")),
            Rule::Form(form) => write!(f, "must be {form}"),
            Rule::Int(range) => f.write_str(&range.text("")),
            Rule::IntOneOf(list) => write!(f, "must be one of: {}", join(list)),
            // The first value of an enum stands for "not stated".
            Rule::IntNoneOf(list) if list == &[0] => f.write_str("must be stated"),
            Rule::IntNoneOf(list) => write!(f, "must be none of: {}", join(list)),
            Rule::Float(range) => f.write_str(&range.text("")),
            Rule::Finite => f.write_str("must be a finite number"),
            Rule::Bool(wanted) => write!(f, "must be {wanted}"),
            Rule::Nanos(range) => f.write_str(&range.seconds().text("")),
        }
    }
}

impl Range<i128> {
    /// The same bounds in seconds, for people.
    fn seconds(&self) -> Range<Seconds> {
        let turn = |bound: Option<(i128, bool)>| bound.map(|(nanos, inclusive)| (Seconds(nanos), inclusive));
        Range { low: turn(self.low), high: turn(self.high) }
    }
}

/// Nanoseconds shown as protobuf's JSON form of a duration.
#[derive(PartialEq, PartialOrd)]
struct Seconds(i128);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NANOS: i128 = 1_000_000_000;
        let (whole, rest) = (self.0 / NANOS, (self.0 % NANOS).unsigned_abs());
        if rest == 0 { write!(f, "{whole}s") } else { write!(f, "{whole}.{rest:09}s") }
    }
}

fn join(list: &[i128]) -> String {
    list.iter().map(i128::to_string).collect::<Vec<_>>().join(", ")
}

impl Form {
    fn holds(self, text: &str) -> bool {
        match self {
            Form::Uuid => text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
            Form::Hostname => is_hostname(text),
            Form::Ip => text.parse::<std::net::IpAddr>().is_ok(),
            Form::Uri => url::Url::parse(text).is_ok(),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Uuid => "a UUID",
            Form::Hostname => "a host name",
            Form::Ip => "an IP address",
            Form::Uri => "an absolute URI",
        })
    }
}

/// RFC 1034 with digits allowed first; the last label is not all digits.
fn is_hostname(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.len() <= 253
        && name.split('.').all(label)
        && !name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}
