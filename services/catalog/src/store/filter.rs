//! Filters of entities: which fields there are, what their values mean, and the same filter as SQL and as a test on one entity.
//!
//! Owns the rewriting that makes both agree: references in canonical spelling, `me`, and `!=` that wants a value to be there.

use slipway_kit::{
    db::Value,
    error::Result,
    filter::{self, Compare, Field, Filter, Kind, Op},
    serve::Call,
};

use crate::model::{attribute, document::Body, entity::Entity, entity_ref::EntityRef, relation};

/// Fields of filters; those ending in `.` stand for everything below them.
pub const FIELDS: &[&str] = &[
    "kind",
    "namespace",
    "name",
    "ref",
    "title",
    "state",
    "tier",
    "owner",
    "system",
    "lifecycle",
    "type",
    "tags",
    "labels.",
    "annotations.",
    "spec.",
    "relations.",
    "create_time",
    "update_time",
];

const STATES: &[(&str, &str)] =
    &[("ACTIVE", "ACTIVE"), ("INVALID", "INVALID"), ("ORPHANED", "ORPHANED"), ("DELETED", "DELETED")];
const TIERS: &[(&str, &str)] = &[("critical", "critical"), ("standard", "standard"), ("experimental", "experimental")];

const COLUMNS: &[Field] = &[
    Field { name: "kind", column: "e.kind", kind: Kind::Text },
    Field { name: "namespace", column: "e.namespace", kind: Kind::Text },
    Field { name: "name", column: "e.name", kind: Kind::Text },
    Field { name: "ref", column: "e.ref", kind: Kind::Text },
    Field { name: "title", column: "e.title", kind: Kind::Text },
    Field { name: "state", column: "e.state", kind: Kind::Words(STATES) },
    Field { name: "tier", column: "e.tier", kind: Kind::Words(TIERS) },
    Field { name: "owner", column: "e.owner", kind: Kind::Text },
    Field { name: "system", column: "e.system", kind: Kind::Text },
    Field { name: "lifecycle", column: "e.lifecycle", kind: Kind::Text },
    Field { name: "type", column: "e.kind_type", kind: Kind::Text },
    Field { name: "create_time", column: "e.created_us", kind: Kind::Time },
    Field { name: "update_time", column: "e.updated_us", kind: Kind::Time },
];

/// Parses a filter, checks its fields and values, and rewrites it for `call`.
pub fn prepare(text: &str, call: &Call) -> Result<Filter> {
    let filter = filter::parse(text)?;
    filter.check(FIELDS)?;
    for compare in filter.compares() {
        if let Some(word) = compare.path.strip_prefix("relations.").filter(|w| relation::inverse(w).is_none()) {
            return Err(compare.invalid(&format!("`{word}` is no relation, as `ownedBy` or `dependsOn` is")));
        }
    }
    let filter = rewrite(filter, call);
    sql(&filter, 1)?;
    Ok(filter)
}

fn rewrite(filter: Filter, call: &Call) -> Filter {
    match filter {
        Filter::And(parts) => Filter::And(parts.into_iter().map(|p| rewrite(p, call)).collect()),
        Filter::Or(parts) => Filter::Or(parts.into_iter().map(|p| rewrite(p, call)).collect()),
        Filter::Not(inner) => Filter::Not(Box::new(rewrite(*inner, call))),
        Filter::Compare(compare) => rewrite_one(compare, call),
        Filter::All => Filter::All,
    }
}

fn rewrite_one(mut compare: Compare, call: &Call) -> Filter {
    if compare.is_presence() {
        return Filter::Compare(compare);
    }
    // A prefix is one after `:` too: as a text to be contained it would match nothing, and say nothing.
    if compare.op == Op::Has && compare.value.ends_with('*') {
        compare.op = Op::Eq;
    }
    if compare.op == Op::Ne {
        let there = Compare { op: Op::Has, value: "*".to_owned(), quoted: false, ..compare.clone() };
        let same = Compare { op: Op::Eq, ..compare };
        return Filter::And(vec![Filter::Compare(there), Filter::Not(Box::new(rewrite_one(same, call)))]);
    }
    if compare.path == "owner" && compare.op == Op::Eq && compare.value == "me" {
        let mine = std::iter::once(call.caller.principal.clone()).chain(call.caller.teams.keys().cloned());
        return Filter::Or(mine.map(|owner| Filter::Compare(Compare { value: owner, ..compare.clone() })).collect());
    }
    let exact = compare.op == Op::Eq && compare.prefix().is_none();
    compare.value = match compare.path.as_str() {
        "kind" | "namespace" | "name" | "tags" => compare.value.to_lowercase(),
        "ref" => canonical(&compare.value, None, exact),
        "owner" => canonical(&compare.value, Some("group"), exact),
        "system" => canonical(&compare.value, Some("system"), exact),
        path if path.starts_with("relations.") => canonical(&compare.value, None, exact || compare.op == Op::Has),
        _ => compare.value,
    };
    Filter::Compare(compare)
}

fn canonical(text: &str, default_kind: Option<&str>, exact: bool) -> String {
    let parsed = if exact { EntityRef::parse(text, default_kind).ok() } else { None };
    parsed.map_or_else(|| text.to_lowercase(), |r| r.to_string())
}

/// The condition of a prepared filter over `entity e`.
pub(super) fn sql(filter: &Filter, first_bind: usize) -> Result<(String, Vec<Value>)> {
    filter.sql_with(&compare_sql, first_bind)
}

fn compare_sql(compare: &Compare, bind: usize) -> Result<(String, Vec<Value>)> {
    if let Some(column) = COLUMNS.iter().find(|c| c.name == compare.path) {
        let (sql, values) = column.sql(compare, bind)?;
        // A missing text is '' and compares with nothing.
        let ordered = matches!(compare.op, Op::Lt | Op::Le) && matches!(column.kind, Kind::Text);
        return Ok((if ordered { format!("({} <> '' AND {sql})", column.column) } else { sql }, values));
    }
    match compare.path.strip_prefix("relations.") {
        Some(word) => Ok(relation_sql(compare, word, bind)),
        None => Ok(attribute_sql(compare, bind)),
    }
}

fn relation_sql(compare: &Compare, word: &str, bind: usize) -> (String, Vec<Value>) {
    let back = relation::inverse(word).unwrap_or_default();
    let (forward, backward) = (bind, bind + 1);
    let mut values: Vec<Value> = vec![word.into(), back.into()];
    let other = if compare.is_presence() {
        [String::new(), String::new()]
    } else if let Some(prefix) = compare.prefix() {
        values.push(prefix.into());
        let length = prefix.chars().count();
        ["d.target", "d.source"].map(|c| format!(" AND SUBSTR({c}, 1, {length}) = ${}", bind + 2))
    } else {
        values.push(compare.value.as_str().into());
        ["d.target", "d.source"].map(|c| format!(" AND {c} = ${}", bind + 2))
    };
    let sql = format!(
        "e.ref IN (SELECT d.source FROM edge d WHERE d.relation = ${forward}{}) \
         OR e.ref IN (SELECT d.target FROM edge d WHERE d.relation = ${backward}{})",
        other[0], other[1]
    );
    (sql, values)
}

fn attribute_sql(compare: &Compare, bind: usize) -> (String, Vec<Value>) {
    let next = bind + 1;
    let mut values: Vec<Value> = vec![compare.path.as_str().into()];
    let condition = if compare.is_presence() {
        String::new()
    } else if let Some(prefix) = compare.prefix() {
        values.push(prefix.into());
        format!(" AND SUBSTR(a.value, 1, {}) = ${next}", prefix.chars().count())
    } else if matches!(compare.op, Op::Lt | Op::Le | Op::Gt | Op::Ge) {
        let rank = attribute::rank(&compare.value);
        let op = compare.op.text();
        if rank.is_empty() {
            values.push(compare.value.as_str().into());
            format!(" AND a.value {op} ${next}")
        } else {
            let kind = rank[..1].to_owned();
            values.extend([Value::from(rank), Value::from(kind)]);
            format!(" AND a.rank {op} ${next} AND SUBSTR(a.rank, 1, 1) = ${}", next + 1)
        }
    } else if compare.op == Op::Has && compare.path != "tags" {
        values.push(Value::from(compare.value.to_lowercase()));
        format!(" AND LENGTH(REPLACE(LOWER(a.value), ${next}, '')) <> LENGTH(a.value)")
    } else {
        values.push(attribute::kept(&compare.value).into());
        let rank = attribute::rank(&compare.value);
        if rank.is_empty() {
            format!(" AND a.value = ${next}")
        } else {
            values.push(rank.into());
            format!(" AND (a.value = ${next} OR a.rank = ${})", next + 1)
        }
    };
    (format!("e.uid IN (SELECT a.uid FROM attribute a WHERE a.field = ${bind}{condition})"), values)
}

/// Whether an entity with its relations matches a prepared filter.
pub fn matches(filter: &Filter, entity: &Entity) -> bool {
    filter.matches(&|path| Some(values(entity, path)))
}

fn values(entity: &Entity, path: &str) -> Vec<String> {
    let head = &entity.head;
    let id = entity.reference();
    let one = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
    let time = |us: i64| jiff::Timestamp::from_microsecond(us).map(|t| t.to_string()).unwrap_or_default();
    match path {
        "kind" => one(id.kind()),
        "namespace" => one(id.namespace()),
        "name" => one(id.name()),
        "ref" => one(&entity.identity),
        "title" => one(&head.title),
        "state" => one(entity.state.word()),
        "tier" => one(head.tier.word()),
        "owner" => one(&head.owner),
        "system" => one(&head.system),
        "lifecycle" => one(&head.lifecycle),
        "type" => one(&head.kind_type),
        "create_time" => one(&time(entity.created_us)),
        "update_time" => one(&time(entity.updated_us)),
        _ => match path.strip_prefix("relations.") {
            Some(word) => entity.relations.iter().filter(|r| r.relation == word).map(|r| r.target.clone()).collect(),
            None => {
                let json = serde_json::from_str(&entity.json).unwrap_or_default();
                let all = attribute::of(&Body { head: head.clone(), json });
                all.into_iter().filter(|a| a.field == path).map(|a| a.value).collect()
            }
        },
    }
}
