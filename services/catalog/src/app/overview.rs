//! What one needs to know of a service in one call; a part whose feeder is away is marked, the rest is answered (CAT-110).

use slipway_kit::{authz::Facts, error::Result, serve::Call};

use super::{App, entities};
use crate::{
    model::{
        deployment::{self, Shown},
        docs::{self, Doc},
        entity::{Entity, State},
    },
    store,
    world::{EnvironmentSummary, PipelineSummary},
};

/// One part asked of another service.
pub struct Part<T> {
    /// What it answered; empty if it did not.
    pub items: Vec<T>,
    /// Why it could not be asked, if so.
    pub unavailable: Option<String>,
}

/// Everything of an overview.
pub struct Overview {
    /// The entity.
    pub entity: Entity,
    /// Display name of the owner; empty if the catalog does not know it.
    pub owner_name: String,
    /// Whether the owner is an entity of the catalog.
    pub owner_exists: bool,
    /// Documentation.
    pub docs: Vec<Doc>,
    /// Deployments.
    pub deployments: Shown,
    /// Environments.
    pub environments: Part<EnvironmentSummary>,
    /// Pipeline runs.
    pub pipelines: Part<PipelineSummary>,
    /// When this was put together, in µs.
    pub as_of_us: i64,
}

impl App {
    /// The overview of one entity.
    pub async fn overview(&self, call: &Call, name: &str) -> Result<Overview> {
        call.check(&Facts::default())?;
        let reference = entities::parse("name", name)?;
        let found = store::get(&self.db, reference.as_str(), false).await?;
        let entity = found.filter(|e| e.state != State::Deleted).ok_or_else(|| entities::unknown(&reference))?;
        let (environments, pipelines) = futures::join!(
            self.siblings.environments(call, &entity.identity),
            self.siblings.pipelines(call, &entity.identity)
        );
        let owner =
            store::by_refs(&self.db, std::slice::from_ref(&entity.head.owner)).await?.remove(&entity.head.owner);
        let docs = self.docs(&entity).await?;
        let deployments = deployment::show(store::deployments(&self.db, &entity.identity).await?);
        Ok(Overview {
            owner_exists: owner.is_some(),
            owner_name: owner.map(|o| display_name(&o)).unwrap_or_default(),
            docs,
            deployments,
            environments: part(environments),
            pipelines: part(pipelines),
            as_of_us: self.clock.now_us(),
            entity,
        })
    }

    async fn docs(&self, entity: &Entity) -> Result<Vec<Doc>> {
        let document = serde_json::from_str(&entity.json).unwrap_or_default();
        let mut all = docs::of_document(&document);
        let apis = store::provided_apis(&self.db, &entity.identity).await?;
        let known = store::by_refs(&self.db, &apis).await?;
        let api = |r: &String| known.get(r).map(|a| docs::of_api(r, &a.head.title, &a.head.kind_type));
        all.extend(apis.iter().filter_map(api));
        Ok(all)
    }
}

fn display_name(entity: &Entity) -> String {
    let head = &entity.head;
    let named = [&head.profile_name, &head.title, &head.name].into_iter().find(|n| !n.is_empty());
    named.cloned().unwrap_or_default()
}

fn part<T>(answer: Result<Vec<T>>) -> Part<T> {
    match answer {
        Ok(items) => Part { items, unavailable: None },
        Err(error) => {
            tracing::debug!(%error, "a part of an overview is not to be had");
            Part { items: Vec::new(), unavailable: Some("the service that knows this does not answer now".to_owned()) }
        }
    }
}
