//! Bindings on the wire.
//!
//! Owns both directions. Refuses an update of anything but the items.
use slipway_kit::error::{Error, Result, Violations};
use slipway_proto::secrets::v1 as pb;

use super::{binding_name, count, tier, tier_number, time, total};
use crate::{
    app::{Create, List, Listed, Resolve, Update},
    model::binding::{Binding, Item, WishedItem},
};

/// A new binding as asked for.
pub fn create(request: pb::CreateSecretBindingRequest) -> Result<Create> {
    let binding = request.secret_binding.unwrap_or_default();
    let tier = tier(binding.tier);
    let mut violations = Violations::new();
    violations.check(!binding.service.is_empty(), "secret_binding.service", "is required");
    violations.check(tier.is_some(), "secret_binding.tier", "is required");
    violations.finish()?;
    Ok(Create {
        id: request.secret_binding_id,
        service: binding.service,
        tier: tier.ok_or_else(|| Error::internal("a violation was told"))?,
        environment_uid: binding.environment_uid,
        items: binding.items.into_iter().map(wished).collect(),
        validate_only: request.validate_only,
    })
}

/// A change as asked for.
pub fn update(request: pb::UpdateSecretBindingRequest) -> Result<Update> {
    let binding = request.secret_binding.unwrap_or_default();
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let mut violations = Violations::new();
    let only_items = paths.iter().all(|path| path == "items" || path == "*");
    violations.check(
        only_items,
        "update_mask",
        "may name `items` only; make a new binding for another service, tier or environment",
    );
    violations.finish()?;
    Ok(Update {
        name: binding_name(&binding.name)?,
        items: binding.items.into_iter().map(wished).collect(),
        etag: binding.etag,
        validate_only: request.validate_only,
    })
}

fn wished(item: pb::SecretBindingItem) -> WishedItem {
    WishedItem { secret: item.secret, key: item.key, version: item.version, target: item.r#as, optional: item.optional }
}

/// A binding.
pub fn binding(binding: &Binding) -> pb::SecretBinding {
    use pb::SecretBindingState as State;
    let state = if binding.missing.is_empty() { State::Ready } else { State::NotReady };
    pb::SecretBinding {
        name: binding.name.to_string(),
        uid: binding.uid.clone(),
        etag: binding.etag(),
        create_time: time(binding.created_us),
        update_time: time(binding.updated_us),
        service: binding.service.clone(),
        tier: tier_number(binding.name.tier()),
        environment_uid: binding.environment_uid.clone(),
        owner: binding.owner.clone(),
        secret_name: binding.name.id().to_owned(),
        items: binding.items.iter().map(item).collect(),
        state: state.into(),
        missing: binding.missing.clone(),
        generation: binding.generation,
        updater: binding.updater.clone(),
    }
}

fn item(item: &Item) -> pb::SecretBindingItem {
    pb::SecretBindingItem {
        secret: item.path.name(),
        key: item.key.clone(),
        version: item.version,
        r#as: item.target.clone(),
        optional: item.optional,
    }
}

/// A list as asked for.
pub fn list(request: pb::ListSecretBindingsRequest) -> List {
    List {
        page_size: request.page_size,
        page_token: request.page_token,
        filter: request.filter,
        order_by: request.order_by,
        show_deleted: false,
        count: count(request.total),
    }
}

/// One page.
pub fn listed(listed: &Listed<Binding>) -> pb::ListSecretBindingsResponse {
    let (total_size, total_is_estimate) = total(listed);
    pb::ListSecretBindingsResponse {
        secret_bindings: listed.items.iter().map(binding).collect(),
        next_page_token: listed.next_page_token.clone(),
        total_size,
        total_is_estimate,
    }
}

/// What an environment asks for.
pub fn resolve(request: pb::ResolveEnvironmentBindingsRequest) -> Result<Resolve> {
    let tier = tier(request.tier);
    let mut violations = Violations::new();
    violations.check(tier.is_some(), "tier", "is required");
    violations.finish()?;
    Ok(Resolve {
        service_uid: request.service_uid,
        tier: tier.ok_or_else(|| Error::internal("a violation was told"))?,
        environment_uid: request.environment_uid.to_ascii_lowercase(),
        fork: request.fork,
    })
}
