//! Reading deployments and parked facts back.
use slipway_kit::{
    error::Result,
    filter::Filter,
    page::{self, Cursor, OrderBy},
    serve::Call,
};

use super::App;
use crate::store::{
    deployments::{self, FIELDS, ORDER, Stored},
    ledger::{self, Parked},
};

/// Most matches that an estimate counts.
pub const ESTIMATE_MAX: i64 = 1_000;

/// How a total is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// None.
    No,
    /// Every match.
    Exact,
    /// Up to [`ESTIMATE_MAX`].
    Estimate,
}

impl Total {
    /// How far to count; `None` for no total.
    pub fn most(self) -> Option<i64> {
        match self {
            Total::No => None,
            Total::Exact => Some(i64::MAX),
            Total::Estimate => Some(ESTIMATE_MAX + 1),
        }
    }
}

/// A question for a page.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Page size as asked.
    pub size: i32,
    /// Token.
    pub token: String,
    /// Filter.
    pub filter: String,
    /// Order.
    pub order: String,
    /// Total wanted.
    pub total: Total,
}

/// A page of a list.
pub struct Page<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// Token of the next page.
    pub next: String,
    /// Number of matches, if asked for.
    pub total: Option<i64>,
}

impl<T> Page<T> {
    /// A page out of the rows read, of which one more than fits tells that there are more.
    pub(super) fn cut(
        mut rows: Vec<(T, Cursor)>,
        size: usize,
        total: Option<i64>,
        seal: impl Fn(&Cursor) -> String,
    ) -> Self {
        let more = rows.len() > size;
        rows.truncate(size);
        let next = if more { rows.last().map(|(_, cursor)| seal(cursor)).unwrap_or_default() } else { String::new() };
        Self { rows: rows.into_iter().map(|(row, _)| row).collect(), next, total }
    }
}

impl App {
    /// A page of a service's deployments.
    pub async fn list_deployments(&self, call: &Call, service: &str, asked: &Asked) -> Result<Page<Stored>> {
        let service = self.service(service).await?;
        let bound = format!("{service}\n{}\n{}", asked.filter, asked.order);
        let (filter, order, after) = page::question(
            Filter::read(&asked.filter, FIELDS),
            OrderBy::parse(&asked.order, ORDER, "finish_time desc", "id"),
            self.sealer.open::<Cursor>(call, &bound, &asked.token),
        )?;
        let size = page::size(asked.size);
        let rows = deployments::page(&self.db, &service, &filter, &order, after.as_ref(), size).await?;
        let total = match asked.total.most() {
            Some(most) => Some(deployments::count(&self.db, &service, &filter, most).await?),
            None => None,
        };
        Ok(Page::cut(rows, size, total, |cursor| self.sealer.seal(call, &bound, cursor)))
    }

    /// A page of the groups of facts that wait for a service.
    pub async fn list_parked(&self, call: &Call, size: i32, token: &str) -> Result<Page<Parked>> {
        let after: Option<(String, String)> = self.sealer.open(call, "parked", token)?;
        let size = page::size(size);
        let after = after.as_ref().map(|(r, e)| (r.as_str(), e.as_str()));
        let mut rows = ledger::parked(&self.db, after, size + 1).await?;
        let more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| more).map(|g| (&g.repository, &g.environment));
        let next = last.map(|place| self.sealer.seal(call, "parked", &place)).unwrap_or_default();
        Ok(Page { rows, next, total: None })
    }
}
