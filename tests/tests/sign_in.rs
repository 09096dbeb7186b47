//! A developer opens a preview in a browser: away to the platform's own page, back signed in, out again when the token is revoked.
//! On a real cluster, with plain requests and a jar of cookies kept by hand.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use slipway_proto::access::v1 as access;
use slipway_proto::environment::v1 as environment;
use slipway_tests::cluster::Cluster;
use slipway_tests::main_job::eventually;
use slipway_tests::platform::{Engine, Handle, Platform};
use slipway_tests::preview_job::{PreviewJob, host};
use slipway_tests::program;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TOOLS: &[&str] = &["git", "helm", "go", "kubectl"];

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_at_a_preview_and_is_out_when_its_token_is_revoked() {
    if !program::have("sign-in at a preview", TOOLS) {
        return;
    }
    let Some(cluster) = Cluster::with_images("sign-in at a preview") else { return };
    let platform = Platform::start(Engine::Sqlite).unwrap();
    let told = the_story(&platform.handle(), cluster).await;
    told.unwrap_or_else(|e| panic!("{e:?}\n{}", platform.log()));
}

async fn the_story(handle: &Handle, cluster: Cluster) -> Result<()> {
    let this = PreviewJob::begin(handle, cluster, "browsed").await?;
    let (number, sha) = this.open("faster", "docs/faster.md=faster")?;
    let image = this.build(&sha)?;
    let asked = this.ensure(number, &sha, &image).await?;
    let env = this.ready(&asked.name, &sha).await?;
    let reached = env.conditions.iter().find(|c| c.r#type == "Reachable").map(|c| c.reason.clone());
    ensure!(reached.as_deref() == Some("ANSWERS"), "{:#?}", env.conditions);
    signed_in_and_out(&this, &env, &sha).await?;
    this.close(number)?;
    this.job.deleted(&env.name).await.map(drop)
}

async fn signed_in_and_out(this: &PreviewJob, env: &environment::Environment, sha: &str) -> Result<()> {
    let mut browser = Browser { gateway: this.job.handle.address, jar: BTreeMap::new() };
    let preview = format!("http://{}/version", host(env)?);
    // Followed by hand, as a browser does: to the platform's page.
    let away = browser.get(&preview).await?;
    ensure!(away.status == 303, "{} {}", away.status, away.body);
    let page_at = away.location()?;
    ensure!(page_at.starts_with("http://localhost:"), "{page_at}");
    let page = browser.get(&page_at).await?;
    ensure!(page.status == 200 && page.body.contains("name=\"token\""), "{} {}", page.status, page.body);
    // A token of Ann's own for her browser, from the form of the page.
    let scopes = vec![access::TokenScope { permission: "*".to_owned(), resource: "*".to_owned() }];
    let token = access::Token { display_name: "browser".to_owned(), scopes, ..Default::default() };
    let ask = access::CreateTokenRequest { token: Some(token), ..Default::default() };
    let made = this.job.ann.tokens().create_token(ask).await?.into_inner();
    let form = format!("{}&token={}", page_at.split_once('?').context("no query")?.1, made.secret);
    let back = browser.post(&page_at, &form).await?;
    ensure!(back.status == 303, "{} {}", back.status, back.body);
    let code_at = back.location()?;
    ensure!(code_at.contains("/.slipway/session?code="), "{code_at}");
    let done = browser.get(&code_at).await?;
    ensure!(done.status == 303 && done.location()? == "/version", "{} {}", done.status, done.head);
    let shown = browser.get(&preview).await?;
    ensure!(shown.status == 200 && shown.body.contains(sha), "{} {}", shown.status, shown.body);
    ensure!(!browser.jar.values().any(|jar| jar.values().any(|v| v.contains(&made.secret))), "the token is in the jar");
    // The code is spent, also for this browser.
    ensure!(browser.get(&code_at).await?.status == 400, "a code is used twice");
    // Revoked: at the next look it is out.
    let name = made.token.context("no token")?.name;
    let revoke = access::RevokeTokenRequest { name, ..Default::default() };
    this.job.ann.tokens().revoke_token(revoke).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let out = browser.get(&preview).await?;
    ensure!(out.status == 303 && out.location()?.starts_with("http://localhost:"), "{} {}", out.status, out.body);
    let still = || async { this.get(env, "/version", &this.token()).await };
    eventually("another token of hers", still, |answer| answer.status == 200).await.map(drop)
}

/// Cookies by host and name, and the one gateway that every host is at.
struct Browser {
    gateway: SocketAddr,
    jar: BTreeMap<String, BTreeMap<String, String>>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.head.lines().filter_map(|line| line.split_once(':'));
        all.filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn location(&self) -> Result<String> {
        self.headers("location").next().map(str::to_owned).with_context(|| format!("no location: {}", self.head))
    }
}

impl Browser {
    async fn get(&mut self, address: &str) -> Result<Answer> {
        self.send("GET", address, "sec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n", "").await
    }

    async fn post(&mut self, address: &str, form: &str) -> Result<Answer> {
        let (origin, _) = apart(address)?;
        let (at, _) = address.split_once('?').unwrap_or((address, ""));
        let head = format!("origin: http://{origin}\r\ncontent-type: application/x-www-form-urlencoded\r\n");
        self.send("POST", at, &head, form).await
    }

    async fn send(&mut self, method: &str, address: &str, head: &str, body: &str) -> Result<Answer> {
        let (authority, target) = apart(address)?;
        let host = authority.split(':').next().unwrap_or_default().to_owned();
        let own: Vec<String> = self.jar.get(&host).into_iter().flatten().map(|(n, v)| format!("{n}={v}")).collect();
        let cookies = if own.is_empty() { String::new() } else { format!("cookie: {}\r\n", own.join("; ")) };
        let text = format!(
            "{method} {target} HTTP/1.1\r\nhost: {authority}\r\naccept: text/html,*/*;q=0.8\r\n{cookies}{head}\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(self.gateway).await?;
        socket.write_all(text.as_bytes()).await?;
        let mut bytes = Vec::new();
        tokio::time::timeout(Duration::from_secs(30), socket.read_to_end(&mut bytes)).await??;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer came")?;
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no HTTP status came")?;
        let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
        let jar = self.jar.entry(host).or_default();
        for cookie in answer.headers("set-cookie") {
            ensure!(cookie.contains("HttpOnly") && !cookie.to_lowercase().contains("domain="), "{cookie}");
            let (name, value) = cookie.split(';').next().and_then(|c| c.split_once('=')).context("no cookie")?;
            jar.insert(name.to_owned(), value.to_owned());
        }
        Ok(answer)
    }
}

/// Authority and target of an address.
fn apart(address: &str) -> Result<(&str, &str)> {
    let rest = address.strip_prefix("http://").with_context(|| format!("no address: {address}"))?;
    let at = rest.find('/').unwrap_or(rest.len());
    Ok((&rest[..at], if at == rest.len() { "/" } else { &rest[at..] }))
}
