//! From tree to a bound condition.
//!
//! Owns the kinds of columns and how each compares. Refuses a comparison that the kind does not have.
use super::{Compare, Filter, Op};
use crate::{db::Value, error::Result};

/// What a column holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text; `=` with a final `*` is a prefix, `:` is "contains, whatever the case".
    Text,
    /// Microseconds; written as RFC 3339.
    Time,
    /// Integer.
    Int,
    /// 0 or 1; written `true` or `false`.
    Bool,
    /// One of some words, each with what is stored for it.
    Words(&'static [(&'static str, &'static str)]),
    /// JSON array of texts; `:` and `=` ask whether it holds a value.
    List,
}

/// A field of a filter and the column behind it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in the API.
    pub name: &'static str,
    /// Column, or any expression over a row.
    pub column: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// A condition and the values to bind.
type Condition = (String, Vec<Value>);

impl Filter {
    /// The condition over `fields`, its values bound from `$first_bind`.
    pub fn sql(&self, fields: &[Field], first_bind: usize) -> Result<Condition> {
        let one = |compare: &Compare, bind: usize| {
            let field = fields.iter().find(|f| f.name == compare.path);
            let names: Vec<_> = fields.iter().map(|f| f.name).collect();
            field.ok_or_else(|| compare.unknown_field(&names))?.sql(compare, bind)
        };
        self.sql_with(&one, first_bind)
    }

    /// The condition where `compare` renders each comparison, binding from the number it is given.
    pub fn sql_with(
        &self,
        compare: &dyn Fn(&Compare, usize) -> Result<Condition>,
        first_bind: usize,
    ) -> Result<Condition> {
        let joined = |parts: &[Filter], word: &str| {
            let (mut sql, mut binds) = (Vec::new(), Vec::new());
            for part in parts {
                let (text, mut values) = part.sql_with(compare, first_bind + binds.len())?;
                sql.push(text);
                binds.append(&mut values);
            }
            Ok((format!("({})", sql.join(word)), binds))
        };
        match self {
            Filter::All => Ok(("1 = 1".to_owned(), Vec::new())),
            Filter::And(parts) => joined(parts, " AND "),
            Filter::Or(parts) => joined(parts, " OR "),
            Filter::Not(inner) => {
                let (sql, binds) = inner.sql_with(compare, first_bind)?;
                Ok((format!("(NOT COALESCE({sql}, 1 = 0))"), binds))
            }
            Filter::Compare(one) => {
                let (sql, binds) = compare(one, first_bind)?;
                Ok((format!("({sql})"), binds))
            }
        }
    }
}

impl Field {
    /// The condition for one comparison with this field.
    pub fn sql(&self, compare: &Compare, bind: usize) -> Result<Condition> {
        let column = self.column;
        if compare.is_presence() {
            return Ok(match self.kind {
                Kind::Text | Kind::Words(_) => (format!("{column} <> ''"), Vec::new()),
                Kind::List => (format!("{column} NOT IN ('', '[]')"), Vec::new()),
                Kind::Time | Kind::Int => (format!("{column} <> 0"), Vec::new()),
                Kind::Bool => (format!("{column} IS NOT NULL"), Vec::new()),
            });
        }
        match self.kind {
            Kind::Text => Ok(self.text(compare, bind)),
            Kind::List => self.list(compare, bind),
            Kind::Time => {
                let time: jiff::Timestamp =
                    compare.value.parse().map_err(|_| compare.invalid("a time is written 2026-01-31T12:00:00Z"))?;
                self.ordered(compare, bind, time.as_microsecond().into())
            }
            Kind::Int => {
                let number: i64 = compare.value.parse().map_err(|_| compare.invalid("an integer is expected"))?;
                self.ordered(compare, bind, number.into())
            }
            Kind::Bool => match (compare.value.as_str(), compare.op) {
                ("true" | "false", Op::Eq | Op::Ne | Op::Has) => {
                    self.ordered(compare, bind, (compare.value == "true").into())
                }
                _ => Err(compare.invalid("compare with `= true` or `= false`")),
            },
            Kind::Words(words) => {
                let listed = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
                if !matches!(compare.op, Op::Eq | Op::Ne | Op::Has) {
                    return Err(compare.invalid("only =, != and : compare words"));
                }
                let stored =
                    words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&compare.value)).map(|(_, stored)| *stored);
                let stored = stored.ok_or_else(|| compare.invalid(&format!("one of {}", listed())))?;
                self.ordered(compare, bind, stored.into())
            }
        }
    }

    fn ordered(&self, compare: &Compare, bind: usize, value: Value) -> Result<Condition> {
        let op = match compare.op {
            Op::Has => "=",
            Op::Ne => "<>",
            other => other.text(),
        };
        Ok((format!("{} {op} ${bind}", self.column), vec![value]))
    }

    fn text(&self, compare: &Compare, bind: usize) -> Condition {
        let column = self.column;
        if compare.op == Op::Has {
            let pattern = format!("%{}%", escaped(&compare.value.to_lowercase()));
            return (format!("LOWER({column}) LIKE ${bind} ESCAPE '!'"), vec![pattern.into()]);
        }
        if let Some(prefix) = compare.prefix() {
            // By code points and not LIKE, which on SQLite takes no account of case.
            let not = if compare.op == Op::Ne { "<>" } else { "=" };
            let length = prefix.chars().count();
            return (format!("SUBSTR({column}, 1, {length}) {not} ${bind}"), vec![prefix.into()]);
        }
        let op = if compare.op == Op::Ne { "<>" } else { compare.op.text() };
        (format!("{column} {op} ${bind}"), vec![compare.value.as_str().into()])
    }

    fn list(&self, compare: &Compare, bind: usize) -> Result<Condition> {
        let not = match compare.op {
            Op::Eq | Op::Has => "",
            Op::Ne => "NOT ",
            _ => return Err(compare.invalid("only =, != and : ask what a list holds")),
        };
        let json = serde_json::to_string(&compare.value).unwrap_or_default();
        // Quotes of the JSON form delimit the value, so that `a` is not found in `"ab"`; LIKE would not see case on SQLite.
        Ok((
            format!("{not}(LENGTH(REPLACE({}, ${bind}, '')) <> LENGTH({}))", self.column, self.column),
            vec![json.into()],
        ))
    }
}

fn escaped(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}
