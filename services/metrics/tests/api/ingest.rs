//! Who may bring which fact, what a mistake answers, and what the service of a fact is.
use slipway_proto::metrics::v1 as pb;

use super::platform::*;

const REPO: &str = "shop/checkout";

fn one(service: &str, id: &str, sha: &str) -> pb::FactEvent {
    deployed(deployment(service, "production", id, "03-02T10:00", &[(REPO, sha)]))
}

fn reasons(results: &[pb::EventResult]) -> Vec<String> {
    results.iter().map(|r| r.error.as_ref().map(|e| e.reason.clone()).unwrap_or_default()).collect()
}

async fn list(p: &Platform, request: pb::ListDeploymentsRequest) -> Result<pb::ListDeploymentsResponse, tonic::Status> {
    p.facts(&guest(), "ListDeployments").list_deployments(request).await.map(tonic::Response::into_inner)
}

fn asked(service: &str) -> pb::ListDeploymentsRequest {
    pb::ListDeploymentsRequest { service: service.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_repeat_is_a_duplicate_and_a_conflict_is_refused() {
    for p in all().await {
        let first = one("checkout", "d1", "c1");
        assert!(!p.ingest(&ann(), vec![first.clone()]).await[0].duplicate);
        let again = p
            .ingest(&ann(), vec![first.clone(), pb::FactEvent { idempotency_key: "other".into(), ..first.clone() }])
            .await;
        assert!(again.iter().all(|r| r.duplicate && r.error.is_none()), "same key, and same fact under another key");
        let changed = pb::FactEvent { idempotency_key: first.idempotency_key.clone(), ..one("checkout", "d2", "c2") };
        let results = p.ingest(&ann(), vec![changed, one("checkout", "d3", "c3")]).await;
        assert_eq!(reasons(&results), ["IDEMPOTENCY_CONFLICT", ""], "{}", p.engine);
        assert_eq!(results[0].error.as_ref().unwrap().code, 6);
        let ids: Vec<String> = list(&p, asked("checkout"))
            .await
            .unwrap()
            .deployments
            .into_iter()
            .map(|d| d.deployment.unwrap().external_id)
            .collect();
        assert_eq!(ids.len(), 2, "the first body stays: {ids:?}");
        let other = pb::FactEvent {
            idempotency_key: first.idempotency_key,
            ..deployed(deployment("search", "production", "d1", "03-02T10:00", &[("find/search", "s")]))
        };
        assert_eq!(reasons(&p.ingest(&bob(), vec![other]).await), [""], "keys belong to their caller");
    }
}

#[tokio::test]
async fn one_bad_event_does_not_fail_the_others_and_all_its_faults_are_told() {
    for p in all().await {
        let mut bad = deployment("checkout", "", "", "03-02T10:00", &[]);
        bad.finish_time = None;
        let mut future = deployment("checkout", "production", "later", "04-15T00:11", &[(REPO, "c9")]);
        future.actor = "ci".into();
        let skewed = deployment("checkout", "production", "soon", "04-15T00:09", &[(REPO, "c9")]);
        let empty = pb::FactEvent { idempotency_key: "empty".into(), ..Default::default() };
        let odd = one("a b", "d1", "c1");
        let results = p
            .ingest(
                &ann(),
                vec![deployed(bad), deployed(future), deployed(skewed), empty, odd, one("checkout", "d1", "c1")],
            )
            .await;
        assert_eq!(
            reasons(&results),
            ["INVALID_FIELD", "OCCURRED_IN_FUTURE", "", "INVALID_FIELD", "INVALID_FIELD", ""],
            "{}",
            p.engine
        );
        let fields: Vec<&str> =
            results[0].error.as_ref().unwrap().violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(
            fields,
            ["deployment.environment", "deployment.external_id", "deployment.parts", "deployment.finish_time"]
        );
        let none = p.facts(&ann(), "IngestEvents").ingest_events(pb::IngestEventsRequest::default()).await.unwrap_err();
        assert_eq!((reason(&none), fields_of(&none)), ("INVALID_FIELD".into(), vec!["events".to_owned()]));
        let many = pb::IngestEventsRequest { events: vec![one("checkout", "d1", "c1"); 1_001], ..Default::default() };
        let refused = p.facts(&ann(), "IngestEvents").ingest_events(many).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_FIELD");
    }
}

fn fields_of(status: &tonic::Status) -> Vec<String> {
    fields(status)
}

#[tokio::test]
async fn only_the_owning_team_and_its_automation_bring_facts() {
    for p in all().await {
        let denied = ["PERMISSION_DENIED"];
        assert_eq!(reasons(&p.ingest(&bob(), vec![one("checkout", "d1", "c1")]).await), denied);
        assert_eq!(reasons(&p.ingest(&bob(), vec![one("nobody-has-this", "d1", "c1")]).await), denied, "no oracle");
        assert_eq!(reasons(&p.ingest(&bob(), vec![change(REPO, "c1", &[], "03-02T10:00")]).await), denied);
        let shared = broken(incident(&["checkout", "search"], "I1", "03-02T10:00", None));
        assert_eq!(
            reasons(&p.ingest(&ann(), vec![shared.clone()]).await),
            denied,
            "every affected service must be the caller's"
        );
        assert_eq!(reasons(&p.ingest(&admin(), vec![shared]).await), [""]);
        assert_eq!(reasons(&p.ingest(&admin(), vec![one("nobody-has-this", "d1", "c1")]).await), ["SERVICE_UNKNOWN"]);
        assert_eq!(reasons(&p.ingest(&robot(), vec![one("checkout", "d1", "c1")]).await), [""], "{}", p.engine);
        let search = deployed(deployment("search", "production", "d1", "03-02T10:00", &[("find/search", "s")]));
        assert_eq!(reasons(&p.ingest(&robot(), vec![search]).await), denied, "a scope has its limits");
        let guest = p.ingest(&guest(), vec![one("checkout", "d1", "c1")]).await;
        assert_eq!(reasons(&guest), denied);
    }
}

#[tokio::test]
async fn the_repository_tells_the_service_at_once_or_later() {
    for p in all().await {
        p.accept(
            &ann(),
            vec![
                one("checkout", "warm", "c0"),
                deployed(deployment("billing", "production", "warm", "03-01T10:00", &[("shop/billing", "b0")])),
            ],
        )
        .await;
        let results = p.ingest(&ann(), vec![one("", "d1", "c1")]).await;
        assert_eq!((reasons(&results), results[0].parked), (vec![String::new()], false), "{}", p.engine);
        let unknown = deployed(deployment("", "production", "d1", "03-02T11:00", &[("shop/new", "n1")]));
        let unknown = pb::FactEvent { idempotency_key: "unknown".into(), ..unknown };
        let results = p.ingest(&ann(), vec![unknown.clone(), change("shop/new", "n1", &[], "03-02T09:00")]).await;
        assert!(results[0].parked && results.iter().all(|r| r.error.is_none()));
        let parked = || async {
            p.facts(&guest(), "ListParkedFacts")
                .list_parked_facts(pb::ListParkedFactsRequest::default())
                .await
                .unwrap()
                .into_inner()
                .groups
        };
        let groups = parked().await;
        assert_eq!(
            (groups.len(), groups[0].repository.as_str(), groups[0].environment.as_str(), groups[0].count),
            (1, "local/shop/new", "production", 1)
        );
        p.tell("thief", "find", "shop/new").await;
        p.tell("new", "shop", "shop/new").await;
        p.until("parked facts are released", async || parked().await.is_empty()).await;
        let found = list(&p, asked("new")).await.unwrap().deployments;
        assert_eq!(found[0].deployment.as_ref().unwrap().external_id, "d1");
        assert!(
            list(&p, asked("thief")).await.unwrap().deployments.is_empty(),
            "facts of one team never count for another"
        );
        let repeated = p.ingest(&ann(), vec![pb::FactEvent { idempotency_key: "again".into(), ..unknown }]).await;
        assert!(repeated[0].duplicate);
    }
}

#[tokio::test]
async fn parts_of_several_events_are_one_deployment() {
    for p in all().await {
        let part = |repository: &str, sha: &str, at_: &str| {
            let mut d = deployment("checkout", "production", "d1", at_, &[(repository, sha)]);
            d.parts[0].finish_time = at(at_);
            pb::FactEvent { idempotency_key: sha.to_owned(), ..deployed(d) }
        };
        p.accept(&ann(), vec![part("shop/web", "w1", "03-02T10:05")]).await;
        p.accept(
            &ann(),
            vec![part(REPO, "c1", "03-02T10:00"), broken(incident(&["checkout"], "I", "03-02T10:30", None))],
        )
        .await;
        let answer = p.performance("checkout", instants("03-02T00:00", "03-03T00:00")).await;
        let rate = answer.change_fail_rate.unwrap().rate.unwrap();
        assert_eq!((rate.numerator, rate.denominator), (Some(1), Some(1)), "{}", p.engine);
        let found = list(&p, asked("checkout")).await.unwrap().deployments.remove(0).deployment.unwrap();
        assert_eq!((found.parts.len(), found.finish_time), (2, at("03-02T10:05")));
    }
}

#[tokio::test]
async fn one_incident_may_fail_one_deployment_of_each_service() {
    for p in all().await {
        let mut events: Vec<pb::FactEvent> = (0..8)
            .map(|n| {
                deployed(deployment(
                    "billing",
                    "production",
                    &format!("b{n}"),
                    &format!("03-02T1{n}:00"),
                    &[("shop/billing", &format!("b{n}"))],
                ))
            })
            .collect();
        events.extend([
            one("checkout", "a1", "a1"),
            deployed(deployment("checkout", "production", "a2", "03-02T17:30", &[(REPO, "a2")])),
        ]);
        let mut stated = incident(&["checkout", "billing"], "I2", "03-02T16:30", Some("03-02T16:40"));
        stated.cause_deployment = "b3".into();
        events.push(broken(incident(&["checkout", "billing"], "I1", "03-02T18:00", None)));
        p.accept(&ann(), events).await;
        let rate = async |service| {
            let rate = p
                .performance(service, instants("03-02T00:00", "03-03T00:00"))
                .await
                .change_fail_rate
                .unwrap()
                .rate
                .unwrap();
            (rate.numerator.unwrap(), rate.denominator.unwrap())
        };
        assert_eq!((rate("checkout").await, rate("billing").await), ((1, 2), (1, 8)), "{}", p.engine);
        p.accept(&ann(), vec![broken(stated)]).await;
        assert_eq!(
            (rate("checkout").await, rate("billing").await),
            ((1, 2), (2, 8)),
            "a cause stated for one is none for the other"
        );
    }
}

#[tokio::test]
async fn deployments_are_listed_page_by_page() {
    for p in all().await {
        let days = |n: usize| format!("03-{:02}T10:00", n + 1);
        let events = (0..25)
            .map(|n| {
                deployed(deployment(
                    "checkout",
                    if n % 5 == 0 { "uat" } else { "prod" },
                    &format!("d{n}"),
                    &days(n),
                    &[(REPO, "c")],
                ))
            })
            .collect();
        p.accept(&ann(), events).await;
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListDeploymentsRequest {
                page_size: 7,
                page_token: token,
                total: 1,
                ..asked("entities/component/default/checkout")
            };
            let page = list(&p, request).await.unwrap();
            assert_eq!(page.total_size, Some(25));
            seen.extend(page.deployments.into_iter().map(|d| d.deployment.unwrap().external_id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, (0..25).rev().map(|n| format!("d{n}")).collect::<Vec<_>>(), "{}", p.engine);
        let staging = pb::ListDeploymentsRequest {
            filter: "tier = STAGING".into(),
            order_by: "finish_time".into(),
            ..asked("checkout")
        };
        assert_eq!(list(&p, staging).await.unwrap().deployments.len(), 5);
        let mistakes = [
            (pb::ListDeploymentsRequest { filter: "tier = PROD".into(), ..asked("checkout") }, "FILTER_INVALID"),
            (pb::ListDeploymentsRequest { order_by: "size".into(), ..asked("checkout") }, "ORDER_INVALID"),
            (pb::ListDeploymentsRequest { page_token: "forged".into(), ..asked("checkout") }, "PAGE_TOKEN_INVALID"),
            (asked("nobody-has-this"), "SERVICE_UNKNOWN"),
            (asked(""), "INVALID_FIELD"),
        ];
        for (request, wanted) in mistakes {
            assert_eq!(reason(&list(&p, request).await.unwrap_err()), wanted);
        }
        let forged = pb::ListParkedFactsRequest { page_token: "forged".into(), ..Default::default() };
        let refused = p.facts(&guest(), "ListParkedFacts").list_parked_facts(forged).await.unwrap_err();
        assert_eq!(reason(&refused), "PAGE_TOKEN_INVALID");
    }
}

#[tokio::test]
async fn a_deployment_known_anew_is_published() {
    for p in all().await {
        p.accept(&ann(), vec![one("checkout", "d1", "c1")]).await;
        p.accept(&ann(), vec![pb::FactEvent { idempotency_key: "again".into(), ..one("checkout", "d1", "c1") }]).await;
        let events = slipway_kit::journal::read(&p.db, 0, 10).await.unwrap();
        assert_eq!(events.len(), 1, "{}: a repeat publishes nothing", p.engine);
        let message: pb::DeploymentRecorded = events[0].decode().unwrap();
        assert_eq!(
            (message.service.as_str(), message.tier(), message.sha.as_str()),
            ("component:default/checkout", pb::Tier::Production, "c1")
        );
    }
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_with_every_fault() {
    for p in all().await {
        p.accept(&ann(), vec![one("checkout", "d1", "c1")]).await;
        let ask = async |request| {
            p.dora(&guest(), "GetDeliveryPerformance").get_delivery_performance(request).await.unwrap_err()
        };
        let base = || pb::GetDeliveryPerformanceRequest {
            service: "checkout".into(),
            window: Some(instants("03-01T00:00", "03-02T00:00")),
            ..Default::default()
        };
        let faults = ask(pb::GetDeliveryPerformanceRequest {
            service: "a b".into(),
            window: Some(instants("03-02T00:00", "03-01T00:00")),
            ..base()
        })
        .await;
        assert_eq!(fields(&faults), ["service", "window.to_time"]);
        let half = pb::Window { from_time: at("03-01T00:00"), ..Default::default() };
        assert_eq!(
            fields(&ask(pb::GetDeliveryPerformanceRequest { window: Some(half), ..base() }).await),
            ["window.from_time"]
        );
        let zone = pb::Window { time_zone: "Mars/Olympus".into(), ..instants("03-01T00:00", "03-02T00:00") };
        assert_eq!(
            fields(&ask(pb::GetDeliveryPerformanceRequest { window: Some(zone), ..base() }).await),
            ["window.time_zone"]
        );
        assert_eq!(
            reason(&ask(pb::GetDeliveryPerformanceRequest { edition: "1999".into(), ..base() }).await),
            "EDITION_UNKNOWN"
        );
        assert_eq!(
            reason(&ask(pb::GetDeliveryPerformanceRequest { service: "gone".into(), ..base() }).await),
            "SERVICE_UNKNOWN"
        );
        let narrow = pb::RuleSwitches { attribution_window_seconds: 60, ..Default::default() };
        assert_eq!(
            fields(&ask(pb::GetDeliveryPerformanceRequest { rules: Some(narrow), ..base() }).await),
            ["rules.attribution_window_seconds"]
        );
        let nothing =
            pb::ExplainMetricRequest { service: "checkout".into(), window: base().window, ..Default::default() };
        let refused = p.dora(&guest(), "ExplainMetric").explain_metric(nothing).await.unwrap_err();
        assert_eq!(fields(&refused), ["metric"]);
    }
}

#[tokio::test]
async fn a_correction_is_a_fact_that_shows() {
    for p in all().await {
        p.accept(&ann(), vec![one("checkout", "d1", "c1"), broken(incident(&["checkout"], "I1", "03-02T10:30", None))])
            .await;
        let correct = async |caller: &slipway_kit::caller::Caller, correction, validate_only| {
            let request =
                pb::CorrectAttributionRequest { correction: Some(correction), validate_only, ..Default::default() };
            p.dora(caller, "CorrectAttribution").correct_attribution(request).await.map(tonic::Response::into_inner)
        };
        let clear = |id: &str| pb::Correction {
            service: "checkout".into(),
            reason: "the network of the provider".into(),
            target: Some(pb::correction::Target::Incident(pb::IncidentCorrection {
                external_id: id.into(),
                cause_deployment: String::new(),
            })),
            ..Default::default()
        };
        let failed = async || {
            p.performance("checkout", instants("03-02T00:00", "03-03T00:00"))
                .await
                .change_fail_rate
                .unwrap()
                .failed_deployments
        };
        assert_eq!(reason(&correct(&bob(), clear("I1"), false).await.unwrap_err()), "PERMISSION_DENIED");
        assert_eq!(reason(&correct(&ann(), clear("I9"), false).await.unwrap_err()), "INCIDENT_UNKNOWN");
        correct(&ann(), clear("I1"), true).await.unwrap();
        assert_eq!(failed().await, ["d1"], "{}: a dry run changes nothing", p.engine);
        let done = correct(&ann(), clear("I1"), false).await.unwrap();
        assert_eq!((failed().await.len(), done.author.as_str()), (0, "user:default/ann"));
        let items =
            p.explain("checkout", pb::Metric::ChangeFailRate, instants("03-02T00:00", "03-03T00:00")).await.items;
        assert!(items.iter().any(|i| i.id == "I1" && i.evidence.contains(&done.name)));
        let target = pb::DeploymentCorrection {
            environment: "production".into(),
            external_id: "d1".into(),
            kind: pb::DeploymentKind::Hotfix.into(),
            planned: None,
        };
        let hotfix = pb::Correction { target: Some(pb::correction::Target::Deployment(target)), ..clear("I1") };
        correct(&ann(), hotfix, false).await.unwrap();
        let rework = p.performance("checkout", instants("03-02T00:00", "03-03T00:00")).await.rework_rate.unwrap();
        assert_eq!(rework.numerator, Some(1));
    }
}
