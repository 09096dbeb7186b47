//! The gateway from end to end: a caller on a socket, the gateway, a service behind it.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{sync::atomic::Ordering, time::Duration};

use futures::StreamExt as _;
use slipway_proto::{
    access::v1::{
        self as pb, directory_service_client::DirectoryServiceClient,
        role_binding_service_client::RoleBindingServiceClient, token_service_client::TokenServiceClient,
    },
    catalog::v1::{self as catalog, entity_service_client::EntityServiceClient},
};
use support::{Platform, Wish, bearer, reason};
use tonic::Code;

fn entity(name: &str) -> catalog::GetEntityRequest {
    catalog::GetEntityRequest { name: format!("entities/component/default/{name}"), ..Default::default() }
}

fn scope(permission: &str) -> pb::TokenScope {
    pb::TokenScope { permission: permission.into(), resource: String::new() }
}

fn new_token(permissions: &[&str]) -> pb::CreateTokenRequest {
    let scopes = permissions.iter().map(|p| scope(p)).collect();
    let token = pb::Token { display_name: "test".into(), scopes, ..Default::default() };
    pb::CreateTokenRequest { token: Some(token), ..Default::default() }
}

#[tokio::test]
async fn the_first_token_calls_services_and_nobody_else_does() {
    let platform = Platform::start().await;
    let mut client = EntityServiceClient::new(platform.channel().await);
    let answer = client.get_entity(platform.signed(entity("payments"))).await.unwrap();
    assert!(answer.metadata().get("x-request-id").is_some());
    assert_eq!(answer.into_inner().version, 7);
    let seen = platform.seen.callers.lock().unwrap().pop().unwrap();
    assert_eq!(seen.principal, "user:default/admin");
    assert!(seen.credential.starts_with("tokens/"));

    let missing = client.get_entity(platform.signed(entity("missing"))).await.unwrap_err();
    assert_eq!((missing.code(), reason(&missing)), (Code::NotFound, "NOT_FOUND".into()));

    let nobody = client.get_entity(entity("payments")).await.unwrap_err();
    assert_eq!((nobody.code(), reason(&nobody)), (Code::Unauthenticated, "INVALID_CREDENTIALS".into()));
}

#[tokio::test]
async fn every_faulty_credential_gets_one_answer() {
    let platform = Platform::start().await;
    let mut client = EntityServiceClient::new(platform.channel().await);
    let good = platform.token.clone();
    let mut faulty = vec![
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Basic {good}"),
        good.clone(),
        format!("Bearer {good} "),
        format!("Bearer  {good}"),
        format!("Bearer {good},Bearer {good}"),
        "Bearer a.b.c".into(),
        "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.".into(),
        format!("Bearer {}", good.to_uppercase()),
        format!("Bearer {}", &good[..good.len() - 1]),
    ];
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'q' { b'r' } else { b'q' };
        faulty.push(format!("Bearer {}", String::from_utf8(bytes).unwrap()));
    }
    let other = slipway_gateway::app::tokens::mint();
    faulty.push(format!("Bearer {}", other.expose()));
    let mut answers = std::collections::BTreeSet::new();
    for value in &faulty {
        let mut request = tonic::Request::new(entity("payments"));
        request.metadata_mut().insert("authorization", value.parse().unwrap());
        let status = client.get_entity(request).await.unwrap_err();
        answers.insert((status.code() as i32, status.message().to_owned(), status.details().to_vec()));
    }
    let mut twice = platform.signed(entity("payments"));
    twice.metadata_mut().append("authorization", format!("Bearer {good}").parse().unwrap());
    let status = client.get_entity(twice).await.unwrap_err();
    answers.insert((status.code() as i32, status.message().to_owned(), status.details().to_vec()));
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().unwrap().0, Code::Unauthenticated as i32);
    assert_eq!(platform.seen.calls.load(Ordering::SeqCst), 0);
    client.get_entity(platform.signed(entity("payments"))).await.unwrap();
}

#[tokio::test]
async fn internal_and_unknown_methods_do_not_exist_on_any_path() {
    let platform = Platform::start().await;
    let http = reqwest::Client::new();
    let mut directory = DirectoryServiceClient::new(platform.channel().await);
    let status = directory.list_memberships(platform.signed(pb::ListMembershipsRequest {})).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unimplemented, "METHOD_UNKNOWN".into()));
    for path in [
        "/slipway.access.v1.DirectoryService/ListMemberships",
        "/slipway.access.v1.DelegationService/IssueAssertion",
        "/slipway.journal.v1.JournalService/WatchEvents",
        "/slipway.journal.v1.WebhookService/ReceiveWebhook",
        "/slipway.catalog.v1.EntityService/Nothing",
        "/slipway.catalog.v1.EntityService/GetEntity/",
        "/slipway.catalog.v1.EntityService//GetEntity",
        "//slipway.catalog.v1.EntityService/GetEntity",
        "/slipway.catalog.v1.EntityService/getentity",
        "/",
    ] {
        for content in ["application/grpc", "application/grpc-web+proto", "application/grpc-web-text"] {
            let request = http.post(platform.url(path)).bearer_auth(&platform.token).header("content-type", content);
            let answer = request.body(vec![0, 0, 0, 0, 0]).send().await.unwrap();
            let status = answer.headers().get("grpc-status").map(|v| v.to_str().unwrap().to_owned());
            let body = answer.bytes().await.unwrap();
            let said = status.as_deref() == Some("12")
                || String::from_utf8_lossy(&body).contains("grpc-status:12")
                || content.ends_with("text");
            assert!(said, "{path} {content} {status:?} {body:?}");
        }
        let answer = http.post(platform.url(path)).bearer_auth(&platform.token).json(&()).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path} as REST");
    }
    assert_eq!(platform.seen.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_header_of_a_caller_speaks_for_the_gateway() {
    let platform = Platform::start().await;
    let mut client = EntityServiceClient::new(platform.channel().await);
    let forged = slipway_kit::caller::Signer::generate();
    let caller = slipway_kit::caller::Caller {
        principal: "user:default/eve".into(),
        ..slipway_kit::caller::Caller::anonymous()
    };
    let assertion = forged.assert(&caller, &["catalog"], "/slipway.catalog.v1.EntityService/GetEntity", None).unwrap();
    let mut request = platform.signed(entity("payments"));
    for name in [
        "slipway-assertion",
        "slipway-user",
        "x-slipway-user",
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "baggage",
        "cookie",
    ] {
        let key = tonic::metadata::MetadataKey::from_bytes(name.as_bytes()).unwrap();
        request.metadata_mut().insert(key, assertion.parse().unwrap());
    }
    request.metadata_mut().insert_bin("slipway-assertion-bin", tonic::metadata::BinaryMetadataValue::from_bytes(b"x"));
    request.metadata_mut().insert("x-kept", "yes".parse().unwrap());
    client.get_entity(request).await.unwrap();
    assert_eq!(platform.seen.callers.lock().unwrap().pop().unwrap().principal, "user:default/admin");
    let headers = platform.seen.metadata.lock().unwrap().pop().unwrap();
    assert_eq!(headers.get_all("slipway-assertion").iter().count(), 1);
    assert_ne!(headers.get("slipway-assertion").unwrap(), assertion.as_str());
    for name in [
        "authorization",
        "slipway-user",
        "x-slipway-user",
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "baggage",
        "cookie",
        "slipway-assertion-bin",
    ] {
        assert!(headers.get(name).is_none(), "{name}");
    }
    assert_eq!(headers.get("x-kept").unwrap(), "yes");

    let mut alone = tonic::Request::new(entity("payments"));
    alone.metadata_mut().insert("slipway-assertion", assertion.parse().unwrap());
    assert_eq!(client.get_entity(alone).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn tokens_are_made_limited_listed_and_revoked() {
    let platform = Platform::start().await;
    let channel = platform.channel().await;
    let (mut tokens, mut client) = (TokenServiceClient::new(channel.clone()), EntityServiceClient::new(channel));
    let mut create = new_token(&["entities.get", "tokens.*"]);
    create.request_id = "6f1d1f6e-0c9e-4f0e-8f52-6a1d6f6b9a01".into();
    let made = tokens.create_token(platform.signed(create.clone())).await.unwrap().into_inner();
    let narrow = made.secret.clone();
    let again = tokens.create_token(platform.signed(create.clone())).await.unwrap_err();
    assert_eq!(reason(&again), "RESPONSE_NOT_REPLAYABLE");
    create.token.as_mut().unwrap().display_name = "other".into();
    assert_eq!(reason(&tokens.create_token(platform.signed(create)).await.unwrap_err()), "REQUEST_ID_REUSED");

    client.get_entity(bearer(&narrow, entity("payments"))).await.unwrap();
    let listing = bearer(&narrow, catalog::ListEntitiesRequest::default());
    assert_eq!(client.list_entities(listing).await.unwrap_err().code(), Code::PermissionDenied);
    let wide = tokens.create_token(bearer(&narrow, new_token(&["*"]))).await.unwrap_err();
    assert_eq!(reason(&wide), "TOKEN_SCOPE_TOO_WIDE");
    let mut vain = new_token(&["entities.gte", "nothing.*", "entities.*", "settings.update"]);
    vain.token.as_mut().unwrap().scopes[2].resource = "payments".into();
    let vain = tokens.create_token(platform.signed(vain)).await.unwrap_err();
    assert_eq!(reason(&vain), "INVALID_FIELD");
    assert_eq!(
        vain.message(),
        "invalid: token.scopes[0].permission, token.scopes[1].permission, token.scopes[2].resource"
    );
    tokens.create_token(bearer(&narrow, new_token(&["entities.get"]))).await.unwrap();

    let who = tokens.who_am_i(platform.signed(pb::WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!((who.caller.as_str(), who.kind.as_str()), ("user:default/admin", "token"));
    assert_eq!(who.roles, [pb::Role::PlatformAdmin as i32]);

    let mut all = Vec::new();
    let mut list = pb::ListTokensRequest { page_size: 2, total: 1, ..Default::default() };
    loop {
        let page = tokens.list_tokens(platform.signed(list.clone())).await.unwrap().into_inner();
        assert_eq!(page.total_size, Some(3));
        all.extend(page.tokens.into_iter().map(|t| t.name));
        if page.next_page_token.is_empty() {
            break;
        }
        list.page_token = page.next_page_token;
    }
    assert_eq!(all.len(), 3);

    let name = made.token.unwrap().name;
    let revoke = pb::RevokeTokenRequest { name: name.clone(), ..Default::default() };
    let stale = pb::RevokeTokenRequest { etag: "v9".into(), ..revoke.clone() };
    assert_eq!(reason(&tokens.revoke_token(platform.signed(stale)).await.unwrap_err()), "ETAG_MISMATCH");
    tokens.revoke_token(platform.signed(revoke.clone())).await.unwrap();
    let refused = client.get_entity(bearer(&narrow, entity("payments"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "at once after the answer");
    tokens.revoke_token(platform.signed(revoke)).await.unwrap();
}

#[tokio::test]
async fn violations_of_a_request_come_all_at_once() {
    use tonic_types::StatusExt as _;
    let platform = Platform::start().await;
    let mut tokens = TokenServiceClient::new(platform.channel().await);
    let mut bad = new_token(&["UPPER", "entities.get"]);
    bad.token.as_mut().unwrap().display_name = String::new();
    bad.request_id = "no uuid".into();
    let status = tokens.create_token(platform.signed(bad)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.get_error_details().bad_request().unwrap().field_violations.len(), 3);
}

#[tokio::test]
async fn bindings_and_memberships_take_effect_and_the_last_administrator_stays() {
    let platform = Platform::start().await;
    let channel = platform.channel().await;
    let mut bindings = RoleBindingServiceClient::new(channel.clone());
    let mut tokens = TokenServiceClient::new(channel);
    let bind = |subject: &str, role: pb::Role, team: &str| {
        let binding =
            pb::RoleBinding { subject: subject.into(), role: role.into(), team: team.into(), ..Default::default() };
        pb::CreateRoleBindingRequest { role_binding: Some(binding), ..Default::default() }
    };
    let mine = bindings
        .list_role_bindings(platform.signed(pb::ListRoleBindingsRequest::default()))
        .await
        .unwrap()
        .into_inner();
    let [first] = &mine.role_bindings[..] else { panic!("one binding at first: {mine:?}") };
    let delete = pb::DeleteRoleBindingRequest { name: first.name.clone(), ..Default::default() };
    let status = bindings.delete_role_binding(platform.signed(delete.clone())).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::FailedPrecondition, "LAST_ADMINISTRATOR".into()));
    for (role, team) in [(pb::Role::Auditor, "group:default/pay"), (pb::Role::Developer, "")] {
        let wrong =
            bindings.create_role_binding(platform.signed(bind("user:default/ann", role, team))).await.unwrap_err();
        assert_eq!(reason(&wrong), "INVALID_FIELD");
    }
    let plan =
        pb::CreateRoleBindingRequest { validate_only: true, ..bind("group:default/sre", pb::Role::PlatformAdmin, "") };
    let doubted = bindings.create_role_binding(platform.signed(plan.clone())).await.unwrap().into_inner();
    assert!(matches!(&doubted.warnings[..], [one] if one.contains("group:default/sre")), "{doubted:?}");
    platform.seen.owners.lock().unwrap().insert("group:default/sre".into(), String::new());
    let known = bindings.create_role_binding(platform.signed(plan)).await.unwrap().into_inner();
    assert!(known.warnings.is_empty(), "{known:?}");
    let ghost = pb::CreateTokenRequest {
        token: Some(pb::Token {
            display_name: "for somebody".into(),
            scopes: vec![pb::TokenScope { permission: "*".into(), resource: String::new() }],
            ..Default::default()
        }),
        owner: "user:default/nobody".into(),
        ..Default::default()
    };
    let made = tokens.create_token(platform.signed(ghost)).await.unwrap().into_inner().token.unwrap();
    assert!(matches!(&made.warnings[..], [one] if one.contains("user:default/nobody")), "{made:?}");
    let made = bind("group:default/sre", pb::Role::PlatformAdmin, "");
    bindings.create_role_binding(platform.signed(made.clone())).await.unwrap();
    let twice = bindings.create_role_binding(platform.signed(made)).await.unwrap_err();
    assert_eq!(twice.code(), Code::AlreadyExists);
    // The administrator keeps the role through the group alone, once the catalog says so.
    platform.seen.members.lock().unwrap().push(("user:default/admin", "group:default/sre"));
    bindings.delete_role_binding(platform.signed(delete)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let who = tokens.who_am_i(platform.signed(pb::WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!(who.roles, [pb::Role::PlatformAdmin as i32]);
    assert_eq!(who.teams[0].team, "group:default/sre");
    platform.seen.members.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let denied =
        bindings.list_role_bindings(platform.signed(pb::ListRoleBindingsRequest::default())).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "membership is gone within a second");
}

#[tokio::test]
async fn without_the_catalog_only_the_administrator_by_name_gets_in() {
    let platform = Platform::start().await;
    let channel = platform.channel().await;
    let (mut tokens, mut bindings) = (TokenServiceClient::new(channel.clone()), RoleBindingServiceClient::new(channel));
    platform.seen.members.lock().unwrap().push(("user:default/admin", "group:default/pay"));
    platform.seen.directory_down.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    tokens.who_am_i(platform.signed(pb::WhoAmIRequest {})).await.unwrap();
    bindings.list_role_bindings(platform.signed(pb::ListRoleBindingsRequest::default())).await.unwrap();
}

#[tokio::test]
async fn streams_pass_and_end_when_the_token_is_revoked() {
    let platform = Platform::start().await;
    let channel = platform.channel().await;
    let (mut tokens, mut client) = (TokenServiceClient::new(channel.clone()), EntityServiceClient::new(channel));
    let made = tokens.create_token(platform.signed(new_token(&["entities.*"]))).await.unwrap().into_inner();
    let watch = bearer(&made.secret, catalog::WatchEntitiesRequest::default());
    let mut stream = client.watch_entities(watch).await.unwrap().into_inner();
    for n in 0..5 {
        assert_eq!(stream.next().await.unwrap().unwrap().resume_token, n.to_string());
    }
    let name = made.token.unwrap().name;
    tokens.revoke_token(platform.signed(pb::RevokeTokenRequest { name, ..Default::default() })).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(1), async {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => return status,
                None => panic!("ended without a reason"),
            }
        }
    });
    assert_eq!(end.await.expect("within a second").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn rates_are_kept_per_principal_and_failures_per_sender() {
    use tonic_types::StatusExt as _;
    let n = |n| std::num::NonZeroU32::new(n).unwrap();
    let rates = slipway_gateway::app::rates::Rates {
        reads_per_second: n(1),
        read_burst: n(3),
        failures_per_minute: n(4),
        ..Default::default()
    };
    let platform = Platform::with(Wish { rates: Some(rates), ..Wish::default() }).await;
    let mut client = EntityServiceClient::new(platform.channel().await);
    for _ in 0..3 {
        client.get_entity(platform.signed(entity("payments"))).await.unwrap();
    }
    let limited = client.get_entity(platform.signed(entity("payments"))).await.unwrap_err();
    assert_eq!((limited.code(), reason(&limited)), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    assert!(limited.get_error_details().retry_info().unwrap().retry_delay.is_some());
    assert!(limited.metadata().get("grpc-retry-pushback-ms").is_some());
    let codes = |count| {
        let mut client = client.clone();
        async move {
            let mut codes = Vec::new();
            for _ in 0..count {
                codes.push(client.get_entity(bearer("a.b.c", entity("payments"))).await.unwrap_err().code());
            }
            codes
        }
    };
    let codes = codes(6).await;
    assert_eq!(codes[..4], [Code::Unauthenticated; 4]);
    assert_eq!(codes[4..], [Code::ResourceExhausted; 2]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    client.get_entity(platform.signed(entity("payments"))).await.expect("a correct credential is never locked out");
}

#[tokio::test]
async fn deadlines_are_read_strictly() {
    let platform = Platform::start().await;
    let mut client = EntityServiceClient::new(platform.channel().await);
    for (value, code) in [("1S", None), ("1x", Some(Code::InvalidArgument))] {
        let mut request = platform.signed(entity("payments"));
        request.metadata_mut().insert("grpc-timeout", value.parse().unwrap());
        assert_eq!(client.get_entity(request).await.err().map(|s| s.code()), code, "{value}");
    }
}

#[tokio::test]
async fn a_restart_replaces_the_first_token_until_it_was_used() {
    use slipway_kit::{clock::Clock, db::scratch};
    for scratch in scratch::each(&slipway_gateway::store::MIGRATIONS).await {
        let store = slipway_gateway::store::Store::new(scratch.db.clone());
        let (clock, key) = (Clock::system(), [7; 32]);
        let first = slipway_gateway::app::start::begin(&store, &clock, &key).await.unwrap().unwrap();
        let second = slipway_gateway::app::start::begin(&store, &clock, &key).await.unwrap().unwrap();
        assert!(store.credential(first.id()).await.unwrap().is_none(), "{}", scratch.engine);
        assert_eq!(store.grants().await.unwrap().len(), 1);
        store.note_use(second.id(), clock.now_us()).await.unwrap();
        assert!(slipway_gateway::app::start::begin(&store, &clock, &key).await.unwrap().is_none());
        assert!(store.credential(second.id()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn no_use_that_begins_after_a_revoke_was_answered_succeeds() {
    let platform = Platform::start().await;
    let channel = platform.channel().await;
    let (mut tokens, client) = (TokenServiceClient::new(channel.clone()), EntityServiceClient::new(channel));
    for _ in 0..40 {
        let made = tokens.create_token(platform.signed(new_token(&["entities.get"]))).await.unwrap().into_inner();
        // Calls that go on while the token is revoked keep it as warm as can be.
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (mut warm, secret, stopped) = (client.clone(), made.secret.clone(), stop.clone());
        let calls = tokio::spawn(async move {
            while !stopped.load(Ordering::SeqCst) {
                let _ = warm.get_entity(bearer(&secret, entity("payments"))).await;
            }
        });
        client.clone().get_entity(bearer(&made.secret, entity("payments"))).await.unwrap();
        let name = made.token.unwrap().name;
        tokens.revoke_token(platform.signed(pb::RevokeTokenRequest { name, ..Default::default() })).await.unwrap();
        let after = client.clone().get_entity(bearer(&made.secret, entity("payments"))).await.unwrap_err();
        assert_eq!(after.code(), Code::Unauthenticated);
        stop.store(true, Ordering::SeqCst);
        calls.await.unwrap();
    }
}

#[tokio::test]
async fn a_service_that_is_away_is_unavailable_and_the_others_are_not() {
    use slipway_proto::environment::v1::{self as environment, environment_service_client::EnvironmentServiceClient};
    let platform = Platform::start().await;
    let channel = platform.channel().await;
    let mut away = EnvironmentServiceClient::new(channel.clone());
    let status =
        away.list_environments(platform.signed(environment::ListEnvironmentsRequest::default())).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, "DEPENDENCY_UNAVAILABLE".into()));
    assert!(!status.message().contains("transport") && !status.message().contains("run here"), "{}", status.message());
    EntityServiceClient::new(channel).get_entity(platform.signed(entity("payments"))).await.unwrap();
}

#[tokio::test]
async fn a_principal_has_fifty_streams_and_no_more() {
    let platform = Platform::start().await;
    let mut client = EntityServiceClient::new(platform.channel().await);
    let mut open = Vec::new();
    for _ in 0..slipway_gateway::app::rates::STREAMS_MAX {
        let watch = platform.signed(catalog::WatchEntitiesRequest::default());
        open.push(client.watch_entities(watch).await.unwrap().into_inner());
    }
    let one_more = client.watch_entities(platform.signed(catalog::WatchEntitiesRequest::default())).await.unwrap_err();
    assert_eq!((one_more.code(), reason(&one_more)), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    client.get_entity(platform.signed(entity("payments"))).await.expect("other calls go on");
    drop(open);
    let freed = tokio::time::timeout(Duration::from_secs(5), async {
        while client.watch_entities(platform.signed(catalog::WatchEntitiesRequest::default())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    freed.await.expect("a closed stream gives its place back");
}
