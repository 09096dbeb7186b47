//! All SQL of the secrets service.
//!
//! Owns rows. Refuses decisions, and values: what comes in and out of here is metadata and ciphertext.
use slipway_kit::{
    args,
    authz::Visible,
    db::{Db, Exec, Row, Value},
    error::Result,
    filter::{Field, Filter},
    page::{Cursor, OrderBy},
};

pub mod bindings;
pub mod engine;
pub mod reveals;
pub mod secrets;
pub mod services;
pub mod versions;

/// Matches that an estimate counts before it gives up.
const ESTIMATE_MAX: i64 = 1_000;

/// The migrations of this service's database.
pub static MIGRATIONS: slipway_kit::db::Migrations = slipway_kit::migrations!("../../migrations/secrets");

/// Whether a list counts its matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    /// Not at all.
    #[default]
    No,
    /// All of them.
    Exact,
    /// Up to a limit.
    Estimate,
}

/// What a list asks for.
pub struct Question {
    /// Rows the caller may see.
    pub visible: Visible,
    /// Which of them are wanted.
    pub filter: Filter,
    /// Their order.
    pub order: OrderBy,
    /// Where the page begins.
    pub after: Option<Cursor>,
    /// Most rows wanted.
    pub limit: usize,
    /// Whether softly deleted ones are wanted.
    pub show_deleted: bool,
    /// Whether matches are counted.
    pub count: Count,
}

/// One page of a list.
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
    /// Number of matches, if asked for, and whether there are more than that.
    pub total: Option<(i64, bool)>,
}

/// Runs a list over `columns` of `from` (with the service as `s`), where `also` holds.
async fn page<T>(
    db: &Db,
    (columns, from, also): (&str, &str, &str),
    fields: &[Field],
    question: &Question,
    read: impl Fn(&Row) -> Result<T>,
) -> Result<Page<T>> {
    let (visible, mut binds) = question.visible.sql("s.owner", 1);
    let (wanted, more) = question.filter.sql(fields, binds.len() + 1)?;
    binds.extend(more);
    let matching = format!("FROM {from} WHERE {also} AND ({visible}) AND ({wanted})");
    let total = count(db, &matching, binds.clone(), question.count).await?;

    let (beyond, more) = question.order.after(question.after.as_ref(), binds.len() + 1)?;
    binds.extend(more);
    binds.extend(args![question.limit + 1]);
    let (extra, order, limit) = (question.order.columns(), question.order.sql(), binds.len());
    let sql = format!("SELECT {columns}{extra} {matching} AND {beyond} ORDER BY {order} LIMIT ${limit}");
    let mut rows = db.fetch_all(&sql, binds).await?;
    let more = rows.len() > question.limit;
    rows.truncate(question.limit);
    let next = if more { rows.last().map(|row| question.order.cursor(row)).transpose()? } else { None };
    Ok(Page { items: rows.iter().map(read).collect::<Result<_>>()?, next, total })
}

async fn count(db: &Db, matching: &str, mut binds: Vec<Value>, how: Count) -> Result<Option<(i64, bool)>> {
    let counted = match how {
        Count::No => return Ok(None),
        Count::Exact => db.fetch_one(&format!("SELECT COUNT(*) AS n {matching}"), binds).await?.int("n")?,
        Count::Estimate => {
            binds.extend(args![ESTIMATE_MAX + 1]);
            let limit = binds.len();
            let sql = format!("SELECT COUNT(*) AS n FROM (SELECT 1 AS one {matching} LIMIT ${limit}) AS some");
            db.fetch_one(&sql, binds).await?.int("n")?
        }
    };
    let over = how == Count::Estimate && counted > ESTIMATE_MAX;
    Ok(Some((if over { ESTIMATE_MAX } else { counted }, over)))
}

/// One row of a statement, if any.
async fn one(exec: impl Into<Exec<'_>>, sql: &str, binds: Vec<Value>) -> Result<Option<Row>> {
    exec.into().fetch_optional(sql, binds).await
}
