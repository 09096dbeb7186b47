//! Events of this service's journal.
use slipway_kit::journal::{NewEvent, event};
use slipway_proto::scaffolding::v1 as pb;

use super::{run, time};
use crate::{model::run::Run, store::Revision};

/// A run reached its end.
#[must_use]
pub fn run_finished(run: &Run) -> NewEvent {
    let message = pb::RunFinished {
        run: run.name(),
        template: format!("templates/{}", run.template),
        revision: format!("templates/{}/revisions/{}", run.template, run.version),
        state: run::run_state(run.state).into(),
        initiator: run.initiator.clone(),
        owner: run.owner.clone(),
        service: run.service.clone(),
        repository: run.repository.clone(),
        commit: run.commit.clone(),
        create_time: time(run.create_us),
        start_time: run.start_us.and_then(time),
        end_time: run.end_us.and_then(time),
        failed_step: run.error.as_ref().map(|e| e.step.clone()).unwrap_or_default(),
    };
    event(&run.uid, &message)
}

/// A revision was published; `template_uid` is the key.
#[must_use]
pub fn revision_published(revision: &Revision, template_uid: &str) -> NewEvent {
    let message = pb::RevisionPublished {
        template: format!("templates/{}", revision.template),
        revision: revision.name(),
        digest: revision.digest.clone(),
        publisher: revision.publisher.clone(),
    };
    event(template_uid, &message)
}
