//! The whole history of a service, loaded once and kept while no fact touches it (MET-12).
//!
//! Owns the cache. Refuses to grow without bound, and to serve a history older than the ledger says.
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use slipway_kit::error::Result;

use super::{App, record::scope_of};
use crate::{
    model::{
        correction::{self, Correction},
        effective::Effective,
        fact::{self, Origin, PullRequest},
        failure::{Cause, Incident},
        graph::Graph,
        timeline::{self, Timeline},
    },
    store::{deployments, derived, services},
};

/// Most services kept.
const SERVICES_MAX: usize = 64;
/// Most commits kept, over all services.
const NODES_MAX: usize = 2_000_000;

/// What does not depend on a window.
pub struct History {
    /// Canonical reference of the service.
    pub service: String,
    /// Deployments of any tier.
    pub deployments: Vec<Effective>,
    /// Commits.
    pub graph: Graph,
    /// Pull requests, sorted by repository and number.
    pub pulls: Vec<PullRequest>,
    /// What each success brought.
    pub timeline: Timeline,
    /// Corrections, oldest first.
    pub corrections: Vec<Correction>,
    /// When the service was enrolled, if it was.
    pub enrolled_us: Option<i64>,
    /// Whether its enrolment names a source of incidents.
    pub incident_source: bool,
    /// Greatest ledger number that touched it.
    pub revision: i64,
    owner: String,
    repositories: Vec<String>,
    scopes: Vec<String>,
}

/// Histories by service, the least recently used going first.
#[derive(Default)]
pub struct Cache(Mutex<Kept>);

/// A counter of uses, and each history with the use it last had.
type Kept = (u64, HashMap<String, (u64, Arc<History>)>);

impl Cache {
    fn get(&self, service: &str) -> Option<Arc<History>> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0 += 1;
        let now = guard.0;
        let slot = guard.1.get_mut(service)?;
        slot.0 = now;
        Some(slot.1.clone())
    }

    /// Takes a history out, so that its graph can grow without a copy.
    fn take(&self, service: &str) -> Option<Arc<History>> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.1.remove(service).map(|(_, history)| history)
    }

    fn put(&self, history: Arc<History>) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = guard.0;
        let map = &mut guard.1;
        map.insert(history.service.clone(), (now + 1, history));
        while map.len() > 1
            && (map.len() > SERVICES_MAX || map.values().map(|(_, h)| h.graph.len()).sum::<usize>() > NODES_MAX)
        {
            let Some(oldest) = map.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| name.clone()) else {
                return;
            };
            map.remove(&oldest);
        }
    }
}

impl App {
    /// The history of a service as of now.
    pub async fn history(&self, service: &str) -> Result<Arc<History>> {
        let kept = self.histories.get(service);
        let owner = services::get(&self.db, service).await?;
        if let Some(kept) = &kept
            && kept.owner == owner.as_ref().map(|s| s.owner.as_str()).unwrap_or_default()
            && services::revision(&self.db, &kept.scopes).await? == kept.revision
        {
            return Ok(kept.clone());
        }
        drop(kept);
        let old = self.histories.take(service);
        let fresh = Arc::new(self.load(service, owner, old).await?);
        self.histories.put(fresh.clone());
        Ok(fresh)
    }

    async fn load(
        &self,
        service: &str,
        known: Option<services::Service>,
        kept: Option<Arc<History>>,
    ) -> Result<History> {
        let mut deployments = deployments::of_service(&self.db, service).await?;
        if deployments.iter().any(|d| d.origin == Origin::DeploymentStatus) {
            deployments.retain(|d| d.origin != Origin::WorkflowRun);
        }
        let corrections = derived::corrections(&self.db, service).await?;
        correction::apply(&corrections, &mut deployments);
        let (owner, home) = known.map(|s| (s.owner, s.repository)).unwrap_or_default();
        let live = deployments.iter().filter(|d| d.is_live());
        let named = live.flat_map(|d| d.parts.iter().map(|p| p.repository.clone()));
        let repositories: Vec<String> =
            named.chain(Some(home).filter(|r| !r.is_empty())).collect::<BTreeSet<_>>().into_iter().collect();
        let scopes: Vec<String> =
            std::iter::once(service.to_owned()).chain(repositories.iter().map(|r| scope_of(r))).collect();
        // Read before the facts: what comes in between is read again, never missed.
        let revision = services::revision(&self.db, &scopes).await?;
        let kept = kept.filter(|k| k.repositories == repositories && k.owner == owner);
        let after = kept.as_ref().map_or(0, |k| k.revision);
        let grown = kept.map(|k| Arc::try_unwrap(k).map_or_else(|shared| shared.graph.clone(), |own| own.graph));
        let mut graph = grown.unwrap_or_default();
        let mut pulls: Vec<PullRequest> = Vec::new();
        for repository in &repositories {
            for change in derived::items::<fact::Change>(&self.db, repository, "change", &owner, after).await? {
                graph.add(&change);
            }
            pulls.extend(derived::items::<PullRequest>(&self.db, repository, "pull_request", &owner, 0).await?);
        }
        pulls.sort_by(|a, b| (&a.repository, a.number).cmp(&(&b.repository, b.number)));
        pulls.dedup_by(|b, a| a.repository == b.repository && a.number == b.number);
        let timeline = timeline::build(&deployments, &mut graph, &pulls);
        let enrolment = derived::enrolment(&self.db, service).await?;
        Ok(History {
            service: service.to_owned(),
            deployments,
            graph,
            pulls,
            timeline,
            corrections,
            enrolled_us: enrolment.as_ref().map(|e| e.enrolled_us),
            incident_source: enrolment.is_some_and(|e| !e.incident_source.is_empty()),
            revision,
            owner,
            repositories,
            scopes,
        })
    }

    /// Incidents of a service with their stated causes looked up.
    pub async fn incidents(&self, history: &History) -> Result<Vec<Incident>> {
        let mut all = Vec::new();
        for incident in derived::incidents(&self.db, &history.service).await? {
            let corrected = correction::of_incident(&history.corrections, &incident.external_id);
            let cause = match corrected {
                Some((_, "")) => Cause::Elsewhere,
                Some((_, deployment)) => Cause::Deployment(deployment.to_owned()),
                None => self.cause(history, &incident).await?,
            };
            all.push(Incident {
                id: incident.external_id,
                started_us: incident.started_us,
                detected_us: incident.detected_us,
                resolved_us: incident.resolved_us,
                cause,
                correction: corrected.map(|(id, _)| id.to_owned()),
            });
        }
        Ok(all)
    }

    /// A stated cause that another affected service has is no cause here (R12: the first hit wins).
    async fn cause(&self, history: &History, incident: &fact::Incident) -> Result<Cause> {
        let others = || incident.services.iter().filter(|s| **s != history.service);
        if !incident.cause_deployment.is_empty() {
            if history.deployments.iter().any(|d| d.external_id == incident.cause_deployment) {
                return Ok(Cause::Deployment(incident.cause_deployment.clone()));
            }
            for other in others() {
                if deployments::exists(&self.db, other, &incident.cause_deployment).await? {
                    return Ok(Cause::Elsewhere);
                }
            }
        }
        if !incident.cause_sha.is_empty() {
            let nodes = carried(history, &incident.cause_sha);
            if !nodes.is_empty() {
                return Ok(Cause::Commit(nodes));
            }
            for other in others() {
                let other = Box::pin(self.history(other)).await?;
                if !carried(&other, &incident.cause_sha).is_empty() {
                    return Ok(Cause::Elsewhere);
                }
            }
        }
        Ok(Cause::Unstated)
    }
}

/// Nodes of a commit that some success carried.
fn carried(history: &History, sha: &str) -> Vec<u32> {
    let nodes = history.repositories.iter().filter_map(|r| history.graph.find(r, sha));
    nodes.filter(|node| history.timeline.carrier(*node).is_some()).collect()
}
