//! The delivery rules, case by case.
use slipway_metrics::model::{
    effective,
    fact::{Kind, Origin, Status, Version, VersionKey},
    failure::Cause,
    report::{NoData, Ratio, Rules},
    tier::Tier,
};

use super::world::*;

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
    let hours = |span: &slipway_metrics::model::report::Span| span.value.as_ref().unwrap().p50 / 3_600;
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
    let changes = vec![
        change("x", "x0", &[], HOUR),
        change("y", "y0", &[], HOUR),
        change("x", "x1", &["x0"], 2 * HOUR),
        change("y", "y1", &["y0"], 3 * HOUR),
    ];
    let deployments = vec![
        deployment("d0", &[("x", "x0"), ("y", "y0")], 2 * HOUR),
        deployment("d1", &[("x", "x1"), ("y", "y1")], 4 * HOUR),
        deployment("d2", &[("x", "x0"), ("y", "y0")], 5 * HOUR),
    ];
    let world = World { changes, deployments, ..World::default() };
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
