//! Holds on the wire.
//!
//! Owns their rendering. Refuses to be read back: callers name a hold, they never write one.
use slipway_proto::environment::v1 as pb;

use super::time;
use crate::{
    app::HoldList,
    model::hold::{Cause, Hold},
};

/// Renders a hold with the environments that wait for it.
pub fn render(hold: &Hold, waiting: &[String]) -> pb::Hold {
    let cause = match hold.cause {
        Cause::MassDeletion => pb::HoldCause::MassDeletion,
        Cause::SweepLimit => pb::HoldCause::SweepLimit,
        Cause::EmptyListing => pb::HoldCause::EmptyListing,
        Cause::RepositoryLost => pb::HoldCause::RepositoryLost,
        Cause::WrongAnswer => pb::HoldCause::WrongAnswer,
    };
    let repository = if hold.repository.is_empty() { &hold.repository_id } else { &hold.repository };
    pb::Hold {
        name: hold.name(),
        uid: hold.uid.clone(),
        etag: hold.etag(),
        source: format!("scmConnections/{}", hold.scm),
        repository: repository.clone(),
        cause: cause.into(),
        evidence: hold.evidence.clone(),
        needs_release: hold.cause.needs_release(),
        create_time: Some(time(hold.since_us)),
        release_time: Some(time(hold.released_us)).filter(|_| hold.released_us > 0),
        releaser: hold.released_by.clone(),
        release_reason: hold.release_reason.clone(),
        waiting_environments: waiting.to_vec(),
    }
}

/// The list that is asked for.
pub fn wanted(message: pb::ListHoldsRequest) -> HoldList {
    HoldList {
        page_size: message.page_size,
        page_token: message.page_token,
        filter: message.filter,
        show_released: message.show_released,
    }
}
