//! Data set D1 of the delivery measures, question by question, through the API, in several orders.
use slipway_proto::metrics::v1 as pb;

use super::platform::*;

const REPO: &str = "shop/checkout";

fn commits() -> Vec<pb::FactEvent> {
    vec![
        change(REPO, "c0", &[], "2025-06-01T00:00:00Z"),
        change(REPO, "c1", &["c0"], "03-02T08:00"),
        change(REPO, "c2", &["c1"], "03-02T09:00"),
        change(REPO, "c3", &["c2"], "03-03T10:00"),
        change(REPO, "c4", &["c3"], "03-09T22:30"),
        change(REPO, "c5", &["c4"], "03-10T07:00"),
        change(REPO, "h1", &["c5"], "03-10T12:00"),
        change(REPO, "c6", &["h1"], "03-16T09:00"),
        change(REPO, "c7", &["c6"], "03-22T20:30"),
    ]
}

fn deployments() -> Vec<pb::FactEvent> {
    let one = |id, environment, finished, sha| deployment("checkout", environment, id, finished, &[(REPO, sha)]);
    let production = |id, finished, sha| deployed(one(id, "production", finished, sha));
    let mut failed = one("d2", "production", "03-03T12:00", "c3");
    failed.status = pb::DeploymentStatus::Failed.into();
    let mut hotfix = one("d6", "production", "03-10T14:00", "h1");
    hotfix.kind = pb::DeploymentKind::Hotfix.into();
    vec![
        production("d0", "03-01T12:00", "c0"),
        deployed(one("s1", "staging", "03-02T09:30", "c2")),
        production("d1", "03-02T10:00", "c2"),
        deployed(failed),
        production("d3", "03-03T14:00", "c3"),
        production("d4", "03-10T08:00", "c5"),
        production("d5", "03-10T09:00", "c3"),
        deployed(hotfix),
        production("d7", "03-10T14:05", "h1"),
        production("d8", "03-16T23:30", "c6"),
        production("d9", "03-22T23:30", "c7"),
    ]
}

fn incidents() -> Vec<pb::FactEvent> {
    vec![
        broken(incident(&["checkout"], "I1", "03-10T08:30", Some("03-10T09:10"))),
        broken(incident(&["checkout"], "I2", "03-24T10:00", Some("03-24T16:00"))),
        broken(incident(&["checkout"], "I3", "03-23T00:30", None)),
    ]
}

fn w() -> pb::Window {
    instants("03-02T00:00", "03-30T00:00")
}

/// Every event in an order made by a seed, some of them twice under keys of their own.
fn mixed(mut events: Vec<pb::FactEvent>, seed: u64) -> Vec<pb::FactEvent> {
    let mut state = seed;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for n in 0..events.len() / 2 {
        let mut twin = events[next(events.len())].clone();
        twin.idempotency_key = format!("{}-again-{n}", twin.idempotency_key);
        events.push(twin);
    }
    for at in (1..events.len()).rev() {
        events.swap(at, next(at + 1));
    }
    events
}

fn ratio(ratio: Option<&pb::Ratio>) -> (i64, i64) {
    let ratio = ratio.unwrap();
    (ratio.numerator.unwrap(), ratio.denominator.unwrap())
}

fn why(no_data: Option<&pb::NoData>) -> pb::NoDataReason {
    no_data.unwrap().reason()
}

fn frequency(p: &pb::DeliveryPerformance) -> pb::DeploymentFrequency {
    p.deployment_frequency.clone().unwrap()
}

fn fail_rate(p: &pb::DeliveryPerformance) -> pb::Ratio {
    p.change_fail_rate.clone().unwrap().rate.unwrap()
}

#[tokio::test]
async fn e1_to_e4_throughput() {
    for p in all().await {
        p.accept(&ann(), [commits(), deployments(), incidents()].concat()).await;
        let answer = p.performance("checkout", w()).await;
        let f = frequency(&answer);
        let counts = [&f.deployments_all, &f.deployments_with_changes, &f.failed_attempts];
        assert_eq!(counts.map(|c| c.clone().unwrap().value), [Some(8), Some(6), Some(1)], "E1 {}", p.engine);
        assert_eq!(ratio(f.attempt_success_rate.as_ref()), (8, 9), "E1");
        assert!((f.per_day.unwrap() - 8.0 / 28.0).abs() < 1e-12 && (f.per_week.unwrap() - 2.0).abs() < 1e-12, "E2");
        let items = p.explain("checkout", pb::Metric::LeadTimeCommit, w()).await.items;
        let brought = |id: &str| -> Vec<String> {
            let mine = items.iter().filter(|i| i.included && i.evidence == [id]);
            mine.map(|i| i.id.clone()).collect()
        };
        let all: Vec<Vec<String>> = ["d1", "d3", "d4", "d5", "d6", "d7", "d8", "d9"].map(brought).into();
        let want: [&[&str]; 8] = [&["c1", "c2"], &["c3"], &["c4", "c5"], &[], &["h1"], &[], &["c6"], &["c7"]];
        assert_eq!(all, want, "E3");
        let mut values: Vec<(String, i64)> =
            items.iter().filter(|i| i.included).map(|i| (i.id.clone(), i.value_seconds.unwrap())).collect();
        values.sort_by_key(|(id, _)| ["c1", "c2", "c3", "c4", "c5", "h1", "c6", "c7"].iter().position(|c| c == id));
        let hours: Vec<f64> = values.iter().map(|(_, s)| *s as f64 / 3_600.0).collect();
        assert_eq!(hours, [2.0, 1.0, 4.0, 9.5, 1.0, 2.0, 14.5, 3.0], "E4");
        let lead = answer.change_lead_time.unwrap().commit.unwrap();
        let percentiles = [lead.n, lead.p50_seconds, lead.p75_seconds, lead.p90_seconds, lead.p95_seconds];
        assert_eq!(percentiles, [8, 9_000, 19_350, 39_600, 45_900].map(Some), "E4");
        assert!((lead.mean_seconds.unwrap() - 16_650.0).abs() < 1e-9, "E4");
        let basis = answer.basis.unwrap();
        assert_eq!(
            (basis.time_zone.as_str(), basis.edition.as_str(), basis.coverage()),
            ("UTC", "2023", pb::Coverage::Full)
        );
        assert_eq!(basis.rules.unwrap().attribution_window_seconds, 86_400);
    }
}

#[tokio::test]
async fn e5_to_e8_calendar() {
    for p in all().await {
        p.accept(&ann(), [commits(), deployments()].concat()).await;
        let cases = [
            ("UTC", [2, 1, 2, 0], 1.5),
            ("Europe/Berlin", [2, 1, 1, 1], 1.0),
            ("Asia/Tokyo", [2, 1, 1, 1], 1.0),
            ("America/Los_Angeles", [2, 1, 2, 0], 1.5),
        ];
        for (zone, weeks, median) in cases {
            let request = pb::GetDeliveryPerformanceRequest {
                service: "checkout".to_owned(),
                window: Some(dates("2026-03-02", "2026-03-30", zone)),
                bucket: pb::CalendarUnit::Week.into(),
                ..Default::default()
            };
            let f = frequency(&p.measure(request).await);
            let days: Vec<i64> = f.buckets.iter().map(|b| b.deployment_days.unwrap()).collect();
            assert_eq!((days, f.median_deployment_days_per_week), (weeks.to_vec(), Some(median)), "E5-E7 {zone}");
        }
        let request = pb::GetDeliveryPerformanceRequest {
            service: "checkout".to_owned(),
            window: Some(dates("2026-03-02", "2026-03-30", "Europe/Berlin")),
            bucket: pb::CalendarUnit::Day.into(),
            ..Default::default()
        };
        let buckets = frequency(&p.measure(request).await).buckets;
        let day = &buckets[27];
        let seconds = day.end_time.unwrap().seconds - day.start_time.unwrap().seconds;
        assert_eq!((buckets.len(), seconds / 3_600), (28, 23), "E8");
    }
}

#[tokio::test]
async fn e9_to_e15_instability() {
    for p in all().await {
        p.accept(&ann(), [commits(), deployments(), incidents()].concat()).await;
        let answer = p.performance("checkout", w()).await;
        let failing = answer.change_fail_rate.clone().unwrap();
        assert_eq!(failing.failed_deployments, ["d4", "d9"], "E9");
        assert_eq!(ratio(failing.rate.as_ref()), (2, 8), "E9, and never the 3/8 of E10");
        let rules = pb::RuleSwitches { only_with_changes: true, ..Default::default() };
        let request = pb::GetDeliveryPerformanceRequest {
            service: "checkout".to_owned(),
            window: Some(w()),
            rules: Some(rules),
            ..Default::default()
        };
        assert_eq!(ratio(Some(&fail_rate(&p.measure(request).await))), (2, 6), "E9");
        let recovery = answer.recovery_time.unwrap();
        let (time, detection) = (recovery.time.unwrap(), recovery.from_detection.unwrap());
        assert_eq!((time.n, time.p50_seconds, recovery.open), (Some(1), Some(4_200), 1), "E13");
        assert_eq!(detection.p50_seconds, Some(2_400), "E13");
        let restore = answer.time_to_restore.unwrap();
        assert_eq!((restore.n, restore.p50_seconds), (Some(2), Some(12_000)), "E14");
        assert_eq!(ratio(answer.rework_rate.as_ref()), (2, 8), "E15");
    }
}

#[tokio::test]
async fn e11_to_e13_with_fewer_incidents() {
    for p in all().await {
        p.accept(&ann(), [commits(), deployments()].concat()).await;
        let none = p.performance("checkout", w()).await;
        assert_eq!(none.change_fail_rate.clone().unwrap().failed_deployments, ["d4"], "E12");
        assert_eq!(ratio(Some(&fail_rate(&none))), (1, 8), "E12");
        assert_eq!(none.recovery_time.unwrap().time.unwrap().p50_seconds, Some(3_600), "E13");
        p.accept(&ann(), incidents().into_iter().filter(|e| !e.idempotency_key.ends_with("I3")).collect()).await;
        assert_eq!(ratio(Some(&fail_rate(&p.performance("checkout", w()).await))), (1, 8), "E11");
    }
}

#[tokio::test]
async fn e16_to_e18_other_windows() {
    for p in all().await {
        p.accept(&ann(), [commits(), deployments(), incidents()].concat()).await;
        let before = p.performance("checkout", instants("02-01T00:00", "03-01T00:00")).await;
        let f = frequency(&before);
        let counts = [f.deployments_all, f.deployments_with_changes, f.failed_attempts].map(Option::unwrap);
        assert!(
            counts.iter().all(|c| c.value.is_none() && why(c.no_data.as_ref()) == pb::NoDataReason::NotTracked),
            "E16"
        );
        assert_eq!((f.per_day, f.per_week, f.median_deployment_days_per_week), (None, None, None), "E16");
        let lead = before.change_lead_time.clone().unwrap();
        let spans = [lead.commit, lead.pr_first_commit, lead.pr_merged, before.time_to_restore.clone()];
        assert!(
            spans.iter().flatten().all(|s| s.n.is_none() && why(s.no_data.as_ref()) == pb::NoDataReason::NotTracked),
            "E16"
        );
        let rates = [Some(fail_rate(&before)), before.rework_rate.clone(), f.attempt_success_rate];
        assert!(
            rates
                .iter()
                .flatten()
                .all(|r| r.value.is_none() && why(r.no_data.as_ref()) == pb::NoDataReason::NotTracked),
            "E16"
        );
        assert_eq!(before.basis.unwrap().coverage(), pb::Coverage::None, "E16");

        let quiet = p.performance("checkout", instants("03-23T00:00", "03-30T00:00")).await;
        assert_eq!(frequency(&quiet).deployments_all.unwrap().value, Some(0), "E17");
        let lead = quiet.change_lead_time.clone().unwrap().commit.unwrap();
        assert_eq!(why(lead.no_data.as_ref()), pb::NoDataReason::NoChanges, "E17");
        assert_eq!(why(fail_rate(&quiet).no_data.as_ref()), pb::NoDataReason::NoDeployments, "E17");

        let edges = p.performance("checkout", instants("03-02T10:00", "03-22T23:30")).await;
        assert_eq!(frequency(&edges).deployments_all.unwrap().value, Some(7), "E18");
    }
}

#[tokio::test]
async fn any_order_and_repetition_gives_the_same_answer() {
    let everything = || [commits(), deployments(), incidents()].concat();
    let mut answers = Vec::new();
    for seed in 0..4 {
        for p in all().await {
            for batch in mixed(everything(), seed).chunks(7 + seed as usize * 9) {
                p.accept(&ann(), batch.to_vec()).await;
                p.performance("checkout", w()).await;
            }
            let mut answer = p.performance("checkout", w()).await;
            let basis = answer.basis.as_mut().unwrap();
            (basis.compute_time, basis.facts_revision) = (None, 0);
            let explained = p.explain("checkout", pb::Metric::ChangeFailRate, w()).await.items;
            answers.push((answer, explained));
        }
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "MET-41");
}

#[tokio::test]
async fn the_included_items_reproduce_every_number() {
    for p in all().await {
        p.accept(&ann(), [commits(), deployments(), incidents()].concat()).await;
        let answer = p.performance("checkout", w()).await;
        let lead = answer.change_lead_time.clone().unwrap();
        let recovery = answer.recovery_time.clone().unwrap();
        let spans = [
            (pb::Metric::LeadTimeCommit, lead.commit),
            (pb::Metric::LeadTimePrFirstCommit, lead.pr_first_commit),
            (pb::Metric::LeadTimePrMerged, lead.pr_merged),
            (pb::Metric::RecoveryTime, recovery.time),
            (pb::Metric::RecoveryTimeFromDetection, recovery.from_detection),
            (pb::Metric::TimeToRestore, answer.time_to_restore.clone()),
        ];
        for (metric, span) in spans {
            let explained = p.explain("checkout", metric, w()).await;
            let values: Vec<i64> =
                explained.items.iter().filter(|i| i.included).map(|i| i.value_seconds.unwrap()).collect();
            let mean = values.iter().sum::<i64>() as f64 / values.len() as f64;
            let span = span.unwrap();
            assert_eq!(
                (values.len() as i64, explained.included),
                (span.n.unwrap_or(0), span.n.unwrap_or(0)),
                "{metric:?}"
            );
            assert!(span.mean_seconds.is_none_or(|m| (m - mean).abs() < 1e-9), "{metric:?}");
        }
        let ratios = [
            (pb::Metric::ChangeFailRate, Some(fail_rate(&answer))),
            (pb::Metric::ReworkRate, answer.rework_rate.clone()),
        ];
        for (metric, wanted) in ratios {
            let items = p.explain("checkout", metric, w()).await.items;
            let counted = (
                items.iter().filter(|i| i.included).count() as i64,
                items.iter().filter(|i| i.in_denominator).count() as i64,
            );
            assert_eq!(counted, ratio(wanted.as_ref()), "{metric:?}");
        }
        let frequent = p.explain("checkout", pb::Metric::DeploymentFrequency, w()).await;
        assert_eq!(frequent.included, 8);
        let reasons: Vec<(String, String)> =
            frequent.items.iter().filter(|i| !i.included).map(|i| (i.id.clone(), i.reason.clone())).collect();
        assert_eq!(reasons, [("s1".into(), "NOT_PRODUCTION".into()), ("d2".into(), "FAILED_ATTEMPT".into())]);
        let failing = p.explain("checkout", pb::Metric::ChangeFailRate, w()).await.items;
        let of = |id: &str| failing.iter().find(|i| i.id == id).unwrap();
        assert_eq!(
            (of("d4").rule.as_str(), of("d4").evidence.clone()),
            ("c", ["incident:I1", "deployment:d5", "deployment:d6"].map(str::to_owned).to_vec())
        );
        assert_eq!(of("I2").reason, "OUTSIDE_ATTRIBUTION_WINDOW");
    }
}
