//! Deployments of a service as the overview shows them (CAT-116).
//!
//! Owns which version serves where and what counts as a rollback. The facts are the metrics service's.

use std::collections::{BTreeMap, BTreeSet};

/// Most deployments kept per service and environment.
pub const KEPT_MAX: i64 = 100;
/// Most deployments shown.
const SHOWN_MAX: usize = 20;

/// One deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// Canonical reference of the service.
    pub service: String,
    /// Environment.
    pub environment: String,
    /// Id at the provider.
    pub id: String,
    /// Commit.
    pub commit: String,
    /// Outcome in lower case, for example `success`.
    pub outcome: String,
    /// When it ended, in µs; 0 if it did not.
    pub finished_us: i64,
    /// Whether its commit had served there before another did.
    pub rollback: bool,
}

/// What the overview shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The latest of all environments, newest first.
    pub recent: Vec<Deployment>,
    /// What serves in each environment, by environment.
    pub current: Vec<Deployment>,
}

/// Sorts, flags rollbacks and picks what serves; `outcome` `success` makes a deployment serve.
pub fn show(mut all: Vec<Deployment>) -> Shown {
    all.sort_by(|a, b| (a.finished_us, &a.id).cmp(&(b.finished_us, &b.id)));
    let mut served: BTreeMap<String, (BTreeSet<String>, String)> = BTreeMap::new();
    let mut current: BTreeMap<String, Deployment> = BTreeMap::new();
    for deployment in all.iter_mut().filter(|d| d.outcome == "success") {
        let (before, last) = served.entry(deployment.environment.clone()).or_default();
        let known = !deployment.commit.is_empty();
        deployment.rollback = known && *last != deployment.commit && before.contains(&deployment.commit);
        before.insert(deployment.commit.clone());
        last.clone_from(&deployment.commit);
        current.insert(deployment.environment.clone(), deployment.clone());
    }
    all.reverse();
    all.truncate(SHOWN_MAX);
    Shown { recent: all, current: current.into_values().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_returns_is_a_rollback() {
        let deployment = |id: &str, commit: &str, outcome: &str, finished_us| Deployment {
            environment: "prod".into(),
            id: id.into(),
            commit: commit.into(),
            outcome: outcome.into(),
            finished_us,
            ..Deployment::default()
        };
        let shown = show(vec![
            deployment("3", "a", "success", 30),
            deployment("1", "a", "success", 10),
            deployment("2", "b", "success", 20),
            deployment("4", "c", "failure", 40),
            deployment("5", "a", "success", 50),
        ]);
        let flags: Vec<_> = shown.recent.iter().map(|d| (d.id.as_str(), d.rollback)).collect();
        assert_eq!(flags, [("5", false), ("4", false), ("3", true), ("2", false), ("1", false)]);
        assert_eq!(shown.current.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["5"]);
    }
}
