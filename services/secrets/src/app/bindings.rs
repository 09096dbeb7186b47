//! Bindings: declaring, reading, resolving for an environment.
//!
//! Owns their verbs; they work while the engine is sealed. Refuses values, and everything to forks (SEC-46).
use std::collections::BTreeSet;

use slipway_kit::{
    audit::Change,
    authz,
    db::{Exec, Tx},
    error::{ALREADY_EXISTS, Error, NOT_FOUND, Result},
    id, journal,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::{App, List, Listed};
use crate::{
    error::FORK_NO_SECRETS,
    model::{
        binding::{self, Binding, WishedItem},
        name::{BindingName, Tier},
        service::Facts,
    },
    store::{bindings, services},
    wire::event,
};

/// A new binding as asked for.
pub struct Create {
    /// Id, and name of the Kubernetes Secret.
    pub id: String,
    /// Reference of the service.
    pub service: String,
    /// Tier of the environments.
    pub tier: Tier,
    /// The one environment; empty for all of the tier.
    pub environment_uid: String,
    /// Keys wanted.
    pub items: Vec<WishedItem>,
    /// Whether only to check.
    pub validate_only: bool,
}

/// A change of a binding as asked for.
pub struct Update {
    /// Which.
    pub name: BindingName,
    /// Keys wanted.
    pub items: Vec<WishedItem>,
    /// Version the change is meant for; empty for any.
    pub etag: String,
    /// Whether only to check.
    pub validate_only: bool,
}

/// Which bindings an environment asks for.
pub struct Resolve {
    /// Uid of the service's entity.
    pub service_uid: String,
    /// Tier of the environment.
    pub tier: Tier,
    /// Uid of the environment.
    pub environment_uid: String,
    /// Whether it shows a fork's code.
    pub fork: bool,
}

impl App {
    /// Creates a binding.
    pub async fn create_binding(&self, call: &Call, ask: &Create) -> Result<Binding> {
        let facts = self.entitled(call, &ask.service, ask.tier).await?;
        let mut change = match Mutation::begin::<Binding>(&self.db, call).await? {
            Begun::Replay(binding) => return Ok(binding),
            Begun::Fresh(change) => change,
        };
        let binding = self.new_binding(change.tx(), ask, &facts, &call.caller.principal).await?;
        let binding = observed(change.tx(), binding).await?;
        if ask.validate_only {
            return Ok(binding);
        }
        bindings::save(change.tx(), &binding).await?;
        self.finish(change, &binding, event::Binding::Created).await?;
        Ok(binding)
    }

    async fn new_binding(&self, tx: &mut Tx, ask: &Create, facts: &Facts, who: &str) -> Result<Binding> {
        let service = services::ensure(tx, facts).await?;
        let name = BindingName::new(&service.segment, ask.tier, &ask.id).ok_or_else(|| {
            Error::new(&slipway_kit::error::INVALID_FIELD, "invalid: secret_binding_id")
                .violation("secret_binding_id", "is reserved; choose another id")
        })?;
        if bindings::find(&mut *tx, &name).await?.is_some() {
            return Err(Error::new(&ALREADY_EXISTS, "a binding of that name exists")
                .resource("slipway.dev/SecretBinding", name.to_string()));
        }
        let items = binding::items(&name, &ask.environment_uid, &ask.items)?;
        let now_us = self.clock.now_us();
        Ok(Binding {
            uid: id::uuid7(),
            name,
            service: service.facts.reference,
            owner: service.facts.owner,
            environment_uid: ask.environment_uid.clone(),
            items,
            generation: 1,
            revision: 1,
            created_us: now_us,
            updated_us: now_us,
            updater: who.to_owned(),
            missing: Vec::new(),
        })
    }

    /// One binding and what it is ready for.
    pub async fn get_binding(&self, call: &Call, name: &BindingName) -> Result<Binding> {
        let service = self.owned(call, name.segment(), name.tier()).await?;
        let binding = bindings::find(&self.db, name).await?.ok_or_else(|| missing(name))?;
        observed(&self.db, Binding { owner: service.facts.owner, ..binding }).await
    }

    /// One page of bindings.
    pub async fn list_bindings(&self, call: &Call, list: &List) -> Result<Listed<Binding>> {
        let question = self.question(call, list, bindings::FIELDS, bindings::ORDERS)?;
        let mut page = bindings::list(&self.db, &question).await?;
        page.items = all_observed(&self.db, page.items).await?;
        Ok(self.listed(call, list, page))
    }

    /// Replaces the items of a binding.
    pub async fn update_binding(&self, call: &Call, ask: &Update) -> Result<Binding> {
        let service = self.owned(call, ask.name.segment(), ask.name.tier()).await?;
        let mut change = match Mutation::begin::<Binding>(&self.db, call).await? {
            Begun::Replay(binding) => return Ok(binding),
            Begun::Fresh(change) => change,
        };
        services::ensure(change.tx(), &service.facts).await?;
        let before = bindings::find(change.tx(), &ask.name).await?.ok_or_else(|| missing(&ask.name))?;
        before.guard(&ask.etag)?;
        let items = binding::items(&ask.name, &before.environment_uid, &ask.items)?;
        let binding = before.with_items(items, self.clock.now_us(), &call.caller.principal);
        let binding = observed(change.tx(), binding).await?;
        if ask.validate_only {
            return Ok(binding);
        }
        bindings::save(change.tx(), &binding).await?;
        self.finish(change, &binding, event::Binding::Updated).await?;
        Ok(binding)
    }

    /// Deletes a binding.
    pub async fn delete_binding(&self, call: &Call, name: &BindingName, etag: &str) -> Result<Binding> {
        let service = self.owned(call, name.segment(), name.tier()).await?;
        let mut change = match Mutation::begin::<Binding>(&self.db, call).await? {
            Begun::Replay(binding) => return Ok(binding),
            Begun::Fresh(change) => change,
        };
        services::ensure(change.tx(), &service.facts).await?;
        let binding = bindings::find(change.tx(), name).await?.ok_or_else(|| missing(name))?;
        binding.guard(etag)?;
        bindings::remove(change.tx(), name).await?;
        self.finish(change, &binding, event::Binding::Deleted).await?;
        Ok(binding)
    }

    /// Every binding that holds for an environment; `FORK_NO_SECRETS` if a fork has any.
    pub async fn resolve_bindings(&self, call: &Call, ask: &Resolve) -> Result<Vec<Binding>> {
        call.check(&authz::Facts::default())?;
        let Some(service) = services::of_uid(&self.db, &ask.service_uid).await? else { return Ok(Vec::new()) };
        let mut holding = bindings::of_service(&self.db, &service.segment, Some(ask.tier)).await?;
        holding.retain(|binding| binding.holds_for(&ask.environment_uid));
        if ask.fork && !holding.is_empty() {
            return Err(Error::new(&FORK_NO_SECRETS, "a binding holds for this fork's environment").precondition(
                "FORK_NO_SECRETS",
                holding[0].name.to_string(),
                "forks never get secrets",
            ));
        }
        all_observed(&self.db, holding).await
    }

    async fn finish(&self, mut change: Mutation, binding: &Binding, kind: event::Binding) -> Result<()> {
        journal::append(change.tx(), event::binding_changed(binding, kind)).await?;
        let about = Change { resource: &binding.name.to_string(), uid: &binding.uid, fields: &["items"] };
        change.commit(binding, about).await
    }
}

impl App {
    /// Tells those who follow bindings that what some of them deliver has other content (SEC-45).
    pub(super) async fn tell_consumers(&self, tx: &mut Tx, path: &crate::model::name::Path) -> Result<()> {
        for binding in bindings::of_service(&mut *tx, path.segment(), None).await? {
            if binding.follows(path) {
                let binding = observed(&mut *tx, binding).await?;
                journal::append(tx, event::binding_changed(&binding, event::Binding::Refreshed)).await?;
            }
        }
        Ok(())
    }
}

async fn observed(exec: impl Into<Exec<'_>>, binding: Binding) -> Result<Binding> {
    let keys = bindings::keys(exec, wanted(std::slice::from_ref(&binding))).await?;
    Ok(binding.observed(&keys))
}

async fn all_observed(exec: impl Into<Exec<'_>>, all: Vec<Binding>) -> Result<Vec<Binding>> {
    let keys = bindings::keys(exec, wanted(&all)).await?;
    Ok(all.into_iter().map(|binding| binding.observed(&keys)).collect())
}

fn wanted(all: &[Binding]) -> BTreeSet<(crate::model::name::Path, i64)> {
    all.iter().flat_map(|b| &b.items).map(|item| (item.path.clone(), item.version)).collect()
}

fn missing(name: &BindingName) -> Error {
    Error::new(&NOT_FOUND, "there is no such binding").resource("slipway.dev/SecretBinding", name.to_string())
}
