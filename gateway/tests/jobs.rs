//! Jobs of GitHub Actions at the gateway: what a trusted one is and may do, and that every other one is the same nobody.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{self as sig, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};
use slipway_gateway::config::{Issuer, IssuerKind};
use slipway_kit::caller::{CallerKind, Role};
use slipway_proto::{
    access::v1::{self as pb, token_service_client::TokenServiceClient},
    catalog::v1::{self as catalog, entity_service_client::EntityServiceClient},
};
use support::{Platform, Wish, bearer, reason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};

const ISSUER: &str = "https://token.actions.githubusercontent.com";
const AUDIENCE: &str = "https://slipway.corp.example";
const PAY: &str = "component:default/payments";
const TEAM: &str = "group:default/pay";

struct Github {
    pair: rsa::KeyPair,
}

impl Github {
    fn new() -> Self {
        Self { pair: rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap() }
    }

    fn keys(&self) -> String {
        let public = self.pair.public_key();
        let n = B64.encode(public.modulus().big_endian_without_leading_zero());
        let e = B64.encode(public.exponent().big_endian_without_leading_zero());
        json!({"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k", "n": n, "e": e}]}).to_string()
    }

    fn token(&self, claims: &Value) -> String {
        self.with_header(&json!({"alg": "RS256", "kid": "k", "typ": "JWT", "x5t": "k"}), claims)
    }

    fn with_header(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&sig::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", B64.encode(signature))
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A pull request's token as GitHub makes it.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "jti": "j", "iat": now(), "nbf": now() - 300, "exp": now() + 300,
        "sub": "repo:octo/hello:pull_request", "repository": "octo/hello", "repository_id": "74",
        "repository_owner": "octo", "repository_owner_id": "65", "repository_visibility": "private",
        "event_name": "pull_request", "ref": "refs/pull/7/merge", "ref_type": "branch", "ref_protected": "false",
        "head_ref": "feature", "base_ref": "main", "sha": "0".repeat(40), "actor": "ann", "actor_id": "1",
        "run_id": "9", "run_number": "1", "run_attempt": "1", "runner_environment": "github-hosted",
        "workflow": "ci", "workflow_ref": "octo/hello/.github/workflows/ci.yaml@refs/pull/7/merge",
        "job_workflow_ref": "octo/hello/.github/workflows/ci.yaml@refs/pull/7/merge",
    })
}

fn with(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

/// A push to main, in the form of repositories made since July 2026.
fn push() -> Value {
    with(json!({
        "sub": "repo:octo@65/hello@74:ref:refs/heads/main", "event_name": "push", "ref": "refs/heads/main",
        "ref_protected": "true", "head_ref": "", "base_ref": "",
        "job_workflow_ref": "octo/hello/.github/workflows/ci.yaml@refs/heads/main",
        "workflow_ref": "octo/hello/.github/workflows/ci.yaml@refs/heads/main",
    }))
}

async fn serve_keys(keys: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
            let _ = socket.write_all(format!("{head}: {}\r\n\r\n{keys}", keys.len()).as_bytes()).await;
        }
    });
    host
}

struct House {
    platform: Platform,
    github: Github,
}

impl House {
    async fn open() -> Self {
        let github = Github::new();
        let host = serve_keys(github.keys()).await;
        let issuer = Issuer {
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            kind: IssuerKind::GithubActions,
            jwks_url: Some(format!("{host}/keys")),
            algorithms: vec![],
            types: vec!["jwt".into()],
            clients: vec![],
            allow_other_audiences: false,
            max_life_seconds: 86_400,
            user_claim: "sub".into(),
            user_suffix: String::new(),
            user_namespace: "default".into(),
            protected_workflows: vec![],
        };
        let change = move |config: &mut slipway_gateway::Config| {
            config.issuers = BTreeMap::from([("github".to_owned(), issuer)]);
            config.issuer_hosts = vec![host];
        };
        let platform = Platform::with(Wish { change: Some(Box::new(change)), ..Wish::default() }).await;
        platform.seen.owners.lock().unwrap().insert(PAY.into(), TEAM.into());
        Self { platform, github }
    }

    async fn rest(&self, verb: &str, path: &str, body: Value) -> (u16, Value) {
        let verb = reqwest::Method::from_bytes(verb.as_bytes()).unwrap();
        let request = reqwest::Client::new().request(verb, self.platform.url(path)).bearer_auth(&self.platform.token);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn trust(&self, changes: Value) -> Value {
        let mut entry = json!({
            "issuer": "github", "repositoryId": "74", "repositoryOwnerId": 65, "repository": "octo/hello",
            "service": "payments", "refs": ["refs/pull/*/merge"],
            "permissions": ["environments.ensure_preview", "environments.get"],
        });
        for (name, value) in changes.as_object().unwrap() {
            entry[name] = value.clone();
        }
        let (code, made) = self.rest("POST", "/v1/trustEntries", entry).await;
        assert_eq!(code, 200, "{made}");
        made
    }

    async fn who(&self, token: &str) -> Result<pb::WhoAmIResponse, Status> {
        let mut tokens = TokenServiceClient::new(self.platform.channel().await);
        tokens.who_am_i(bearer(token, pb::WhoAmIRequest {})).await.map(tonic::Response::into_inner)
    }

    /// The causes of refusals as the audit log has them, which nobody else is told.
    async fn causes(&self, at_least: usize) -> BTreeSet<String> {
        let mut rows = Vec::new();
        for _ in 0..100 {
            let sql = "SELECT reason FROM audit WHERE decision = $1";
            rows = self.platform.service_db.fetch_all(sql, slipway_kit::args!["DENIED"]).await.unwrap();
            if rows.len() >= at_least {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        rows.iter().map(|row| row.text("reason").unwrap()).collect()
    }

    async fn is_nobody(&self, token: &str, what: &str) -> String {
        let refused = self.who(token).await.err().unwrap_or_else(|| panic!("{what} got in"));
        assert_eq!(refused.code(), Code::Unauthenticated, "{what}: {refused:?}");
        format!("{} {}", reason(&refused), refused.message())
    }
}

#[tokio::test]
async fn a_job_is_exactly_what_its_entry_gives() {
    let house = House::open().await;
    let token = house.github.token(&claims());
    house.is_nobody(&token, "a job without any entry").await;
    let entry = house.trust(json!({"permissions": ["environments.ensure_preview", "entities.get"]})).await;
    assert_eq!(
        (entry["service"].as_str(), entry["runnerEnvironment"].as_str(), entry["etag"].as_str()),
        (Some(PAY), Some("RUNNER_ENVIRONMENT_GITHUB_HOSTED"), Some("v1"))
    );
    let who = house.who(&token).await.unwrap();
    assert_eq!((who.caller.as_str(), who.kind.as_str()), ("ci:github/74/pulls/7", "ci_job"));
    assert_eq!(Some(who.credential.as_str()), entry["name"].as_str());
    assert_eq!(who.teams, [pb::TeamRole { team: TEAM.into(), role: pb::Role::Automation.into() }]);
    let scope = |permission: &str| pb::TokenScope { permission: permission.into(), resource: TEAM.into() };
    assert_eq!(who.scopes, [scope("environments.ensure_preview")], "a pull request's job gets no more than previews");
    // A push is judged by the same entries: this one is about pull requests alone.
    house.is_nobody(&house.github.token(&push()), "a push").await;
    house.trust(json!({"refs": [], "refProtected": true, "permissions": ["entities.get", "entities.list"]})).await;
    let who = house.who(&house.github.token(&push())).await.unwrap();
    assert_eq!((who.caller.as_str(), who.scopes.len()), ("ci:github/74", 2));
    let mut entities = EntityServiceClient::new(house.platform.channel().await);
    let asked = catalog::GetEntityRequest { name: "entities/component/default/payments".into(), ..Default::default() };
    let answer = entities.get_entity(bearer(&house.github.token(&push()), asked.clone())).await;
    answer.unwrap();
    let caller = house.platform.seen.callers.lock().unwrap().pop().unwrap();
    assert_eq!((caller.kind, caller.teams[TEAM]), (CallerKind::CiJob, Role::Automation));
    let job = caller.job.unwrap();
    assert_eq!((job.repository_id.as_str(), job.pull_request), ("74", None));
    assert!(
        job.may("entities.get", PAY) && !job.may("entities.delete", PAY) && !job.may("entities.get", "component:a/b")
    );
    let denied = entities.get_entity(bearer(&token, asked)).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
}

/// What makes another thing of a good pull request's token.
fn unlike_a_pull_request() -> Vec<Value> {
    vec![
        json!({"aud": "https://github.com/octo"}),
        json!({"aud": [AUDIENCE, "https://github.com/octo"]}),
        json!({"aud": "https://slipway.corp.example/"}),
        json!({"iss": "https://token.actions.githubusercontent.com/octo"}),
        json!({"repository_id": "75"}),
        json!({"repository_id": 74}),
        json!({"repository_owner_id": "66"}),
        json!({"sub": "repo:octo-65/hello-74:pull_request"}),
        json!({"sub": "repo:octo@65/hello@75:pull_request"}),
        json!({"sub": "repo:octo/other:pull_request"}),
        json!({"head_repository_id": "80"}),
        json!({"head_ref": "eve:feature"}),
        json!({"event_name": "pull_request_target", "ref": "refs/heads/main"}),
        json!({"event_name": "pull_request_target"}),
        json!({"event_name": "workflow_run", "ref": "refs/heads/main", "sub": "repo:octo/hello:ref:refs/heads/main"}),
        json!({"ref": "refs/heads/main"}),
        json!({"ref": "refs/pull/7/head"}),
        json!({"runner_environment": "self-hosted"}),
        json!({"nbf": now() + 120}),
        json!({"iat": now() + 120}),
    ]
}

#[tokio::test]
async fn every_other_token_is_the_same_nobody() {
    let house = House::open().await;
    let pinned = format!("octo/flows/.github/workflows/deploy.yaml@{}", "a".repeat(40));
    house.trust(json!({})).await;
    let environment = json!({"events": ["push"], "refs": ["refs/heads/main"], "environment": "preview",
        "jobWorkflowRef": pinned, "refProtected": true, "runnerEnvironment": "RUNNER_ENVIRONMENT_SELF_HOSTED"});
    house.trust(environment).await;
    let good_push = json!({"sub": "repo:octo/hello:environment:preview", "environment": "preview",
        "job_workflow_ref": pinned, "runner_environment": "self-hosted"});
    let pushed = |changes: Value| {
        let mut all = push();
        for (name, value) in good_push.as_object().unwrap().iter().chain(changes.as_object().unwrap()) {
            all[name] = value.clone();
        }
        all
    };
    house.who(&house.github.token(&claims())).await.unwrap();
    house.who(&house.github.token(&pushed(json!({})))).await.unwrap();
    let other = pinned.replace("aaaa", "bbbb");
    let mut bad: Vec<(String, String)> = unlike_a_pull_request()
        .into_iter()
        .map(|change| (change.to_string(), house.github.token(&with(change))))
        .collect();
    bad.extend(
        [
            json!({"job_workflow_ref": other}),
            json!({"job_workflow_ref": pinned.replace(&"a".repeat(40), "refs/heads/main")}),
            json!({"environment": "Preview", "sub": "repo:octo/hello:environment:Preview"}),
            json!({"ref": "refs/heads/main2"}),
            json!({"ref_protected": "false"}),
            json!({"ref_protected": true}),
            json!({"runner_environment": "github-hosted"}),
        ]
        .into_iter()
        .map(|change| (format!("push {change}"), house.github.token(&pushed(change)))),
    );
    let header = |header: Value| house.github.with_header(&header, &claims());
    bad.push(("unknown kid".into(), header(json!({"alg": "RS256", "kid": "other", "typ": "JWT"}))));
    bad.push(("none".into(), header(json!({"alg": "none", "kid": "k", "typ": "JWT"}))));
    bad.push(("HS256".into(), header(json!({"alg": "HS256", "kid": "k", "typ": "JWT"}))));
    bad.push(("PS256".into(), header(json!({"alg": "PS256", "kid": "k", "typ": "JWT"}))));
    bad.push(("other key".into(), Github::new().token(&claims())));
    let mut texts = BTreeSet::new();
    for (what, token) in &bad {
        texts.insert(house.is_nobody(token, what).await);
    }
    assert_eq!(texts, BTreeSet::from(["INVALID_CREDENTIALS the credentials are not valid".to_owned()]));
    let causes = house.causes(bad.len()).await;
    for cause in [
        "audience",
        "subject",
        "fork",
        "no trust entry",
        "trust: owner",
        "trust: event",
        "trust: ref",
        "trust: workflow",
    ] {
        assert!(
            causes.contains(&format!("INVALID_CREDENTIALS: {cause}")),
            "{cause} is not in the audit log: {causes:?}"
        );
    }
    for over in [json!({"iat": now() - 400, "exp": now() - 100}), json!({"iat": now() - 601, "exp": now() + 300})] {
        let told = house.is_nobody(&house.github.token(&with(over.clone())), "an old token").await;
        assert_eq!(told, "TOKEN_EXPIRED the token's time is over", "{over}");
    }
    house.who(&house.github.token(&with(json!({"iat": now() - 590, "exp": now() + 300})))).await.unwrap();
}

#[tokio::test]
async fn what_an_entry_gave_ends_with_the_entry_the_owner_and_the_transfer() {
    let house = House::open().await;
    let entry = house.trust(json!({})).await;
    let name = format!("/v1/{}", entry["name"].as_str().unwrap());
    let token = house.github.token(&claims());
    house.who(&token).await.unwrap();
    // Transferred: the new owner's id is another one, until somebody confirms it.
    let moved = house.github.token(&with(json!({"repository_owner_id": "66"})));
    house.is_nobody(&moved, "a transferred repository").await;
    let path = format!("{name}?updateMask=repositoryOwnerId");
    let (code, confirmed) = house.rest("PATCH", &path, json!({"repositoryOwnerId": "66", "etag": "v1"})).await;
    assert_eq!((code, confirmed["etag"].as_str()), (200, Some("v2")), "{confirmed}");
    assert_eq!(confirmed["permissions"], entry["permissions"]);
    house.who(&moved).await.unwrap();
    house.is_nobody(&token, "the old owner").await;
    let (code, _) = house.rest("PATCH", &path, json!({"repositoryOwnerId": "67", "etag": "v1"})).await;
    assert_eq!(code, 409);
    // A new owner in the catalog is the new limit within a second; no owner is none.
    house.platform.seen.owners.lock().unwrap().insert(PAY.into(), "group:default/new".into());
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(house.who(&moved).await.unwrap().teams[0].team, "group:default/new");
    house.platform.seen.owners.lock().unwrap().insert(PAY.into(), String::new());
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    house.is_nobody(&moved, "nobody's service").await;
    house.platform.seen.owners.lock().unwrap().insert(PAY.into(), TEAM.into());
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    house.who(&moved).await.unwrap();
    let (code, _) = house.rest("DELETE", &name, Value::Null).await;
    assert_eq!(code, 200);
    house.is_nobody(&moved, "a deleted entry").await;
    assert_eq!(house.rest("GET", &name, Value::Null).await.0, 404);
}
