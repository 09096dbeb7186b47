//! Watching: snapshot, SYNCED, changes, tokens, filters; and the triggers that make changes happen.

use std::time::Duration;

use slipway_proto::catalog::v1::{self as pb, WatchEvent};
use tokio_stream::StreamExt as _;
use tonic::Streaming;

use super::house::{House, admin, ann, bob, component, each, fields};

type Events = Streaming<pb::WatchEntitiesResponse>;

async fn watch(house: &House, filter: &str, resume_token: &str, send_initial: bool) -> Events {
    let request = pb::WatchEntitiesRequest { filter: filter.into(), resume_token: resume_token.into(), send_initial };
    house.entities(&ann(), "WatchEntities").watch_entities(request).await.unwrap().into_inner()
}

/// Event, reference, reason and token of the next event.
async fn next(events: &mut Events) -> (WatchEvent, String, String, String) {
    let found =
        tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("an event in time").unwrap().unwrap();
    let name = found.entity.as_ref().map(|e| e.r#ref.clone()).unwrap_or_default();
    (found.event(), name, found.reason, found.resume_token)
}

async fn told(events: &mut Events) -> (WatchEvent, String, String) {
    let (event, name, reason, _) = next(events).await;
    (event, name, reason)
}

fn two(one: &str, other: &str) -> String {
    format!("{one}---\n{other}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_the_snapshot_then_every_change_and_resumes() {
    for house in each().await {
        house.organization().await;
        house
            .repository(
                "acme/w",
                &[("catalog-info.yaml", &two(&component("a", "team-a", ""), &component("b", "team-a", "")))],
            )
            .await;
        let location = house.register(&ann(), house.git("acme/w", "team-a")).await.unwrap();
        let refresh = || pb::RefreshLocationRequest { name: location.name.clone(), ..Default::default() };
        let mut all = watch(&house, "kind = component", "", true).await;
        let (_, first, _, inside) = next(&mut all).await;
        assert_eq!(first, "component:default/a");
        assert_eq!(told(&mut all).await, (WatchEvent::Put, "component:default/b".into(), String::new()));
        let (synced, _, _, token) = next(&mut all).await;
        assert_eq!(synced, WatchEvent::Synced);
        let mut resumed = watch(&house, "kind = component", &inside, false).await;
        assert_eq!(told(&mut resumed).await.1, "component:default/b");
        assert_eq!(told(&mut resumed).await.0, WatchEvent::Synced);

        let mut tagged = watch(&house, "tags:web", "", false).await;
        house
            .push(
                "acme/w",
                &[(
                    "catalog-info.yaml",
                    &two(&component("a", "team-a", "  tags: [web]\n"), &component("b", "team-a", "")),
                )],
            )
            .await;
        house.refresh(&ann(), refresh()).await.unwrap();
        let put = (WatchEvent::Put, "component:default/a".to_owned(), String::new());
        assert_eq!((told(&mut all).await, told(&mut tagged).await), (put.clone(), put.clone()));

        house.push("acme/w", &[("catalog-info.yaml", &component("a", "team-a", ""))]).await;
        house.refresh(&ann(), refresh()).await.unwrap();
        assert_eq!(told(&mut tagged).await, (WatchEvent::Delete, "component:default/a".into(), "FILTERED".into()));
        let mut rest = vec![told(&mut all).await, told(&mut all).await];
        rest.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(rest, [put.clone(), (WatchEvent::Delete, "component:default/b".into(), "DELETED".into())]);

        let mut again = watch(&house, "kind = component", &token, false).await;
        let mut replayed = vec![told(&mut again).await, told(&mut again).await, told(&mut again).await];
        replayed.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(replayed, [put.clone(), put, (WatchEvent::Delete, "component:default/b".into(), "DELETED".into())]);
        wrong_tokens(&house).await;
        drop((all, resumed, tagged, again));
        house.close().await;
    }
}

async fn wrong_tokens(house: &House) {
    let open = |filter: &str, token: &str| pb::WatchEntitiesRequest {
        filter: filter.into(),
        resume_token: token.into(),
        ..Default::default()
    };
    let mut events = watch(house, "kind = group", "", true).await;
    let (_, _, _, token) = next(&mut events).await;
    let asks =
        [(ann(), "kind = group", "!"), (ann(), "kind = user", token.as_str()), (bob(), "kind = group", token.as_str())];
    for (caller, filter, token) in asks {
        let refused = house.entities(&caller, "WatchEntities").watch_entities(open(filter, token)).await.unwrap_err();
        assert_eq!(fields(&refused), ["resume_token"], "a token is bound to its caller and its filter");
    }
    house.entities(&ann(), "WatchEntities").watch_entities(open("kind = group", &token)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_read_at_once_and_said_twice_changes_nothing() {
    for house in each().await {
        house.organization().await;
        house.repository("acme/p", &[("catalog-info.yaml", &component("p", "team-a", ""))]).await;
        house.register(&ann(), house.git("acme/p", "team-a")).await.unwrap();
        let mut events = watch(&house, "name = p", "", false).await;
        house.push("acme/p", &[("catalog-info.yaml", &component("p", "team-a", "  title: P2\n"))]).await;
        house.push_delivery("d1", "acme/p").await;
        assert_eq!(told(&mut events).await, (WatchEvent::Put, "component:default/p".into(), String::new()));
        house.push_delivery("d1", "acme/p").await;
        house.push_delivery("d2", "ACME/P").await;
        house.push("acme/p", &[("catalog-info.yaml", "")]).await;
        house.push_delivery("d3", "acme/p").await;
        assert_eq!(told(&mut events).await, (WatchEvent::Delete, "component:default/p".into(), "DELETED".into()));
        drop(events);
        unreadable(&house).await;
        house.close().await;
    }
}

/// A repository that is gone leaves the last content served and the location STALE with the reason.
async fn unreadable(house: &House) {
    std::fs::write(house.files.path().join("f.yaml"), component("f", "team-a", "")).unwrap();
    let location = pb::Location {
        r#type: pb::LocationType::File.into(),
        target: "f.yaml".into(),
        owner: "team-a".into(),
        ..Default::default()
    };
    let location = house.register(&admin(), location).await.unwrap();
    std::fs::remove_file(house.files.path().join("f.yaml")).unwrap();
    std::fs::create_dir(house.files.path().join("f.yaml")).unwrap();
    let refresh = pb::RefreshLocationRequest { name: location.name, ..Default::default() };
    match house.refresh(&ann(), refresh).await {
        Ok(done) => assert_eq!((done.removed, done.location.unwrap().state()), (0, pb::LocationState::Stale)),
        Err(status) => assert_ne!(status.code(), tonic::Code::Ok),
    }
    assert!(house.get(&ann(), "component:f").await.is_ok());
}
