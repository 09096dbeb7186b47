//! Facts of one service, put together by hand.
use slipway_metrics::model::{
    calendar::Window,
    effective::{Effective, Part},
    fact::{Change, Origin, PullRequest, Status},
    failure::{Cause, Incident},
    graph::Graph,
    measure::Measure,
    report::{History, Report, Rules},
    tier::Tier,
    timeline::{self, Timeline},
};

pub const MIN: i64 = 60_000_000;
pub const HOUR: i64 = 60 * MIN;
pub const DAY: i64 = 24 * HOUR;
pub const SERVICE: &str = "component:default/checkout";

/// Facts of one service.
#[derive(Clone, Default)]
pub struct World {
    pub deployments: Vec<Effective>,
    pub changes: Vec<Change>,
    pub pulls: Vec<PullRequest>,
    pub incidents: Vec<Incident>,
    pub source: bool,
}

impl World {
    pub fn change(mut self, sha: &str, parents: &[&str], committed_us: i64) -> Self {
        self.changes.push(change("r", sha, parents, committed_us));
        self
    }

    pub fn deploy(mut self, id: &str, sha: &str, finished_us: i64) -> Self {
        self.deployments.push(deployment(id, &[("r", sha)], finished_us));
        self
    }

    pub fn with(mut self, edit: impl FnOnce(&mut Effective)) -> Self {
        edit(self.deployments.last_mut().unwrap());
        self
    }

    pub fn pull(mut self, number: i64, head: &str, merge: &str, merged_us: i64) -> Self {
        self.pulls.push(PullRequest {
            repository: "r".into(),
            number,
            created_us: 1,
            first_commit_us: None,
            merged_us: Some(merged_us),
            closed_us: Some(merged_us),
            merge_sha: merge.into(),
            head_sha: head.into(),
            base_ref: "main".into(),
            labels: Vec::new(),
        });
        self
    }

    pub fn incident(mut self, id: &str, started_us: i64, resolved_us: Option<i64>, cause: Cause) -> Self {
        self.source = true;
        self.incidents.push(Incident {
            id: id.into(),
            started_us,
            detected_us: None,
            resolved_us,
            cause,
            correction: None,
        });
        self
    }

    pub fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        self.changes.iter().for_each(|c| graph.add(c));
        graph
    }

    pub fn ask<T>(
        &self,
        from_us: i64,
        to_us: i64,
        rules: Rules,
        answer: impl FnOnce(&Measure, &Timeline, &Graph) -> T,
    ) -> T {
        let mut graph = self.graph();
        let timeline = timeline::build(&self.deployments, &mut graph, &self.pulls);
        let history = History {
            deployments: &self.deployments,
            graph: &graph,
            pulls: &self.pulls,
            timeline: &timeline,
            incidents: &self.incidents,
            corrections: &[],
            service: SERVICE,
            incident_source: self.source,
            enrolled_us: None,
        };
        let window = Window::between(from_us, to_us, "UTC").unwrap();
        answer(&Measure::new(&history, &window, rules), &timeline, &graph)
    }

    pub fn report(&self) -> Report {
        self.ask(1, 1_000 * DAY, Rules::default(), |m, _, _| m.report(None))
    }

    /// Commits each success brought, as text.
    pub fn brought(&self) -> Vec<String> {
        self.ask(1, 2, Rules::default(), |_, timeline, graph| {
            let one = |s: &timeline::Step| {
                let shas: Vec<&str> = s.changes.iter().map(|c| graph.commit(c.node).sha.as_str()).collect();
                format!("{} {}", self.deployments[s.deployment].external_id, shas.join(","))
            };
            timeline.steps.iter().map(one).collect()
        })
    }
}

pub fn change(repository: &str, sha: &str, parents: &[&str], committed_us: i64) -> Change {
    Change {
        repository: repository.into(),
        sha: sha.into(),
        parents: parents.iter().map(|p| (*p).into()).collect(),
        committed_us,
        bot: None,
        picked_from: String::new(),
        patch_id: String::new(),
    }
}

pub fn deployment(id: &str, parts: &[(&str, &str)], finished_us: i64) -> Effective {
    let part = |(r, s): &(&str, &str)| Part {
        repository: (*r).into(),
        sha: (*s).into(),
        finished_us,
        status: Status::Succeeded,
    };
    Effective {
        environment: "production".into(),
        tier: Tier::Production,
        external_id: id.into(),
        attempt: 0,
        status: Status::Succeeded,
        parts: parts.iter().map(part).collect(),
        started_us: None,
        finished_us,
        kind: None,
        actor: String::new(),
        remediates: String::new(),
        planned: false,
        origin: Origin::Api,
        url: String::new(),
    }
}
