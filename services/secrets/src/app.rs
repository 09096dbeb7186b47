//! The verbs of the secrets service: who may, then one transaction, then the event.
//!
//! Owns the order of things. Refuses to answer whether something exists before the caller may know (SAFE-41).
use std::sync::{Arc, Mutex};

use slipway_kit::{
    authz,
    clock::Clock,
    db::Db,
    error::{Error, NOT_FOUND, Result, SERVICE_UNKNOWN},
    filter::{Field, Filter},
    page::{self, OrderBy, Sealer},
    serve::Call,
};

use crate::{
    model::{
        name::Tier,
        service::{Facts, Service},
    },
    store::{Count, Page, Question, services},
    world::{cluster::Clusters, directory::Directory, engine::Engine},
};

mod bindings;
mod deliveries;
mod engine;
mod reveal;
mod secrets;
mod values;
mod versions;

pub use bindings::{Create, Resolve, Update};
pub use deliveries::{Deliver, Delivered, Delivery, Withdraw};
pub use engine::{Finding, Status};
pub use reveal::{Reveal, Revealed};
pub use values::Put;
pub use versions::Destroy;

/// What the verbs work with; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of an [`App`].
pub struct Parts {
    /// The database.
    pub db: Db,
    /// Keys for values.
    pub engine: Engine,
    /// Who owns what.
    pub directory: Directory,
    /// Clusters that secrets are delivered to.
    pub clusters: Arc<dyn Clusters>,
    /// Seals page tokens.
    pub sealer: Sealer,
    /// Time.
    pub clock: Clock,
    /// What the last check of the chains found.
    pub findings: Mutex<Vec<Finding>>,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// A list as asked for.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Most items.
    pub page_size: i32,
    /// Where to go on.
    pub page_token: String,
    /// Filter as written.
    pub filter: String,
    /// Order as written.
    pub order_by: String,
    /// Whether softly deleted ones are wanted.
    pub show_deleted: bool,
    /// Whether to count.
    pub count: Count,
}

/// One page of an answer.
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// Token of the next page; empty on the last.
    pub next_page_token: String,
    /// Number of matches, and whether there are more than that.
    pub total: Option<(i64, bool)>,
}

impl App {
    /// The verbs over these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The facts of a service by its reference, once the caller may do what it calls for in this tier.
    async fn entitled(&self, call: &Call, reference: &str, tier: Tier) -> Result<Facts> {
        let told = self.directory.resolve(call, reference).await?;
        let Some(facts) = told else {
            // What does not exist belongs to nobody: only who may without a team learns that it is missing.
            call.check(&authz::Facts { environment_tier: Some(tier.word()), ..authz::Facts::default() })?;
            return Err(
                Error::new(&SERVICE_UNKNOWN, "the catalog knows no such service").resource("service", reference)
            );
        };
        call.check(&decisive(&facts, tier))?;
        Ok(facts)
    }

    /// The service of a segment with its present facts; whether the caller may is for the caller of this to check.
    async fn service(&self, call: &Call, segment: &str) -> Result<Option<Service>> {
        let Some(service) = services::find(&self.db, segment).await? else { return Ok(None) };
        let told = self.directory.resolve(call, &service.facts.reference).await?;
        let facts = service.present(told);
        if facts != service.facts {
            services::keep(&self.db, &facts).await?;
        }
        Ok(Some(Service { facts, ..service }))
    }

    /// The service of a segment, once the caller may; one that has nothing here is the same as one of nobody.
    async fn owned(&self, call: &Call, segment: &str, tier: Tier) -> Result<Service> {
        match self.service(call, segment).await? {
            Some(service) => {
                call.check(&decisive(&service.facts, tier))?;
                Ok(service)
            }
            None => {
                call.check(&authz::Facts { environment_tier: Some(tier.word()), ..authz::Facts::default() })?;
                Err(Error::new(&NOT_FOUND, "there is no such service here"))
            }
        }
    }

    fn question(&self, call: &Call, list: &List, fields: &[Field], orders: &[(&str, &str)]) -> Result<Question> {
        let unique = orders.last().map_or("", |(_, column)| *column);
        let (filter, order, after) = page::question(
            Filter::read(&list.filter, fields),
            OrderBy::parse(&list.order_by, orders, "name", unique),
            self.sealer.open(call, &bound(list), &list.page_token),
        )?;
        Ok(Question {
            visible: call.visible(),
            filter,
            order,
            after,
            limit: page::size(list.page_size),
            show_deleted: list.show_deleted,
            count: list.count,
        })
    }

    fn listed<T>(&self, call: &Call, list: &List, page: Page<T>) -> Listed<T> {
        let next = page.next.map(|cursor| self.sealer.seal(call, &bound(list), &cursor));
        Listed { items: page.items, next_page_token: next.unwrap_or_default(), total: page.total }
    }
}

fn bound(list: &List) -> String {
    format!("{}\n{}\n{}", list.filter, list.order_by, list.show_deleted)
}

/// The facts that decide about a service's things in a tier.
fn decisive(facts: &Facts, tier: Tier) -> authz::Facts<'_> {
    authz::Facts {
        owner: Some(facts.owner.as_str()).filter(|owner| !owner.is_empty()),
        environment_tier: Some(tier.word()),
        service_tier: Some(facts.service_tier.as_str()).filter(|tier| !tier.is_empty()),
        ..authz::Facts::default()
    }
}
