//! Role bindings on the wire.
//!
//! Refuses a role that is not named.

use slipway_kit::{
    caller::Role,
    error::{Error, INVALID_FIELD, Result},
};
use slipway_proto::access::v1 as pb;

use super::{etag, time};
use crate::model::noun::Binding;

/// A binding as answered.
#[must_use]
pub fn role_binding(b: &Binding) -> pb::RoleBinding {
    pb::RoleBinding {
        name: b.name(),
        uid: b.uid.clone(),
        etag: etag(b.version),
        subject: b.subject.clone(),
        role: role(b.role).into(),
        team: b.team.clone(),
        create_time: time(b.created_us),
        update_time: time(b.updated_us),
        warnings: Vec::new(),
    }
}

/// A role as answered.
#[must_use]
pub fn role(role: Role) -> pb::Role {
    match role {
        Role::Viewer => pb::Role::Viewer,
        Role::Developer => pb::Role::Developer,
        Role::Maintainer => pb::Role::Maintainer,
        Role::Automation => pb::Role::Automation,
        Role::Auditor => pb::Role::Auditor,
        Role::Operator => pb::Role::Operator,
        Role::PlatformAdmin => pb::Role::PlatformAdmin,
    }
}

/// The role of a binding as asked for.
///
/// # Errors
/// INVALID_FIELD when none is named.
pub fn bound_role(binding: &pb::RoleBinding) -> Result<Role> {
    Ok(match binding.role() {
        pb::Role::Viewer => Role::Viewer,
        pb::Role::Developer => Role::Developer,
        pb::Role::Maintainer => Role::Maintainer,
        pb::Role::Automation => Role::Automation,
        pb::Role::Auditor => Role::Auditor,
        pb::Role::Operator => Role::Operator,
        pb::Role::PlatformAdmin => Role::PlatformAdmin,
        pb::Role::Unspecified => {
            return Err(Error::new(&INVALID_FIELD, "invalid: role_binding.role")
                .violation("role_binding.role", "must be one of the roles"));
        }
    })
}
