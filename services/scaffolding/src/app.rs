//! The verbs: authorise on the resource, open a transaction, ask the model, save, append the event.
//!
//! Owns the order of these. Refuses protobuf and SQL.
mod builtin;
mod dry_run;
mod runs;
mod templates;

use std::sync::Arc;

use slipway_kit::{
    clock::Clock,
    error::{Error, INVALID_FIELD, Result},
    page::Sealer,
};

use crate::{
    error::TEMPLATE_UNKNOWN,
    model::revision::parse_name,
    store::{Revision, Store, Trees},
    world::{Forge, Siblings},
};

pub use dry_run::{DryRun, DryStep, Rehearsal, RenderedFile};
pub use runs::NewRun;
pub use templates::Publication;

/// What the verbs need.
#[derive(Clone)]
pub struct App {
    /// Rows.
    pub store: Store,
    /// Page tokens.
    pub sealer: Sealer,
    /// Source provider.
    pub forge: Arc<dyn Forge>,
    /// Catalog and gateway.
    pub siblings: Arc<dyn Siblings>,
    /// Parsed templates.
    pub trees: Trees,
    /// Current time.
    pub clock: Clock,
}

/// One page of a list: what to look for and from where on.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Filter as written.
    pub filter: String,
    /// Order as written.
    pub order_by: String,
    /// Items of the page.
    pub page_size: i32,
    /// Token of the former page.
    pub page_token: String,
    /// Whether to count.
    pub total: Total,
}

/// Whether a list is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Total {
    /// Not at all.
    #[default]
    None,
    /// Every match.
    Exact,
    /// Up to 1,000.
    Estimate,
}

/// Matches up to which an estimate is exact.
const ESTIMATE_MAX: i64 = 1_000;

/// A page with its token and count.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Items.
    pub items: Vec<T>,
    /// Token of the next page; empty on the last.
    pub next: String,
    /// Matches, if asked for.
    pub total: Option<i64>,
    /// Whether there are more than the total says.
    pub is_estimate: bool,
}

impl App {
    /// The total of a condition as asked for, and whether there are more.
    async fn total(
        &self,
        table: &str,
        condition: &(String, Vec<slipway_kit::db::Value>),
        total: Total,
    ) -> Result<(Option<i64>, bool)> {
        Ok(match total {
            Total::None => (None, false),
            Total::Exact => (Some(self.store.count(table, condition, i64::MAX).await?), false),
            Total::Estimate => {
                let found = self.store.count(table, condition, ESTIMATE_MAX + 1).await?;
                (Some(found.min(ESTIMATE_MAX)), found > ESTIMATE_MAX)
            }
        })
    }

    /// The revision a name means: itself, or the newest stable one of a template.
    async fn revision_of(&self, name: &str) -> Result<Revision> {
        let Some((id, version)) = parse_name(name) else {
            let rule = "must be templates/<id> or templates/<id>/revisions/<version>";
            return Err(Error::new(&INVALID_FIELD, "invalid: template").violation("template", rule));
        };
        let version = match version {
            Some(version) => version.to_owned(),
            None => {
                let row = self.store.template(self.store.db(), id).await?.ok_or_else(|| unknown(name))?;
                if row.stable_version.is_empty() {
                    return Err(Error::new(
                        &crate::error::NO_STABLE_REVISION,
                        format!("{name} has no stable revision"),
                    ));
                }
                row.stable_version
            }
        };
        self.store.revision(self.store.db(), id, &version).await?.ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> Error {
    Error::new(&TEMPLATE_UNKNOWN, format!("there is no {name}")).resource("template", name)
}
