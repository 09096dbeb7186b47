//! A server of ours that answers as GitHub's REST API and git's smart protocol document, for tests.
//!
//! Owns a model (repositories and pull requests of the adapter `local`, comments and deployments in memory), what each route
//! answers from it, and faults that a test puts on a route. Refuses what is not documented: a request that GitHub would refuse is
//! refused here.
#![allow(clippy::unwrap_used, missing_docs)]
mod app;
mod filed;
mod git;
mod reply;
mod repos;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use slipway_kit::{
    clock::Clock,
    files::WorkDir,
    scm::{Scm, ScmConfig},
};

pub use reply::Fault;

pub const TOKEN: &str = "ghp_canary0token0of0the0test0server";
pub const APP_ID: u64 = 4711;
pub const INSTALLATION_ID: u64 = 815;
/// Login that a token's comments have.
pub const LOGIN: &str = "slipway-bot";

/// The server; cheap to clone. It stops with its last clone.
#[derive(Clone)]
pub struct Github(Arc<State>);

pub(crate) struct State {
    pub scm: Scm,
    pub clock: Clock,
    pub dir: WorkDir,
    pub address: std::net::SocketAddr,
    pub key: app::Key,
    pub seq: AtomicI64,
    pub model: Mutex<Model>,
    server: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// What is not in the local SCM.
pub(crate) struct Model {
    pub faults: BTreeMap<String, Fault>,
    /// Answers per route, and those of them that were 304.
    pub asked: BTreeMap<String, usize>,
    pub not_modified: usize,
    /// Former names of repositories.
    pub renamed: BTreeMap<String, String>,
    pub hidden: BTreeSet<String>,
    pub permissions: BTreeMap<String, String>,
    pub scopes: Option<String>,
    pub page_max: usize,
    pub tokens: BTreeSet<String>,
    pub token_seconds: i64,
    pub comments: Vec<filed::Comment>,
    pub deployments: Vec<filed::Deployment>,
}

/// One request, read.
pub(crate) struct Asked {
    pub method: Method,
    pub parts: Vec<String>,
    pub query: BTreeMap<String, String>,
    pub path_and_query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Github {
    /// A server with no repositories on a free port.
    pub async fn start() -> Self {
        let dir = WorkDir::temporary().unwrap();
        let clock = Clock::manual(1_800_000_000_000_000);
        let scm = Scm::open_with("model", &ScmConfig::local(dir.path().join("repos")), clock.clone()).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let all = ["metadata", "contents", "pull_requests", "deployments", "administration"];
        let model = Model {
            faults: BTreeMap::new(),
            asked: BTreeMap::new(),
            not_modified: 0,
            renamed: BTreeMap::new(),
            hidden: BTreeSet::new(),
            permissions: all.iter().map(|name| ((*name).to_owned(), "write".to_owned())).collect(),
            scopes: None,
            page_max: 100,
            tokens: BTreeSet::from([TOKEN.to_owned()]),
            token_seconds: 3600,
            comments: Vec::new(),
            deployments: Vec::new(),
        };
        let state = Arc::new(State {
            scm,
            clock,
            dir,
            address: listener.local_addr().unwrap(),
            key: app::Key::generate(),
            seq: AtomicI64::new(1000),
            model: Mutex::new(model),
            server: Mutex::new(None),
        });
        let weak = Arc::downgrade(&state);
        let handler = move |request: Request| {
            let weak = weak.clone();
            async move {
                match weak.upgrade() {
                    Some(state) => answer(state, request).await,
                    None => Response::builder().status(503).body(Body::empty()).unwrap(),
                }
            }
        };
        let router = Router::new().fallback(handler);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        *state.server.lock().unwrap() = Some(server);
        Self(state)
    }

    /// Base address of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// The model: whoever changes it does what people and pushes do at the provider.
    pub fn scm(&self) -> &Scm {
        &self.0.scm
    }

    /// The provider's clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// A connection with a token; its files lie in the server's directory.
    pub fn with_token(&self, name: &str) -> ScmConfig {
        let file = self.0.dir.path().join(format!("{name}.token"));
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        ScmConfig::github(self.0.dir.path().join(format!("mirrors-{name}")), &self.url(), file)
    }

    /// A connection with an App's installation.
    pub fn with_app(&self, name: &str) -> ScmConfig {
        let file = self.0.dir.path().join(format!("{name}.pem"));
        std::fs::write(&file, self.0.key.pem()).unwrap();
        ScmConfig {
            token_file: None,
            app_id: Some(APP_ID),
            installation_id: Some(INSTALLATION_ID),
            private_key_file: Some(file),
            ..self.with_token(name)
        }
    }

    /// Directory of the server's files.
    pub fn dir(&self) -> &std::path::Path {
        self.0.dir.path()
    }

    /// Answers a route, or every one by `*`, with a fault from now on.
    pub fn fail(&self, route: &str, fault: Fault) {
        self.model().faults.insert(route.to_owned(), fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.model().faults.clear();
    }

    /// How often a route was asked.
    pub fn asked(&self, route: &str) -> usize {
        self.model().asked.get(route).copied().unwrap_or(0)
    }

    /// How many requests there were in all.
    pub fn asked_in_all(&self) -> usize {
        self.model().asked.values().sum()
    }

    /// How many answers were 304.
    pub fn not_modified(&self) -> usize {
        self.model().not_modified
    }

    /// Most things on one page.
    pub fn set_page_max(&self, max: usize) {
        self.model().page_max = max;
    }

    /// Life of the next installation tokens.
    pub fn set_token_seconds(&self, seconds: i64) {
        self.model().token_seconds = seconds;
    }

    /// Makes every token but the static one void.
    pub fn revoke_tokens(&self) {
        self.model().tokens = BTreeSet::from([TOKEN.to_owned()]);
    }

    /// Sets a permission of the installation and of the token; "none" takes it away.
    pub fn set_permission(&self, name: &str, right: &str) {
        self.model().permissions.insert(name.to_owned(), right.to_owned());
    }

    /// Makes the token a classic one with these scopes.
    pub fn set_scopes(&self, scopes: &str) {
        self.model().scopes = Some(scopes.to_owned());
    }

    /// Takes a repository out of what the connection may see; 404 from now on.
    pub fn hide(&self, name: &str) {
        self.model().hidden.insert(name.to_owned());
    }

    /// Comments of a pull request: login and text.
    pub fn comments(&self, number: i64) -> Vec<(String, String)> {
        let model = self.model();
        let of = model.comments.iter().filter(|comment| comment.number == number);
        of.map(|comment| (comment.login.clone(), comment.body.clone())).collect()
    }

    /// Writes a comment as somebody.
    pub fn comment_as(&self, repository_id: &str, number: i64, login: &str, body: &str) {
        let id = self.0.next();
        let comment = filed::Comment {
            id,
            repository: repository_id.to_owned(),
            number,
            login: login.to_owned(),
            app: None,
            body: body.to_owned(),
        };
        self.model().comments.push(comment);
    }

    /// Deployments of an environment, oldest first: commit and newest state.
    pub fn deployments(&self, environment: &str) -> Vec<(String, String)> {
        let model = self.model();
        let of = model.deployments.iter().filter(|deployment| deployment.environment == environment);
        of.map(|deployment| (deployment.sha.clone(), deployment.state().to_owned())).collect()
    }

    /// Renames a repository; its old name redirects, its id stays.
    pub async fn rename(&self, old: &str, new: &str) {
        let root = self.0.dir.path().join("repos");
        let to = root.join(format!("{new}.git"));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::rename(root.join(format!("{old}.git")), to).unwrap();
        let id = self.0.scm.repository(new).await.unwrap().unwrap().id;
        self.model().renamed.insert(old.to_owned(), id);
    }

    /// Archives a repository.
    pub fn archive(&self, name: &str) {
        let file = self.0.dir.path().join(format!("repos/{name}.git/slipway.json"));
        let mut meta: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        meta["archived"] = Value::Bool(true);
        std::fs::write(file, meta.to_string()).unwrap();
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.model()
    }
}

impl State {
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    pub fn next(&self) -> i64 {
        self.seq.fetch_add(1, Ordering::SeqCst)
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.abort();
        }
    }
}

async fn answer(state: Arc<State>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 256 << 20).await.unwrap();
    let decode = |text: &str| url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let mut asked = Asked {
        parts: head.uri.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        query: decode(head.uri.query().unwrap_or_default()),
        path_and_query: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        method: head.method,
        headers: head.headers,
        body,
    };
    // The address by id that a renamed repository redirects to.
    if asked.parts.len() > 2 && asked.parts[0] == "repositories" {
        let found = state.scm.repository_by_id(&asked.parts[1]).await.unwrap();
        if let Some((owner, short)) = found.as_ref().and_then(|found| found.name.split_once('/')) {
            asked.parts.splice(0..2, ["repos", owner, short].map(str::to_owned));
        }
    }
    reply::answer(&state, &asked).await
}
