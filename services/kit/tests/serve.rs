//! Calls from end to end over the in-memory hub: who gets through, what comes back, and when it ends.

#[path = "serve/fakes.rs"]
mod fakes;

use std::time::Duration;

use fakes::{Actions, Directory, House, info};
use slipway_kit::{
    authz,
    caller::{Caller, Signer},
    error::{DEADLINE_EXCEEDED, DEPENDENCY_UNAVAILABLE, INVALID_FIELD},
    serve::{Outgoing, error_from},
};
use slipway_proto::{
    access::v1::{ResolveOwnerRequest, directory_service_client::DirectoryServiceClient},
    journal::v1::{WatchEventsRequest, journal_service_client::JournalServiceClient},
    scaffolding::v1::{ListActionsRequest, action_service_client::ActionServiceClient},
};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

const SECOND: Duration = Duration::from_secs(1);

fn reference(text: &str) -> ResolveOwnerRequest {
    ResolveOwnerRequest { r#ref: text.to_owned() }
}

#[tokio::test]
async fn a_callers_assertion_reaches_the_method_and_the_request_id_comes_back() {
    let house = House::start().await;
    let mut client = ActionServiceClient::new(house.as_user("user:default/ann", "req-1"));
    let answer = client.list_actions(ListActionsRequest {}).await.expect("allowed");
    assert_eq!(answer.metadata().get("x-request-id").expect("echo"), "req-1");
    let seen = &answer.into_inner().actions[0];
    assert_eq!((seen.name.as_str(), seen.id.as_str()), ("user:default/ann", "gateway"));
    assert_eq!(seen.description, "req-1");
}

#[tokio::test]
async fn without_a_valid_assertion_nobody_is_let_in() {
    let house = House::start().await;
    let gateway = house.hub.peers("gateway");
    let none = gateway.as_service("scaffolding", SECOND);
    let forged =
        Signer::generate().assert(&Caller::anonymous(), &["scaffolding"], Actions::METHOD, None).expect("signs");
    let outgoing = Outgoing { assertion: Some(forged), ..Outgoing::default() };
    let forged = gateway.forwarding("scaffolding", outgoing, Instant::now() + SECOND);
    for client in [none, forged] {
        let refused = ActionServiceClient::new(client).list_actions(ListActionsRequest {}).await.expect_err("refused");
        assert_eq!((refused.code(), info(&refused).as_str()), (Code::Unauthenticated, "INVALID_CREDENTIALS"));
        assert_eq!(refused.message(), "the credentials are not valid");
    }
}

#[tokio::test]
async fn a_peer_outside_the_callers_of_the_rule_is_denied_whatever_it_presents() {
    let house = House::start().await;
    let token =
        house.signer.assert(&fakes::user("user:default/ann"), &["scaffolding", "metrics"], Actions::METHOD, None);
    let outgoing = Outgoing { assertion: Some(token.expect("signs")), ..Outgoing::default() };
    let client = house.hub.peers("metrics").forwarding("scaffolding", outgoing, Instant::now() + SECOND);
    let denied = ActionServiceClient::new(client).list_actions(ListActionsRequest {}).await.expect_err("denied");
    assert_eq!((denied.code(), info(&denied).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));
}

#[tokio::test]
async fn services_call_internal_methods_as_themselves() {
    let house = House::start().await;
    let client = house.hub.peers("environment").as_service("catalog", SECOND);
    let answer = DirectoryServiceClient::new(client).resolve_owner(reference("payments")).await.expect("allowed");
    assert_eq!(answer.into_inner().owner, "service:environment");
}

#[tokio::test]
async fn a_rule_broken_by_the_message_is_told_with_its_field_across_the_hop() {
    let house = House::start().await;
    let client = house.hub.peers("environment").as_service("catalog", SECOND);
    let status = DirectoryServiceClient::new(client).resolve_owner(reference("")).await.expect_err("empty");
    let error = error_from(status);
    assert!(error.is(&INVALID_FIELD), "{error}");
    assert_eq!(error.violations()[0].0, "ref");
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let house = House::start().await;
    let client = house.hub.peers("environment").as_service("catalog", SECOND);
    let mut grpc = tonic::client::Grpc::new(client);
    grpc.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<ResolveOwnerRequest, ResolveOwnerRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/slipway.access.v1.DirectoryService/Nothing");
    let status = grpc.unary(Request::new(reference("x")), path, codec).await.expect_err("unknown");
    assert_eq!((status.code(), info(&status).as_str()), (Code::Unimplemented, "METHOD_UNKNOWN"));
}

#[tokio::test]
async fn a_method_that_hangs_ends_with_its_callers_time() {
    let house = House::start().await;
    let client = house.hub.peers("environment").as_service("catalog", Duration::from_millis(300));
    let began = Instant::now();
    let status =
        DirectoryServiceClient::new(client).resolve_owner(reference(Directory::HANG)).await.expect_err("hangs");
    assert_eq!((status.code(), info(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!(began.elapsed() < Duration::from_millis(450), "{:?}", began.elapsed());
    assert!(error_from(status).is(&DEADLINE_EXCEEDED));
}

#[tokio::test]
async fn a_deadline_that_is_over_is_not_sent() {
    let house = House::start().await;
    let client = house.hub.peers("gateway").forwarding("catalog", Outgoing::default(), Instant::now());
    let status = DirectoryServiceClient::new(client).resolve_owner(reference("x")).await.expect_err("over");
    assert_eq!(info(&status), "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_panic_is_internal_and_the_service_goes_on() {
    let house = House::start().await;
    let mut client = DirectoryServiceClient::new(house.hub.peers("environment").as_service("catalog", SECOND));
    let status = client.resolve_owner(reference(Directory::PANIC)).await.expect_err("panics");
    assert_eq!((status.code(), info(&status).as_str()), (Code::Internal, "INTERNAL"));
    assert!(client.resolve_owner(reference("x")).await.is_ok());
}

#[tokio::test]
async fn messages_above_four_mebibytes_are_refused_both_ways() {
    let house = House::start().await;
    let mut client = DirectoryServiceClient::new(house.hub.peers("environment").as_service("catalog", 10 * SECOND));
    for text in ["x".repeat(4 * 1024 * 1024 + 1).as_str(), Directory::HUGE] {
        let status = client.resolve_owner(reference(text)).await.expect_err("large");
        assert_eq!((status.code(), info(&status).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_time_and_with_the_process() {
    let house = House::start().await;
    let watch = |timeout| {
        let client = house.hub.peers("environment").as_service("metrics", timeout);
        async move {
            JournalServiceClient::new(client)
                .watch_events(WatchEventsRequest { after: 0 })
                .await
                .expect("opens")
                .into_inner()
        }
    };
    let mut short = watch(Duration::from_millis(300)).await;
    assert_eq!(short.next().await.expect("one").expect("event").seq, 1);
    assert_eq!(info(&short.next().await.expect("an end").expect_err("late")), "DEADLINE_EXCEEDED");
    let mut long = watch(60 * SECOND).await;
    assert!(long.next().await.expect("one").is_ok());
    house.shutdown.begin();
    let end = long.next().await.expect("an end").expect_err("stopping");
    assert_eq!((end.code(), info(&end).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    for handle in house.handles {
        tokio::time::timeout(5 * SECOND, handle).await.expect("drains").expect("in order");
    }
}

#[tokio::test]
async fn a_service_that_is_away_is_a_dependency_unavailable() {
    let house = House::start().await;
    let mut client = DirectoryServiceClient::new(house.hub.peers("environment").as_service("secrets", SECOND));
    let status = client.resolve_owner(reference("x")).await.expect_err("away");
    assert!(error_from(status).is(&DEPENDENCY_UNAVAILABLE));
}

#[tokio::test]
async fn delegated_work_calls_with_what_the_gateway_issues() {
    let house = House::start().await;
    let peers = house.hub.peers("scaffolding");
    let client = peers.delegated("catalog", "user:default/ann", "tokens/ab12cd34", SECOND).await.expect("issued");
    let mut locations = slipway_proto::catalog::v1::location_service_client::LocationServiceClient::new(client);
    let status = locations
        .list_locations(slipway_proto::catalog::v1::ListLocationsRequest::default())
        .await
        .expect_err("not served");
    assert_eq!(info(&status), "METHOD_UNKNOWN", "admitted, and the fake catalog does not serve it");
    let lost = peers.delegated("catalog", "user:default/gone", "", SECOND).await.err().expect("nothing issued");
    assert_eq!(lost.reason().name, "AUTHORIZATION_LOST");
}

#[tokio::test]
async fn reads_and_refusals_are_recorded_before_the_service_is_gone() {
    let house = House::start().await;
    ActionServiceClient::new(house.as_user("user:default/ann", "req-7"))
        .list_actions(ListActionsRequest {})
        .await
        .expect("allowed");
    let nobody = house.hub.peers("gateway").as_service("scaffolding", SECOND);
    ActionServiceClient::new(nobody).list_actions(ListActionsRequest {}).await.expect_err("refused");
    house.shutdown.begin();
    for handle in house.handles {
        handle.await.expect("in order");
    }
    let sql = "SELECT principal, decision, code, request_id FROM audit WHERE method = $1 ORDER BY decision";
    let rows = house.scratch.db.fetch_all(sql, slipway_kit::args![Actions::METHOD]).await.expect("rows");
    let row = |i: usize| ["principal", "decision", "code"].map(|column| rows[i].text(column).expect("text"));
    assert_eq!(rows.len(), 2);
    assert_eq!(row(0), ["user:default/ann", "ALLOWED", "OK"]);
    assert_eq!(rows[0].text("request_id").expect("text"), "req-7");
    assert_eq!(row(1), ["", "DENIED", "Unauthenticated"]);
}

#[tokio::test]
async fn a_call_that_is_given_up_is_recorded_too() {
    let house = House::start().await;
    let mut client = DirectoryServiceClient::new(house.hub.peers("environment").as_service("catalog", 30 * SECOND));
    let hanging = client.resolve_owner(reference(Directory::HANG));
    assert!(tokio::time::timeout(Duration::from_millis(300), hanging).await.is_err());
    house.shutdown.begin();
    for handle in house.handles {
        tokio::time::timeout(5 * SECOND, handle).await.expect("nothing hangs on").expect("in order");
    }
    let rows = house.scratch.db.fetch_all("SELECT principal, code FROM audit", vec![]).await.expect("rows");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].text("principal").expect("text"), "service:environment");
    assert_eq!(rows[0].text("code").expect("text"), "Cancelled");
}

#[tokio::test]
async fn health_is_served_for_everything_that_is_added() {
    let house = House::start().await;
    let client = house.hub.peers("gateway").as_service("catalog", SECOND);
    let mut health = tonic_health::pb::health_client::HealthClient::new(client);
    for service in ["", "slipway.access.v1.DirectoryService"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.expect("known").into_inner().status, 1, "{service:?}");
    }
}

#[test]
fn every_method_of_the_contracts_has_a_rule_that_somebody_may_use() {
    let pool = slipway_proto::pool();
    let methods =
        pool.services().filter(|s| s.full_name().starts_with("slipway.")).flat_map(|s| s.methods().collect::<Vec<_>>());
    let mut seen = 0;
    for method in methods {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let rule = authz::rule(&path).unwrap_or_else(|| panic!("{path} has no complete rule"));
        assert!(!rule.callers.is_empty(), "{path} has no callers");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}
