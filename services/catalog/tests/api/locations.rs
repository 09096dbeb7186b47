//! Registering, refreshing and deleting locations, and each mistake a user makes with them.

use slipway_proto::catalog::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::house::{House, admin, ann, bob, component, each, fields, reason, told};

fn get_request(name: &str) -> pb::GetLocationRequest {
    pb::GetLocationRequest { name: name.into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_is_registered_read_refreshed_and_deleted() {
    for house in each().await {
        house.organization().await;
        house
            .repository(
                "acme/pay",
                &[("catalog-info.yaml", &component("Pay", "team-a", "  labels: {tier: critical}\n"))],
            )
            .await;
        let location = house.register(&ann(), house.git("acme/pay", "team-a")).await.unwrap();
        assert_eq!(
            (location.entity_count, location.path.as_str(), location.state()),
            (1, "catalog-info.yaml", pb::LocationState::Ready)
        );
        assert_eq!(location.commit.len(), 40);
        let entity = house.get(&bob(), "component:default/pay").await.unwrap();
        assert_eq!(
            (entity.display_name.as_str(), entity.owner.as_str(), entity.service_tier()),
            ("Pay", "group:default/team-a", pb::ServiceTier::Critical)
        );
        assert_eq!(entity.provenance.as_ref().unwrap().location, location.name);

        let refresh =
            |sequence| pb::RefreshLocationRequest { name: location.name.clone(), sequence, ..Default::default() };
        let nothing = house.refresh(&ann(), refresh(5)).await.unwrap();
        assert_eq!((nothing.stale, nothing.added, nothing.changed, nothing.removed), (false, 0, 0, 0));
        assert_eq!(house.get(&ann(), "pay-unknown").await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(house.get(&ann(), "component:pay").await.unwrap().version, 1);

        let two = format!("{}---\n{}", component("Pay", "team-a", "  title: P\n"), component("ledger", "team-a", ""));
        house.push("acme/pay", &[("catalog-info.yaml", &two)]).await;
        assert!(house.refresh(&ann(), refresh(5)).await.unwrap().stale);
        let done = house.refresh(&ann(), refresh(6)).await.unwrap();
        assert_eq!((done.stale, done.added, done.changed, done.removed), (false, 1, 1, 0));
        let changed = house.get(&ann(), "entities/component/default/pay").await.unwrap();
        assert_eq!((changed.version, changed.uid == entity.uid, changed.title.as_str()), (2, true, "P"));

        let etag = done.location.unwrap().etag;
        let delete = |etag: &str| pb::DeleteLocationRequest {
            name: location.name.clone(),
            etag: etag.into(),
            request_id: Uuid::new_v4().to_string(),
        };
        assert_eq!(reason(&house.delete(&ann(), delete(&location.etag)).await.unwrap_err()), "ETAG_MISMATCH");
        let last = delete(&etag);
        assert_eq!(house.delete(&ann(), last.clone()).await.unwrap(), 2);
        assert_eq!(house.delete(&ann(), last).await.unwrap(), 2, "a repeat finds the first answer");
        assert_eq!(house.get(&ann(), "component:pay").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(
            house.locations(&ann(), "GetLocation").get_location(get_request(&location.name)).await.unwrap_err().code(),
            Code::NotFound
        );
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_told_all_at_once_and_rights_come_first() {
    for house in each().await {
        house.organization().await;
        house.repository("acme/pay", &[("catalog-info.yaml", &component("pay", "team-a", ""))]).await;
        let wrong = pb::Location {
            target: "https://x".into(),
            path: "../x".into(),
            owner: "user:".into(),
            ..house.git("acme/pay", "x")
        };
        let refused = house.register(&ann(), wrong).await.unwrap_err();
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["location.path".into(), "location.target".into(), "location.owner".into()])
        );

        let others = house.register(&bob(), house.git("acme/pay", "team-a")).await.unwrap_err();
        let nobodys = house.register(&bob(), house.git("acme/nothing", "team-zzz")).await.unwrap_err();
        assert_eq!((others.code(), told(&others)), (Code::PermissionDenied, told(&nobodys)));
        let flagged = pb::Location { organization: true, ..house.git("acme/pay", "team-a") };
        assert_eq!(house.register(&ann(), flagged).await.unwrap_err().code(), Code::PermissionDenied);

        let unknown_team = house
            .register(
                &admin(),
                pb::Location { target: "scm://away/acme/pay".into(), ..house.git("acme/pay", "team-zzz") },
            )
            .await
            .unwrap_err();
        assert_eq!(fields(&unknown_team), ["location.owner", "location.target"]);
        let missing = house.register(&ann(), house.git("acme/nothing", "team-a")).await.unwrap_err();
        assert_eq!(reason(&missing), "LOCATION_UNREADABLE");
        let no_file = house
            .register(&ann(), pb::Location { path: "other.yaml".into(), ..house.git("acme/pay", "team-a") })
            .await
            .unwrap_err();
        assert_eq!(reason(&no_file), "LOCATION_UNREADABLE");
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_planned_repeated_and_not_done_twice() {
    for house in each().await {
        house.organization().await;
        house.repository("acme/pay", &[("catalog-info.yaml", &component("pay", "team-a", ""))]).await;
        let dry = pb::RegisterLocationRequest {
            location: Some(house.git("acme/pay", "team-a")),
            validate_only: true,
            ..Default::default()
        };
        let planned = house.locations(&ann(), "RegisterLocation").register_location(dry).await.unwrap().into_inner();
        assert_eq!(planned.entity_count, 1);
        assert_eq!(house.get(&ann(), "component:pay").await.unwrap_err().code(), Code::NotFound);

        let id = Uuid::new_v4().to_string();
        let request = pb::RegisterLocationRequest {
            location: Some(house.git("acme/pay", "team-a")),
            request_id: id.clone(),
            validate_only: false,
        };
        let first =
            house.locations(&ann(), "RegisterLocation").register_location(request.clone()).await.unwrap().into_inner();
        let again = house.locations(&ann(), "RegisterLocation").register_location(request).await.unwrap().into_inner();
        assert_eq!(first, again);
        let reused = pb::RegisterLocationRequest {
            location: Some(house.git("acme/other", "team-a")),
            request_id: id,
            validate_only: false,
        };
        let reused = house.locations(&ann(), "RegisterLocation").register_location(reused).await.unwrap_err();
        assert_eq!(reason(&reused), "REQUEST_ID_REUSED");
        assert_eq!(
            reason(&house.register(&ann(), house.git("acme/pay", "team-a")).await.unwrap_err()),
            "LOCATION_REGISTERED"
        );

        let stranger = pb::RefreshLocationRequest { name: first.name.clone(), ..Default::default() };
        let ghost = pb::RefreshLocationRequest { name: format!("locations/{}", Uuid::new_v4()), ..Default::default() };
        let (theirs, none) = (
            house.refresh(&bob(), stranger).await.unwrap_err(),
            house.refresh(&bob(), ghost.clone()).await.unwrap_err(),
        );
        assert_eq!((theirs.code(), told(&theirs)), (Code::PermissionDenied, told(&none)));
        assert_eq!(house.refresh(&admin(), ghost).await.unwrap_err().code(), Code::NotFound);
        let builtin = pb::DeleteLocationRequest {
            name: "locations/00000000-0000-7000-8000-000000000001".into(),
            ..Default::default()
        };
        assert_eq!(reason(&house.delete(&admin(), builtin).await.unwrap_err()), "LOCATION_BUILTIN");
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_document_never_destroys_a_good_one() {
    for house in each().await {
        house.organization().await;
        let good = format!("{}---\n{}", component("one", "team-a", ""), component("two", "team-a", ""));
        house.repository("acme/pair", &[("catalog-info.yaml", &good)]).await;
        let location = house.register(&ann(), house.git("acme/pair", "team-a")).await.unwrap();
        let refresh = || pb::RefreshLocationRequest { name: location.name.clone(), ..Default::default() };

        let broken =
            format!("{}---\n{}", component("one", "team-a", "  labels: {a: 1}\n"), component("two", "team-a", ""));
        house.push("acme/pair", &[("catalog-info.yaml", &broken)]).await;
        let done = house.refresh(&ann(), refresh()).await.unwrap();
        let report = &done.location.unwrap().documents[0];
        assert_eq!(
            (report.r#ref.as_str(), report.findings[0].code.as_str(), report.findings[0].line),
            ("component:default/one", "FIELD_TYPE", 5)
        );
        let one = house.get(&ann(), "component:one").await.unwrap();
        assert_eq!(
            (one.state(), one.findings.len(), one.document_json.is_empty()),
            (pb::EntityState::Invalid, 1, false)
        );

        house
            .push("acme/pair", &[("catalog-info.yaml", &format!("kind: [\n---\n{}", component("two", "team-a", "")))])
            .await;
        let done = house.refresh(&ann(), refresh()).await.unwrap();
        assert_eq!((done.removed, done.location.unwrap().documents.len()), (0, 1));
        assert_eq!(house.get(&ann(), "component:one").await.unwrap().state(), pb::EntityState::Invalid);

        house.push("acme/pair", &[("catalog-info.yaml", &good)]).await;
        house.refresh(&ann(), refresh()).await.unwrap();
        assert_eq!(house.get(&ann(), "component:one").await.unwrap().state(), pb::EntityState::Active);

        house.push("acme/pair", &[("catalog-info.yaml", &component("one", "team-a", ""))]).await;
        assert_eq!(house.refresh(&ann(), refresh()).await.unwrap().removed, 1);
        let mut ask = pb::ListEntitiesRequest { filter: "name = two".into(), ..Default::default() };
        assert!(house.list(&ann(), ask.clone()).await.unwrap().entities.is_empty());
        ask.show_deleted = true;
        let gone = house.list(&ann(), ask).await.unwrap().entities.remove(0);
        assert_eq!((gone.state(), gone.delete_time.is_some()), (pb::EntityState::Deleted, true));
        house.push("acme/pair", &[("catalog-info.yaml", &good)]).await;
        house.refresh(&ann(), refresh()).await.unwrap();
        assert_eq!(house.get(&ann(), "component:two").await.unwrap().uid, gone.uid, "a tombstone comes back as itself");
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trust_conflicts_and_mass_removal() {
    for house in each().await {
        house.organization().await;
        let group = "apiVersion: backstage.io/v1alpha1\nkind: Group\nmetadata: {name: team-a}\nspec: {type: team, children: [], members: [bob]}\n";
        let both = format!("{group}---\n{}", component("pay", "team-b", ""));
        house.repository("acme/a", &[("catalog-info.yaml", &component("pay", "team-a", ""))]).await;
        house.repository("acme/b", &[("catalog-info.yaml", &both)]).await;
        let a = house.register(&ann(), house.git("acme/a", "team-a")).await.unwrap();
        let b = house.register(&bob(), house.git("acme/b", "team-b")).await.unwrap();
        let codes: Vec<_> = b.documents.iter().flat_map(|d| &d.findings).map(|f| f.code.as_str()).collect();
        assert_eq!((b.entity_count, codes), (0, vec!["KIND_NOT_ALLOWED", "CONFLICT"]));
        let served = house.get(&ann(), "component:pay").await.unwrap();
        assert_eq!(served.owner, "group:default/team-a");
        let owner = house
            .directory("environment")
            .resolve_owner(slipway_proto::access::v1::ResolveOwnerRequest { r#ref: "Pay".into() })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (owner.owner.as_str(), owner.scm.as_str(), owner.repository.as_str(), owner.repository_path.as_str()),
            ("group:default/team-a", "local", "acme/a", "")
        );
        let memberships = house
            .directory("gateway")
            .list_memberships(slipway_proto::access::v1::ListMembershipsRequest {})
            .await
            .unwrap()
            .into_inner();
        let pairs: Vec<_> = memberships.memberships.iter().map(|m| format!("{} {}", m.user, m.group)).collect();
        assert_eq!(
            pairs,
            [
                "user:default/admin group:default/platform",
                "user:default/ann group:default/platform",
                "user:default/ann group:default/team-a",
                "user:default/bob group:default/platform",
                "user:default/bob group:default/team-b",
            ]
        );
        assert_eq!(memberships.groups.len(), 3);

        house.delete(&ann(), pb::DeleteLocationRequest { name: a.name, ..Default::default() }).await.unwrap();
        let promoted = house.get(&ann(), "component:pay").await.unwrap();
        assert_eq!((promoted.uid == served.uid, promoted.owner.as_str()), (true, "group:default/team-b"));

        let many: String = (0..20).map(|n| format!("{}---\n", component(&format!("m{n}"), "team-a", ""))).collect();
        house.repository("acme/many", &[("catalog-info.yaml", &many)]).await;
        let location = house.register(&ann(), house.git("acme/many", "team-a")).await.unwrap();
        house.push("acme/many", &[("catalog-info.yaml", &component("m0", "team-a", ""))]).await;
        let refresh = |allow_mass_removal| pb::RefreshLocationRequest {
            name: location.name.clone(),
            allow_mass_removal,
            ..Default::default()
        };
        assert_eq!(reason(&house.refresh(&ann(), refresh(false)).await.unwrap_err()), "MASS_REMOVAL");
        assert!(house.get(&ann(), "component:m19").await.is_ok());
        assert_eq!(house.refresh(&ann(), refresh(true)).await.unwrap().removed, 19);
        unknown_service(&house).await;
        house.close().await;
    }
}

async fn unknown_service(house: &House) {
    let ask = slipway_proto::access::v1::ResolveOwnerRequest { r#ref: "nothing".into() };
    assert_eq!(reason(&house.directory("environment").resolve_owner(ask).await.unwrap_err()), "SERVICE_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_placeholders_nested_locations_and_pages() {
    for house in each().await {
        house.organization().await;
        let root = "apiVersion: backstage.io/v1alpha1\nkind: Location\nmetadata: {name: all}\nspec: {targets: [./svc/a.yaml, ./svc/gone.yaml, 'https://x/y']}\n";
        let api = "apiVersion: backstage.io/v1alpha1\nkind: API\nmetadata: {name: a}\nspec: {type: openapi, lifecycle: production, owner: team-a, definition: {$text: ./api.txt}}\n";
        house
            .repository("acme/mono", &[("catalog-info.yaml", root), ("svc/a.yaml", api), ("svc/api.txt", "openapi: 3")])
            .await;
        let location = house.register(&ann(), house.git("acme/mono", "team-a")).await.unwrap();
        let codes: Vec<_> = location.documents.iter().flat_map(|d| &d.findings).map(|f| f.code.as_str()).collect();
        assert_eq!(codes, ["TARGET_MISSING", "TARGET_NOT_FOLLOWED"]);
        let entity = house.get(&ann(), "api:a").await.unwrap();
        assert!(entity.document_json.contains("openapi: 3"));
        assert_eq!(entity.provenance.unwrap().path, "svc/a.yaml");
        let raw = pb::GetEntityRequest { name: "api:a".into(), view: pb::EntityView::Raw.into() };
        assert_eq!(house.entities(&ann(), "GetEntity").get_entity(raw).await.unwrap().into_inner().raw, api.as_bytes());

        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let ask = pb::ListLocationsRequest { page_size: 1, page_token, total: 1 };
            let page = house.locations(&ann(), "ListLocations").list_locations(ask).await.unwrap().into_inner();
            assert_eq!(page.total_size, Some(3));
            names.extend(page.locations.into_iter().map(|l| l.target));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, ["builtin", "org.yaml", "scm://local/acme/mono"]);
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_documents_come_at_once_and_unchanged_ones_write_nothing() {
    for house in each().await {
        house.organization().await;
        let many: String =
            (0..1_000).map(|n| format!("{}---\n", component(&format!("m{n}"), "team-a", "  tags: [go]\n"))).collect();
        house.repository("acme/many", &[("catalog-info.yaml", &many)]).await;
        let began = std::time::Instant::now();
        let location = house.register(&ann(), house.git("acme/many", "team-a")).await.unwrap();
        eprintln!("{}: 1,000 documents registered in {:?}", house.engine, began.elapsed());
        assert_eq!((location.entity_count, location.documents.len()), (1_000, 0));
        let began = std::time::Instant::now();
        let refresh = pb::RefreshLocationRequest { name: location.name.clone(), ..Default::default() };
        let again = house.refresh(&ann(), refresh).await.unwrap();
        eprintln!("{}: read again unchanged in {:?}", house.engine, began.elapsed());
        assert_eq!((again.added, again.changed, again.removed), (0, 0, 0));
        assert_eq!(again.location.unwrap().etag, location.etag);
        let moved = format!("# a line more\n{many}");
        house.push("acme/many", &[("catalog-info.yaml", &moved)]).await;
        let refresh = pb::RefreshLocationRequest { name: location.name, ..Default::default() };
        let shifted = house.refresh(&ann(), refresh).await.unwrap();
        assert_eq!(
            (shifted.added, shifted.changed, shifted.removed),
            (0, 1, 0),
            "only the first document has other text"
        );
        let last = house.get(&ann(), "component:m999").await.unwrap();
        assert_eq!((last.version, last.provenance.unwrap().line), (1, 999 * 7 + 1));
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_come_only_from_locations_an_administrator_flagged() {
    for house in each().await {
        house.organization().await;
        let text = "apiVersion: scaffolder.backstage.io/v1beta3\nkind: Template\nmetadata: {name: t}\nspec: {type: service, steps: []}\n";
        house.repository("acme/t", &[("catalog-info.yaml", text), ("again.yaml", text)]).await;
        let plain = house.register(&ann(), house.git("acme/t", "team-a")).await.unwrap();
        assert_eq!((plain.entity_count, plain.documents[0].findings[0].code.as_str()), (0, "KIND_NOT_ALLOWED"));
        assert_eq!(house.get(&ann(), "template:t").await.unwrap_err().code(), Code::NotFound);
        let flagged = pb::Location { templates: true, path: "again.yaml".into(), ..house.git("acme/t", "platform") };
        assert_eq!(house.register(&ann(), flagged.clone()).await.unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(house.register(&admin(), flagged).await.unwrap().entity_count, 1);
        assert_eq!(house.get(&ann(), "template:t").await.unwrap().kind, "Template");
        house.close().await;
    }
}
