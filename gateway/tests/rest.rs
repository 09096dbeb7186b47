//! REST from end to end: paths, queries, bodies, errors, and the document that describes them.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use serde_json::{Value, json};
use support::Platform;

async fn get(platform: &Platform, path: &str) -> (u16, Value) {
    let answer = reqwest::Client::new().get(platform.url(path)).bearer_auth(&platform.token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn send(platform: &Platform, verb: &str, path: &str, body: &str) -> (u16, Value) {
    let verb = reqwest::Method::from_bytes(verb.as_bytes()).unwrap();
    let request = reqwest::Client::new().request(verb, platform.url(path)).bearer_auth(&platform.token);
    let request = request.header("content-type", "application/json").body(body.to_owned());
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn reason(body: &Value) -> &str {
    body["details"][0]["reason"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn paths_queries_and_answers_have_the_proto3_json_form() {
    let platform = Platform::start().await;
    let (code, body) = get(&platform, "/v1/entities/component/default/payments").await;
    assert_eq!(code, 200, "{body}");
    assert_eq!(
        body,
        json!({
            "name": "entities/component/default/payments", "version": "7", "labels": {"a": "b"},
            "createTime": "2023-11-14T22:13:20Z",
        })
    );
    let query = "/v1/entities?pageSize=5&filter=kind%20%3D+%22a%22&order_by=name%20desc&total=TOTAL_MODE_EXACT";
    let (code, body) = get(&platform, query).await;
    assert_eq!(code, 200, "{body}");
    assert_eq!(body["entities"][0]["name"], "5|kind = \"a\"|name desc|1");
    assert_eq!(body["totalSize"], "1");
    let (_, body) = get(&platform, "/v1/entities:batchGet?names=entities/a/b/c&names=entities/a/b/d").await;
    assert_eq!(body["results"].as_array().unwrap().len(), 2, "{body}");
    let (_, who) = get(&platform, "/v1/whoami").await;
    assert_eq!(who["caller"], "user:default/admin");
}

#[tokio::test]
async fn errors_are_google_rpc_status_with_details_and_their_http_code() {
    let platform = Platform::start().await;
    let (code, body) = get(&platform, "/v1/entities/component/default/missing").await;
    assert_eq!((code, body["code"].as_i64(), reason(&body)), (404, Some(5), "NOT_FOUND"), "{body}");
    assert_eq!(body["details"][0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
    assert!(body["details"].as_array().unwrap().iter().any(|d| d["resourceType"] == "Entity"));

    let answer = reqwest::get(platform.url("/v1/whoami")).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    assert!(answer.headers().contains_key("x-request-id"));
    assert!(answer.headers().get("access-control-allow-origin").is_none());
    assert_eq!(reason(&answer.json().await.unwrap()), "INVALID_CREDENTIALS");

    let (code, body) = get(&platform, "/v1/nothing").await;
    assert_eq!((code, reason(&body)), (404, "ROUTE_UNKNOWN"));
    let body = json!({"token": {"displayName": "", "scopes": [{"permission": "X"}]}, "requestId": "y"}).to_string();
    let (code, body) = send(&platform, "POST", "/v1/tokens", &body).await;
    let violations = body["details"].as_array().unwrap().iter().find_map(|d| d["fieldViolations"].as_array()).unwrap();
    assert_eq!((code, violations.len()), (400, 3), "{body}");
}

#[tokio::test]
async fn changes_go_by_post_and_delete() {
    let platform = Platform::start().await;
    let body = json!({"token": {"displayName": "ci", "scopes": [{"permission": "entities.get"}]}, "ttl": "3600s"});
    let (code, made) = send(&platform, "POST", "/v1/tokens", &body.to_string()).await;
    assert_eq!(code, 200, "{made}");
    assert!(made["secret"].as_str().unwrap().starts_with("slw_"));
    let name = made["token"]["name"].as_str().unwrap().to_owned();
    let (code, revoked) = send(&platform, "POST", &format!("/v1/{name}:revoke"), "").await;
    assert_eq!(code, 200, "{revoked}");
    assert!(revoked["revokeTime"].is_string());

    let binding = json!({"subject": "user:default/ann", "role": "ROLE_AUDITOR"}).to_string();
    let path = "/v1/roleBindings?request_id=6f1d1f6e-0c9e-4f0e-8f52-6a1d6f6b9a01";
    let (code, made) = send(&platform, "POST", path, &binding).await;
    assert_eq!((code, made["subject"].as_str()), (200, Some("user:default/ann")), "{made}");
    let (_, again) = send(&platform, "POST", path, &binding).await;
    assert_eq!(made, again, "the same request id gives the same answer");
    let (code, body) = send(&platform, "DELETE", &format!("/v1/{}", made["name"].as_str().unwrap()), "").await;
    assert_eq!((code, body), (200, json!({})));
}

#[tokio::test]
async fn loose_requests_are_refused() {
    let platform = Platform::start().await;
    for body in [
        r#"{"token":{"displayName":"a","scopes":[]},"unknown":1}"#,
        r#"{"token":{"displayName":"a","displayName":"b"}}"#,
        r#"{"token":{"displayName":"a"},"token":{"displayName":"a"}}"#,
        r#"{"token":{"displayName":7}}"#,
        r#"{"ttl":"soon"}"#,
        r#"{"token":[]}"#,
        "[]",
        "{",
        "{} {}",
        "\"text\"",
    ] {
        let (code, answer) = send(&platform, "POST", "/v1/tokens", body).await;
        assert_eq!((code, reason(&answer)), (400, "REQUEST_UNREADABLE"), "{body}");
    }
    for path in [
        "/v1/entities?unknown=1",
        "/v1/entities?pageSize=x",
        "/v1/entities?page_size=1&pageSize=1",
        "/v1/entities?filter=a&filter=b",
        "/v1/entities?filter=%ff",
        "/v1/entities?total=TOTAL_MODE_NONE",
        "/v1/entities?filter.x=1",
        "/v1/entities/component/default/payments?name=entities/component/default/other",
    ] {
        let (code, answer) = get(&platform, path).await;
        assert_eq!((code, reason(&answer)), (400, "REQUEST_UNREADABLE"), "{path} {answer}");
    }
    let (code, answer) = send(&platform, "POST", "/v1/tokens/abcd1234:revoke", r#"{"name":"tokens/other123"}"#).await;
    assert_eq!((code, reason(&answer)), (400, "REQUEST_UNREADABLE"));
    let (code, answer) = send(&platform, "DELETE", "/v1/roleBindings/6f1d1f6e-0c9e-4f0e-8f52-6a1d6f6b9a01", "{}").await;
    assert_eq!((code, reason(&answer)), (400, "REQUEST_UNREADABLE"));
    for path in [
        "/v1/entities/component/default/a%2Fb",
        "/v1/entities/component/default",
        "/v1/entities/component/default/..%2f",
    ] {
        assert_eq!(get(&platform, path).await.0, 404, "{path}");
    }
    let client = reqwest::Client::new();
    let form =
        client.post(platform.url("/v1/tokens")).bearer_auth(&platform.token).header("content-type", "text/plain");
    assert_eq!(form.body("{}").send().await.unwrap().status(), 400);
    let large = format!("{{\"token\":{{\"displayName\":\"{}\"}}}}", "a".repeat(4 * 1024 * 1024));
    assert_eq!(send(&platform, "POST", "/v1/tokens", &large).await.0, 429);
}

#[tokio::test]
async fn what_cannot_be_read_is_named_field_by_field() {
    let platform = Platform::start().await;
    let fields = |answer: &Value| {
        let violations = answer["details"].as_array().unwrap().iter().find_map(|d| d["fieldViolations"].as_array());
        let names = violations.into_iter().flatten().map(|v| v["field"].as_str().unwrap().to_owned());
        names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
    };
    let (code, answer) = get(&platform, "/v1/entities?pageSize=abc&total=EXACT&filter=a").await;
    assert_eq!((code, fields(&answer).as_str()), (400, "page_size total"), "{answer}");
    let (code, answer) = get(&platform, "/v1/entities?pagesize=5").await;
    assert_eq!((code, fields(&answer).as_str()), (400, "pagesize"), "{answer}");
    let body = r#"{"token":{"displayName":5,"scopes":[{"permission":"*"},{"permision":"*"}]},"ttl":"soon","x":1}"#;
    let (code, answer) = send(&platform, "POST", "/v1/tokens", body).await;
    let expected = "token.display_name token.scopes[1].permision ttl x";
    assert_eq!((code, fields(&answer).as_str()), (400, expected), "{answer}");
}

#[tokio::test]
async fn the_openapi_document_names_every_unary_rpc_and_no_internal_one() {
    let platform = Platform::start().await;
    let document: Value = reqwest::get(platform.url("/openapi.json")).await.unwrap().json().await.unwrap();
    assert_eq!(document["openapi"], "3.0.3");
    let paths = document["paths"].as_object().unwrap();
    let operation = &paths["/v1/entities/{name}/{name2}/{name3}"]["get"];
    assert_eq!(operation["operationId"], "EntityService_GetEntity");
    assert!(!operation["description"].as_str().unwrap().is_empty());
    let text = document.to_string();
    for internal in ["ListMemberships", "IssueAssertion", "WatchEvents", "ReceiveWebhook"] {
        assert!(!text.contains(internal), "{internal}");
    }
    let operations: Vec<&str> = paths
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    for rule in slipway_kit::authz::rules().filter(|r| !r.is_internal() && r.unary_request && r.unary_answer) {
        let name = rule.method.rsplit('.').next().unwrap().replace('/', "_");
        assert!(operations.contains(&name.as_str()), "{name}");
    }
    // Every reference leads somewhere.
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn no_changed_byte_of_a_request_is_a_defect_of_ours() {
    let platform = Platform::start().await;
    let client = reqwest::Client::new();
    let body = r#"{"subject":"user:default/ann","role":"ROLE_AUDITOR","createTime":"2024-01-01T00:00:00Z"}"#;
    let path = "/v1/roleBindings?validate_only=true&request_id=6f1d1f6e-0c9e-4f0e-8f52-6a1d6f6b9a01";
    let (code, answer) = send(&platform, "POST", path, body).await;
    assert_eq!(code, 200, "{answer}");
    let mut codes = std::collections::BTreeMap::<u16, usize>::new();
    let mut note = |code: u16, what: String| {
        assert!(matches!(code, 200 | 400 | 401 | 403 | 404), "{code} for {what}");
        *codes.entry(code).or_default() += 1;
    };
    for at in 0..body.len() {
        for other in [b'"', b'{', b'\\', b'9', 0, 0xff] {
            let mut bytes = body.as_bytes().to_vec();
            bytes[at] = other;
            let request = client.post(platform.url(path)).bearer_auth(&platform.token);
            let answer = request.header("content-type", "application/json").body(bytes.clone()).send().await.unwrap();
            note(answer.status().as_u16(), String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    let query = "/v1/entities?pageSize=5&filter=kind%20%3D%20a&order_by=name&total=TOTAL_MODE_EXACT";
    for at in "/v1/entities".len()..query.len() {
        for other in ['%', '&', '=', '.', '9', '+'] {
            let mut changed = query.to_owned();
            changed.replace_range(at..=at, &other.to_string());
            let answer = client.get(platform.url(&changed)).bearer_auth(&platform.token).send().await.unwrap();
            note(answer.status().as_u16(), changed);
        }
    }
    assert!(codes[&400] > 300 && codes[&200] > 10, "{codes:?}");
}
