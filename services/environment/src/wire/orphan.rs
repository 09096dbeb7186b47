//! Orphans on the wire.
//!
//! Owns their rendering. Refuses to be read back: callers name an orphan and confirm, they never write one.
use slipway_proto::environment::v1 as pb;

use super::time;
use crate::{
    app::{Confirmation, OrphanList},
    model::orphan::{Orphan, Stage},
};

/// Where it stands.
pub fn state(stage: Stage) -> pb::OrphanState {
    match stage {
        Stage::Quarantined => pb::OrphanState::Quarantined,
        Stage::Deleting => pb::OrphanState::Deleting,
        Stage::Gone => pb::OrphanState::Gone,
    }
}

/// Renders an orphan.
pub fn render(orphan: &Orphan) -> pb::Orphan {
    pb::Orphan {
        name: orphan.name(),
        etag: orphan.etag(),
        cluster: format!("clusters/{}", orphan.cluster),
        namespace: orphan.namespace.clone(),
        namespace_uid: orphan.uid.clone(),
        environment_uid: orphan.env_uid.clone(),
        service: orphan.service.clone(),
        state: state(orphan.stage()).into(),
        evidence: orphan.evidence.clone(),
        is_proven: orphan.is_proven,
        create_time: Some(time(orphan.found_us)),
        expire_time: orphan.expire_us().map(time),
        confirmer: orphan.confirmed_by.clone(),
        confirm_reason: orphan.confirm_reason.clone(),
        delete_time: Some(time(orphan.gone_us)).filter(|_| orphan.gone_us > 0),
    }
}

/// The list that is asked for.
pub fn wanted(message: pb::ListOrphansRequest) -> OrphanList {
    OrphanList {
        page_size: message.page_size,
        page_token: message.page_token,
        filter: message.filter,
        show_gone: message.show_gone,
    }
}

/// What a person confirms.
pub fn confirmation(message: pb::ConfirmOrphanDeletionRequest) -> Confirmation {
    Confirmation {
        namespace: message.namespace,
        reason: message.reason,
        etag: message.etag,
        validate_only: message.validate_only,
    }
}
