//! Trust entries on the wire.
//!
//! Refuses masks that name what cannot change.

use slipway_kit::error::{Result, Violations};
use slipway_proto::access::v1 as pb;

use super::{etag, time};
use crate::{
    app::trust_entries::{Change, NewTrustEntry},
    model::trust::{Runner, Terms, TrustEntry},
};

/// Fields that UpdateTrustEntry may change.
const CHANGEABLE: [&str; 9] = [
    "repository_owner_id",
    "repository",
    "events",
    "refs",
    "ref_protected",
    "environment",
    "job_workflow_ref",
    "runner_environment",
    "permissions",
];

/// An entry as answered.
#[must_use]
pub fn trust_entry(e: &TrustEntry) -> pb::TrustEntry {
    let runner = match e.terms.runner {
        Runner::Hosted => pb::RunnerEnvironment::GithubHosted,
        Runner::SelfHosted => pb::RunnerEnvironment::SelfHosted,
    };
    pb::TrustEntry {
        name: e.name(),
        uid: e.uid.clone(),
        etag: etag(e.version),
        issuer: e.issuer.clone(),
        repository_id: e.repository_id,
        repository_owner_id: e.terms.owner_id,
        repository: e.terms.repository.clone(),
        service: e.service.clone(),
        events: e.terms.events.clone(),
        refs: e.terms.refs.clone(),
        ref_protected: e.terms.ref_protected,
        environment: e.terms.environment.clone(),
        job_workflow_ref: e.terms.workflow.clone(),
        runner_environment: runner.into(),
        permissions: e.terms.permissions.clone(),
        create_time: time(e.created_us),
        update_time: time(e.updated_us),
    }
}

/// An entry as asked for.
#[must_use]
pub fn new_trust_entry(request: pb::CreateTrustEntryRequest) -> NewTrustEntry {
    let asked = request.trust_entry.unwrap_or_default();
    let terms = terms(&asked);
    let validate_only = request.validate_only;
    NewTrustEntry {
        issuer: asked.issuer,
        repository_id: asked.repository_id,
        service: asked.service,
        terms,
        validate_only,
    }
}

/// A change as asked for.
///
/// # Errors
/// INVALID_FIELD for a mask that names what cannot change.
pub fn trust_change(request: pb::UpdateTrustEntryRequest) -> Result<Change> {
    let asked = request.trust_entry.unwrap_or_default();
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let mut wrong = Violations::new();
    for path in paths.iter().filter(|path| *path != "*" && !CHANGEABLE.contains(&path.as_str())) {
        let rule = format!("cannot change {path:?}; it may name {}", CHANGEABLE.join(", "));
        wrong.add("update_mask", rule);
    }
    let id = asked.name.strip_prefix("trustEntries/").unwrap_or_default().to_owned();
    wrong.check(!id.is_empty(), "trust_entry.name", "must be trustEntries/<id>");
    wrong.finish()?;
    let (etag, new) = (asked.etag.clone(), terms(&asked));
    let is_named = move |field: &str| paths.is_empty() || paths.iter().any(|path| path == field || path == "*");
    let apply = Box::new(move |old: Terms| Terms {
        owner_id: if is_named("repository_owner_id") { new.owner_id } else { old.owner_id },
        repository: pick(&is_named, "repository", &new.repository, old.repository),
        events: pick(&is_named, "events", &new.events, old.events),
        refs: pick(&is_named, "refs", &new.refs, old.refs),
        ref_protected: if is_named("ref_protected") { new.ref_protected } else { old.ref_protected },
        environment: pick(&is_named, "environment", &new.environment, old.environment),
        workflow: pick(&is_named, "job_workflow_ref", &new.workflow, old.workflow),
        runner: if is_named("runner_environment") { new.runner } else { old.runner },
        permissions: pick(&is_named, "permissions", &new.permissions, old.permissions),
    });
    Ok(Change { id, etag, apply, validate_only: request.validate_only })
}

fn pick<T: Clone>(is_named: &impl Fn(&str) -> bool, field: &str, new: &T, old: T) -> T {
    if is_named(field) { new.clone() } else { old }
}

fn terms(asked: &pb::TrustEntry) -> Terms {
    let runner = match asked.runner_environment() {
        pb::RunnerEnvironment::SelfHosted => Runner::SelfHosted,
        pb::RunnerEnvironment::GithubHosted | pb::RunnerEnvironment::Unspecified => Runner::Hosted,
    };
    Terms {
        owner_id: asked.repository_owner_id,
        repository: asked.repository.clone(),
        events: asked.events.clone(),
        refs: asked.refs.clone(),
        ref_protected: asked.ref_protected,
        environment: asked.environment.clone(),
        workflow: asked.job_workflow_ref.clone(),
        runner,
        permissions: asked.permissions.clone(),
    }
}
