//! What every list of the gateway does: filter, order, pages and totals, with the visibility in the condition (SAFE-36).
//!
//! Refuses to count, order or page over rows the caller may not see.

use serde::{Deserialize, Serialize};
use slipway_kit::{
    db::{Row, Value},
    error::Result,
    filter::{self, Field},
    page::{self, Cursor, OrderBy, Sealer},
    serve::Call,
};

use crate::store::{Condition, Page};

/// Most rows an estimate counts.
const ESTIMATE_MAX: usize = 1_000;
/// Most rows an exact total counts.
const EXACT_MAX: usize = 1_000_000;

/// Whether a total is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// None.
    None,
    /// Every match.
    Exact,
    /// Up to a thousand.
    Estimate,
}

/// What a caller asks of a list.
pub struct Asked {
    /// Requested size of the page.
    pub size: i32,
    /// Token of the page; empty for the first.
    pub token: String,
    /// AIP-160 filter.
    pub filter: String,
    /// Order.
    pub order_by: String,
    /// Whether a total is wanted.
    pub total: Total,
}

/// One page.
pub struct Answer<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Token of the next page; empty on the last.
    pub next: String,
    /// Count of matches, if wanted.
    pub total: Option<i64>,
    /// Whether there are more matches than that.
    pub more_than_total: bool,
}

/// What a list can be asked about.
pub struct Query<'a> {
    /// Fields of the filter.
    pub fields: &'a [Field],
    /// Fields of the order and their columns.
    pub orders: &'a [(&'a str, &'a str)],
    /// Order when none is asked for.
    pub default_order: &'a str,
    /// Column without ties.
    pub key: &'a str,
    /// Column and value every row must have, so that the caller may see it.
    pub only: Option<(&'a str, String)>,
}

/// A list ready to be read.
pub struct Plan {
    /// All matches.
    pub all: Condition,
    /// The page of them, one row longer than asked for.
    pub page: Page,
    /// How many matches to count, if any.
    pub total: Option<usize>,
    order: OrderBy,
    bound: String,
    size: usize,
}

/// Plans lists and seals their page tokens; cheap to clone.
#[derive(Clone)]
pub struct Lists(Sealer);

#[derive(Serialize, Deserialize)]
struct Place(Cursor);

impl Lists {
    /// Lists whose tokens this sealer seals.
    #[must_use]
    pub fn new(sealer: Sealer) -> Self {
        Self(sealer)
    }

    /// Reads what was asked.
    ///
    /// # Errors
    /// FILTER_INVALID, ORDER_INVALID, PAGE_TOKEN_INVALID.
    pub fn plan(&self, call: &Call, asked: &Asked, query: &Query<'_>) -> Result<Plan> {
        let (own, mut args) = match &query.only {
            None => ("1 = 1".to_owned(), Vec::new()),
            Some((column, value)) => (format!("{column} = $1"), vec![Value::from(value)]),
        };
        let bound = format!("{:?}", (&asked.filter, &asked.order_by));
        let ((matching, mut more), order, place) = page::question(
            filter::parse(&asked.filter).and_then(|filter| filter.sql(query.fields, args.len() + 1)),
            OrderBy::parse(&asked.order_by, query.orders, query.default_order, query.key),
            self.0.open::<Place>(call, &bound, &asked.token),
        )?;
        args.append(&mut more);
        let all = Condition { sql: format!("{own} AND {matching}"), args };
        let (after, mut values) = order.after(place.as_ref().map(|p| &p.0), all.args.len() + 1)?;
        let mut args = all.args.clone();
        args.append(&mut values);
        let size = page::size(asked.size);
        let page = Page {
            rows: Condition { sql: format!("{} AND {after}", all.sql), args },
            columns: order.columns(),
            order: order.sql(),
            limit: size + 1,
        };
        let total = match asked.total {
            Total::None => None,
            Total::Exact => Some(EXACT_MAX),
            Total::Estimate => Some(ESTIMATE_MAX),
        };
        Ok(Plan { all, page, total, order, bound, size })
    }

    /// Renders the rows of a plan's page.
    ///
    /// # Errors
    /// INTERNAL when a row cannot be read.
    pub fn answer<T>(
        &self,
        call: &Call,
        plan: &Plan,
        mut rows: Vec<Row>,
        count: Option<i64>,
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Answer<T>> {
        let more = rows.len() > plan.size;
        rows.truncate(plan.size);
        let next = match rows.last().filter(|_| more) {
            None => String::new(),
            Some(row) => self.0.seal(call, &plan.bound, &Place(plan.order.cursor(row)?)),
        };
        let cap = plan.total.map(|cap| i64::try_from(cap).unwrap_or(i64::MAX));
        let more_than_total = count.zip(cap).is_some_and(|(n, cap)| n > cap);
        let total = count.zip(cap).map(|(n, cap)| n.min(cap));
        let items = rows.iter().map(read).collect::<Result<_>>()?;
        Ok(Answer { items, next, total, more_than_total })
    }
}
