//! The five delivery measures of one service and window (R2–R15). Refuses to answer 0 for "unknown".
use std::collections::{BTreeMap, BTreeSet};

use super::percentile::{Summary, summary};
use super::timeline::{Change, Deployment, Kind, Step, steps};

const SECOND_US: i64 = 1_000_000;

/// One incident of the service; instants are microseconds.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Provider's id.
    pub id: String,
    /// Begin.
    pub started_us: i64,
    /// Detection, if known.
    pub detected_us: Option<i64>,
    /// Last resolve; `None` while open.
    pub resolved_us: Option<i64>,
    /// Deployment that caused it, as stated.
    pub cause_deployment: Option<String>,
    /// Commit that caused it, as stated.
    pub cause_sha: Option<String>,
}

/// Why a value is missing (MET-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoData {
    /// The service was not tracked in the window.
    NotTracked,
    /// No deployment in the window.
    NoDeployments,
    /// No change was deployed in the window.
    NoChanges,
    /// Nothing could show a failure.
    NoIncidentSource,
    /// No incident in the window.
    NoIncidents,
}

/// Everything known about one service.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Deployments of any tier.
    pub deployments: Vec<Deployment>,
    /// Commits.
    pub changes: Vec<Change>,
    /// Incidents.
    pub incidents: Vec<Incident>,
    /// Whether a source of incidents is connected.
    pub incident_source: bool,
}

/// A ratio with its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Counted.
    pub numerator: usize,
    /// Of how many.
    pub denominator: usize,
}

/// A value, or why there is none.
pub type Value<T> = Result<T, NoData>;

/// The measures of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Successes in production.
    pub deployments_all: Value<usize>,
    /// Successes that brought new commits.
    pub deployments_with_changes: Value<usize>,
    /// Attempts that never became live.
    pub failed_attempts: Value<usize>,
    /// Commit to finish, seconds.
    pub lead_time: Value<Summary>,
    /// Commits stamped after their deployment.
    pub excluded_negative: usize,
    /// Failed ÷ all.
    pub change_fail_rate: Value<Ratio>,
    /// Finish to recovery, seconds.
    pub recovery: Value<Summary>,
    /// Detection to recovery, seconds.
    pub recovery_from_detection: Value<Summary>,
    /// Failed deployments with an open incident.
    pub recovery_open: usize,
    /// Start to resolve of all incidents resolved in the window, seconds.
    pub time_to_restore: Value<Summary>,
    /// Rework ÷ all.
    pub rework_rate: Value<Ratio>,
    /// Ids of the failed deployments, sorted.
    pub failed: Vec<String>,
}

#[derive(Default)]
struct Failure<'a> {
    incidents: Vec<&'a Incident>,
    repaired_us: Option<i64>,
}

/// Measures `[from_us, to_us)` with an attribution window.
pub fn measure(facts: &Facts, from_us: i64, to_us: i64, attribution_us: i64) -> Report {
    let steps = steps(&facts.deployments, &facts.changes);
    let live: Vec<&Step> = steps.iter().filter(|s| s.deployment.succeeded).collect();
    let tracked = facts.deployments.iter().map(|d| d.finished_us).min();
    let inside = |at: i64| from_us <= at && at < to_us;
    let (failures, rework) = failures(facts, &live, attribution_us);
    let window: Vec<&&Step> = live.iter().filter(|s| inside(s.deployment.finished_us)).collect();
    let all = window.len();
    let attempts = steps.iter().filter(|s| !s.deployment.succeeded && inside(s.deployment.finished_us)).count();
    let known = tracked.is_some_and(|t| t < to_us);
    let zero = tracked.is_some_and(|t| t <= from_us);
    let count = |n: usize| if n > 0 || zero { Ok(n) } else { Err(NoData::NotTracked) };
    let missing = |why| if known { why } else { NoData::NotTracked };
    let (mut spans, mut excluded_negative) = (Vec::new(), 0);
    for step in &window {
        for change in step.changes.iter().filter(|c| c.parents.len() < 2 && !step.baseline) {
            let span = step.deployment.finished_us - change.committed_us;
            if span < 0 { excluded_negative += 1 } else { spans.push(span / SECOND_US) }
        }
    }
    let ratio = |numerator| {
        if all == 0 { Err(missing(NoData::NoDeployments)) } else { Ok(Ratio { numerator, denominator: all }) }
    };
    let failed: Vec<&&&Step> = window.iter().filter(|s| failures.contains_key(s.deployment.id.as_str())).collect();
    let detects = facts.incident_source || live.iter().any(|s| s.deployment.kind.is_some() || !s.incomplete_graph);
    let (recovery, from_detection, recovery_open) = recoveries(&failed, &failures);
    let unique: BTreeMap<&str, &Incident> = facts.incidents.iter().map(|i| (i.id.as_str(), i)).collect();
    let restored = unique
        .values()
        .filter_map(|i| i.resolved_us.filter(|r| inside(*r)).map(|r| (r - i.started_us) / SECOND_US))
        .collect();
    Report {
        deployments_all: count(all),
        deployments_with_changes: count(window.iter().filter(|s| !s.changes.is_empty()).count()),
        failed_attempts: count(attempts),
        lead_time: summary(spans).ok_or(missing(NoData::NoChanges)),
        excluded_negative,
        change_fail_rate: if failed.is_empty() && all > 0 && !detects {
            Err(NoData::NoIncidentSource)
        } else {
            ratio(failed.len())
        },
        recovery: summary(recovery).ok_or(missing(NoData::NoIncidents)),
        recovery_from_detection: summary(from_detection).ok_or(missing(NoData::NoIncidents)),
        recovery_open,
        time_to_restore: summary(restored).ok_or(missing(NoData::NoIncidents)),
        rework_rate: ratio(window.iter().filter(|s| rework.contains(s.deployment.id.as_str())).count()),
        failed: failed.iter().map(|s| s.deployment.id.clone()).collect(),
    }
}

fn recoveries(failed: &[&&&Step], failures: &BTreeMap<&str, Failure>) -> (Vec<i64>, Vec<i64>, usize) {
    let (mut recovery, mut detection, mut open) = (Vec::new(), Vec::new(), 0);
    for step in failed {
        let failure = &failures[step.deployment.id.as_str()];
        if failure.incidents.iter().any(|i| i.resolved_us.is_none()) {
            open += 1;
            continue;
        }
        let resolved = failure.incidents.iter().filter_map(|i| i.resolved_us).max();
        let Some(end) = resolved.or(failure.repaired_us) else { continue };
        recovery.push((end - step.deployment.finished_us) / SECOND_US);
        if let Some(start) = failure.incidents.iter().map(|i| i.detected_us.unwrap_or(i.started_us)).min() {
            detection.push((end - start) / SECOND_US);
        }
    }
    (recovery, detection, open)
}

/// Failed deployments by id, and the rework (R9, R12, R15).
fn failures<'a>(
    facts: &'a Facts,
    live: &[&Step<'a>],
    attribution_us: i64,
) -> (BTreeMap<&'a str, Failure<'a>>, BTreeSet<&'a str>) {
    let (mut failed, mut rework): (BTreeMap<&str, Failure>, _) = (BTreeMap::new(), BTreeSet::new());
    let unique: BTreeMap<&str, &Incident> = facts.incidents.iter().map(|i| (i.id.as_str(), i)).collect();
    for incident in unique.into_values() {
        if let Some(id) = attribute(incident, live, attribution_us) {
            failed.entry(id).or_default().incidents.push(incident);
        }
    }
    for (index, step) in live.iter().enumerate() {
        let d = step.deployment;
        let target = match (&d.remediates, step.kind) {
            (Some(id), _) => Some(id.as_str()),
            (None, Kind::Rollback) => step.displaced,
            (None, Kind::Hotfix) => live[..index]
                .iter()
                .rev()
                .map(|s| (s.kind, s.deployment))
                .find(|(kind, e)| *kind == Kind::Normal && d.finished_us - e.finished_us <= attribution_us)
                .map(|(_, e)| e.id.as_str()),
            _ => None,
        };
        if let Some(id) = target {
            failed.entry(id).or_default().repaired_us.get_or_insert(d.finished_us);
        }
        if target.is_some() || matches!(step.kind, Kind::Rollback | Kind::Hotfix) {
            rework.insert(d.id.as_str());
        }
    }
    (failed, rework)
}

/// The deployment an incident fails: stated, by commit, or by time (R12).
fn attribute<'a>(incident: &'a Incident, live: &[&Step<'a>], attribution_us: i64) -> Option<&'a str> {
    if let Some(id) = &incident.cause_deployment {
        return Some(id);
    }
    if let Some(sha) = &incident.cause_sha
        && let Some(step) = live.iter().find(|s| s.changes.iter().any(|c| c.sha == *sha))
    {
        return Some(&step.deployment.id);
    }
    let at = incident.started_us;
    let running =
        live.iter().find(|s| s.deployment.started_us.is_some_and(|b| b <= at) && at < s.deployment.finished_us);
    let newest = || live.iter().rev().find(|s| s.deployment.finished_us <= at);
    let step = running.or_else(newest)?;
    (at - step.deployment.finished_us <= attribution_us).then_some(step.deployment.id.as_str())
}
