//! Filters of lists and watches: the AIP-160 subset that becomes bound SQL or is matched against an event.
//!
//! Owns the grammar (`AND`, `OR` which binds tighter, `NOT` and `-`, parentheses, `= != < <= > >= :`, quoted strings) and its limits.
//! Refuses functions and bare words, and text of the caller in SQL: values are bound, columns come from a fixed list.
mod matching;
mod parse;
mod sql;

pub use parse::parse;
pub use sql::{Field, Kind};

use crate::error::{Error, FILTER_INVALID};

/// Longest filter in characters.
pub const CHARS_MAX: usize = 2_000;
/// Most nodes of a filter.
pub const NODES_MAX: usize = 1_000;
/// Deepest nesting of parentheses and negations.
const DEPTH_MAX: usize = 50;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Everything: the empty filter.
    All,
    /// All of these hold.
    And(Vec<Filter>),
    /// At least one of these holds.
    Or(Vec<Filter>),
    /// This does not hold.
    Not(Box<Filter>),
    /// One comparison.
    Compare(Compare),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Field, for example `owner` or `labels.team`.
    pub path: String,
    /// Comparator.
    pub op: Op,
    /// Right side, unquoted.
    pub value: String,
    /// Whether the right side stood in quotes; an unquoted `*` means presence.
    pub quoted: bool,
    /// Where the comparison begins, in characters from 1.
    pub position: usize,
}

/// A comparator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `:` has: a list holds the value, a text contains it, or with `*` there is one at all.
    Has,
}

impl Op {
    /// The comparator as written.
    pub fn text(self) -> &'static str {
        match self {
            Op::Eq => "=",
            Op::Ne => "!=",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
            Op::Has => ":",
        }
    }
}

impl Filter {
    /// Every comparison, from left to right.
    pub fn compares(&self) -> Vec<&Compare> {
        match self {
            Filter::All => Vec::new(),
            Filter::And(all) | Filter::Or(all) => all.iter().flat_map(Filter::compares).collect(),
            Filter::Not(one) => one.compares(),
            Filter::Compare(compare) => vec![compare],
        }
    }

    /// A filter over `fields`, read as far as it can be without rows: fields, comparators and values hold.
    ///
    /// # Errors
    /// FILTER_INVALID.
    pub fn read(text: &str, fields: &[Field]) -> crate::error::Result<Self> {
        let filter = parse(text)?;
        filter.sql(fields, 1)?;
        Ok(filter)
    }

    /// FILTER_INVALID if a field is none of `names`; a name ending in `.` stands for everything below it.
    pub fn check(&self, names: &[&str]) -> crate::error::Result<()> {
        let known = |path: &str| {
            names.iter().any(|n| *n == path || (n.ends_with('.') && path.starts_with(n) && path.len() > n.len()))
        };
        match self.compares().into_iter().find(|c| !known(&c.path)) {
            Some(unknown) => Err(unknown.unknown_field(names)),
            None => Ok(()),
        }
    }
}

impl Compare {
    /// Whether this asks if there is a value at all: `field:*`.
    pub fn is_presence(&self) -> bool {
        self.op == Op::Has && self.value == "*" && !self.quoted
    }

    /// The beginning that the value must have, for `field = "pay*"`.
    pub fn prefix(&self) -> Option<&str> {
        matches!(self.op, Op::Eq | Op::Ne).then(|| self.value.strip_suffix('*')).flatten()
    }

    /// FILTER_INVALID about this comparison.
    pub fn invalid(&self, why: &str) -> Error {
        invalid(self.position, &format!("`{}`: {why}", self.path))
    }

    /// FILTER_INVALID that lists the fields there are.
    pub fn unknown_field(&self, names: &[&str]) -> Error {
        invalid(self.position, &format!("there is no field `{}`; fields: {}", self.path, names.join(", ")))
    }
}

fn invalid(position: usize, why: &str) -> Error {
    Error::new(&FILTER_INVALID, format!("filter, position {position}: {why}"))
        .violation("filter", format!("position {position}: {why}"))
        .meta("position", position.to_string())
}

#[cfg(test)]
mod tests;
