//! Data set D1 of the delivery measures: E1–E4 and E9–E18 against the model.
#![allow(clippy::unwrap_used)]
use slipway_metrics::model::dora::{Facts, Incident, NoData, Ratio, measure};
use slipway_metrics::model::timeline::{Change, Deployment, Kind, steps};

const MIN: i64 = 60_000_000;
const DAY: i64 = 1_440 * MIN;
/// Minutes count from 2026-03-01T00:00 UTC.
fn at(day: i64, hour: i64, minute: i64) -> i64 {
    (day - 1) * DAY + (hour * 60 + minute) * MIN
}

fn d1() -> Facts {
    let commits = [
        ("c0", "", at(1, 0, 0) - 273 * DAY),
        ("c1", "c0", at(2, 8, 0)),
        ("c2", "c1", at(2, 9, 0)),
        ("c3", "c2", at(3, 10, 0)),
        ("c4", "c3", at(9, 22, 30)),
        ("c5", "c4", at(10, 7, 0)),
        ("h1", "c5", at(10, 12, 0)),
        ("c6", "h1", at(16, 9, 0)),
        ("c7", "c6", at(22, 20, 30)),
    ];
    let rows = [
        ("d0", true, at(1, 12, 0), true, "c0"),
        ("s1", false, at(2, 9, 30), true, "c2"),
        ("d1", true, at(2, 10, 0), true, "c2"),
        ("d2", true, at(3, 12, 0), false, "c3"),
        ("d3", true, at(3, 14, 0), true, "c3"),
        ("d4", true, at(10, 8, 0), true, "c5"),
        ("d5", true, at(10, 9, 0), true, "c3"),
        ("d6", true, at(10, 14, 0), true, "h1"),
        ("d7", true, at(10, 14, 5), true, "h1"),
        ("d8", true, at(16, 23, 30), true, "c6"),
        ("d9", true, at(22, 23, 30), true, "c7"),
    ];
    let incident = |id: &str, started_us, resolved_us| Incident {
        id: id.into(),
        started_us,
        detected_us: None,
        resolved_us,
        cause_deployment: None,
        cause_sha: None,
    };
    Facts {
        changes: commits
            .iter()
            .map(|(sha, parent, committed_us)| Change {
                sha: (*sha).into(),
                committed_us: *committed_us,
                parents: if parent.is_empty() { vec![] } else { vec![(*parent).into()] },
            })
            .collect(),
        deployments: rows
            .iter()
            .map(|(id, production, finished_us, succeeded, sha)| Deployment {
                id: (*id).into(),
                environment: if *production { "production" } else { "staging" }.into(),
                production: *production,
                succeeded: *succeeded,
                sha: (*sha).into(),
                started_us: None,
                finished_us: *finished_us,
                kind: (*id == "d6").then_some(Kind::Hotfix),
                remediates: None,
            })
            .collect(),
        incidents: vec![
            incident("I1", at(10, 8, 30), Some(at(10, 9, 10))),
            incident("I2", at(24, 10, 0), Some(at(24, 16, 0))),
            incident("I3", at(23, 0, 30), None),
        ],
        incident_source: true,
    }
}

const W: (i64, i64) = (DAY, 29 * DAY);

#[test]
fn e1_to_e4_and_e9_to_e15() {
    let r = measure(&d1(), W.0, W.1, DAY);
    assert_eq!((r.deployments_all, r.deployments_with_changes, r.failed_attempts), (Ok(8), Ok(6), Ok(1)));
    let lead = r.lead_time.unwrap();
    assert_eq!((lead.n, lead.p50, lead.p75, lead.p90, lead.p95), (8, 9_000, 19_350, 39_600, 45_900));
    assert!((lead.mean - 16_650.0).abs() < 1e-9);
    assert_eq!(r.failed, ["d4", "d9"]);
    assert_eq!(r.change_fail_rate, Ok(Ratio { numerator: 2, denominator: 8 }));
    let recovery = r.recovery.unwrap();
    assert_eq!((recovery.n, recovery.p50, r.recovery_open), (1, 4_200, 1));
    assert_eq!(r.recovery_from_detection.unwrap().p50, 2_400);
    let restore = r.time_to_restore.unwrap();
    assert_eq!((restore.n, restore.p50), (2, 12_000));
    assert_eq!(r.rework_rate, Ok(Ratio { numerator: 2, denominator: 8 }));
}

#[test]
fn e3_each_commit_counts_once() {
    let facts = d1();
    let brought: Vec<String> = steps(&facts.deployments, &facts.changes)
        .iter()
        .filter(|s| s.deployment.succeeded && !s.baseline)
        .map(|s| {
            format!("{} {}", s.deployment.id, s.changes.iter().map(|c| c.sha.as_str()).collect::<Vec<_>>().join(","))
        })
        .collect();
    assert_eq!(brought, ["d1 c1,c2", "d3 c3", "d4 c4,c5", "d5 ", "d6 h1", "d7 ", "d8 c6", "d9 c7"]);
}

#[test]
fn e11_to_e13_with_fewer_incidents() {
    let mut facts = d1();
    facts.incidents.retain(|i| i.id != "I3");
    assert_eq!(measure(&facts, W.0, W.1, DAY).change_fail_rate, Ok(Ratio { numerator: 1, denominator: 8 }));
    facts.incidents.clear();
    let r = measure(&facts, W.0, W.1, DAY);
    assert_eq!((r.failed, r.recovery.unwrap().p50), (vec!["d4".to_owned()], 3_600));
}

#[test]
fn e16_to_e18_other_windows() {
    let before = measure(&d1(), -28 * DAY, 0, DAY);
    assert_eq!(before.deployments_all, Err(NoData::NotTracked));
    assert_eq!(before.change_fail_rate, Err(NoData::NotTracked));
    let quiet = measure(&d1(), at(23, 0, 0), at(30, 0, 0), DAY);
    assert_eq!(
        (quiet.deployments_all, quiet.lead_time, quiet.change_fail_rate),
        (Ok(0), Err(NoData::NoChanges), Err(NoData::NoDeployments))
    );
    assert_eq!(measure(&d1(), at(2, 10, 0), at(22, 23, 30), DAY).deployments_all, Ok(7));
}

#[test]
fn order_and_repetition_do_not_matter() {
    let (facts, mut mixed) = (d1(), d1());
    mixed.deployments.reverse();
    mixed.deployments.extend(facts.deployments.clone());
    mixed.changes.reverse();
    mixed.incidents.reverse();
    mixed.incidents.extend(facts.incidents.clone());
    assert_eq!(measure(&facts, W.0, W.1, DAY), measure(&mixed, W.0, W.1, DAY));
}
