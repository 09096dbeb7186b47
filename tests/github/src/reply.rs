//! From a request to its answer: route, fault, credential, permission, tag, page.
//!
//! Owns the order of these. Refuses a route it does not know with the provider's 404.
use std::time::Duration;

use axum::{body::Body, response::Response};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Asked, State, app, filed, git, repos};

/// A wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 401 with the provider's JSON.
    Unauthorized,
    /// 403 with the provider's JSON.
    Forbidden,
    /// 404 with the provider's JSON.
    NotFound,
    /// 404 with a page for people.
    NotFoundPage,
    /// 403 with `x-ratelimit-remaining: 0`, over after these seconds.
    RateLimited(i64),
    /// 429 with `retry-after`.
    RetryAfter(u64),
    /// A bare status with JSON.
    Status(u16),
    /// 200 with a page for people, as in maintenance.
    Html,
    /// 200 with the first half of the JSON.
    HalfJson,
    /// 200 whose body breaks off before its announced length.
    CutBody,
    /// 200 with an empty list or object.
    Empty,
    /// 200 with JSON of another shape.
    WrongShape,
    /// 302 to another host.
    RedirectAway,
    /// No answer at all.
    Hang,
}

/// What a handler makes.
pub(crate) enum Made {
    Json(u16, Value),
    /// A page of a listing; `wrap` names the array in an object.
    List(Vec<Value>, Option<&'static str>),
    Redirect(String),
    Git(Response),
    Missing,
    Forbidden(&'static str),
}

pub(crate) fn plain(status: u16, kind: &str, body: impl Into<Body>) -> Response {
    Response::builder().status(status).header("content-type", kind).body(body.into()).unwrap()
}

fn message(status: u16, text: &str) -> Response {
    plain(status, "application/json; charset=utf-8", json!({ "message": text, "documentation_url": "x" }).to_string())
}

/// Name of a request's route, as faults and counts use it.
fn route(asked: &Asked) -> &'static str {
    let parts: Vec<&str> = asked.parts.iter().map(String::as_str).collect();
    let is_read = asked.method == Method::GET;
    match parts[..] {
        ["app", "installations", _, "access_tokens"] => "token",
        ["app", ..] => "app",
        ["user"] => "user",
        ["user", "repos"] | ["installation", "repositories"] => "repositories",
        ["repositories", _] => "repo_by_id",
        ["orgs", _, "repos"] => "create",
        ["repos", _, _] => "repo",
        ["repos", _, _, "pulls"] => "pulls",
        ["repos", _, _, "pulls", _] => "pull",
        ["repos", _, _, "git", ..] => "ref",
        ["repos", _, _, "issues", _, "events"] => "events",
        ["repos", _, _, "issues", ..] if is_read => "comments",
        ["repos", _, _, "issues", ..] => "comment",
        ["repos", _, _, "deployments", ..] if is_read => "deployments",
        ["repos", _, _, "deployments", ..] => "deployment",
        [_, name, "git-upload-pack"] if name.ends_with(".git") => "git",
        [_, name, "git-receive-pack"] if name.ends_with(".git") => "push",
        _ => "unknown",
    }
}

pub(crate) async fn answer(state: &State, asked: &Asked) -> Response {
    let route = route(asked);
    let fault = {
        let mut model = state.model();
        *model.asked.entry(route.to_owned()).or_default() += 1;
        model.faults.get(route).or_else(|| model.faults.get("*")).copied()
    };
    let response = match fault.map(early) {
        Some(Some(response)) => response.await_if_hanging(fault).await,
        _ => {
            let Some(who) = app::who(state, asked) else { return message(401, "Bad credentials") };
            let made = handle(state, asked, route, &who).await;
            render(state, asked, made, fault)
        }
    };
    with_limits(response, fault)
}

trait Hanging {
    async fn await_if_hanging(self, fault: Option<Fault>) -> Self;
}

impl Hanging for Response {
    async fn await_if_hanging(self, fault: Option<Fault>) -> Self {
        if fault == Some(Fault::Hang) {
            tokio::time::sleep(Duration::from_secs(120)).await;
        }
        self
    }
}

/// Faults that need no right answer to begin with.
fn early(fault: Fault) -> Option<Response> {
    Some(match fault {
        Fault::Unauthorized => message(401, "Bad credentials"),
        Fault::Forbidden => message(403, "Resource not accessible by integration"),
        Fault::NotFound => message(404, "Not Found"),
        Fault::NotFoundPage => plain(404, "text/html", "<html>no such page</html>"),
        Fault::RateLimited(_) => message(403, "API rate limit exceeded"),
        Fault::RetryAfter(_) => message(429, "You have exceeded a secondary rate limit"),
        Fault::Status(status) => message(status, "fault"),
        Fault::Html => plain(200, "text/html; charset=utf-8", "<html><body>We will be back soon</body></html>"),
        Fault::WrongShape => plain(200, "application/json", r#"{"odd":true}"#),
        Fault::Hang => message(500, "late"),
        Fault::RedirectAway => {
            let to = "http://127.0.0.1:9/elsewhere";
            Response::builder().status(302).header("location", to).body(Body::empty()).unwrap()
        }
        Fault::HalfJson | Fault::CutBody | Fault::Empty => return None,
    })
}

fn with_limits(mut response: Response, fault: Option<Fault>) -> Response {
    let mut set = |name: &'static str, value: String| {
        response.headers_mut().insert(name, value.parse().unwrap());
    };
    match fault {
        Some(Fault::RateLimited(seconds)) => {
            set("x-ratelimit-remaining", "0".to_owned());
            set("x-ratelimit-reset", (jiff::Timestamp::now().as_second() + seconds).to_string());
        }
        Some(Fault::RetryAfter(seconds)) => set("retry-after", seconds.to_string()),
        _ => set("x-ratelimit-remaining", "4999".to_owned()),
    }
    response
}

async fn handle(state: &State, asked: &Asked, route: &str, who: &app::Who) -> Made {
    match route {
        "token" | "app" => return app::handle(state, asked, who),
        _ if *who == app::Who::App => return Made::Forbidden(""),
        "user" => return app::user(state),
        "repositories" => return repos::all(state, asked).await,
        "repo_by_id" => return repos::by_id(state, &asked.parts[1]).await,
        "create" => return repos::create(state, asked).await,
        "unknown" => return Made::Missing,
        _ => {}
    }
    let (needed, right) = match route {
        "pulls" | "pull" | "events" | "comments" => ("pull_requests", "read"),
        "comment" => ("pull_requests", "write"),
        "deployments" => ("deployments", "read"),
        "deployment" => ("deployments", "write"),
        "push" => ("administration", "write"),
        "repo" => ("metadata", "read"),
        _ => ("contents", "read"),
    };
    let has = state.model().permissions.get(needed).cloned().unwrap_or_default();
    let is_git = matches!(route, "git" | "push");
    let name = if is_git {
        format!("{}/{}", asked.parts[0], asked.parts[1].trim_end_matches(".git"))
    } else {
        format!("{}/{}", asked.parts[1], asked.parts[2])
    };
    let renamed = state.model().renamed.get(&name).cloned();
    if let Some(id) = renamed {
        let rest = asked.path_and_query.splitn(5, '/').nth(4).map_or(String::new(), |rest| format!("/{rest}"));
        return Made::Redirect(format!("{}/repositories/{id}{rest}", state.base()));
    }
    let Some(repository) = repos::visible(state, &name).await else { return Made::Missing };
    if has != "write" && has != right {
        return Made::Forbidden(if right == "read" { "read" } else { "write" });
    }
    match route {
        "git" | "push" => git::serve(state, asked, &name).await,
        "repo" => Made::Json(200, repos::render(&repository)),
        "pulls" => repos::pulls(state, &repository).await,
        "pull" => repos::pull(state, &repository, &asked.parts[4]).await,
        "ref" => repos::git_ref(state, &repository, &asked.parts[5..]).await,
        "events" => repos::events(state, &repository, &asked.parts[4]).await,
        _ => filed::handle(state, asked, &repository, who),
    }
}

fn render(state: &State, asked: &Asked, made: Made, fault: Option<Fault>) -> Response {
    let (status, body, link) = match made {
        Made::Git(response) => return response,
        Made::Missing => return message(404, "Not Found"),
        Made::Forbidden(right) => {
            let mut response = message(403, "Resource not accessible by personal access token");
            let value = format!("needed={right}");
            response.headers_mut().insert("x-accepted-github-permissions", value.parse().unwrap());
            return response;
        }
        Made::Redirect(to) => {
            let kind = "application/json";
            return Response::builder()
                .status(301)
                .header("location", to)
                .header("content-type", kind)
                .body("{}".into())
                .unwrap();
        }
        Made::Json(status, body) => (status, body, None),
        Made::List(all, wrap) => {
            let (page, link) = page(state, asked, all.clone());
            let body = match wrap {
                None => Value::from(page),
                Some(key) => json!({ "total_count": all.len(), key: page }),
            };
            (200, body, link)
        }
    };
    let body = match (fault, &body) {
        (Some(Fault::Empty), Value::Array(_)) => json!([]),
        (Some(Fault::Empty), Value::Object(map)) if map.contains_key("repositories") => {
            json!({ "total_count": 0, "repositories": [] })
        }
        (Some(Fault::Empty), _) => json!({}),
        _ => body,
    };
    let text = body.to_string();
    let tag =
        format!("W/\"{}\"", &hex::encode(Sha256::digest(format!("{text}{}", asked.header("authorization"))))[..32]);
    let mut response = Response::builder().header("etag", &tag);
    if let Some(link) = link {
        response = response.header("link", link);
    }
    if let Some(scopes) = &state.model().scopes {
        response = response.header("x-oauth-scopes", scopes);
    }
    if asked.method == Method::GET && asked.header("if-none-match") == tag && fault.is_none() {
        state.model().not_modified += 1;
        return response.status(304).body(Body::empty()).unwrap();
    }
    let response = response.status(status).header("content-type", "application/json; charset=utf-8");
    match fault {
        Some(Fault::HalfJson) => response.body(text[..text.len() / 2].to_owned().into()).unwrap(),
        Some(Fault::CutBody) => {
            // The announced length is longer than what comes.
            response.header("content-length", text.len() + 10).body(text.into()).unwrap()
        }
        _ => response.body(text.into()).unwrap(),
    }
}

/// One page of a listing, and the `Link` to the next.
fn page(state: &State, asked: &Asked, all: Vec<Value>) -> (Vec<Value>, Option<String>) {
    let number = |name: &str, default: usize| asked.query.get(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    let size = number("per_page", 30).min(100).min(state.model().page_max);
    let at = number("page", 1).max(1);
    let link = (at * size < all.len()).then(|| {
        let mut url = url::Url::parse(&format!("{}{}", state.base(), asked.path_and_query)).unwrap();
        let rest: Vec<(String, String)> =
            url.query_pairs().filter(|(key, _)| key != "page").map(|(k, v)| (k.into(), v.into())).collect();
        url.query_pairs_mut().clear().extend_pairs(rest).append_pair("page", &(at + 1).to_string());
        format!("<{url}>; rel=\"next\", <{url}>; rel=\"last\"")
    });
    (all.into_iter().skip((at - 1) * size).take(size).collect(), link)
}
