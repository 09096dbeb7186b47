//! The environment on the wire.
//!
//! Owns its rendering and the words of its enums. Refuses input beyond what a caller may set.
use slipway_proto::{environment::v1 as pb, resource::v1 as resource};

use super::{duration, time, time_us};
use crate::{
    app::NewPin,
    config::Platform,
    model::{
        approval::{Approval, LIFE_MAX_US},
        condition::{Condition, Verdict},
        environment::{Environment, Held, Kind, Power, Publication, Source, Target},
        state::State,
        tier::Tier,
    },
};

/// An environment as callers read it.
pub type Rendered = pb::Environment;

/// Renders an environment.
pub fn render(env: &Environment, platform: &Platform) -> pb::Environment {
    let spec = &env.spec;
    pb::Environment {
        name: env.name(),
        uid: env.uid.clone(),
        etag: env.etag(),
        create_time: Some(time(env.created_us)),
        update_time: Some(time(env.updated_us)),
        delete_time: env.deleted_us.map(time),
        service: env.service.clone(),
        owner: env.owner.clone(),
        kind: kind_to(env.kind).into(),
        tier: tier_to(env.tier).into(),
        label: env.label.clone(),
        user: env.user.clone(),
        cluster: env.cluster.clone(),
        target: target_to(env.target).into(),
        source: Some(source(&spec.source)),
        images: spec.images.clone(),
        ttl: spec.ttl_us.map(duration),
        expire_time: env.expire_us.filter(|_| env.tier.ttl_cap_us().is_some()).map(time),
        generation: env.generation,
        observed_generation: env.status.observed_generation,
        state: state_to(env.state()).into(),
        reconciling: env.deleted_us.is_none() && !env.is_settled(),
        conditions: env.status.conditions.iter().map(condition).collect(),
        url: platform.url(env),
        namespace: env.namespace.clone(),
        publication: env.status.publication.as_ref().map(|p| publication(p, &env.cluster)),
        secret_names: env.status.secret_names.clone(),
        power: match env.power {
            Power::Awake => pb::Power::Awake,
            Power::Asleep => pb::Power::Asleep,
        }
        .into(),
        pin: env.pin.as_ref().map(|pin| pb::Pin {
            reason: pin.reason.clone(),
            actor: pin.actor.clone(),
            expire_time: Some(time(pin.until_us)),
        }),
        use_time: (env.used_us > 0).then(|| time(env.used_us)),
        inventory: env.status.inventory.iter().map(held).collect(),
        approval: env.approval.as_ref().map(approval),
        class: match env.spec.source.fork {
            true => pb::EnvironmentClass::Quarantine,
            false => pb::EnvironmentClass::Standard,
        }
        .into(),
        idle_sleep: spec.idle_us.map(duration),
        sleep_time: crate::model::rollout::idle_at_us(env).filter(|_| env.retire.is_none()).map(time),
    }
}

fn approval(approval: &Approval) -> pb::Approval {
    pb::Approval {
        approver: approval.approver.clone(),
        approve_time: Some(time(approval.at_us)),
        head_sha: approval.head_sha.clone(),
        base_sha: approval.base_sha.clone(),
        content_sha256: approval.content_sha256.clone(),
        expire_time: Some(time(approval.at_us.saturating_add(LIFE_MAX_US))),
        note: approval.note.clone(),
    }
}

fn held(held: &Held) -> pb::ClusterObject {
    pb::ClusterObject {
        api_version: held.object.api_version.clone(),
        kind: held.object.kind.clone(),
        namespace: held.object.namespace.clone(),
        name: held.object.name.clone(),
        uid: held.uid.clone(),
        create_time: Some(time(held.created_us)),
    }
}

fn source(source: &Source) -> pb::Source {
    pb::Source {
        scm: source.scm.clone(),
        repository: source.repository.clone(),
        repository_id: source.repository_id.clone(),
        pull_request: source.pull_request.unwrap_or(0),
        branch: source.branch.clone(),
        head_sha: source.head_sha.clone(),
        base_sha: source.base_sha.clone(),
        fork: source.fork,
    }
}

fn publication(publication: &Publication, cluster: &str) -> pb::Publication {
    pb::Publication {
        repository: cluster.to_owned(),
        branch: publication.branch.clone(),
        commit: publication.commit.clone(),
        path: publication.path.clone(),
        generation: publication.generation,
        manifest_count: publication.manifests,
        render_sha256: publication.render_sha256.clone(),
        publish_time: Some(time(publication.published_us)),
    }
}

fn condition(condition: &Condition) -> resource::Condition {
    let status = match condition.verdict {
        Verdict::True => resource::ConditionStatus::True,
        Verdict::False => resource::ConditionStatus::False,
        Verdict::Unknown => resource::ConditionStatus::Unknown,
    };
    resource::Condition {
        r#type: format!("{:?}", condition.aspect),
        status: status.into(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        observed_generation: condition.generation,
        last_transition_time: Some(time(condition.changed_us)),
    }
}

/// The pin that is asked for.
pub fn pin_from(request: &pb::PinEnvironmentRequest) -> NewPin {
    let until_us = request.expire_time.as_ref().map_or(0, time_us);
    NewPin { reason: request.reason.clone(), until_us }
}

/// The target on the wire.
pub fn target_to(target: Target) -> pb::Target {
    match target {
        Target::Git => pb::Target::Git,
        Target::Apply => pb::Target::Apply,
    }
}

/// The kind on the wire.
pub fn kind_to(kind: Kind) -> pb::EnvironmentKind {
    match kind {
        Kind::Personal => pb::EnvironmentKind::Personal,
        Kind::Branch => pb::EnvironmentKind::Branch,
        Kind::PullRequest => pb::EnvironmentKind::PullRequest,
        Kind::LongLived => pb::EnvironmentKind::LongLived,
    }
}

/// The kind a caller named.
pub fn kind_from(kind: pb::EnvironmentKind) -> Option<Kind> {
    match kind {
        pb::EnvironmentKind::Unspecified => None,
        pb::EnvironmentKind::Personal => Some(Kind::Personal),
        pb::EnvironmentKind::Branch => Some(Kind::Branch),
        pb::EnvironmentKind::PullRequest => Some(Kind::PullRequest),
        pb::EnvironmentKind::LongLived => Some(Kind::LongLived),
    }
}

/// The tier on the wire.
pub fn tier_to(tier: Tier) -> pb::EnvironmentTier {
    match tier {
        Tier::Development => pb::EnvironmentTier::Development,
        Tier::Staging => pb::EnvironmentTier::Staging,
        Tier::Production => pb::EnvironmentTier::Production,
    }
}

/// The tier a caller named.
pub fn tier_from(tier: pb::EnvironmentTier) -> Option<Tier> {
    match tier {
        pb::EnvironmentTier::Unspecified => None,
        pb::EnvironmentTier::Development => Some(Tier::Development),
        pb::EnvironmentTier::Staging => Some(Tier::Staging),
        pb::EnvironmentTier::Production => Some(Tier::Production),
    }
}

/// The state on the wire.
pub fn state_to(state: State) -> pb::EnvironmentState {
    match state {
        State::Pending => pb::EnvironmentState::Pending,
        State::AwaitingApproval => pb::EnvironmentState::AwaitingApproval,
        State::Provisioning => pb::EnvironmentState::Provisioning,
        State::Deploying => pb::EnvironmentState::Deploying,
        State::Ready => pb::EnvironmentState::Ready,
        State::Degraded => pb::EnvironmentState::Degraded,
        State::Sleeping => pb::EnvironmentState::Sleeping,
        State::Asleep => pb::EnvironmentState::Asleep,
        State::Waking => pb::EnvironmentState::Waking,
        State::Published => pb::EnvironmentState::Published,
        State::Failed => pb::EnvironmentState::Failed,
        State::Deleting => pb::EnvironmentState::Deleting,
        State::DeleteBlocked => pb::EnvironmentState::DeleteBlocked,
        State::Deleted => pb::EnvironmentState::Deleted,
    }
}
