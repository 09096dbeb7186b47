//! Secrets on the wire.
//!
//! Owns the only two places where a value crosses: in with a put, out with a reveal.
use secrecy::{ExposeSecret as _, SecretString};
use slipway_kit::error::{Result, Violations};
use slipway_proto::secrets::v1 as pb;

use super::{count, path, tier, tier_number, time, total};
use crate::{
    app::{Destroy, List, Listed, Put, Reveal, Revealed},
    model::secret::{Secret, Version},
};

/// A write as asked for; the values move.
pub fn put(request: pb::PutSecretRequest) -> Result<Put> {
    let secret = request.secret.unwrap_or_default();
    let mut violations = Violations::new();
    let tier = tier(secret.tier);
    violations.check(tier.is_some(), "secret.tier", "is required");
    violations.finish()?;
    Ok(Put {
        service: secret.service,
        tier: tier.ok_or_else(|| slipway_kit::error::Error::internal("a violation was told"))?,
        environment_uid: secret.environment_uid,
        description: secret.description,
        values: request.values.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect(),
        patch: request.mode == i32::from(pb::PutMode::Patch),
        remove_keys: request.remove_keys,
        expected_version: request.expected_version,
        validate_only: request.validate_only,
    })
}

/// Metadata.
pub fn secret(secret: &Secret) -> pb::Secret {
    pb::Secret {
        name: secret.path.name(),
        uid: secret.uid.clone(),
        etag: secret.etag(),
        create_time: time(secret.created_us),
        update_time: time(secret.updated_us),
        delete_time: time(secret.deleted_us),
        service: secret.service.clone(),
        tier: tier_number(secret.path.tier()),
        environment_uid: secret.path.environment_uid().to_owned(),
        description: secret.description.clone(),
        owner: secret.owner.clone(),
        version: secret.version,
        keys: secret.visible_keys().to_vec(),
        creator: secret.creator.clone(),
        updater: secret.updater.clone(),
        consumers: secret.consumers.clone(),
    }
}

/// A list as asked for.
pub fn list(request: pb::ListSecretsRequest) -> List {
    List {
        page_size: request.page_size,
        page_token: request.page_token,
        filter: request.filter,
        order_by: request.order_by,
        show_deleted: request.show_deleted,
        count: count(request.total),
    }
}

/// One page.
pub fn listed(listed: &Listed<Secret>) -> pb::ListSecretsResponse {
    let (total_size, total_is_estimate) = total(listed);
    pb::ListSecretsResponse {
        secrets: listed.items.iter().map(secret).collect(),
        next_page_token: listed.next_page_token.clone(),
        total_size,
        total_is_estimate,
    }
}

/// One version's metadata.
pub fn version(version: &Version) -> pb::SecretVersion {
    use pb::SecretVersionState as State;
    let state = match (version.destroyed_us != 0, version.deleted) {
        (true, _) => State::Destroyed,
        (false, true) => State::Deleted,
        (false, false) => State::Enabled,
    };
    pb::SecretVersion {
        version: version.version,
        state: state.into(),
        keys: version.keys.clone(),
        create_time: time(version.created_us),
        creator: version.creator.clone(),
        destroy_time: time(version.destroyed_us),
        destroy_reason: version.destroy_reason.clone(),
    }
}

/// One page of versions.
pub fn versions(listed: &Listed<Version>) -> pb::ListSecretVersionsResponse {
    pb::ListSecretVersionsResponse {
        versions: listed.items.iter().map(version).collect(),
        next_page_token: listed.next_page_token.clone(),
    }
}

/// A destruction as asked for.
pub fn destroy(request: pb::DestroySecretVersionRequest) -> Result<Destroy> {
    Ok(Destroy { path: path(&request.name)?, version: request.version, reason: request.reason })
}

/// A reveal as asked for.
pub fn reveal(request: pb::RevealSecretRequest) -> Result<Reveal> {
    Ok(Reveal {
        path: path(&request.name)?,
        key: request.key,
        version: request.version,
        reason: request.reason,
        ticket: request.ticket,
    })
}

/// The one answer that holds a value.
pub fn revealed(revealed: &Revealed) -> pb::RevealSecretResponse {
    pb::RevealSecretResponse {
        value: revealed.value.expose_secret().to_owned(),
        version: revealed.version,
        remaining: revealed.remaining,
    }
}
