//! Who a caller is, from end to end: an identity provider's token, a delegation, and what is written down about refusals.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::json;
use slipway_gateway::config::Issuer;
use slipway_kit::{
    args,
    caller::CallerKind,
    error::{DEPENDENCY_UNAVAILABLE, PERMISSION_DENIED},
    serve::error_from,
};
use slipway_proto::{
    access::v1::{self as pb, token_service_client::TokenServiceClient},
    catalog::v1::{self as catalog, entity_service_client::EntityServiceClient},
};
use support::{Platform, Wish, bearer, reason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

/// An identity provider on a socket: one document for every path.
async fn provider(document: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let _ = socket.read(&mut request).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                document.len()
            );
            let _ = socket.write_all(format!("{head}{document}").as_bytes()).await;
        }
    });
    format!("http://{address}")
}

fn entity() -> catalog::GetEntityRequest {
    catalog::GetEntityRequest { name: "entities/component/default/payments".into(), ..Default::default() }
}

#[tokio::test]
async fn a_token_of_an_identity_provider_is_its_user_with_the_teams_of_the_catalog() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = B64.encode(pair.public_key().as_ref());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]}).to_string();
    let host = provider(keys).await;
    let issuer = Issuer {
        issuer: "https://id.example".into(),
        audience: "slipway".into(),
        jwks_url: Some(format!("{host}/keys")),
        algorithms: vec!["EdDSA".into()],
        types: vec!["jwt".into()],
        clients: vec![],
        allow_other_audiences: false,
        max_life_seconds: 3600,
        user_claim: "email".into(),
        user_suffix: "@example.com".into(),
        user_namespace: "default".into(),
        kind: Default::default(),
        protected_workflows: vec![],
    };
    let change = move |config: &mut slipway_gateway::Config| {
        config.issuers = BTreeMap::from([("corp".to_owned(), issuer)]);
        config.issuer_hosts = vec![host];
    };
    let platform = Platform::with(Wish { change: Some(Box::new(change)), ..Wish::default() }).await;
    platform.seen.members.lock().unwrap().push(("user:default/ann", "group:default/pay"));
    let now = jiff::Timestamp::now().as_second();
    let token = |email: &str| {
        let claims = json!({"iss": "https://id.example", "aud": "slipway", "sub": "1", "email": email, "iat": now, "exp": now + 600});
        let signed = format!("{}.{}", B64.encode(r#"{"alg":"EdDSA","kid":"k"}"#), B64.encode(claims.to_string()));
        format!("{signed}.{}", B64.encode(pair.sign(signed.as_bytes()).as_ref()))
    };
    let mut tokens = TokenServiceClient::new(platform.channel().await);
    let who = tokens.who_am_i(bearer(&token("ann@example.com"), pb::WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!(
        (who.caller.as_str(), who.kind.as_str(), who.credential.as_str()),
        ("user:default/ann", "user", "issuers/corp")
    );
    assert_eq!(who.teams, [pb::TeamRole { team: "group:default/pay".into(), role: pb::Role::Developer.into() }]);
    let other = tokens.who_am_i(bearer(&token("ann@evil.com"), pb::WhoAmIRequest {})).await.unwrap_err();
    assert_eq!((other.code(), reason(&other)), (Code::Unauthenticated, "INVALID_CREDENTIALS".into()));
    // The user makes a token that is no more than the user.
    let scopes = vec![pb::TokenScope { permission: "*".into(), resource: String::new() }];
    let made = pb::Token { display_name: "mine".into(), scopes, ..Default::default() };
    let create = pb::CreateTokenRequest { token: Some(made), ..Default::default() };
    let secret = tokens.create_token(bearer(&token("ann@example.com"), create)).await.unwrap().into_inner().secret;
    let who = tokens.who_am_i(bearer(&secret, pb::WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!((who.caller.as_str(), who.roles.len(), who.teams.len()), ("user:default/ann", 0, 1));
}

#[tokio::test]
async fn a_delegation_has_the_present_rights_of_its_principal_and_credential() {
    let platform = Platform::start().await;
    let mut tokens = TokenServiceClient::new(platform.channel().await);
    let scopes = vec![pb::TokenScope { permission: "entities.get".into(), resource: String::new() }];
    let made = pb::Token { display_name: "work".into(), scopes, ..Default::default() };
    let create = pb::CreateTokenRequest { token: Some(made), ..Default::default() };
    let token = tokens.create_token(platform.signed(create)).await.unwrap().into_inner().token.unwrap();
    let second = Duration::from_secs(5);
    let environment = platform.hub.peers("environment");
    let get = |client| async { EntityServiceClient::new(client).get_entity(entity()).await.map_err(error_from) };

    let client = environment.delegated("catalog", "user:default/admin", &token.name, second).await.unwrap();
    // The catalog says which services may call it with somebody's right; the delegation itself is genuine.
    let called = get(client).await;
    assert!(called.is_ok() || called.as_ref().unwrap_err().is(&PERMISSION_DENIED), "{called:?}");
    for (principal, credential) in [
        ("user:default/nobody", ""),
        ("user:default/nobody", token.name.as_str()),
        ("user:default/admin", "tokens/zzzzzzzz"),
    ] {
        let lost = environment.delegated("catalog", principal, credential, second).await.err().unwrap();
        assert_eq!(lost.reason().name, "AUTHORIZATION_LOST", "{principal} {credential}");
    }
    environment.delegated("catalog", "user:default/admin", "", second).await.unwrap();
    let revoke = pb::RevokeTokenRequest { name: token.name.clone(), ..Default::default() };
    tokens.revoke_token(platform.signed(revoke)).await.unwrap();
    let lost = environment.delegated("catalog", "user:default/admin", &token.name, second).await.err().unwrap();
    assert_eq!(lost.reason().name, "AUTHORIZATION_LOST");
    // A service that is not on the list of callers gets nothing, and nobody gets it through the edge.
    let stranger =
        platform.hub.peers("metrics").delegated("catalog", "user:default/admin", "", second).await.err().unwrap();
    assert!(stranger.is(&PERMISSION_DENIED) || stranger.is(&DEPENDENCY_UNAVAILABLE), "{stranger}");
    assert!(platform.seen.callers.lock().unwrap().iter().all(|c| c.kind == CallerKind::Token));
}

#[tokio::test]
async fn every_refusal_at_the_edge_leaves_one_record_with_its_cause() {
    let platform = Platform::start().await;
    let channel = platform.channel().await;
    let (mut tokens, mut client) = (TokenServiceClient::new(channel.clone()), EntityServiceClient::new(channel));
    let scopes = vec![pb::TokenScope { permission: "entities.get".into(), resource: String::new() }];
    let made = pb::Token { display_name: "narrow".into(), scopes, ..Default::default() };
    let create = pb::CreateTokenRequest { token: Some(made), ..Default::default() };
    let narrow = tokens.create_token(platform.signed(create)).await.unwrap().into_inner().secret;
    client.get_entity(bearer("a.b.c", entity())).await.unwrap_err();
    client.get_entity(entity()).await.unwrap_err();
    client.list_entities(bearer(&narrow, catalog::ListEntitiesRequest::default())).await.unwrap_err();
    let sql = "SELECT principal, reason FROM audit WHERE decision = $1 AND peer = '' ORDER BY recorded_us";
    let mut rows = Vec::new();
    for _ in 0..100 {
        rows = platform.service_db.fetch_all(sql, args!["DENIED"]).await.unwrap();
        if rows.len() >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said: Vec<_> = rows.iter().map(|r| (r.text("principal").unwrap(), r.text("reason").unwrap())).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].1.starts_with("INVALID_CREDENTIALS: ") && said[1].1.ends_with("no credential"), "{said:?}");
    assert_eq!(said[2], ("user:default/admin".to_owned(), "PERMISSION_DENIED: scope".to_owned()));
}
