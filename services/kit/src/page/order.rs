//! The order of a list, and where in it a page starts.
//!
//! Owns keyset conditions. Refuses an order with ties: a unique column always comes last.
use serde::{Deserialize, Serialize};

use crate::{
    db::{Row, Value},
    error::{Error, ORDER_INVALID, PAGE_TOKEN_INVALID, Result},
};

/// Most fields of an order.
const FIELDS_MAX: usize = 4;

/// The sort keys of the last row of a page; sealed into the next page's token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor(Vec<Option<Value>>);

/// An order over SQL expressions; rows without a value come last in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBy(Vec<Key>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    column: String,
    desc: bool,
}

impl OrderBy {
    /// Reads AIP-132's `order_by`: `name, create_time desc`. `fields` maps the API's names to columns; an empty text is `default`.
    ///
    /// A column may be any expression over a row; where a missing value is kept as an empty text, write `NULLIF(column, '')`, so
    /// that it counts as missing. `unique` is a column without ties or missing values.
    pub fn parse(text: &str, fields: &[(&str, &str)], default: &str, unique: &str) -> Result<Self> {
        let text = if text.trim().is_empty() { default } else { text };
        let mut keys: Vec<Key> = Vec::new();
        for part in text.split(',').filter(|_| !text.trim().is_empty()) {
            let mut words = part.split_whitespace();
            let name = words.next().unwrap_or_default();
            let desc = match (words.next(), words.next()) {
                (None, _) => false,
                (Some(word), None) if word.eq_ignore_ascii_case("asc") => false,
                (Some(word), None) if word.eq_ignore_ascii_case("desc") => true,
                _ => return Err(invalid(&format!("`{}` is not `field` or `field desc`", part.trim()), fields)),
            };
            let Some((_, column)) = fields.iter().find(|(api, _)| *api == name) else {
                return Err(invalid(&format!("there is no field `{name}` to sort by"), fields));
            };
            if keys.iter().any(|key| key.column == *column) {
                return Err(invalid(&format!("`{name}` stands twice"), fields));
            }
            keys.push(Key { column: (*column).to_owned(), desc });
        }
        if keys.len() > FIELDS_MAX {
            return Err(invalid(&format!("at most {FIELDS_MAX} fields"), fields));
        }
        if !keys.iter().any(|key| key.column == unique) {
            let desc = keys.last().is_some_and(|key| key.desc);
            keys.push(Key { column: unique.to_owned(), desc });
        }
        Ok(Self(keys))
    }

    /// What stands after `ORDER BY`.
    pub fn sql(&self) -> String {
        let keys = self.0.iter().map(|key| {
            let direction = if key.desc { " DESC" } else { "" };
            format!("(CASE WHEN {0} IS NULL THEN 1 ELSE 0 END), {0}{direction}", key.column)
        });
        keys.collect::<Vec<_>>().join(", ")
    }

    /// Columns to add to the select list, beginning with a comma, from which [`OrderBy::cursor`] reads.
    pub fn columns(&self) -> String {
        self.0.iter().enumerate().map(|(n, key)| format!(", {} AS order_{n}", key.column)).collect()
    }

    /// The place of a row in this order.
    pub fn cursor(&self, row: &Row) -> Result<Cursor> {
        (0..self.0.len()).map(|n| row.opt_value(&format!("order_{n}"))).collect::<Result<_>>().map(Cursor)
    }

    /// A condition for the rows after `cursor` (all rows without one), and its values, bound from `$first_bind`.
    pub fn after(&self, cursor: Option<&Cursor>, first_bind: usize) -> Result<(String, Vec<Value>)> {
        let Some(Cursor(values)) = cursor else { return Ok(("1 = 1".to_owned(), Vec::new())) };
        if values.len() != self.0.len() {
            return Err(Error::new(&PAGE_TOKEN_INVALID, "the page token was made for another order"));
        }
        let mut binds = Vec::new();
        let (mut ways, mut equal) = (Vec::new(), Vec::new());
        for (Key { column, desc }, value) in self.0.iter().zip(values) {
            let Some(value) = value else {
                // Nothing of this key comes after a missing value; the later keys decide.
                equal.push(format!("{column} IS NULL"));
                continue;
            };
            binds.push(value.clone());
            let (bind, beyond) = (first_bind + binds.len() - 1, if *desc { "<" } else { ">" });
            let mut way = equal.clone();
            way.push(format!("({column} {beyond} ${bind} OR {column} IS NULL)"));
            ways.push(way.join(" AND "));
            equal.push(format!("{column} = ${bind}"));
        }
        let sql = ways.iter().map(|way| format!("({way})")).collect::<Vec<_>>().join(" OR ");
        Ok((if sql.is_empty() { "1 = 0".to_owned() } else { format!("({sql})") }, binds))
    }
}

fn invalid(why: &str, fields: &[(&str, &str)]) -> Error {
    let names = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    Error::new(&ORDER_INVALID, format!("order_by: {why}; fields: {names}")).violation("order_by", why)
}
