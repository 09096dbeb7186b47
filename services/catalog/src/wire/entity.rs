//! Entities on the wire.

use std::collections::BTreeMap;

use slipway_kit::page;
use slipway_proto::{catalog::v1 as pb, resource::v1::TotalMode};

use super::time;
use crate::{
    app::{Change, ListAsk, Listed, WatchAsk},
    model::{
        entity::{Entity, State},
        finding::{Finding, Severity},
        tier::{Tier, TierSource},
    },
    store::Count,
};

/// Annotations below `backstage.io/` that a document cannot set.
const OURS: &[&str] = &["managed-by-location", "managed-by-origin-location", "view-url", "edit-url", "orphan"];

/// One entity.
pub fn entity(entity: Entity) -> pb::Entity {
    let reference = entity.reference();
    let annotations = annotations(&entity);
    let line = entity.place.line;
    let state = state(entity.state);
    pb::Entity {
        name: reference.resource_name(),
        etag: entity.etag(),
        uid: entity.uid,
        create_time: time(entity.created_us),
        update_time: time(entity.updated_us),
        r#ref: entity.identity,
        state: state.into(),
        service_tier: tier(entity.head.tier).into(),
        tier_source: tier_source(entity.head.tier_source).into(),
        api_version: entity.head.api_version,
        kind: entity.head.kind,
        namespace: entity.head.namespace,
        display_name: entity.head.name,
        title: entity.head.title,
        description: entity.head.description,
        owner: entity.head.owner,
        system: entity.head.system,
        r#type: entity.head.kind_type,
        lifecycle: entity.head.lifecycle,
        tags: entity.head.tags,
        labels: entity.head.labels.into_iter().collect(),
        annotations,
        document_json: entity.json,
        relations: entity
            .relations
            .into_iter()
            .map(|r| pb::Relation { r#type: r.relation, target_ref: r.target })
            .collect(),
        findings: entity.findings.into_iter().map(|f| finding(f, line)).collect(),
        provenance: Some(pb::Provenance {
            location: format!("locations/{}", entity.place.location),
            path: entity.place.path,
            document_index: i32::try_from(entity.place.index).unwrap_or(i32::MAX),
            line: i32::try_from(line).unwrap_or(i32::MAX),
            commit: entity.place.commit,
        }),
        raw: entity.raw.into_bytes(),
        version: entity.version,
        delete_time: if state == pb::EntityState::Deleted { time(entity.updated_us) } else { None },
    }
}

/// Annotations of the document, but for those that only the platform sets (CAT-100).
fn annotations(entity: &Entity) -> BTreeMap<String, String> {
    let ours = |key: &str| OURS.iter().any(|name| key.strip_prefix("backstage.io/") == Some(name));
    let own = entity.head.annotations.iter().filter(|(key, _)| !ours(key));
    let mut all: BTreeMap<_, _> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    let place = &entity.place;
    let place = format!("slipway:locations/{}/{}", place.location, place.path);
    all.insert("backstage.io/managed-by-location".to_owned(), place);
    all
}

fn state(state: State) -> pb::EntityState {
    match state {
        State::Active => pb::EntityState::Active,
        State::Invalid => pb::EntityState::Invalid,
        State::Orphaned => pb::EntityState::Orphaned,
        State::Deleted => pb::EntityState::Deleted,
    }
}

/// A tier.
pub fn tier(tier: Tier) -> pb::ServiceTier {
    match tier {
        Tier::Critical => pb::ServiceTier::Critical,
        Tier::Standard => pb::ServiceTier::Standard,
        Tier::Experimental => pb::ServiceTier::Experimental,
    }
}

/// Where a tier was read.
pub fn tier_source(source: TierSource) -> pb::TierSource {
    match source {
        TierSource::Spec => pb::TierSource::Spec,
        TierSource::SlipwayLabel => pb::TierSource::SlipwayLabel,
        TierSource::Label => pb::TierSource::Label,
        TierSource::Annotation => pb::TierSource::Annotation,
        TierSource::Default => pb::TierSource::Default,
    }
}

/// A finding with lines counted over the file in which its document begins at `first_line`.
pub fn finding(finding: Finding, first_line: u32) -> pb::Finding {
    let at = finding.at.in_file(first_line);
    let int = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let severity = match finding.severity {
        Severity::Error => pb::Severity::Error,
        Severity::Warning => pb::Severity::Warning,
        Severity::Info => pb::Severity::Info,
    };
    pb::Finding {
        code: finding.code,
        severity: severity.into(),
        message: finding.message,
        json_pointer: finding.pointer,
        line: int(at.line),
        column: int(at.column),
        end_line: int(at.end_line),
        end_column: int(at.end_column),
        related_ref: finding.related,
    }
}

/// Results of a batch, in the order asked.
pub fn batch(results: Vec<(String, Option<Entity>)>) -> pb::BatchGetEntitiesResponse {
    let result =
        |(r#ref, found): (String, Option<Entity>)| pb::BatchGetEntitiesResult { r#ref, entity: found.map(entity) };
    pb::BatchGetEntitiesResponse { results: results.into_iter().map(result).collect() }
}

/// The question of a list.
pub fn list_ask(request: pb::ListEntitiesRequest) -> ListAsk {
    ListAsk {
        total: count(request.total()),
        size: page::size(request.page_size),
        filter: request.filter,
        order_by: request.order_by,
        page_token: request.page_token,
        show_deleted: request.show_deleted,
    }
}

/// How to count.
pub fn count(mode: TotalMode) -> Option<Count> {
    match mode {
        TotalMode::Unspecified => None,
        TotalMode::Exact => Some(Count::Exact),
        TotalMode::Estimate => Some(Count::Estimate),
    }
}

/// A page.
pub fn listed(listed: Listed) -> pb::ListEntitiesResponse {
    pb::ListEntitiesResponse {
        entities: listed.entities.into_iter().map(entity).collect(),
        next_page_token: listed.next_page_token,
        total_size: listed.total.map(|(n, _)| n),
        total_is_estimate: listed.total.is_some_and(|(_, more)| more),
    }
}

/// The question of a watch.
pub fn watch_ask(request: pb::WatchEntitiesRequest) -> WatchAsk {
    WatchAsk { filter: request.filter, resume_token: request.resume_token, send_initial: request.send_initial }
}

/// One event of a watch.
pub fn change(change: Change) -> pb::WatchEntitiesResponse {
    use pb::WatchEvent::{Bookmark, Delete, Moved, Put, Synced};
    let (event, found, token, reason) = match change {
        Change::Put(found, token) => (Put, Some(entity(*found)), token, ""),
        Change::Moved(found, token) => (Moved, Some(entity(*found)), token, ""),
        Change::Gone(gone, deleted, token) => {
            let name = gone.reference().resource_name();
            let bare = pb::Entity { name, r#ref: gone.identity, uid: gone.uid, ..Default::default() };
            (Delete, Some(bare), token, if deleted { "DELETED" } else { "FILTERED" })
        }
        Change::Synced(token) => (Synced, None, token, ""),
        Change::Bookmark(token) => (Bookmark, None, token, ""),
    };
    pb::WatchEntitiesResponse {
        event: event.into(),
        entity: found,
        resume_token: token.text(),
        reason: reason.to_owned(),
    }
}
