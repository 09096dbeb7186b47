//! Locations on the wire.

use slipway_kit::error::{Error, Result, Violations};
use slipway_proto::catalog::v1 as pb;

use super::{entity::finding, time};
use crate::{
    app::Refreshed,
    model::{
        entity_ref::EntityRef,
        location::{Location, NewLocation, Report, State, Target},
    },
};

/// What someone wants registered; everything that is wrong at once.
pub fn new(location: Option<pb::Location>) -> Result<NewLocation> {
    let mut violations = Violations::new();
    let location = location.unwrap_or_default();
    let target = match location.r#type() {
        pb::LocationType::Git => Target::git(&location.target, &location.path, &mut violations),
        pb::LocationType::File => Target::file(&location.target, &location.path, &mut violations),
        pb::LocationType::Builtin | pb::LocationType::Unspecified => {
            violations.add("location.type", "must be LOCATION_TYPE_GIT or LOCATION_TYPE_FILE");
            None
        }
    };
    let owner = EntityRef::parse(&location.owner, Some("group"));
    match &owner {
        Ok(owner) => violations.check(owner.kind() == "group", "location.owner", "must be a group"),
        Err(error) => violations.add("location.owner", error.rule()),
    }
    violations.finish()?;
    match (target, owner) {
        (Some(target), Ok(owner)) => {
            Ok(NewLocation { target, owner, organization: location.organization, templates: location.templates })
        }
        _ => Err(Error::internal("a violation was found")),
    }
}

/// One location.
pub fn location(location: Location) -> pb::Location {
    let (kind, path) = match &location.target {
        Target::Git { path, .. } => (pb::LocationType::Git, path.clone()),
        Target::File { .. } => (pb::LocationType::File, String::new()),
        Target::Builtin => (pb::LocationType::Builtin, String::new()),
    };
    let state = match location.state {
        State::Ready => pb::LocationState::Ready,
        State::Stale => pb::LocationState::Stale,
    };
    pb::Location {
        name: location.name(),
        etag: location.etag(),
        target: location.target.text(),
        uid: location.uid,
        create_time: time(location.created_us),
        update_time: time(location.updated_us),
        r#type: kind.into(),
        path,
        owner: location.owner,
        organization: location.organization,
        templates: location.templates,
        state: state.into(),
        reason: location.reason,
        message: location.message,
        commit: location.commit,
        sequence: location.sequence,
        refresh_time: time(location.refreshed_us),
        entity_count: location.entity_count,
        documents: location.reports.into_iter().map(report).collect(),
    }
}

fn report(report: Report) -> pb::DocumentReport {
    let line = report.line;
    pb::DocumentReport {
        path: report.path,
        document_index: i32::try_from(report.index).unwrap_or(i32::MAX),
        r#ref: report.identity,
        findings: report.findings.into_iter().map(|f| finding(f, line)).collect(),
    }
}

/// What a refresh did.
pub fn refreshed(refreshed: Refreshed) -> pb::RefreshLocationResponse {
    pb::RefreshLocationResponse {
        location: Some(location(refreshed.location)),
        stale: refreshed.stale,
        added: refreshed.tally.added,
        changed: refreshed.tally.changed,
        removed: refreshed.tally.removed,
    }
}

/// The uid in `locations/{uid}`.
pub fn uid(name: &str) -> &str {
    name.strip_prefix("locations/").unwrap_or(name)
}
