//! Lists of entities: filter, order, keyset pages and totals in few statements.
//!
//! Owns orders in which no row is dropped and missing values come last (CAT-74). The narrow rows are scanned; whole entities are
//! read for the page only.

use serde::{Deserialize, Serialize};
use slipway_kit::{
    db::{Db, Row, Value},
    error::{Error, ORDER_INVALID, Result},
    filter::Filter,
};

use super::filter;
use crate::model::{attribute::MISSING, entity::Entity};

/// Most fields of an order.
const FIELDS_MAX: usize = 4;
/// Most bytes of a page, below the limit of a message; a page with large documents has fewer entities than asked.
const PAGE_BYTES_MAX: usize = 3 << 20;
/// What an entity takes besides its document, generously.
const ENTITY_BYTES: usize = 1_000;
/// Where an estimated total stops counting.
const ESTIMATE_MAX: i64 = 1_000;

/// API name, column that sorts, and whether it holds sort keys of text, which may be missing.
const COLUMNS: &[(&str, &str, bool)] = &[
    ("ref", "e.k_ref", true),
    ("kind", "e.k_kind", true),
    ("namespace", "e.k_namespace", true),
    ("name", "e.k_name", true),
    ("title", "e.k_title", true),
    ("state", "e.k_state", false),
    ("tier", "e.k_tier", false),
    ("owner", "e.k_owner", true),
    ("system", "e.k_system", true),
    ("lifecycle", "e.k_lifecycle", true),
    ("type", "e.k_type", true),
    ("create_time", "e.created_us", false),
    ("update_time", "e.updated_us", false),
];

/// One key of an order.
#[derive(Clone, Copy, Debug)]
struct Key {
    column: &'static str,
    text: bool,
    desc: bool,
    /// Whether this key only says that a value is missing.
    missing: bool,
}

/// An order that ends with the reference, so that it is total.
#[derive(Clone, Debug)]
pub struct Order(Vec<Key>);

impl Order {
    /// Reads up to four fields, each with optional `desc`; empty means by reference.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keys = Vec::new();
        let parts: Vec<_> = text.split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
        if parts.len() > FIELDS_MAX {
            return Err(invalid(&format!("more than {FIELDS_MAX} fields")));
        }
        for part in parts {
            let mut words = part.split_whitespace();
            let name = words.next().unwrap_or_default();
            let desc = match (words.next(), words.next()) {
                (None, None) | (Some("asc"), None) => false,
                (Some("desc"), None) => true,
                _ => return Err(invalid(&format!("`{part}` is not a field with optional `desc`"))),
            };
            let (_, column, text) = *COLUMNS
                .iter()
                .find(|(n, _, _)| *n == name)
                .ok_or_else(|| invalid(&format!("there is no field `{name}`")))?;
            if text && desc {
                keys.push(Key { column, text, desc: false, missing: true });
            }
            keys.push(Key { column, text, desc, missing: false });
        }
        if !keys.iter().any(|k| k.column == "e.k_ref" && !k.missing) {
            keys.push(Key { column: "e.k_ref", text: true, desc: false, missing: false });
        }
        Ok(Self(keys))
    }
}

fn invalid(why: &str) -> Error {
    let names: Vec<_> = COLUMNS.iter().map(|(n, _, _)| *n).collect();
    let message = format!("order_by: {why}; fields: {}", names.join(", "));
    Error::new(&ORDER_INVALID, message.clone()).violation("order_by", message)
}

/// Keys of the last row of a page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct After(Vec<Part>);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Part {
    Text(String),
    Number(i64),
}

/// A question.
pub struct Ask<'a> {
    /// Prepared filter.
    pub filter: &'a Filter,
    /// Order.
    pub order: &'a Order,
    /// Where the page before ended.
    pub after: Option<After>,
    /// Entities per page.
    pub size: usize,
    /// Whether tombstones are listed.
    pub show_deleted: bool,
    /// Whether to count: absent, exactly, or up to 1,000.
    pub total: Option<Count>,
}

/// How a total is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Every match.
    Exact,
    /// Up to 1,000.
    Estimate,
}

/// An answer.
pub struct Page {
    /// The entities.
    pub entities: Vec<Entity>,
    /// Where the next page begins; absent at the end.
    pub next: Option<After>,
    /// The total, and whether there are more than it says.
    pub total: Option<(i64, bool)>,
}

/// Lists one page.
pub async fn list(db: &Db, ask: &Ask<'_>) -> Result<Page> {
    let (mut condition, mut values) = filter::sql(ask.filter, 1)?;
    if !ask.show_deleted {
        condition = format!("e.k_state <> 3 AND ({condition})");
    }
    let total = match ask.total {
        Some(count) => Some(total(db, &condition, values.clone(), count).await?),
        None => None,
    };
    let missing_bind = values.len() + 1;
    if ask.order.0.iter().any(|key| key.missing) {
        values.push(MISSING.into());
    }
    if let Some(After(parts)) = &ask.after {
        let (sql, mut binds) = after_sql(&ask.order.0, parts, missing_bind, values.len() + 1)?;
        condition = format!("{condition} AND ({sql})");
        values.append(&mut binds);
    }
    let keys: Vec<_> = ask.order.0.iter().map(|key| expression(key, missing_bind)).collect();
    let columns: Vec<_> = keys.iter().enumerate().map(|(n, key)| format!("{key} AS o{n}")).collect();
    let order: Vec<_> =
        ask.order.0.iter().zip(&keys).map(|(k, e)| format!("{e}{}", if k.desc { " DESC" } else { "" })).collect();
    let sql = format!(
        "SELECT e.uid, {} FROM entity e WHERE {condition} ORDER BY {} LIMIT {}",
        columns.join(", "),
        order.join(", "),
        ask.size + 1
    );
    let mut rows = db.fetch_all(&sql, values).await?;
    let more = rows.len() > ask.size;
    rows.truncate(ask.size);
    let next = match rows.last().filter(|_| more) {
        Some(last) => Some(cursor(&ask.order.0, last)?),
        None => None,
    };
    let uids = rows.iter().map(|row| row.text("uid")).collect::<Result<Vec<_>>>()?;
    let mut page = Page { entities: super::by_uid(db, &uids).await?, next, total };
    let fit = fitting(&page.entities);
    if fit < page.entities.len() {
        page.entities.truncate(fit);
        page.next = Some(cursor(&ask.order.0, &rows[fit - 1])?);
    }
    Ok(page)
}

/// How many of the first entities fit one answer; at least one.
fn fitting(entities: &[Entity]) -> usize {
    let mut bytes = 0;
    let fits = entities.iter().take_while(|e| {
        bytes += e.json.len() + ENTITY_BYTES;
        bytes <= PAGE_BYTES_MAX
    });
    fits.count().max(1)
}

async fn total(db: &Db, condition: &str, values: Vec<Value>, count: Count) -> Result<(i64, bool)> {
    let sql = match count {
        Count::Exact => format!("SELECT COUNT(*) AS n FROM entity e WHERE {condition}"),
        Count::Estimate => {
            format!(
                "SELECT COUNT(*) AS n FROM (SELECT 1 FROM entity e WHERE {condition} LIMIT {}) AS capped",
                ESTIMATE_MAX + 1
            )
        }
    };
    let n = db.fetch_one(&sql, values).await?.int("n")?;
    Ok(if count == Count::Estimate && n > ESTIMATE_MAX { (ESTIMATE_MAX, true) } else { (n, false) })
}

/// What a key sorts by. Whether a value is missing is asked of its sort key, which the indexes hold.
fn expression(key: &Key, missing_bind: usize) -> String {
    let column = key.column;
    if key.missing { format!("CASE WHEN {column} = ${missing_bind} THEN 1 ELSE 0 END") } else { column.to_owned() }
}

fn cursor(keys: &[Key], row: &Row) -> Result<After> {
    let part = |(n, key): (usize, &Key)| {
        let name = format!("o{n}");
        if key.text && !key.missing {
            row.bytes(&name).map(|b| Part::Text(hex::encode(b)))
        } else {
            row.int(&name).map(Part::Number)
        }
    };
    keys.iter().enumerate().map(part).collect::<Result<_>>().map(After)
}

/// Rows after the cursor: equal in the first keys and beyond in the next, for each number of first keys.
fn after_sql(keys: &[Key], parts: &[Part], missing_bind: usize, first_bind: usize) -> Result<(String, Vec<Value>)> {
    let stale = || Error::internal("a cursor does not fit its order");
    if keys.len() != parts.len() {
        return Err(stale());
    }
    let mut values = Vec::new();
    for part in parts {
        values.push(match part {
            Part::Text(hex) => Value::from(hex::decode(hex).map_err(|_| stale())?),
            Part::Number(n) => Value::from(*n),
        });
    }
    let alternatives: Vec<_> = (0..keys.len())
        .map(|last| {
            let terms = (0..=last).map(|n| {
                let op = match (n == last, keys[n].desc) {
                    (false, _) => "=",
                    (true, false) => ">",
                    (true, true) => "<",
                };
                format!("{} {op} ${}", expression(&keys[n], missing_bind), first_bind + n)
            });
            format!("({})", terms.collect::<Vec<_>>().join(" AND "))
        })
        .collect();
    Ok((alternatives.join(" OR "), values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_total_and_bounded() {
        let columns = |text: &str| {
            Order::parse(text).expect(text).0.iter().map(|k| (k.column, k.desc, k.missing)).collect::<Vec<_>>()
        };
        assert_eq!(columns(""), [("e.k_ref", false, false)]);
        assert_eq!(columns("ref desc"), [("e.k_ref", false, true), ("e.k_ref", true, false)]);
        assert_eq!(
            columns("title desc, tier"),
            [
                ("e.k_title", false, true),
                ("e.k_title", true, false),
                ("e.k_tier", false, false),
                ("e.k_ref", false, false)
            ]
        );
        for bad in ["nothing", "title up", "title desc x", "kind,name,title,owner,system"] {
            assert!(Order::parse(bad).expect_err(bad).is(&ORDER_INVALID));
        }
    }
}
