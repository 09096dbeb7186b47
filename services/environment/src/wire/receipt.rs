//! Receipts on the wire.
//!
//! Owns their rendering. Refuses input: receipts are only read.
use slipway_proto::environment::v1 as pb;

use super::time;
use crate::model::receipt::{KEEP_US, Object, Outcome, Receipt};

/// Renders a receipt.
pub fn render(receipt: &Receipt) -> pb::TeardownReceipt {
    pb::TeardownReceipt {
        name: format!("teardownReceipts/{}", receipt.uid),
        uid: receipt.uid.clone(),
        environment: format!("environments/{}", receipt.label_id),
        service: receipt.service.clone(),
        reason: receipt.reason.clone(),
        actor: receipt.actor.clone(),
        create_time: Some(time(receipt.created_us)),
        delete_time: Some(time(receipt.deleted_us)),
        expire_time: Some(time(receipt.deleted_us.saturating_add(KEEP_US))),
        objects: receipt.objects.iter().map(object).collect(),
        cluster_observed: receipt.is_observed,
        note: receipt.note.clone(),
    }
}

fn object(object: &Object) -> pb::TeardownObject {
    let outcome = match object.outcome {
        Outcome::Removed => pb::TeardownOutcome::Removed,
        Outcome::Retained => pb::TeardownOutcome::Retained,
        Outcome::Evidence => pb::TeardownOutcome::Evidence,
    };
    pb::TeardownObject {
        kind: object.kind.clone(),
        id: object.id.clone(),
        outcome: outcome.into(),
        detail: object.detail.clone(),
        delete_time: object.deleted_us.map(time),
        uid: object.uid.clone(),
        create_time: (object.created_us > 0).then(|| time(object.created_us)),
    }
}
