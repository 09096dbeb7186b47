//! From tree to a verdict on one thing, for watches.
//!
//! Owns comparison without columns: numbers as numbers, times as times, else text. Refuses nothing: a field without values matches
//! no comparison but `!=`.
use super::{Compare, Filter, Op};

impl Filter {
    /// Whether a thing matches; `get` tells the values of a field, `None` if it has no such field.
    pub fn matches(&self, get: &dyn Fn(&str) -> Option<Vec<String>>) -> bool {
        match self {
            Filter::All => true,
            Filter::And(parts) => parts.iter().all(|part| part.matches(get)),
            Filter::Or(parts) => parts.iter().any(|part| part.matches(get)),
            Filter::Not(inner) => !inner.matches(get),
            Filter::Compare(compare) => compare.matches(&get(&compare.path).unwrap_or_default()),
        }
    }
}

impl Compare {
    /// Whether one of `values` (for `!=`: none of them) compares as asked.
    pub fn matches(&self, values: &[String]) -> bool {
        if self.is_presence() {
            return values.iter().any(|value| !value.is_empty());
        }
        match self.op {
            Op::Ne => !values.iter().any(|value| self.equals(value)),
            Op::Eq => values.iter().any(|value| self.equals(value)),
            Op::Has if values.len() > 1 => values.iter().any(|value| self.equals(value)),
            Op::Has => values.iter().any(|value| value.to_lowercase().contains(&self.value.to_lowercase())),
            _ => values.iter().any(|value| self.is_ordered(value)),
        }
    }

    fn equals(&self, value: &str) -> bool {
        match self.prefix() {
            Some(prefix) => value.starts_with(prefix),
            None => value == self.value || parsed(value).is_some_and(|v| Some(v) == parsed(&self.value)),
        }
    }

    fn is_ordered(&self, value: &str) -> bool {
        let order = match (parsed(value), parsed(&self.value)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => value.cmp(self.value.as_str()),
        };
        match self.op {
            Op::Lt => order.is_lt(),
            Op::Le => order.is_le(),
            Op::Gt => order.is_gt(),
            Op::Ge => order.is_ge(),
            _ => false,
        }
    }
}

/// A number, or a time as a number; the two kinds do not meet in one field.
fn parsed(text: &str) -> Option<i128> {
    let number = text.parse::<i64>().ok().map(i128::from);
    number.or_else(|| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond))
}
