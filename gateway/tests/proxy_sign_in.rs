//! Browsers sign in at hosts of the proxy: away to the platform's own page, back with a code, a cookie of that host from then on.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/proxied.rs"]
mod proxied;
mod support;

use proxied::{HOST, Running, route, upstream};
use reqwest::{RequestBuilder, Response};
use slipway_gateway::{app::tokens::mint, store::Store};
use slipway_proto::{access::v1 as access, environment::v1 as pb};
use support::{Wish, bearer};

/// What the platform is told its own address is; the tests find it at another port.
const PLATFORM: &str = "http://localhost:7070";
const OTHER: &str = "pr-8-x.preview.localhost";

struct Browser {
    running: Running,
    client: reqwest::Client,
    at: std::net::SocketAddr,
    _task: tokio::task::JoinHandle<()>,
}

impl Browser {
    async fn start() -> Self {
        Self::open_to(pb::RouteAccess::SignedIn).await
    }

    async fn open_to(access: pb::RouteAccess) -> Self {
        let running = Running::with(Wish::default(), |p| p.platform_url = Some(PLATFORM.to_owned())).await;
        let (at, task) = upstream("one").await;
        let other = pb::Route {
            host: OTHER.to_owned(),
            uid: "uid-8".to_owned(),
            ..route(pb::RouteAccess::SignedIn, pb::RouteState::Up, &[at])
        };
        running.stub.table.send_replace(vec![route(access, pb::RouteState::Up, &[at]), other]);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .resolve(HOST, running.platform.address)
            .resolve(OTHER, running.platform.address)
            .resolve("localhost", running.platform.address)
            .build()
            .unwrap();
        Self { running, client, at, _task: task }
    }

    /// A request to an address as the platform writes it.
    fn ask(&self, method: reqwest::Method, address: &str) -> RequestBuilder {
        let here = address.replace(":7070", &format!(":{}", self.running.platform.address.port()));
        let request = self.client.request(method, here).header("accept", "text/html,*/*;q=0.8");
        request.header("host", address.split('/').nth(2).unwrap())
    }

    fn visit(&self, address: &str, cookies: &str) -> RequestBuilder {
        let request = self.ask(reqwest::Method::GET, address);
        if cookies.is_empty() { request } else { request.header("cookie", cookies) }
    }

    /// The form of the sign-in page at this address.
    fn form(&self, page: &str, token: &str) -> RequestBuilder {
        let url = reqwest::Url::parse(page).unwrap();
        let mut fields: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        fields.push(("token".to_owned(), token.to_owned()));
        let body = reqwest::Url::parse_with_params("http://x", &fields).unwrap().query().unwrap().to_owned();
        self.ask(reqwest::Method::POST, &format!("{PLATFORM}/sign-in"))
            .header("origin", PLATFORM)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// Goes the whole way; answers where the code was taken, what the browser had before, and its session's cookie.
    async fn sign_in(&self, host: &str, token: &str) -> (String, String, String) {
        let away = self.visit(&format!("http://{host}:7070/a?b=c"), "").send().await.unwrap();
        let (page, begun) = (location(&away), cookie(&away));
        let back = self.form(&page, token).send().await.unwrap();
        assert_eq!(back.status(), 303, "{:?}", back.text().await);
        let code = location(&back);
        let done = self.visit(&code, &begun).send().await.unwrap();
        assert_eq!((done.status().as_u16(), location(&done).as_str()), (303, "/a?b=c"));
        (code, begun, cookie(&done))
    }

    /// A token of the first administrator's, to be revoked.
    async fn token(&self) -> (String, String) {
        let channel = self.running.platform.channel().await;
        let mut tokens = access::token_service_client::TokenServiceClient::new(channel);
        let scopes = vec![access::TokenScope { permission: "*".to_owned(), resource: "*".to_owned() }];
        let token = Some(access::Token { display_name: "browser".to_owned(), scopes, ..Default::default() });
        let ask = access::CreateTokenRequest { token, ..Default::default() };
        let made = tokens.create_token(bearer(&self.running.platform.token, ask)).await.unwrap().into_inner();
        (made.token.unwrap().name, made.secret)
    }
}

fn location(answer: &Response) -> String {
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// The first cookie that an answer sets, as it is sent.
fn cookie(answer: &Response) -> String {
    answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_browser_goes_away_and_comes_back_signed_in() {
    let browser = Browser::start().await;
    let token = browser.running.platform.token.clone();
    let away = browser.visit(&format!("http://{HOST}:7070/a?b=c"), "").send().await.unwrap();
    assert_eq!(away.status(), 303);
    assert!(location(&away).starts_with(&format!("{PLATFORM}/sign-in?host={HOST}&state=")), "{}", location(&away));
    let set = away.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.contains("HttpOnly; SameSite=Lax") && !set.contains("Domain"), "{set}");
    let page = browser.visit(&location(&away), "").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains(&format!("form-action 'self' http://{HOST}:7070")), "{policy}");
    let text = page.text().await.unwrap();
    assert!(text.contains(HOST) && text.contains("name=\"token\"") && !text.contains("Continue as"), "{text}");

    let (_, _, session) = browser.sign_in(HOST, &token).await;
    assert!(session.starts_with("slipway-session=") && !session.contains("slw_") && session.len() < 1024);
    let answer = browser.visit(&format!("http://{HOST}:7070/a"), &format!("own=1; {session}"));
    let answer = answer.header("authorization", "Basic b3du").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = answer.text().await.unwrap();
    assert!(seen.contains("cookie: own=1\r\n") && !seen.contains("slipway-"), "the session stays here: {seen}");
    assert!(seen.contains("authorization: basic b3du"), "the application's own goes on: {seen}");
    // A program gets no page.
    let program = browser.running.get("/").send().await.unwrap();
    assert_eq!((program.status().as_u16(), &program.headers()["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
    // Two credentials are none.
    let two = browser.visit(&format!("http://{HOST}:7070/"), &session).bearer_auth(&token).send().await.unwrap();
    assert_eq!(two.status(), 401);
}

#[tokio::test]
async fn the_page_remembers_who_signed_in_and_asks_before_the_next_host() {
    let browser = Browser::start().await;
    let token = browser.running.platform.token.clone();
    let away = browser.visit(&format!("http://{HOST}:7070/"), "").send().await.unwrap();
    let page = location(&away);
    let back = browser.form(&page, &token).send().await.unwrap();
    let known = cookie(&back);
    let next = browser.visit(&format!("http://{OTHER}:7070/"), "").send().await.unwrap();
    let page = browser.visit(&location(&next), &known).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Continue as user:default/admin"), "{page}");
    let back = browser.form(&location(&next), "").header("cookie", &known).send().await.unwrap();
    assert!(location(&back).starts_with(&format!("http://{OTHER}:7070/.slipway/session?code=")), "{}", location(&back));
    // The page's own cookie opens no host.
    let refused = browser.visit(&format!("http://{HOST}:7070/"), &known).send().await.unwrap();
    assert_eq!(refused.status(), 303);
    assert!(location(&refused).starts_with(PLATFORM));
}

#[tokio::test]
async fn a_code_is_of_one_host_one_browser_and_one_use() {
    let browser = Browser::start().await;
    let token = browser.running.platform.token.clone();
    let (code, begun, session) = browser.sign_in(HOST, &token).await;
    let again = browser.visit(&code, &begun).send().await.unwrap();
    assert_eq!(again.status(), 400, "used");
    let away = browser.visit(&format!("http://{HOST}:7070/"), "").send().await.unwrap();
    let back = browser.form(&location(&away), &token).send().await.unwrap();
    let (fresh, own) = (location(&back), cookie(&away));
    for (address, cookies) in [
        (fresh.clone(), String::new()),
        (fresh.clone(), "slipway-sign-in=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()),
        (fresh.replace(HOST, OTHER), own.clone()),
        (format!("{}x", fresh), own.clone()),
        (format!("http://{HOST}:7070/.slipway/session?code={}", session.split_once('=').unwrap().1), own.clone()),
        (format!("http://{HOST}:7070/.slipway/session"), own.clone()),
    ] {
        assert_eq!(browser.visit(&address, &cookies).send().await.unwrap().status(), 400, "{address} {cookies}");
    }
    assert_eq!(browser.visit(&fresh, &own).send().await.unwrap().status(), 303, "and still good for its own");
    // A session is of its host alone.
    let other = browser.visit(&format!("http://{OTHER}:7070/"), &session).send().await.unwrap();
    assert_eq!(other.status(), 303);
}

#[tokio::test]
async fn nobody_is_sent_elsewhere_and_no_other_page_sends_the_form() {
    let browser = Browser::start().await;
    let token = browser.running.platform.token.clone();
    let away = browser.visit(&format!("http://{HOST}:7070/"), "").send().await.unwrap();
    let page = location(&away);
    for host in ["evil.example", "preview.localhost", "pr-9-x.preview.localhost", "localhost", "a@b", ""] {
        let asked = page.replace(HOST, host);
        assert_eq!(browser.visit(&asked, "").send().await.unwrap().status(), 404, "{host}");
        assert_eq!(browser.form(&asked, &token).send().await.unwrap().status(), 404, "{host}");
    }
    let base = page.split("&path=").next().unwrap();
    for path in ["//evil.example/", "https://evil.example/", "/%5Cevil.example", "/.slipway/sign-out"] {
        let back = browser.form(&format!("{base}&path={path}"), &token).send().await.unwrap();
        let done = browser.visit(&location(&back), &cookie(&away)).send().await.unwrap();
        assert_eq!(location(&done), "/", "{path}");
    }
    for (name, value) in [("origin", format!("http://{HOST}:7070")), ("origin", "null".to_owned())] {
        let mut form = browser.form(&page, &token).build().unwrap();
        form.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(browser.client.execute(form).await.unwrap().status(), 403, "{value}");
    }
    let mut form = browser.form(&page, &token).build().unwrap();
    form.headers_mut().remove("origin");
    assert_eq!(browser.client.execute(form).await.unwrap().status(), 403);
    let large = browser.form(&page, &"x".repeat(30_000)).send().await.unwrap();
    assert_eq!(large.status(), 413);
    let wrong = browser.form(&page, "slw_wrong").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert!(!wrong.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn pages_of_other_hosts_can_do_nothing_with_the_cookie() {
    let browser = Browser::start().await;
    let token = browser.running.platform.token.clone();
    let (_, _, session) = browser.sign_in(HOST, &token).await;
    let ask = |headers: &[(&'static str, &str)]| {
        let request = browser.visit(&format!("http://{HOST}:7070/"), &session);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send()
    };
    let (own, other) = (format!("http://{HOST}:7070"), format!("http://{OTHER}:7070"));
    assert_eq!(ask(&[("origin", &own)]).await.unwrap().status(), 200);
    assert_eq!(ask(&[("origin", &other)]).await.unwrap().status(), 403);
    assert_eq!(ask(&[("origin", "null")]).await.unwrap().status(), 403);
    assert_eq!(ask(&[("origin", &format!("http://{HOST}:9999"))]).await.unwrap().status(), 403);
    assert_eq!(ask(&[("sec-fetch-site", "same-origin")]).await.unwrap().status(), 200);
    assert_eq!(ask(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")]).await.unwrap().status(), 403);
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(ask(&link).await.unwrap().status(), 200, "a link is followed");
    let frame = [("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    assert_eq!(ask(&frame).await.unwrap().status(), 403);
    // Another host of the same life is no stranger.
    let sibling =
        pb::Route { host: OTHER.to_owned(), ..route(pb::RouteAccess::SignedIn, pb::RouteState::Up, &[browser.at]) };
    browser
        .running
        .stub
        .table
        .send_replace(vec![route(pb::RouteAccess::SignedIn, pb::RouteState::Up, &[browser.at]), sibling]);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(ask(&[("origin", &other)]).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_revoked_token_signs_out_within_a_second() {
    let browser = Browser::start().await;
    let (name, secret) = browser.token().await;
    let (_, _, session) = browser.sign_in(HOST, &secret).await;
    let at = format!("http://{HOST}:7070/");
    assert_eq!(browser.visit(&at, &session).send().await.unwrap().status(), 200);
    let channel = browser.running.platform.channel().await;
    let mut tokens = access::token_service_client::TokenServiceClient::new(channel);
    let revoke = access::RevokeTokenRequest { name, ..Default::default() };
    tokens.revoke_token(bearer(&browser.running.platform.token, revoke)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_000)).await;
    let gone = browser.visit(&at, &session).send().await.unwrap();
    assert_eq!(gone.status(), 303, "back to the sign-in page");
    let program = browser.running.get("/").header("cookie", &session).send().await.unwrap();
    assert_eq!(program.status(), 401);
}

#[tokio::test]
async fn who_may_not_use_the_host_is_told_so_and_no_code_is_made() {
    let browser = Browser::open_to(pb::RouteAccess::AllowList).await;
    let store = Store::new(browser.running.platform.service_db.clone());
    let key = std::fs::read(browser.running.platform.signer_key.path().join("token.key")).unwrap();
    let plain = mint();
    let now_us = slipway_kit::clock::Clock::system().now_us();
    let row = slipway_gateway::app::tokens::described(
        &plain,
        "eve".to_owned(),
        "user:default/eve".to_owned(),
        Vec::new(),
        now_us,
        3_600_000_000,
    );
    let key: [u8; 32] = key.try_into().unwrap_or_else(|key: Vec<u8>| panic!("a key of {} bytes", key.len()));
    let mut tx = store.db().begin().await.unwrap();
    store.add_token(&mut tx, &row, &plain.keyed_hash(&key)).await.unwrap();
    tx.commit().await.unwrap();
    let away = browser.visit(&format!("http://{HOST}:7070/"), "").send().await.unwrap();
    let refused = browser.form(&location(&away), plain.expose()).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(!refused.headers().contains_key("location"));
    assert!(refused.text().await.unwrap().contains("user:default/eve may not use this address"));
    let (_, _, admin) = browser.sign_in(HOST, &browser.running.platform.token).await;
    assert_eq!(browser.visit(&format!("http://{HOST}:7070/"), &admin).send().await.unwrap().status(), 200);
    // Signed in where it is open to all, and not on the list here.
    let (_, _, eve) = browser.sign_in(OTHER, plain.expose()).await;
    assert_eq!(browser.visit(&format!("http://{OTHER}:7070/"), &eve).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn robots_are_kept_out_where_not_everybody_may_come() {
    let browser = Browser::start().await;
    let robots = browser.running.get("/robots.txt").send().await.unwrap();
    assert_eq!(robots.status(), 200);
    assert!(robots.headers()["x-robots-tag"].to_str().unwrap().contains("noindex"));
    assert_eq!(robots.text().await.unwrap(), "User-agent: *\nDisallow: /\n");
    browser.running.set(route(pb::RouteAccess::Public, pb::RouteState::Up, &[browser.at])).await;
    let own = browser.running.get("/robots.txt").send().await.unwrap();
    assert!(own.text().await.unwrap().starts_with("one\n"), "the application's own");
    let page = browser.visit(&format!("http://{HOST}:7070/.slipway/session"), "").send().await.unwrap();
    assert!(page.text().await.unwrap().starts_with("one\n"));
}
