//! What each production deployment brought (R1, R4, R5, R9, R10). Refuses windows: it always sees the whole history.
use std::collections::{BTreeMap, BTreeSet};

/// Kind of a deployment as its source states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ordinary.
    Normal,
    /// Back to an earlier state.
    Rollback,
    /// Unplanned repair.
    Hotfix,
    /// The deployed commit again.
    Redeploy,
}

/// One terminal deployment of the service; instants are microseconds.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Provider's id.
    pub id: String,
    /// Environment.
    pub environment: String,
    /// Whether the environment is of tier production.
    pub production: bool,
    /// Whether it became live.
    pub succeeded: bool,
    /// Commit.
    pub sha: String,
    /// Start, if known.
    pub started_us: Option<i64>,
    /// Finish.
    pub finished_us: i64,
    /// Kind as stated.
    pub kind: Option<Kind>,
    /// Id of the deployment it repairs, as stated.
    pub remediates: Option<String>,
}

/// One commit.
#[derive(Clone, Debug)]
pub struct Change {
    /// Commit.
    pub sha: String,
    /// Parents.
    pub parents: Vec<String>,
    /// Committer time, microseconds.
    pub committed_us: i64,
}

/// A production deployment with what it brought.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// The deployment.
    pub deployment: &'a Deployment,
    /// Effective kind: a rollback or redeploy is detected when none is stated.
    pub kind: Kind,
    /// First success of its environment (R4).
    pub baseline: bool,
    /// Commits that reached the environment for the first time.
    pub changes: Vec<&'a Change>,
    /// Id of the success it displaced.
    pub displaced: Option<&'a str>,
    /// An ancestor is unknown, so changes may be missing.
    pub incomplete_graph: bool,
}

/// Orders deployments and works out their steps. The order and repetition of the input do not matter.
pub fn steps<'a>(deployments: &'a [Deployment], changes: &'a [Change]) -> Vec<Step<'a>> {
    let graph: BTreeMap<&str, &Change> = changes.iter().map(|c| (c.sha.as_str(), c)).collect();
    let unique: BTreeMap<(&str, &str), &Deployment> =
        deployments.iter().filter(|d| d.production).map(|d| ((d.environment.as_str(), d.id.as_str()), d)).collect();
    let mut ordered: Vec<&Deployment> = unique.into_values().collect();
    ordered.sort_by_key(|d| (d.finished_us, d.started_us, &d.id, &d.environment));
    let mut live: BTreeMap<&str, (&Deployment, BTreeSet<&str>)> = BTreeMap::new();
    ordered.into_iter().map(|d| step(d, &graph, &mut live)).collect()
}

type Live<'a> = BTreeMap<&'a str, (&'a Deployment, BTreeSet<&'a str>)>;

fn step<'a>(d: &'a Deployment, graph: &BTreeMap<&'a str, &'a Change>, live: &mut Live<'a>) -> Step<'a> {
    let mut step = Step {
        deployment: d,
        kind: d.kind.unwrap_or(Kind::Normal),
        baseline: false,
        changes: Vec::new(),
        displaced: None,
        incomplete_graph: false,
    };
    if !d.succeeded {
        return step;
    }
    let Some((last, deployed)) = live.get_mut(d.environment.as_str()) else {
        let mut deployed = BTreeSet::new();
        step.incomplete_graph = walk(&d.sha, graph, &mut deployed).1;
        step.baseline = true;
        live.insert(&d.environment, (d, deployed));
        return step;
    };
    step.displaced = Some(&last.id);
    if d.kind.is_none() && d.sha == last.sha {
        step.kind = Kind::Redeploy;
    } else if d.kind.is_none() && deployed.contains(d.sha.as_str()) && is_ancestor(&d.sha, &last.sha, graph) {
        step.kind = Kind::Rollback;
    }
    (step.changes, step.incomplete_graph) = walk(&d.sha, graph, deployed);
    *last = d;
    step
}

/// Adds the ancestors of `sha` to `known`; answers the new commits and whether one was unknown. Work grows with the new commits.
fn walk<'a>(
    sha: &'a str,
    graph: &BTreeMap<&'a str, &'a Change>,
    known: &mut BTreeSet<&'a str>,
) -> (Vec<&'a Change>, bool) {
    let (mut new, mut incomplete, mut open) = (Vec::new(), false, vec![sha]);
    while let Some(sha) = open.pop() {
        if !known.insert(sha) {
            continue;
        }
        match graph.get(sha) {
            Some(change) => {
                new.push(*change);
                open.extend(change.parents.iter().map(String::as_str));
            }
            None => incomplete = true,
        }
    }
    new.sort_by(|a, b| (a.committed_us, &a.sha).cmp(&(b.committed_us, &b.sha)));
    (new, incomplete)
}

fn is_ancestor(sha: &str, of: &str, graph: &BTreeMap<&str, &Change>) -> bool {
    let mut known = BTreeSet::new();
    walk(of, graph, &mut known);
    sha != of && known.contains(sha)
}
