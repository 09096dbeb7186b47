//! The delivery rules beyond data set D1: against a plain reference, and case by case.
#![allow(clippy::unwrap_used, clippy::panic)]
use std::collections::{BTreeMap, BTreeSet};

use slipway_metrics::model::{
    calendar::Window,
    effective::{self, Effective, Part},
    explain,
    fact::{Change, Kind, Origin, PullRequest, Status, Version, VersionKey},
    failure::{Cause, Incident},
    graph::Graph,
    measure::{History, Measure, Metric, NoData, Ratio, Report, Rules},
    tier::Tier,
    timeline::{self, Timeline},
};

const MIN: i64 = 60_000_000;
const HOUR: i64 = 60 * MIN;
const DAY: i64 = 24 * HOUR;
const SERVICE: &str = "component:default/checkout";

/// Facts of one service.
#[derive(Clone, Default)]
struct World {
    deployments: Vec<Effective>,
    changes: Vec<Change>,
    pulls: Vec<PullRequest>,
    incidents: Vec<Incident>,
    source: bool,
}

impl World {
    fn change(mut self, sha: &str, parents: &[&str], committed_us: i64) -> Self {
        self.changes.push(change("r", sha, parents, committed_us));
        self
    }

    fn deploy(mut self, id: &str, sha: &str, finished_us: i64) -> Self {
        self.deployments.push(deployment(id, &[("r", sha)], finished_us));
        self
    }

    fn with(mut self, edit: impl FnOnce(&mut Effective)) -> Self {
        edit(self.deployments.last_mut().unwrap());
        self
    }

    fn pull(mut self, number: i64, head: &str, merge: &str, merged_us: i64) -> Self {
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

    fn incident(mut self, id: &str, started_us: i64, resolved_us: Option<i64>, cause: Cause) -> Self {
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

    fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        self.changes.iter().for_each(|c| graph.add(c));
        graph
    }

    fn ask<T>(
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

    fn report(&self) -> Report {
        self.ask(1, 1_000 * DAY, Rules::default(), |m, _, _| m.report(None))
    }

    /// Commits each success brought, as text.
    fn brought(&self) -> Vec<String> {
        self.ask(1, 2, Rules::default(), |_, timeline, graph| {
            let one = |s: &timeline::Step| {
                let shas: Vec<&str> = s.changes.iter().map(|c| graph.commit(c.node).sha.as_str()).collect();
                format!("{} {}", self.deployments[s.deployment].external_id, shas.join(","))
            };
            timeline.steps.iter().map(one).collect()
        })
    }
}

fn change(repository: &str, sha: &str, parents: &[&str], committed_us: i64) -> Change {
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

fn deployment(id: &str, parts: &[(&str, &str)], finished_us: i64) -> Effective {
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

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn shuffle<T: Clone>(&mut self, items: &mut Vec<T>) {
        for n in 0..items.len() / 3 {
            items.push(items[(n * 7) % items.len()].clone());
        }
        for at in (1..items.len()).rev() {
            let other = self.roll(at + 1);
            items.swap(at, other);
        }
    }
}

/// A history with branches, merges, rollbacks, redeploys, failures, hotfixes, ties and incidents.
fn random(seed: u64) -> World {
    let mut dice = Dice(seed);
    let mut world = World { source: dice.roll(2) == 0, ..World::default() };
    let commits = 5 + dice.roll(40);
    for n in 0..commits {
        let mut parents: Vec<String> = Vec::new();
        if n > 0 {
            parents.push(format!("c{}", n - 1 - dice.roll(n.min(3))));
            if n > 3 && dice.roll(5) == 0 {
                parents.push(format!("c{}", dice.roll(n - 1)));
            }
        }
        parents.dedup();
        // One in twenty is unknown.
        if dice.roll(20) > 0 {
            let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
            world = world.change(&format!("c{n}"), &parents, DAY + n as i64 * 3 * HOUR);
        }
    }
    for n in 0..4 + dice.roll(20) {
        let finished = 2 * DAY + dice.roll(commits * 12) as i64 * 15 * MIN;
        world = world.deploy(&format!("d{n}"), &format!("c{}", dice.roll(commits)), finished);
        let (failed, staging, hotfix, other) =
            (dice.roll(6) == 0, dice.roll(6) == 0, dice.roll(8) == 0, dice.roll(5) == 0);
        let (started, remediates) =
            (dice.roll(3) == 0, if dice.roll(8) == 0 { format!("d{}", dice.roll(n + 1)) } else { String::new() });
        world = world.with(|d| {
            d.status = if failed { Status::Failed } else { Status::Succeeded };
            d.kind = hotfix.then_some(Kind::Hotfix);
            d.started_us = started.then_some(finished - 20 * MIN);
            d.remediates = if remediates == d.external_id { String::new() } else { remediates };
            if staging {
                (d.tier, d.environment) = (Tier::Staging, "staging".into());
            } else if other {
                d.environment = "production-eu".into();
            }
        });
    }
    for n in 0..dice.roll(6) {
        let started = 2 * DAY + dice.roll(commits * 12) as i64 * 15 * MIN;
        let resolved = (dice.roll(3) > 0).then_some(started + dice.roll(10) as i64 * HOUR);
        let cause = if dice.roll(4) == 0 { Cause::Deployment(format!("d{}", dice.roll(8))) } else { Cause::Unstated };
        world = world.incident(&format!("i{n}"), started, resolved, cause);
    }
    world
}

/// The rules of new changes, word for word: ancestors minus what was deployed, per environment.
fn reference(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let parents: BTreeMap<&str, &Vec<String>> = world.changes.iter().map(|c| (c.sha.as_str(), &c.parents)).collect();
    let ancestors = |sha: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![sha.to_owned()]);
        while let Some(sha) = open.pop() {
            if seen.insert(sha.clone()) {
                open.extend(parents.get(sha.as_str()).into_iter().copied().flatten().cloned());
            }
        }
        seen
    };
    let mut live: Vec<&Effective> = world.deployments.iter().filter(|d| d.is_live()).collect();
    live.sort_by_key(|d| timeline::sort_key(d));
    let (mut deployed, mut last): (BTreeMap<&str, BTreeSet<String>>, BTreeMap<&str, &str>) = Default::default();
    let mut new = BTreeMap::new();
    for d in live {
        let sha = d.parts[0].sha.as_str();
        let before = last.insert(&d.environment, sha);
        let known = deployed.entry(&d.environment).or_default();
        let mine = ancestors(sha);
        let rollback = d.kind.is_none() && before.is_some_and(|b| b != sha && ancestors(b).contains(sha));
        let fresh = mine
            .iter()
            .filter(|s| before.is_some() && !rollback && !known.contains(*s) && parents.contains_key(s.as_str()));
        new.insert(d.external_id.clone(), fresh.cloned().collect());
        known.extend(mine);
    }
    new
}

#[test]
fn new_changes_follow_the_rules_word_for_word() {
    let mut changes = 0;
    for seed in 0..400 {
        let world = random(seed);
        let wanted = reference(&world);
        let got: BTreeMap<String, BTreeSet<String>> = world
            .brought()
            .into_iter()
            .map(|line| {
                let (id, shas) = line.split_once(' ').unwrap();
                (id.to_owned(), shas.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect())
            })
            .collect();
        changes += wanted.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!(got, wanted, "seed {seed}");
    }
    assert!(changes > 2_000, "{changes} changes were brought");
}

#[test]
fn order_and_repetition_do_not_matter() {
    for seed in 0..300 {
        let world = random(seed);
        let mut dice = Dice(seed + 1_000);
        let mut mixed = world.clone();
        dice.shuffle(&mut mixed.changes);
        let mut deployments = mixed.deployments.clone();
        for at in (1..deployments.len()).rev() {
            let other = dice.roll(at + 1);
            deployments.swap(at, other);
        }
        mixed.deployments = deployments;
        assert_eq!(world.report(), mixed.report(), "seed {seed}");
    }
}

#[test]
fn ratios_and_explanations_agree() {
    for seed in 0..300 {
        let world = random(seed);
        let middle = 2 * DAY + 40 * HOUR;
        for (from, to) in [(1, 1_000 * DAY), (2 * DAY, middle), (middle, middle + 2 * DAY)] {
            let (report, items) = world.ask(from, to, Rules::default(), |m, _, _| {
                let all = [
                    Metric::Frequency,
                    Metric::LeadCommit,
                    Metric::ChangeFailRate,
                    Metric::Recovery,
                    Metric::Rework,
                    Metric::Restore,
                ];
                (m.report(None), all.map(|metric| m.items(metric)))
            });
            let [frequency, lead, failing, recovery, rework, restore] = items;
            let counted = |items: &[explain::Item]| (explain::included(items), explain::denominator(items));
            if let Ok(n) = report.deployments_all {
                assert_eq!(n, counted(&frequency).0, "seed {seed}");
            }
            for (ratio, items) in [(report.change_fail_rate, &failing), (report.rework, &rework)] {
                if let Ok(Ratio { numerator, denominator }) = ratio {
                    assert_eq!((numerator, denominator), counted(items), "seed {seed}");
                    assert!(numerator <= denominator && Ok(denominator) == report.deployments_all, "seed {seed}");
                }
            }
            for (span, items) in
                [(&report.lead_commit, &lead), (&report.recovery, &recovery), (&report.restore, &restore)]
            {
                if span.value != Err(NoData::NotTracked) {
                    assert_eq!(span.value.as_ref().ok(), explain::spans(items).as_ref(), "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn adjacent_windows_add_up() {
    for seed in 0..200 {
        let world = random(seed);
        let whole = world.report();
        let count =
            |from, to| world.ask(from, to, Rules::default(), |m, _, _| explain::included(&m.items(Metric::Frequency)));
        let edges = [1, 2 * DAY, 3 * DAY, 5 * DAY, 1_000 * DAY];
        let sum: usize = edges.windows(2).map(|e| count(e[0], e[1])).sum();
        if let Ok(all) = whole.deployments_all {
            assert_eq!(sum, all, "seed {seed}");
        }
    }
}

#[test]
fn a_squash_counts_once_and_has_three_lead_times() {
    // Branch commits 03-01T08 and 03-02T08, squash committed 03-03T08, deployed 03-03T10.
    let at = |day: i64, hour: i64| day * DAY + hour * HOUR;
    let world = World::default()
        .change("c0", &[], at(0, 1))
        .change("b1", &["c0"], at(1, 8))
        .change("b2", &["b1"], at(2, 8))
        .change("s", &["c0"], at(3, 8))
        .pull(7, "b2", "s", at(3, 8))
        .deploy("d0", "c0", at(1, 0))
        .deploy("d1", "s", at(3, 10))
        .change("m", &["s", "b2"], at(4, 8))
        .deploy("d2", "m", at(4, 10));
    assert_eq!(world.brought(), ["d0 ", "d1 s", "d2 m"], "the branch's commits are deployed by the squash");
    let report = world.report();
    let hours = |span: &slipway_metrics::model::measure::Span| span.value.as_ref().unwrap().p50 / 3_600;
    assert_eq!((hours(&report.lead_commit), hours(&report.lead_first_commit), hours(&report.lead_merged)), (2, 50, 2));
}

#[test]
fn a_cherry_pick_counts_for_its_original_and_once() {
    let mut world = World::default()
        .change("c0", &[], HOUR)
        .change("o", &["c0"], 10 * HOUR)
        .change("p", &["c0"], 20 * HOUR)
        .deploy("d0", "c0", 5 * HOUR)
        .deploy("d1", "p", 30 * HOUR)
        .deploy("d2", "o", 40 * HOUR);
    world.changes[2].picked_from = "o".into();
    assert_eq!(world.brought(), ["d0 ", "d1 p", "d2 "]);
    assert_eq!(world.report().lead_commit.value.unwrap().p50, 20 * 3_600, "from the original commit");
    world.changes[2].picked_from = String::new();
    for at in [1, 2] {
        world.changes[at].patch_id = "same".into();
    }
    assert_eq!(world.brought(), ["d0 ", "d1 p", "d2 "], "a patch id links as well");
}

#[test]
fn a_branch_from_before_the_baseline_stops_there() {
    let world = World::default()
        .change("a", &[], HOUR)
        .change("b", &["a"], 2 * HOUR)
        .change("c", &["b"], 3 * HOUR)
        .change("f", &["a"], 4 * HOUR)
        .change("m", &["c", "f"], 5 * HOUR)
        .deploy("d0", "c", 3 * HOUR)
        .deploy("d1", "m", 6 * HOUR);
    assert_eq!(world.brought(), ["d0 ", "d1 f,m"]);
    let lead = |count_merge_commits| {
        let rules = Rules { count_merge_commits, ..Rules::default() };
        world.ask(1, DAY, rules, |m, _, _| m.report(None).lead_commit.value.unwrap().n)
    };
    assert_eq!((lead(false), lead(true)), (1, 2), "a merge is a change, but no sample unless asked");
}

#[test]
fn a_force_push_diverges_and_an_unknown_parent_is_told() {
    let world = World::default()
        .change("a", &[], HOUR)
        .change("b", &["a"], 2 * HOUR)
        .change("x", &["a"], 3 * HOUR)
        .deploy("d0", "b", 2 * HOUR)
        .deploy("d1", "x", 4 * HOUR);
    let report = world.report();
    assert_eq!(
        (report.diverged, report.incomplete, world.brought()),
        (true, false, vec!["d0 ".into(), "d1 x".to_owned()])
    );
    let report = world.change("y", &["lost"], 5 * HOUR).deploy("d2", "y", 6 * HOUR).report();
    assert!(report.incomplete);
}

#[test]
fn a_deployment_under_way_is_to_blame_and_windows_of_blame_have_edges() {
    let world = |started: i64| {
        World::default()
            .change("a", &[], HOUR)
            .deploy("d1", "a", 2 * HOUR)
            .deploy("d2", "a", 10 * HOUR + 20 * MIN)
            .with(|d| d.started_us = Some(10 * HOUR))
            .incident("i", started, None, Cause::Unstated)
            .report()
            .failed
    };
    assert_eq!(world(10 * HOUR + 10 * MIN), ["d2"], "under way");
    assert_eq!(world(10 * HOUR), ["d2"], "the lower edge is inclusive");
    assert_eq!(world(10 * HOUR - 1), ["d1"]);
    assert_eq!(world(10 * HOUR + 20 * MIN), ["d2"], "at the finish itself");
    assert_eq!(world(10 * HOUR + 20 * MIN + DAY - 1), ["d2"]);
    assert_eq!(world(10 * HOUR + 20 * MIN + DAY), Vec::<String>::new(), "24 hours later it is too old");
    assert_eq!(world(HOUR), Vec::<String>::new());
}

#[test]
fn stated_causes_come_first_and_several_incidents_count_once() {
    let world = World::default()
        .change("a", &[], HOUR)
        .change("b", &["a"], 2 * HOUR)
        .deploy("d0", "a", HOUR)
        .deploy("d1", "b", 3 * HOUR)
        .deploy("d2", "b", 4 * HOUR);
    let failed = |cause| {
        let world = world.clone().incident("i", 5 * HOUR, Some(6 * HOUR), cause);
        world.report().failed
    };
    let node = world.graph().find("r", "b").unwrap();
    assert_eq!(failed(Cause::Unstated), ["d2"]);
    assert_eq!(failed(Cause::Deployment("d0".into())), ["d0"]);
    assert_eq!(failed(Cause::Commit(vec![node])), ["d1"], "the one that first carried it");
    assert_eq!(failed(Cause::Elsewhere), Vec::<String>::new());
    assert_eq!(failed(Cause::Deployment("gone".into())), ["d2"], "a miss lets the next rule try");
    let twice = world.incident("i", 5 * HOUR, Some(6 * HOUR), Cause::Unstated).incident(
        "j",
        5 * HOUR,
        Some(7 * HOUR),
        Cause::Unstated,
    );
    let report = twice.report();
    assert_eq!(report.change_fail_rate, Ok(Ratio { numerator: 1, denominator: 3 }));
    assert_eq!(report.recovery.value.unwrap().p50, 3 * 3_600, "until the last is resolved");
}

#[test]
fn repairs_fail_what_they_repair() {
    let base = || {
        World::default()
            .change("a", &[], HOUR)
            .change("b", &["a"], 2 * HOUR)
            .change("c", &["b"], 3 * HOUR)
            .deploy("d0", "a", 2 * HOUR)
            .deploy("d1", "b", 3 * HOUR)
    };
    let hotfix = |at: i64| base().deploy("d2", "c", at).with(|d| d.kind = Some(Kind::Hotfix)).report();
    assert_eq!(hotfix(4 * HOUR).failed, ["d1"]);
    let late = hotfix(3 * HOUR + DAY);
    assert_eq!(
        (late.failed.len(), late.rework),
        (0, Ok(Ratio { numerator: 1, denominator: 3 })),
        "too late to fail it, still rework"
    );
    let stated = base().deploy("d2", "c", 40 * DAY).with(|d| d.remediates = "d0".into()).report();
    assert_eq!((stated.failed, stated.recovery.value.unwrap().p50), (vec!["d0".to_owned()], (40 * 24 - 2) * 3_600));
    let planned = base().deploy("d2", "a", 4 * HOUR).with(|d| d.planned = true).report();
    assert_eq!(planned.failed.len(), 0, "a planned rollback fails nothing");
    let back = base().deploy("d2", "a", 90 * DAY).report();
    assert_eq!(
        (back.failed, back.deployments_with_changes),
        (vec!["d1".to_owned()], Ok(1)),
        "a rollback has no time limit"
    );
    let mut labelled = base().pull(3, "", "c", 3 * HOUR).deploy("d2", "c", 4 * HOUR);
    labelled.pulls[0].labels = vec!["Revert".into()];
    assert_eq!(labelled.report().failed, ["d1"]);
}

#[test]
fn a_span_that_ends_before_it_begins_is_left_out() {
    let world = World::default()
        .change("a", &[], HOUR)
        .change("b", &["a"], 3 * HOUR + 5 * MIN)
        .change("c", &["b"], 3 * HOUR)
        .deploy("d0", "a", 2 * HOUR)
        .deploy("d1", "c", 3 * HOUR);
    let lead = world.report().lead_commit;
    assert_eq!((lead.excluded_negative, lead.value.unwrap().n), (1, 1));
}

#[test]
fn several_repositories_are_one_deployment() {
    let mut world = World::default();
    world.changes = vec![
        change("x", "x0", &[], HOUR),
        change("y", "y0", &[], HOUR),
        change("x", "x1", &["x0"], 2 * HOUR),
        change("y", "y1", &["y0"], 3 * HOUR),
    ];
    world.deployments = vec![
        deployment("d0", &[("x", "x0"), ("y", "y0")], 2 * HOUR),
        deployment("d1", &[("x", "x1"), ("y", "y1")], 4 * HOUR),
        deployment("d2", &[("x", "x0"), ("y", "y0")], 5 * HOUR),
    ];
    assert_eq!(world.brought(), ["d0 ", "d1 x1,y1", "d2 "]);
    assert_eq!(world.report().failed, ["d1"], "both parts went back: a rollback");
}

#[test]
fn zero_is_a_number_only_where_the_service_was_tracked() {
    let world = World::default()
        .deploy("d0", "a", 10 * DAY)
        .with(|d| (d.tier, d.environment) = (Tier::Staging, "staging".into()));
    let counted = |from, to| world.ask(from, to, Rules::default(), |m, _, _| m.report(None).deployments_all);
    assert_eq!(counted(10 * DAY, 11 * DAY), Ok(0), "any tier starts tracking");
    assert_eq!(counted(9 * DAY, 11 * DAY), Err(NoData::NotTracked), "part of the window was not tracked");
    assert_eq!(counted(1, 10 * DAY), Err(NoData::NotTracked));
    let partly = World::default().deploy("d0", "a", 10 * DAY);
    assert_eq!(partly.ask(1, 11 * DAY, Rules::default(), |m, _, _| m.report(None).deployments_all), Ok(1));
    let blind = World::default().deploy("d0", "unknown", 10 * DAY).report();
    assert_eq!(blind.change_fail_rate, Err(NoData::NoIncidentSource), "no failure could have shown");
}

#[test]
fn recoveries_can_be_put_into_windows_by_their_own_instant() {
    let world = World::default().change("a", &[], HOUR).deploy("d0", "a", DAY - HOUR).incident(
        "i",
        DAY - 30 * MIN,
        Some(DAY + HOUR),
        Cause::Unstated,
    );
    let n = |from, to, by_recovery| {
        let rules = Rules { by_recovery, ..Rules::default() };
        world.ask(from, to, rules, |m, _, _| m.report(None).recovery.value.map_or(0, |s| s.n))
    };
    assert_eq!((n(1, DAY, false), n(1, DAY, true)), (1, 0));
    assert_eq!((n(DAY, 2 * DAY, false), n(DAY, 2 * DAY, true)), (0, 1));
}

#[test]
fn merged_and_undeployed_is_told() {
    let world = World::default()
        .change("a", &[], HOUR)
        .change("b", &["a"], 2 * HOUR)
        .change("c", &["b"], 3 * HOUR)
        .pull(1, "", "b", 2 * HOUR)
        .pull(2, "", "c", 3 * HOUR)
        .deploy("d0", "a", HOUR)
        .deploy("d1", "b", 4 * HOUR);
    assert_eq!(world.report().undeployed, (1, Some(3 * HOUR)));
    let earlier = world.ask(1, 4 * HOUR, Rules::default(), |m, _, _| m.report(None).undeployed);
    assert_eq!(earlier, (2, Some(2 * HOUR)));
}

#[test]
fn the_latest_attempt_is_effective_whatever_the_order() {
    let version = |attempt, status, occurred_us| Version {
        key: VersionKey { occurred_us, sequence: 0, payload_sha256: String::new() },
        fact: slipway_metrics::model::fact::Deployment {
            service: None,
            environment: "prod".into(),
            tier: None,
            external_id: "1".into(),
            attempt,
            status: Some(status),
            parts: vec![],
            started_us: None,
            finished_us: occurred_us,
            kind: None,
            actor: String::new(),
            remediates: String::new(),
            planned: false,
            origin: Origin::Api,
            url: String::new(),
        },
    };
    let (first, second) = (version(1, Status::Failed, 10), version(2, Status::Succeeded, 20));
    for versions in [vec![first.clone(), second.clone()], vec![second, first]] {
        let d = effective::deployment(&versions).unwrap();
        assert_eq!((d.status, d.finished_us, d.attempt), (Status::Succeeded, 20, 2));
    }
}
