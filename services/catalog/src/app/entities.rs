//! Verbs that read entities: get, batch get, list.

use slipway_kit::{
    authz::Facts,
    error::{Error, INVALID_FIELD, NOT_FOUND, Result},
    page,
    serve::Call,
};

use super::App;
use crate::{
    model::{
        entity::{Entity, State},
        entity_ref::EntityRef,
    },
    store::{self, Ask, Order, Page},
};

/// A question for a list.
pub struct ListAsk {
    /// Filter as written.
    pub filter: String,
    /// Order as written.
    pub order_by: String,
    /// Entities per page.
    pub size: usize,
    /// Token of the page before.
    pub page_token: String,
    /// Whether tombstones are listed.
    pub show_deleted: bool,
    /// How to count.
    pub total: Option<store::Count>,
}

/// A page of a list.
pub struct Listed {
    /// The entities.
    pub entities: Vec<Entity>,
    /// Token of the next page; empty at the end.
    pub next_page_token: String,
    /// The total, and whether there are more than it says.
    pub total: Option<(i64, bool)>,
}

impl App {
    /// One living entity with its relations.
    pub async fn get_entity(&self, call: &Call, name: &str, raw: bool) -> Result<Entity> {
        call.check(&Facts::default())?;
        let reference = parse("name", name)?;
        let found = store::get(&self.db, reference.as_str(), raw).await?;
        let mut entity = found.filter(|e| e.state != State::Deleted).ok_or_else(|| unknown(&reference))?;
        entity.relations = store::relations(&self.db, &entity.identity).await?;
        Ok(entity)
    }

    /// Entities in the order asked, each with its canonical reference, and a hole for each that does not exist.
    pub async fn batch_get_entities(&self, call: &Call, names: &[String]) -> Result<Vec<(String, Option<Entity>)>> {
        call.check(&Facts::default())?;
        let mut wrong = slipway_kit::error::Violations::new();
        let mut refs = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            match EntityRef::from_name_or_ref(name, None) {
                Ok(reference) => refs.push(reference.to_string()),
                Err(error) => wrong.add(format!("names[{at}]"), error.rule()),
            }
        }
        wrong.finish()?;
        let found = store::by_refs(&self.db, &refs).await?;
        let mut answer = Vec::with_capacity(refs.len());
        let relations = store::relations_of(&self.db, &found.keys().cloned().collect::<Vec<_>>()).await?;
        for reference in refs {
            let entity = found.get(&reference).cloned().map(|e| {
                let own = relations.get(&reference).cloned().unwrap_or_default();
                Entity { relations: own, ..e }
            });
            answer.push((reference, entity));
        }
        Ok(answer)
    }

    /// A page of entities by filter and order.
    pub async fn list_entities(&self, call: &Call, ask: &ListAsk) -> Result<Listed> {
        call.check(&Facts::default())?;
        let bound = format!("{}\n{}\n{}", ask.filter, ask.order_by, ask.show_deleted);
        let (filter, order, after) = page::question(
            store::prepare(&ask.filter, call),
            Order::parse(&ask.order_by),
            self.sealer.open(call, &bound, &ask.page_token),
        )?;
        let question = Ask {
            filter: &filter,
            order: &order,
            after,
            size: ask.size,
            show_deleted: ask.show_deleted,
            total: ask.total,
        };
        let Page { entities, next, total } = store::list(&self.db, &question).await?;
        let next_page_token = next.map(|next| self.sealer.seal(call, &bound, &next)).unwrap_or_default();
        Ok(Listed { entities, next_page_token, total })
    }
}

pub(super) fn parse(field: &str, name: &str) -> Result<EntityRef> {
    EntityRef::from_name_or_ref(name, None)
        .map_err(|e| Error::new(&INVALID_FIELD, format!("invalid: {field}")).violation(field, e.rule()))
}

pub(super) fn unknown(reference: &EntityRef) -> Error {
    let name = reference.resource_name();
    Error::new(&NOT_FOUND, format!("there is no {name}")).resource("entity", name)
}
