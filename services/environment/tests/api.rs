//! Every RPC over the in-process transport, with the mistakes a caller makes.
#![allow(clippy::unwrap_used)]
mod support;

use std::time::Duration;

use slipway_environment::{
    model::{
        environment::RetireReason,
        preview::{Head, Reading},
    },
    world::fake::Fake,
};
use slipway_kit::{
    caller::{Caller, Role, Signer},
    clock::Clock,
    db::scratch::Scratch,
    serve::{Client, Context, Hub, Outgoing, Shutdown},
};
use slipway_proto::{
    environment::v1::{
        self as pb, environment_service_client::EnvironmentServiceClient, preview_service_client::PreviewServiceClient,
    },
    journal::v1::{ReceiveWebhookRequest, webhook_service_client::WebhookServiceClient},
};
use support::{OWNER, REPOSITORY, SERVICE, ann, app_over, caller, head, images, open, sha, stranger};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

struct Platform {
    hub: Hub,
    signer: Signer,
    fake: Fake,
    clock: Clock,
    shutdown: Shutdown,
    _scratch: Scratch,
}

impl Platform {
    async fn start() -> Self {
        let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
        let (hub, signer, fake) = (Hub::new(), Signer::generate(), Fake::default());
        fake.add_service("payments", REPOSITORY, OWNER);
        let on_main = Head { branch: "main".to_owned(), ..head(9, 1) };
        fake.set(REPOSITORY, "main", Reading::Open(on_main));
        fake.set(REPOSITORY, "feature", open(8));
        let (clock, shutdown) = (Clock::manual(1_800_000_000_000_000), Shutdown::new());
        let app = app_over(&scratch, fake.world(), clock.clone()).await;
        let context = Context { clock: clock.clone(), peers: hub.peers("environment"), verifier: signer.verifier() };
        let service = slipway_environment::serve(app, &support::config(&scratch), context);
        hub.serve(service, signer.verifier(), shutdown.clone());
        Self { hub, signer, fake, clock, shutdown, _scratch: scratch }
    }

    fn client(&self, caller: &Caller, method: &str) -> Client {
        let assertion = self.signer.assert(caller, &["environment"], support::method(method), None).unwrap();
        let outgoing = Outgoing { assertion: Some(assertion), ..Outgoing::default() };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        self.hub.peers("gateway").forwarding("environment", outgoing, deadline)
    }

    fn environments(&self, caller: &Caller, method: &str) -> EnvironmentServiceClient<Client> {
        EnvironmentServiceClient::new(self.client(caller, method))
    }

    fn previews(&self, caller: &Caller, method: &str) -> PreviewServiceClient<Client> {
        PreviewServiceClient::new(self.client(caller, method))
    }

    async fn ensure(&self, who: &Caller, request: pb::EnsurePreviewRequest) -> Result<pb::Environment, Status> {
        self.previews(who, "EnsurePreview").ensure_preview(request).await.map(tonic::Response::into_inner)
    }

    async fn create(&self, who: &Caller, environment: pb::Environment) -> Result<pb::Environment, Status> {
        let request = pb::CreateEnvironmentRequest { environment: Some(environment), ..Default::default() };
        self.environments(who, "CreateEnvironment").create_environment(request).await.map(tonic::Response::into_inner)
    }

    async fn settle(&self, name: &str) -> pb::Environment {
        let request = pb::WaitEnvironmentRequest { name: name.to_owned(), ..Default::default() };
        self.environments(&ann(), "WaitEnvironment").wait_environment(request).await.unwrap().into_inner()
    }

    async fn get(&self, who: &Caller, name: &str) -> Result<pb::Environment, Status> {
        let request = pb::GetEnvironmentRequest { name: name.to_owned() };
        self.environments(who, "GetEnvironment").get_environment(request).await.map(tonic::Response::into_inner)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn preview(number: i64, digit: u64) -> pb::EnsurePreviewRequest {
    pb::EnsurePreviewRequest {
        service: SERVICE.to_owned(),
        pull_request: number,
        head_sha: sha(digit),
        images: images(),
        ..Default::default()
    }
}

fn wish(kind: pb::EnvironmentKind) -> pb::Environment {
    pb::Environment { service: SERVICE.to_owned(), kind: kind.into(), images: images(), ..Default::default() }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations);
    bad.unwrap_or_default().into_iter().map(|v| v.field).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, want: &str) -> Status {
    let status = answer.expect_err("this is a mistake");
    assert_eq!((status.code(), reason(&status).as_str()), (code, want), "{status:?}");
    status
}

#[tokio::test]
async fn ci_ensures_a_preview_and_waits_for_it() {
    let platform = Platform::start().await;
    platform.fake.set(REPOSITORY, "7", open(1));
    let made = platform.ensure(&ann(), preview(7, 1)).await.unwrap();
    assert_eq!(
        (made.name.as_str(), made.url.as_str()),
        ("environments/pr-7-payments", "http://pr-7-payments.preview.localhost")
    );
    assert!(made.reconciling);
    let settled = platform.settle(&made.name).await;
    assert_eq!(settled.state(), pb::EnvironmentState::Published);
    assert!(!settled.reconciling && settled.publication.is_some());
    // The same request again, and the same request id: nothing new.
    let mut again = preview(7, 1);
    again.request_id = slipway_kit::id::uuid4();
    for _ in 0..2 {
        assert_eq!(platform.ensure(&ann(), again.clone()).await.unwrap().generation, 1);
    }
    again.head_sha = sha(2);
    refused(platform.ensure(&ann(), again).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let stale = refused(platform.ensure(&ann(), preview(7, 2)).await, Code::FailedPrecondition, "STALE_COMMIT");
    assert_eq!(stale.get_details_error_info().unwrap().metadata["head_sha"], sha(1));
    refused(platform.ensure(&ann(), preview(8, 1)).await, Code::NotFound, "PULL_REQUEST_UNKNOWN");
    let mut images = preview(7, 1);
    images.images = [("app", "x:latest"), ("b", "y")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    assert_eq!(
        fields(&refused(platform.ensure(&ann(), images).await, Code::InvalidArgument, "INVALID_FIELD")).len(),
        2
    );
    let mut bad = preview(0, 1);
    bad.head_sha = "abc".to_owned();
    assert_eq!(
        fields(&refused(platform.ensure(&ann(), bad).await, Code::InvalidArgument, "INVALID_FIELD")),
        ["pull_request", "head_sha"]
    );
    refused(platform.ensure(&stranger(), preview(7, 1)).await, Code::PermissionDenied, "PERMISSION_DENIED");
    let unknown = pb::EnsurePreviewRequest { service: "component:default/none".to_owned(), ..preview(7, 1) };
    refused(platform.ensure(&ann(), unknown.clone()).await, Code::PermissionDenied, "PERMISSION_DENIED");
    let admin = caller("user:default/root", &[], &[Role::PlatformAdmin]);
    refused(platform.ensure(&admin, unknown).await, Code::NotFound, "SERVICE_UNKNOWN");
}

#[tokio::test]
async fn a_deleted_preview_stays_deleted_and_leaves_a_receipt() {
    let platform = Platform::start().await;
    platform.fake.set(REPOSITORY, "7", open(1));
    let made = platform.ensure(&ann(), preview(7, 1)).await.unwrap();
    platform.settle(&made.name).await;
    let delete = |etag: &str| pb::DeletePreviewRequest {
        service: SERVICE.to_owned(),
        pull_request: 7,
        etag: etag.to_owned(),
        ..Default::default()
    };
    let stale = platform.previews(&ann(), "DeletePreview").delete_preview(delete("old")).await;
    refused(stale, Code::Aborted, "ETAG_MISMATCH");
    let gone = platform.previews(&ann(), "DeletePreview").delete_preview(delete("")).await.unwrap().into_inner();
    assert_eq!(gone.state(), pb::EnvironmentState::Deleting);
    let request = pb::WaitEnvironmentRequest {
        name: made.name.clone(),
        condition: pb::WaitCondition::Deleted.into(),
        timeout: None,
    };
    for seconds in [-1, 601] {
        let timeout = Some(prost_types::Duration { seconds, nanos: 0 });
        let wrong = pb::WaitEnvironmentRequest { timeout, ..request.clone() };
        let answer = platform.environments(&ann(), "WaitEnvironment").wait_environment(wrong).await;
        let status = refused(answer, Code::InvalidArgument, "INVALID_FIELD");
        assert!(status.message().contains("timeout"), "{status:?}");
    }
    let ended = platform.environments(&ann(), "WaitEnvironment").wait_environment(request).await.unwrap().into_inner();
    assert_eq!(ended.state(), pb::EnvironmentState::Deleted);
    refused(platform.ensure(&ann(), preview(7, 1)).await, Code::FailedPrecondition, "PREVIEW_ENDED");
    refused(platform.previews(&ann(), "DeletePreview").delete_preview(delete("")).await, Code::NotFound, "NOT_FOUND");
    platform.fake.set(REPOSITORY, "7", Reading::Ended { reason: RetireReason::Closed, at_us: 5 });
    refused(platform.ensure(&ann(), preview(7, 1)).await, Code::FailedPrecondition, "PULL_REQUEST_ENDED");
    let name = format!("teardownReceipts/{}", made.uid);
    let get = |name: &str| pb::GetTeardownReceiptRequest { name: name.to_owned() };
    let receipt = platform
        .environments(&ann(), "GetTeardownReceipt")
        .get_teardown_receipt(get(&name))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (receipt.reason.as_str(), receipt.actor.as_str(), receipt.cluster_observed),
        ("REQUESTED", "user:default/ann", false)
    );
    let foreign = platform.environments(&stranger(), "GetTeardownReceipt").get_teardown_receipt(get(&name)).await;
    let missing =
        platform.environments(&stranger(), "GetTeardownReceipt").get_teardown_receipt(get("teardownReceipts/x")).await;
    let (foreign, missing) = (foreign.unwrap_err(), missing.unwrap_err());
    assert_eq!((foreign.code(), foreign.message()), (missing.code(), missing.message()));
    let list = pb::ListTeardownReceiptsRequest { service: SERVICE.to_owned(), ..Default::default() };
    let client = |who: &Caller| platform.environments(who, "ListTeardownReceipts");
    let mine = client(&ann()).list_teardown_receipts(list.clone()).await.unwrap().into_inner();
    assert_eq!(mine.teardown_receipts, [receipt]);
    let none = client(&stranger()).list_teardown_receipts(list.clone()).await.unwrap().into_inner();
    assert_eq!(none.teardown_receipts, []);
    let forged = pb::ListTeardownReceiptsRequest { page_token: "x".to_owned(), ..list };
    refused(client(&ann()).list_teardown_receipts(forged).await, Code::InvalidArgument, "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn environments_of_every_kind_are_created_read_and_listed() {
    let platform = Platform::start().await;
    let personal = platform.create(&ann(), wish(pb::EnvironmentKind::Personal)).await.unwrap();
    assert_eq!((personal.name.as_str(), personal.user.as_str()), ("environments/dev-ann-payments", "user:default/ann"));
    assert_eq!(personal.source.as_ref().unwrap().head_sha, sha(9));
    let branch = pb::Environment {
        source: Some(pb::Source { branch: "feature".to_owned(), ..Default::default() }),
        ..wish(pb::EnvironmentKind::Branch)
    };
    let branch = platform.create(&ann(), branch).await.unwrap();
    assert!(branch.name.starts_with("environments/br-feature-"));
    let staging = pb::Environment { tier: pb::EnvironmentTier::Staging.into(), ..wish(pb::EnvironmentKind::LongLived) };
    let first = platform.create(&ann(), staging.clone()).await.unwrap();
    assert_eq!((first.name.as_str(), first.expire_time), ("environments/payments-staging", None));
    assert_eq!(platform.settle(&first.name).await.state(), pb::EnvironmentState::Published);
    let second = platform.create(&ann(), staging).await.unwrap();
    assert_eq!((second.uid, second.generation), (first.uid, 1));
    let request = |filter: &str| pb::ListEnvironmentsRequest {
        filter: filter.to_owned(),
        total: 1,
        page_size: 2,
        ..Default::default()
    };
    let list = |who: Caller, filter: &str| {
        let request = request(filter);
        let mut client = platform.environments(&who, "ListEnvironments");
        async move { client.list_environments(request).await.map(tonic::Response::into_inner) }
    };
    let all = list(ann(), "").await.unwrap();
    assert_eq!((all.environments.len(), all.total_size, all.next_page_token.is_empty()), (2, Some(3), false));
    assert_eq!(list(ann(), "tier = STAGING").await.unwrap().environments.len(), 1);
    assert_eq!(list(stranger(), "").await.unwrap().total_size, Some(0));
    refused(list(ann(), "colour = red").await, Code::InvalidArgument, "FILTER_INVALID");
    let foreign = platform.get(&stranger(), &first.name).await.unwrap_err();
    let missing = platform.get(&stranger(), "environments/none").await.unwrap_err();
    assert_eq!((foreign.code(), foreign.message()), (missing.code(), missing.message()));
    let admin = caller("user:default/root", &[], &[Role::PlatformAdmin]);
    refused(platform.get(&admin, "environments/none").await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn a_wrong_wish_is_told_whole() {
    let platform = Platform::start().await;
    let wrong = pb::Environment {
        label: "x".to_owned(),
        tier: pb::EnvironmentTier::Production.into(),
        source: Some(pb::Source { branch: "a b".to_owned(), ..Default::default() }),
        ..wish(pb::EnvironmentKind::PullRequest)
    };
    let status = refused(platform.create(&ann(), wrong).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(
        fields(&status),
        ["environment.kind", "environment.tier", "environment.label", "environment.source.branch"]
    );
    let days = |days: i64| Some(prost_types::Duration { seconds: days * 86_400, nanos: 0 });
    let long = pb::Environment { ttl: days(31), ..wish(pb::EnvironmentKind::Personal) };
    let status = refused(platform.create(&ann(), long).await, Code::InvalidArgument, "TTL_TOO_LONG");
    assert_eq!(fields(&status), ["environment.ttl"]);
    let nowhere = pb::Environment { cluster: "moon".to_owned(), ..wish(pb::EnvironmentKind::Personal) };
    refused(platform.create(&ann(), nowhere).await, Code::NotFound, "CLUSTER_UNKNOWN");
    let branch = |name: &str| pb::Environment {
        source: Some(pb::Source { branch: name.to_owned(), ..Default::default() }),
        ..wish(pb::EnvironmentKind::Branch)
    };
    platform.fake.set(REPOSITORY, "none", Reading::Ended { reason: RetireReason::BranchDeleted, at_us: 1 });
    refused(platform.create(&ann(), branch("none")).await, Code::NotFound, "BRANCH_UNKNOWN");
    refused(platform.create(&ann(), branch("dark")).await, Code::Unavailable, "SCM_UNREACHABLE");
    refused(
        platform.create(&stranger(), wish(pb::EnvironmentKind::Personal)).await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    let only = pb::CreateEnvironmentRequest {
        environment: Some(wish(pb::EnvironmentKind::Personal)),
        validate_only: true,
        ..Default::default()
    };
    let planned =
        platform.environments(&ann(), "CreateEnvironment").create_environment(only).await.unwrap().into_inner();
    refused(platform.get(&ann(), &planned.name).await, Code::PermissionDenied, "PERMISSION_DENIED");
}

#[tokio::test]
async fn time_to_live_is_extended_up_to_the_cap() {
    let platform = Platform::start().await;
    let made = platform.create(&ann(), wish(pb::EnvironmentKind::Personal)).await.unwrap();
    let settled = platform.settle(&made.name).await;
    let extend = |seconds: i64, etag: &str| pb::ExtendEnvironmentRequest {
        name: made.name.clone(),
        ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let client = |who: &Caller| platform.environments(who, "ExtendEnvironment");
    refused(client(&ann()).extend_environment(extend(31 * 86_400, "")).await, Code::InvalidArgument, "TTL_TOO_LONG");
    refused(client(&ann()).extend_environment(extend(1, "")).await, Code::InvalidArgument, "INVALID_FIELD");
    refused(client(&ann()).extend_environment(extend(86_400, "old")).await, Code::Aborted, "ETAG_MISMATCH");
    refused(
        client(&stranger()).extend_environment(extend(86_400, "")).await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    let longer = client(&ann()).extend_environment(extend(30 * 86_400, &settled.etag)).await.unwrap().into_inner();
    assert_eq!(longer.expire_time.unwrap().seconds, platform.clock.now_us() / 1_000_000 + 30 * 86_400);
    assert_eq!(longer.generation, settled.generation);
}

#[tokio::test]
async fn production_needs_two_people_to_go() {
    let platform = Platform::start().await;
    let people =
        ["ann", "bob", "cleo"].map(|name| caller(&format!("user:default/{name}"), &[(OWNER, Role::Maintainer)], &[]));
    let wanted =
        pb::Environment { tier: pb::EnvironmentTier::Production.into(), ..wish(pb::EnvironmentKind::LongLived) };
    let made = platform.create(&people[0], wanted).await.unwrap();
    platform.settle(&made.name).await;
    let delete = pb::DeleteEnvironmentRequest { name: made.name.clone(), ..Default::default() };
    let opened =
        platform.environments(&people[0], "DeleteEnvironment").delete_environment(delete).await.unwrap().into_inner();
    assert_eq!(
        (opened.confirmations_missing, opened.environment.unwrap().state()),
        (2, pb::EnvironmentState::Published)
    );
    let confirm = |name: &str, token: &str| pb::ConfirmDeleteRequest {
        name: made.name.clone(),
        confirm_name: name.to_owned(),
        confirm_token: token.to_owned(),
        ..Default::default()
    };
    let (id, token) = ("payments-production", opened.confirm_token);
    let client = |who: &Caller| platform.environments(who, "ConfirmDelete");
    refused(
        client(&people[1]).confirm_delete(confirm("payments", &token)).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    refused(client(&people[1]).confirm_delete(confirm(id, "guess")).await, Code::FailedPrecondition, "DELETE_NOT_OPEN");
    refused(client(&ann()).confirm_delete(confirm(id, &token)).await, Code::PermissionDenied, "PERMISSION_DENIED");
    let one = client(&people[1]).confirm_delete(confirm(id, &token)).await.unwrap().into_inner();
    assert_eq!(one.confirmations_missing, 1);
    refused(
        client(&people[1]).confirm_delete(confirm(id, &token)).await,
        Code::FailedPrecondition,
        "CONFIRMED_ALREADY",
    );
    platform.clock.advance_us(16 * 60_000_000);
    refused(client(&people[2]).confirm_delete(confirm(id, &token)).await, Code::FailedPrecondition, "DELETE_NOT_OPEN");
    let delete = pb::DeleteEnvironmentRequest { name: made.name.clone(), ..Default::default() };
    let opened =
        platform.environments(&people[0], "DeleteEnvironment").delete_environment(delete).await.unwrap().into_inner();
    for who in &people[1..] {
        client(who).confirm_delete(confirm(id, &opened.confirm_token)).await.unwrap();
    }
    let state = platform.get(&people[0], &made.name).await.unwrap().state();
    assert!(matches!(state, pb::EnvironmentState::Deleting | pb::EnvironmentState::Deleted), "{state:?}");
}

#[tokio::test]
async fn a_watch_tells_a_snapshot_and_then_every_change_once() {
    let platform = Platform::start().await;
    let first = platform.create(&ann(), wish(pb::EnvironmentKind::Personal)).await.unwrap();
    platform.settle(&first.name).await;
    let request = pb::WatchEnvironmentsRequest { send_initial: true, ..Default::default() };
    let watch = |request: pb::WatchEnvironmentsRequest, who: Caller| {
        let mut client = platform.environments(&who, "WatchEnvironments");
        async move { client.watch_environments(request).await.map(tonic::Response::into_inner) }
    };
    let mut stream = watch(request, ann()).await.unwrap();
    let snapshot = stream.message().await.unwrap().unwrap();
    assert_eq!((snapshot.kind(), snapshot.environment.unwrap().uid), (pb::WatchKind::Put, first.uid.clone()));
    let synced = stream.message().await.unwrap().unwrap();
    assert_eq!(synced.kind(), pb::WatchKind::Synced);
    platform.fake.set(REPOSITORY, "7", open(1));
    let made = platform.ensure(&ann(), preview(7, 1)).await.unwrap();
    platform.settle(&made.name).await;
    let mut seen = Vec::new();
    loop {
        let message = stream.message().await.unwrap().unwrap();
        assert_eq!(message.kind(), pb::WatchKind::Put);
        let env = message.environment.unwrap();
        assert_eq!(env.uid, made.uid);
        seen.push(env.clone());
        if env.state() == pb::EnvironmentState::Published {
            break;
        }
    }
    drop(stream);
    // Resumed from the token: the same messages, no gap and no double.
    let resume = pb::WatchEnvironmentsRequest { resume_token: synced.resume_token, ..Default::default() };
    let mut stream = watch(resume, ann()).await.unwrap();
    for want in &seen {
        assert_eq!(stream.message().await.unwrap().unwrap().environment.as_ref(), Some(want));
    }
    let forged = pb::WatchEnvironmentsRequest { resume_token: "x".to_owned(), ..Default::default() };
    refused(watch(forged, ann()).await.map(drop), Code::OutOfRange, "RESUME_TOKEN_EXPIRED");
    let unknown = pb::WatchEnvironmentsRequest {
        filter: "create_time > \"2026-01-01T00:00:00Z\"".to_owned(),
        ..Default::default()
    };
    refused(watch(unknown, ann()).await.map(drop), Code::InvalidArgument, "FILTER_INVALID");
}

#[tokio::test]
async fn a_webhook_through_the_inbox_makes_a_preview() {
    let platform = Platform::start().await;
    platform.fake.set(REPOSITORY, "3", open(1));
    let peers = platform.hub.peers("gateway");
    let mut inbox = WebhookServiceClient::new(peers.as_service("environment", Duration::from_secs(5)));
    let delivery = ReceiveWebhookRequest {
        source: "local".to_owned(),
        delivery_id: "d-1".to_owned(),
        event: "pull_request".to_owned(),
        body: format!(r#"{{"number":3,"repository":{{"id":{REPOSITORY}}}}}"#).into_bytes(),
    };
    assert!(!inbox.receive_webhook(delivery.clone()).await.unwrap().into_inner().duplicate);
    assert!(inbox.receive_webhook(delivery).await.unwrap().into_inner().duplicate);
    let mut tries = 0;
    while platform.get(&ann(), "environments/pr-3-payments").await.is_err() {
        tries += 1;
        assert!(tries < 200, "no preview was made");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
