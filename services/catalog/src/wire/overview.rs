//! Overviews and ownership on the wire.

use slipway_proto::{access::v1 as access, catalog::v1 as pb};

use super::{
    entity::{tier, tier_source},
    time,
};
use crate::{
    app::{Memberships, Overview, Part},
    model::{deployment::Deployment, docs::Doc, entity::Ownership},
    world::{EnvironmentSummary, PipelineSummary},
};

/// One overview.
pub fn overview(overview: Overview) -> pb::ServiceOverview {
    let as_of_us = overview.as_of_us;
    let entity = overview.entity;
    let title = if entity.head.title.is_empty() { &entity.head.name } else { &entity.head.title };
    pb::ServiceOverview {
        name: entity.reference().resource_name(),
        title: title.clone(),
        service_tier: tier(entity.head.tier).into(),
        tier_source: tier_source(entity.head.tier_source).into(),
        owner: Some(pb::ServiceOwner {
            r#ref: entity.head.owner,
            display_name: overview.owner_name,
            exists: overview.owner_exists,
        }),
        r#ref: entity.identity,
        uid: entity.uid,
        docs: overview.docs.into_iter().map(doc).collect(),
        deployments: Some(pb::DeploymentsPart {
            status: Some(pb::PartStatus { as_of: time(as_of_us), ..Default::default() }),
            recent: overview.deployments.recent.into_iter().map(deployment).collect(),
            current: overview.deployments.current.into_iter().map(deployment).collect(),
        }),
        environments: Some(pb::EnvironmentsPart {
            status: Some(status(&overview.environments, as_of_us)),
            environments: overview.environments.items.into_iter().map(environment).collect(),
        }),
        pipelines: Some(pb::PipelinesPart {
            status: Some(status(&overview.pipelines, as_of_us)),
            runs: overview.pipelines.items.into_iter().map(pipeline).collect(),
        }),
    }
}

fn status<T>(part: &Part<T>, as_of_us: i64) -> pb::PartStatus {
    pb::PartStatus {
        unavailable: part.unavailable.is_some(),
        as_of: if part.unavailable.is_some() { None } else { time(as_of_us) },
        reason: part.unavailable.clone().unwrap_or_default(),
    }
}

fn doc(doc: Doc) -> pb::ServiceDoc {
    pb::ServiceDoc { r#type: doc.kind.to_owned(), title: doc.title, target: doc.target, format: doc.format.to_owned() }
}

fn deployment(deployment: Deployment) -> pb::ServiceDeployment {
    pb::ServiceDeployment {
        id: deployment.id,
        environment: deployment.environment,
        commit: deployment.commit,
        outcome: deployment.outcome,
        end_time: time(deployment.finished_us),
        rollback: deployment.rollback,
        ..Default::default()
    }
}

fn environment(environment: EnvironmentSummary) -> pb::ServiceEnvironment {
    pb::ServiceEnvironment {
        name: environment.name,
        state: environment.state,
        environment_tier: environment.tier,
        url: environment.url,
    }
}

fn pipeline(run: PipelineSummary) -> pb::ServicePipelineRun {
    pb::ServicePipelineRun {
        name: run.name,
        pipeline: run.pipeline,
        outcome: run.outcome,
        commit: run.commit,
        url: run.url,
        start_time: time(run.started_us),
    }
}

/// Deciding facts of one entity.
pub fn ownership(facts: Ownership) -> access::Ownership {
    access::Ownership {
        r#ref: facts.identity,
        uid: facts.uid,
        owner: facts.owner,
        service_tier: facts.tier,
        scm: facts.scm,
        repository: facts.repository,
        system: facts.system,
        repository_path: facts.folder,
        login: facts.login,
    }
}

/// All memberships.
pub fn memberships(memberships: Memberships) -> access::ListMembershipsResponse {
    let pairs = memberships.pairs.into_iter();
    access::ListMembershipsResponse {
        memberships: pairs.map(|(user, group)| access::Membership { user, group }).collect(),
        revision: memberships.revision,
        groups: memberships.groups,
    }
}
