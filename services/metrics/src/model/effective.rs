//! What the versions of one fact add up to (MET-7, R1): independent of the order and repetition in which they came.
//!
//! Owns the folds. Refuses to keep anything a fold cannot recompute.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fact::{self, Deployment, Fact, Incident, PipelineRun, Status, Version, VersionKey};
use super::tier::Tier;

/// A part with its own finish and status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Canonical repository.
    pub repository: String,
    /// Commit.
    pub sha: String,
    /// When it finished.
    pub finished_us: i64,
    /// How.
    pub status: Status,
}

/// A deployment as its versions add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effective {
    /// Environment.
    pub environment: String,
    /// Tier of the environment.
    pub tier: Tier,
    /// Provider's id.
    pub external_id: String,
    /// Attempt, 0 if unknown.
    pub attempt: i32,
    /// Status: any failed part makes it failed.
    pub status: Status,
    /// Parts, sorted by repository and commit.
    pub parts: Vec<Part>,
    /// Begin, if known.
    pub started_us: Option<i64>,
    /// Finish: that of the latest part.
    pub finished_us: i64,
    /// Kind as stated.
    pub kind: Option<fact::Kind>,
    /// Who or what triggered it.
    pub actor: String,
    /// External id of the deployment it repairs; empty if not stated.
    pub remediates: String,
    /// Whether it is a planned rollback.
    pub planned: bool,
    /// Where it was learned.
    pub origin: fact::Origin,
    /// Page at the provider.
    pub url: String,
}

impl Effective {
    /// Whether it became live in production.
    pub fn is_live(&self) -> bool {
        self.tier == Tier::Production && self.status == Status::Succeeded
    }
}

/// Folds the versions of one deployment; `None` while none is terminal.
///
/// Only the latest attempt counts. Of each repository the latest version's parts count, so parts may come in several events.
pub fn deployment(versions: &[Version<Deployment>]) -> Option<Effective> {
    let terminal = || versions.iter().filter(|v| v.fact.status.is_some());
    let attempt = terminal().map(|v| v.fact.attempt).max()?;
    let mut current: Vec<&Version<Deployment>> = terminal().filter(|v| v.fact.attempt == attempt).collect();
    current.sort_by(|a, b| a.key.cmp(&b.key));
    current.dedup_by(|a, b| a.key == b.key);
    let latest = &current.last()?.fact;
    let mut repositories: BTreeMap<&str, (&VersionKey, Vec<Part>)> = BTreeMap::new();
    for version in &current {
        let status = version.fact.status.unwrap_or(Status::Failed);
        for part in &version.fact.parts {
            let slot = repositories.entry(&part.repository).or_insert_with(|| (&version.key, Vec::new()));
            if slot.0 != &version.key {
                *slot = (&version.key, Vec::new());
            }
            slot.1.push(Part {
                repository: part.repository.clone(),
                sha: part.sha.clone(),
                finished_us: part.finished_us.unwrap_or(version.fact.finished_us),
                status: part.status.unwrap_or(status),
            });
        }
    }
    let mut parts: Vec<Part> = repositories.into_values().flat_map(|(_, parts)| parts).collect();
    parts.sort_by(|a, b| (&a.repository, &a.sha, a.finished_us).cmp(&(&b.repository, &b.sha, b.finished_us)));
    let failed = latest.status == Some(Status::Failed) || parts.iter().any(|p| p.status == Status::Failed);
    let begun = versions.iter().filter(|v| v.fact.attempt == attempt).filter_map(|v| v.fact.started_us).min();
    Some(Effective {
        environment: latest.environment.clone(),
        tier: latest.tier.unwrap_or_else(|| Tier::of_name(&latest.environment)),
        external_id: latest.external_id.clone(),
        attempt,
        status: if failed { Status::Failed } else { Status::Succeeded },
        started_us: begun,
        finished_us: parts.iter().map(|p| p.finished_us).max().unwrap_or(latest.finished_us),
        parts,
        kind: latest.kind,
        actor: latest.actor.clone(),
        remediates: latest.remediates.clone(),
        planned: latest.planned,
        origin: latest.origin,
        url: latest.url.clone(),
    })
}

/// The greatest version.
pub fn latest<T>(versions: &[Version<T>]) -> Option<&Version<T>> {
    versions.iter().max_by(|a, b| a.key.cmp(&b.key))
}

/// Folds the versions of one incident as one service sees it: those that name the service.
pub fn incident(versions: &[Version<Incident>], service: &str) -> Option<Incident> {
    let mine = versions.iter().filter(|v| v.fact.services.iter().any(|s| s == service));
    mine.max_by(|a, b| a.key.cmp(&b.key)).map(|v| v.fact.clone())
}

/// Folds the versions of one attempt of a run and of its jobs; `None` until the run itself was heard of.
///
/// Answers the run and the instant it was last heard of. Jobs that came apart replace stages of their name.
pub fn pipeline_run(versions: &[Version<Fact>]) -> Option<(PipelineRun, i64)> {
    let mut runs: Vec<(&VersionKey, &PipelineRun)> = Vec::new();
    let mut jobs: BTreeMap<&str, (&VersionKey, &fact::Stage)> = BTreeMap::new();
    for version in versions {
        match &version.fact {
            Fact::PipelineRun(run) => runs.push((&version.key, run)),
            Fact::PipelineJob(job) => {
                let slot = jobs.entry(&job.job_id).or_insert((&version.key, &job.stage));
                if slot.0 < &version.key {
                    *slot = (&version.key, &job.stage);
                }
            }
            _ => {}
        }
    }
    runs.sort_by(|a, b| a.0.cmp(b.0));
    let mut run = runs.last()?.1.clone();
    run.queued_us = run.queued_us.or_else(|| runs.iter().filter_map(|(_, r)| r.queued_us).min());
    run.started_us = run.started_us.or_else(|| runs.iter().filter_map(|(_, r)| r.started_us).min());
    if run.stages.is_empty() {
        run.stages = runs.iter().rev().map(|(_, r)| &r.stages).find(|s| !s.is_empty()).cloned().unwrap_or_default();
    }
    run.stages.retain(|stage| !jobs.values().any(|(_, job)| job.title == stage.title));
    run.stages.extend(jobs.into_values().map(|(_, stage)| stage.clone()));
    run.stages.sort_by(|a, b| {
        (a.started_us.is_none(), a.started_us, &a.title).cmp(&(b.started_us.is_none(), b.started_us, &b.title))
    });
    let heard = versions.iter().map(|v| v.key.occurred_us).max().unwrap_or(0);
    Some((run, heard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fact::Origin;

    fn version(occurred_us: i64, status: Option<Status>, parts: &[(&str, &str, i64)]) -> Version<Deployment> {
        let fact = Deployment {
            service: None,
            environment: "prod".into(),
            tier: None,
            external_id: "1".into(),
            attempt: 0,
            status,
            parts: parts
                .iter()
                .map(|(r, s, at)| fact::Part {
                    repository: (*r).into(),
                    sha: (*s).into(),
                    finished_us: Some(*at),
                    status: None,
                })
                .collect(),
            started_us: None,
            finished_us: occurred_us,
            kind: None,
            actor: String::new(),
            remediates: String::new(),
            planned: false,
            origin: Origin::Api,
            url: String::new(),
        };
        Version { key: VersionKey { occurred_us, sequence: 0, payload_sha256: format!("{occurred_us}") }, fact }
    }

    #[test]
    fn parts_of_several_events_are_one_deployment_at_the_latest_finish() {
        let a = version(10, Some(Status::Succeeded), &[("r1", "a", 10)]);
        let b = version(5, Some(Status::Succeeded), &[("r2", "b", 15)]);
        for versions in [vec![a.clone(), b.clone()], vec![b.clone(), a.clone(), b.clone()]] {
            let folded = deployment(&versions).expect("terminal");
            assert_eq!((folded.parts.len(), folded.finished_us, folded.status), (2, 15, Status::Succeeded));
        }
        let failed = version(6, Some(Status::Failed), &[("r2", "b", 15)]);
        assert_eq!(deployment(&[a, b, failed]).expect("terminal").status, Status::Failed);
    }

    #[test]
    fn success_twice_then_inactive_is_one_success() {
        let success = version(10, Some(Status::Succeeded), &[("r", "a", 10)]);
        let inactive = version(20, None, &[("r", "a", 20)]);
        let folded = deployment(&[inactive.clone(), success.clone(), success]).expect("terminal");
        assert_eq!((folded.finished_us, folded.status), (10, Status::Succeeded));
        assert!(deployment(&[inactive]).is_none());
    }
}
