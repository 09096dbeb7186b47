//! What each production deployment brought (R1, R4, R5, R6, R9, R10). Refuses windows: it always sees the whole history.
use std::collections::{BTreeMap, HashMap, HashSet};

use super::effective::Effective;
use super::fact::{Kind, PullRequest, Status};
use super::graph::{Graph, Node};
use super::tier::Tier;

/// One change that a deployment brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// The commit.
    pub node: Node,
    /// Where its lead time begins.
    pub begun_us: i64,
    /// Whether it has two or more parents.
    pub merge: bool,
}

/// One pull request that a deployment brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroughtPull {
    /// Place in the list of pull requests.
    pub pull: usize,
    /// Time of its first commit, if known.
    pub first_commit_us: Option<i64>,
}

/// A success in production with what it brought.
#[derive(Clone, Debug)]
pub struct Step {
    /// Place of the deployment in the list given.
    pub deployment: usize,
    /// Effective kind: a rollback or redeploy is detected when none is stated.
    pub kind: Kind,
    /// First success of its environment (R4).
    pub baseline: bool,
    /// Commits that reached the environment for the first time, in commit order.
    pub changes: Vec<Brought>,
    /// New commits that are copies of deployed ones.
    pub copies: Vec<Node>,
    /// Pull requests whose merge it brought.
    pub pulls: Vec<BroughtPull>,
    /// The success it displaced, as a place among the steps.
    pub displaced: Option<usize>,
    /// An ancestor is unknown, so changes may be missing.
    pub incomplete: bool,
    /// Every commit deployed is known.
    pub known: bool,
    /// Not descended from what was deployed before.
    pub diverged: bool,
    /// Brought a pull request labelled as a revert.
    pub revert: bool,
}

/// The whole history of a service in production.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Successes in production by finish, begin, id.
    pub steps: Vec<Step>,
    /// Per environment and commit: the step that deployed it first, plus one.
    carriers: BTreeMap<String, Vec<u32>>,
}

impl Timeline {
    /// The step that first carried a commit, over all environments.
    pub fn carrier(&self, node: Node) -> Option<usize> {
        let at = |carriers: &Vec<u32>| carriers.get(node as usize).copied().filter(|s| *s > 0);
        self.carriers.values().filter_map(at).min().map(|s| s as usize - 1)
    }

    /// Whether a success up to `before_us` carried the commit.
    pub fn deployed_before(&self, node: Node, deployments: &[Effective], before_us: i64) -> bool {
        self.carrier(node).is_some_and(|s| deployments[self.steps[s].deployment].finished_us < before_us)
    }
}

/// Works out the steps. The order and repetition of the input do not matter; `graph` gains nodes for commits it lacks.
pub fn build(deployments: &[Effective], graph: &mut Graph, pulls: &[PullRequest]) -> Timeline {
    let roots: Vec<Vec<Node>> =
        deployments.iter().map(|d| d.parts.iter().map(|p| graph.intern(&p.repository, &p.sha)).collect()).collect();
    let mut merges: HashMap<Node, Vec<(usize, Option<Node>)>> = HashMap::new();
    for (place, pull) in pulls.iter().enumerate().filter(|(_, p)| p.merged_us.is_some() && !p.merge_sha.is_empty()) {
        let head = (!pull.head_sha.is_empty()).then(|| graph.intern(&pull.repository, &pull.head_sha));
        merges.entry(graph.intern(&pull.repository, &pull.merge_sha)).or_default().push((place, head));
    }
    let mut order: Vec<usize> = (0..deployments.len()).filter(|i| deployments[*i].is_live()).collect();
    order.sort_by_key(|i| sort_key(&deployments[*i]));
    let mut builder = Builder { graph, pulls, merges, live: BTreeMap::new(), steps: Vec::new() };
    for place in order {
        builder.step(place, &deployments[place], &roots[place]);
    }
    let carriers = builder.live.into_iter().map(|(e, l)| (e.to_owned(), l.carriers)).collect();
    Timeline { steps: builder.steps, carriers }
}

/// Order of deployments (R5).
pub fn sort_key(d: &Effective) -> (i64, Option<i64>, &str, &str) {
    (d.finished_us, d.started_us, &d.external_id, &d.environment)
}

/// Failed attempts in production, in order.
pub fn failed_attempts(deployments: &[Effective]) -> Vec<usize> {
    let failed = |d: &Effective| d.tier == Tier::Production && d.status == Status::Failed;
    let mut order: Vec<usize> = (0..deployments.len()).filter(|i| failed(&deployments[*i])).collect();
    order.sort_by_key(|i| sort_key(&deployments[*i]));
    order
}

/// What is live in one environment.
struct Live {
    /// Step that deployed a commit first, plus one; 0 for none.
    carriers: Vec<u32>,
    last: usize,
    current: BTreeMap<u32, Vec<Node>>,
}

struct Builder<'a> {
    graph: &'a Graph,
    pulls: &'a [PullRequest],
    merges: HashMap<Node, Vec<(usize, Option<Node>)>>,
    live: BTreeMap<&'a str, Live>,
    steps: Vec<Step>,
}

impl<'a> Builder<'a> {
    fn step(&mut self, deployment: usize, d: &'a Effective, roots: &[Node]) {
        let number = self.steps.len();
        let size = self.graph.len();
        let fresh = || Live { carriers: vec![0; size], last: number, current: BTreeMap::new() };
        let baseline = !self.live.contains_key(d.environment.as_str());
        let mut live = self.live.remove(d.environment.as_str()).unwrap_or_else(fresh);
        let kind = d.kind.unwrap_or_else(|| if baseline { Kind::Normal } else { self.detect(&live, roots) });
        let mut step = Step {
            deployment,
            kind,
            baseline,
            changes: Vec::new(),
            copies: Vec::new(),
            pulls: Vec::new(),
            displaced: (!baseline).then_some(live.last),
            incomplete: false,
            known: roots.iter().all(|n| self.graph.commit(*n).known),
            diverged: false,
            revert: false,
        };
        let new = self.walk(&mut live, roots, number);
        step.incomplete = new.iter().any(|n| !self.graph.commit(*n).known);
        if !baseline && !matches!(kind, Kind::Rollback | Kind::Redeploy) && step.known && !step.incomplete {
            step.diverged = self.diverged(&live, roots);
        }
        let counts = !baseline && kind != Kind::Rollback;
        self.changes(&mut step, &mut live, &new, counts, number);
        for (repository, nodes) in self.by_repository(roots) {
            live.current.insert(repository, nodes);
        }
        live.last = number;
        self.live.insert(&d.environment, live);
        self.steps.push(step);
    }

    /// Redeploy of what is live, rollback to an ancestor of it, or neither.
    fn detect(&self, live: &Live, roots: &[Node]) -> Kind {
        let wanted = self.by_repository(roots);
        if !wanted.is_empty() && wanted.iter().all(|(repository, nodes)| live.current.get(repository) == Some(nodes)) {
            return Kind::Redeploy;
        }
        let back = |(repository, nodes): (&u32, &Vec<Node>)| {
            let current = live.current.get(repository);
            nodes.iter().all(|node| {
                live.carriers[*node as usize] > 0
                    && current.is_some_and(|c| c.iter().any(|of| self.graph.reaches(*of, *node)))
            })
        };
        if !wanted.is_empty() && wanted.iter().all(back) { Kind::Rollback } else { Kind::Normal }
    }

    fn by_repository(&self, roots: &[Node]) -> BTreeMap<u32, Vec<Node>> {
        let mut all: BTreeMap<u32, Vec<Node>> = BTreeMap::new();
        for node in roots {
            all.entry(self.graph.commit(*node).repository).or_default().push(*node);
        }
        for nodes in all.values_mut() {
            nodes.sort_unstable_by(|a, b| self.graph.commit(*a).sha.cmp(&self.graph.commit(*b).sha));
            nodes.dedup();
        }
        all
    }

    /// Marks the ancestors of `roots` as deployed; answers the new ones. Work grows with these.
    fn walk(&self, live: &mut Live, roots: &[Node], step: usize) -> Vec<Node> {
        let (mut new, mut open) = (Vec::new(), roots.to_vec());
        while let Some(node) = open.pop() {
            let slot = &mut live.carriers[node as usize];
            if *slot == 0 {
                *slot = step as u32 + 1;
                new.push(node);
                open.extend(&self.graph.commit(node).parents);
            }
        }
        new
    }

    /// Whether what was live is no ancestor of what is deployed now.
    fn diverged(&self, live: &Live, roots: &[Node]) -> bool {
        self.by_repository(roots).iter().any(|(repository, nodes)| {
            let old = live.current.get(repository).into_iter().flatten();
            old.filter(|o| self.graph.commit(**o).known).any(|o| !nodes.iter().any(|n| self.graph.reaches(*n, *o)))
        })
    }

    /// Sorts the new commits into changes and copies, brings their pull requests, and marks originals as deployed.
    fn changes(&self, step: &mut Step, live: &mut Live, new: &[Node], counts: bool, number: usize) {
        let mut known: Vec<Node> = new.iter().copied().filter(|n| self.graph.commit(*n).known).collect();
        known.sort_by(|a, b| {
            let (a, b) = (self.graph.commit(*a), self.graph.commit(*b));
            (a.committed_us, &a.sha, a.repository).cmp(&(b.committed_us, &b.sha, b.repository))
        });
        let this = number as u32 + 1;
        let fresh: HashSet<Node> = new.iter().copied().collect();
        for node in known {
            if !self.is_first(node, live, this, &fresh) {
                step.copies.push(node);
            } else if counts {
                let merge = self.graph.commit(node).parents.len() > 1;
                step.changes.push(Brought { node, begun_us: self.graph.begun_us(node), merge });
                self.pulls(step, live, node, &fresh);
            }
            self.mark_originals(live, node, this);
        }
        step.pulls.sort_by_key(|p| p.pull);
    }

    /// Whether no copy of the commit was deployed before, nor stands before it in the same deployment.
    fn is_first(&self, node: Node, live: &Live, this: u32, fresh: &HashSet<Node>) -> bool {
        let before = |n: Node| {
            let carrier = live.carriers[n as usize];
            carrier > 0 && carrier < this
        };
        if self.graph.is_linked(node) {
            let copies = self.graph.copies(node);
            if copies.iter().any(|c| *c != node && before(*c)) {
                return false;
            }
            let order = |n: &Node| (self.graph.commit(*n).committed_us, self.graph.commit(*n).sha.clone());
            let first =
                copies.iter().filter(|c| fresh.contains(c) && self.graph.commit(**c).known).min_by_key(|c| order(c));
            if first.is_some_and(|f| *f != node) {
                return false;
            }
        }
        let single = self.graph.commit(node).parents.len() < 2;
        let heads = self.merges.get(&node).into_iter().flatten().filter_map(|(_, head)| *head);
        !(single && heads.into_iter().any(|head| head != node && self.graph.commit(head).known && before(head)))
    }

    /// Marks what a squash, rebase or cherry-pick was made from as deployed by the same step.
    fn mark_originals(&self, live: &mut Live, node: Node, this: u32) {
        let step = this as usize - 1;
        for head in self.merges.get(&node).into_iter().flatten().filter_map(|(_, head)| *head) {
            self.walk(live, &[head], step);
        }
        if self.graph.is_linked(node) {
            for copy in self.graph.copies(node) {
                let slot = &mut live.carriers[copy as usize];
                if *slot == 0 {
                    *slot = this;
                }
            }
        }
    }

    fn pulls(&self, step: &mut Step, live: &Live, node: Node, fresh: &HashSet<Node>) {
        for (pull, head) in self.merges.get(&node).into_iter().flatten() {
            let fact = &self.pulls[*pull];
            let first_commit_us = fact.first_commit_us.or_else(|| self.first_commit(live, node, (*head)?, fresh));
            step.pulls.push(BroughtPull { pull: *pull, first_commit_us });
            step.revert |= fact.labels.iter().any(|l| l.eq_ignore_ascii_case("revert"));
        }
    }

    /// Time of the first commit of a branch: those behind its head that are neither deployed nor on the line it was merged into.
    fn first_commit(&self, live: &Live, merge: Node, head: Node, fresh: &HashSet<Node>) -> Option<i64> {
        let pending = |n: Node| fresh.contains(&n) || live.carriers[n as usize] == 0;
        let mut line = HashSet::new();
        let mut open: Vec<Node> = self.graph.commit(merge).parents.first().copied().into_iter().collect();
        while let Some(node) = open.pop() {
            if pending(node) && line.insert(node) {
                open.extend(&self.graph.commit(node).parents);
            }
        }
        let (mut first, mut seen, mut open) = (None::<i64>, HashSet::new(), vec![head]);
        while let Some(node) = open.pop() {
            if !pending(node) || line.contains(&node) || !seen.insert(node) {
                continue;
            }
            let commit = self.graph.commit(node);
            if commit.known {
                first = Some(first.map_or(commit.committed_us, |at| at.min(commit.committed_us)));
            }
            open.extend(&commit.parents);
        }
        first
    }
}
