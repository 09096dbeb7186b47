//! Reading: batch, list with filter, order, pages and totals, overview.

use slipway_kit::caller::Caller;
use slipway_proto::{catalog::v1 as pb, resource::v1::TotalMode};
use tonic::Code;

use super::house::{House, admin, ann, bob, each, fields, reason};

/// Six components with everything a filter can ask for.
async fn fill(house: &House) -> pb::Location {
    house.organization().await;
    let system = "apiVersion: backstage.io/v1alpha1\nkind: System\nmetadata: {name: shop}\nspec: {owner: team-a}\n";
    let api = "apiVersion: backstage.io/v1alpha1\nkind: API\nmetadata: {name: orders, title: Orders}\nspec: {type: grpc, lifecycle: production, owner: team-a, definition: x}\n";
    let full = |name: &str, title: &str, owner: &str, more: &str, spec: &str| {
        let title = if title.is_empty() { String::new() } else { format!("  title: {title}\n") };
        format!(
            "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\n{title}{more}spec:\n  type: service\n  lifecycle: production\n  owner: {owner}\n{spec}"
        )
    };
    let documents = [
        system.to_owned(),
        api.to_owned(),
        full(
            "a1",
            "zeta",
            "team-a",
            "  tags: [java, web]\n  labels: {tier: critical}\n",
            "  system: shop\n  providesApis: [orders]\n  replicas: 9\n",
        ),
        full(
            "a2",
            "Alpha",
            "team-a",
            "  tags: [java]\n  annotations: {x.io/y: 'Some % text_'}\n",
            "  dependsOn: ['component:a1']\n  replicas: 10\n",
        ),
        full("B3", "", "team-b", "  tags: [web]\n", "  system: shop\n"),
        full("b4", "", "user:ann", "", ""),
    ];
    house.repository("acme/all", &[("catalog-info.yaml", &documents.join("---\n"))]).await;
    let location = house.register(&ann(), house.git("acme/all", "team-a")).await.unwrap();
    assert_eq!((location.entity_count, location.documents.len()), (6, 0));
    location
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_say_what_they_find() {
    for house in each().await {
        fill(&house).await;
        let c = |names: &[&str]| names.iter().map(|n| format!("component:default/{n}")).collect::<Vec<_>>();
        let rows: &[(&str, &[&str])] = &[
            ("kind = Component", &["a1", "a2", "b3", "b4"]),
            ("kind = component AND owner = team-a", &["a1", "a2"]),
            ("kind = component AND NOT owner = \"group:default/team-a\"", &["b3", "b4"]),
            ("kind = component owner != team-a", &["b3", "b4"]),
            ("kind = component owner = me", &["a1", "a2", "b4"]),
            ("tags:java", &["a1", "a2"]),
            ("tags = web OR tags = java", &["a1", "a2", "b3"]),
            ("kind = component AND NOT tags:*", &["b4"]),
            ("tags != java", &["b3"]),
            ("labels.tier = critical", &["a1"]),
            ("labels.tier:*", &["a1"]),
            ("tier = critical", &["a1"]),
            ("annotations.x.io/y: \"% text_\"", &["a2"]),
            ("annotations.x.io/y: \"Q%\"", &[]),
            ("spec.replicas > 9", &["a2"]),
            ("spec.replicas >= 9.0", &["a1", "a2"]),
            ("spec.replicas = 9", &["a1"]),
            ("system = Shop", &["a1", "b3"]),
            ("kind = component AND name = \"B*\"", &["b3", "b4"]),
            ("kind = component AND name:\"B*\"", &["b3", "b4"]),
            ("tags:ja*", &["a1", "a2"]),
            ("ref = COMPONENT:B3", &["b3"]),
            ("relations.dependsOn = component:a1", &["a2"]),
            ("relations.dependencyOf = component:a2", &["a1"]),
            ("relations.providesApi:*", &["a1"]),
            ("title: zet", &["a1"]),
            ("kind = component AND NOT title:*", &["b3", "b4"]),
            ("kind = component AND title != zeta", &["a2"]),
            ("state = ACTIVE AND type = service", &["a1", "a2", "b3", "b4"]),
            ("kind = component AND create_time > 2020-01-01T00:00:00Z", &["a1", "a2", "b3", "b4"]),
            ("kind = component AND update_time < 2020-01-01T00:00:00Z", &[]),
        ];
        for (filter, want) in rows {
            assert_eq!(house.refs(filter, "").await, c(want), "{}: {filter}", house.engine);
        }
        assert_eq!(house.refs("relations.hasPart = component:a1", "").await, ["system:default/shop"]);
        for (filter, order, want) in [
            ("nothing = 1", "", "FILTER_INVALID"),
            ("kind =", "", "FILTER_INVALID"),
            ("relations.likes:*", "", "FILTER_INVALID"),
            ("", "colour", "ORDER_INVALID"),
        ] {
            let ask = pb::ListEntitiesRequest { filter: filter.into(), order_by: order.into(), ..Default::default() };
            assert_eq!(reason(&house.list(&ann(), ask).await.unwrap_err()), want, "{filter} {order}");
        }
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_put_missing_values_last_and_pages_drop_no_row() {
    for house in each().await {
        fill(&house).await;
        let names =
            |refs: Vec<String>| refs.into_iter().map(|r| r.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(house.refs("kind = component", "title").await), ["a2", "a1", "b3", "b4"]);
        assert_eq!(names(house.refs("kind = component", "title desc").await), ["a1", "a2", "b3", "b4"]);
        assert_eq!(names(house.refs("kind = component", "system desc, name desc").await), ["b3", "a1", "b4", "a2"]);
        assert_eq!(names(house.refs("kind = component", "tier, ref desc").await), ["a1", "b4", "b3", "a2"]);
        for order_by in ["", "title", "title desc", "system desc, name desc", "tier, update_time desc"] {
            let ask = |page_token: String| pb::ListEntitiesRequest {
                page_size: 1,
                page_token,
                order_by: order_by.into(),
                ..Default::default()
            };
            let (mut walked, mut token) = (Vec::new(), String::new());
            loop {
                let page = house.list(&ann(), ask(token)).await.unwrap();
                walked.extend(page.entities.into_iter().map(|e| e.r#ref));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(walked, house.refs("", order_by).await, "{}: {order_by}", house.engine);
            assert_eq!(walked.len(), 12);
        }
        totals_and_tokens(&house).await;
        house.close().await;
    }
}

async fn totals_and_tokens(house: &House) {
    let ask = |caller: &'static str, total: TotalMode, filter: &str, page_token: String| {
        let request = pb::ListEntitiesRequest {
            page_size: 2,
            total: total.into(),
            filter: filter.into(),
            page_token,
            ..Default::default()
        };
        let caller: Caller = if caller == "ann" { ann() } else { bob() };
        async move { house.list(&caller, request).await }
    };
    let none = ask("ann", TotalMode::Unspecified, "kind = component", String::new()).await.unwrap();
    assert_eq!(none.total_size, None);
    for mode in [TotalMode::Exact, TotalMode::Estimate] {
        let some = ask("ann", mode, "kind = component", String::new()).await.unwrap();
        assert_eq!((some.total_size, some.total_is_estimate, some.entities.len()), (Some(4), false, 2));
    }
    let token = none.next_page_token;
    let rest = ask("ann", TotalMode::Exact, "kind = component", token.clone()).await.unwrap();
    assert_eq!((rest.entities.len(), rest.total_size, rest.next_page_token.is_empty()), (2, Some(4), true));
    for refused in [
        ask("ann", TotalMode::Exact, "kind = api", token.clone()).await,
        ask("bob", TotalMode::Exact, "kind = component", token.clone()).await,
        ask("ann", TotalMode::Exact, "kind = component", format!("{token}x")).await,
    ] {
        assert_eq!(reason(&refused.unwrap_err()), "PAGE_TOKEN_INVALID");
    }
    let too_much = pb::ListEntitiesRequest { page_size: 1001, ..Default::default() };
    assert_eq!(fields(&house.list(&ann(), too_much).await.unwrap_err()), ["page_size"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_keep_their_order_and_their_holes_and_relations_read_both_ways() {
    for house in each().await {
        fill(&house).await;
        let names = ["component:b4", "entities/component/default/nothing", "API:Orders", "component:A1"]
            .map(String::from)
            .to_vec();
        let request = pb::BatchGetEntitiesRequest { names };
        let answer = house.entities(&bob(), "BatchGetEntities").batch_get_entities(request).await.unwrap().into_inner();
        let got: Vec<_> = answer.results.iter().map(|r| (r.r#ref.as_str(), r.entity.is_some())).collect();
        assert_eq!(
            got,
            [
                ("component:default/b4", true),
                ("component:default/nothing", false),
                ("api:default/orders", true),
                ("component:default/a1", true)
            ]
        );
        let edges =
            |e: &pb::Entity| e.relations.iter().map(|r| format!("{} {}", r.r#type, r.target_ref)).collect::<Vec<_>>();
        let a1 = answer.results[3].entity.clone().unwrap();
        assert_eq!(
            edges(&a1),
            [
                "dependencyOf component:default/a2",
                "ownedBy group:default/team-a",
                "partOf system:default/shop",
                "providesApi api:default/orders",
            ]
        );
        assert_eq!(edges(&house.get(&ann(), "component:a1").await.unwrap()), edges(&a1));
        let system = house.get(&ann(), "system:shop").await.unwrap();
        assert_eq!(
            edges(&system),
            ["hasPart component:default/a1", "hasPart component:default/b3", "ownedBy group:default/team-a"]
        );
        let bad = pb::BatchGetEntitiesRequest { names: vec!["a/".into(), "component:a1".into(), "nokind".into()] };
        let bad = house.entities(&ann(), "BatchGetEntities").batch_get_entities(bad).await.unwrap_err();
        assert_eq!((bad.code(), fields(&bad)), (Code::InvalidArgument, vec!["names[0]".into(), "names[2]".into()]));
        assert_eq!(fields(&house.get(&ann(), "").await.unwrap_err()), ["name"]);
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overview_answers_although_its_feeders_are_away() {
    for house in each().await {
        fill(&house).await;
        let ask = |name: &str| pb::GetServiceOverviewRequest { name: name.into() };
        let overview = house
            .entities(&ann(), "GetServiceOverview")
            .get_service_overview(ask("component:a1"))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (overview.title.as_str(), overview.service_tier(), overview.tier_source()),
            ("zeta", pb::ServiceTier::Critical, pb::TierSource::Label)
        );
        let owner = overview.owner.unwrap();
        assert_eq!(
            (owner.r#ref.as_str(), owner.display_name.as_str(), owner.exists),
            ("group:default/team-a", "The team-a", true)
        );
        assert_eq!(
            overview.docs.iter().map(|d| (d.r#type.as_str(), d.target.as_str(), d.format.as_str())).collect::<Vec<_>>(),
            [("api", "api:default/orders", "grpc")]
        );
        let (environments, pipelines) =
            (overview.environments.unwrap().status.unwrap(), overview.pipelines.unwrap().status.unwrap());
        assert!(environments.unavailable && !environments.reason.is_empty() && pipelines.unavailable);
        assert!(!overview.deployments.unwrap().status.unwrap().unavailable);
        let missing = house
            .entities(&admin(), "GetServiceOverview")
            .get_service_overview(ask("component:nothing"))
            .await
            .unwrap_err();
        assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "NOT_FOUND"));
        house.close().await;
    }
}
