//! The proxy: requests for hosts of the table go to what stands behind them, as they are.
//!
//! Owns who may pass, waking what sleeps, and when a request may be tried elsewhere. Refuses requests whose host has no one meaning,
//! and to repeat what may have been done.

mod headers;
pub(super) mod page;
mod probe;
pub(super) mod sign_in;
mod tunnel;
mod watched;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use slipway_kit::serve::{Body, Peer};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Edge, admit};
use crate::{
    config,
    model::{
        credential,
        host::{Claim, Domain},
        session::SESSION_COOKIE,
        upstream::{Access, Route, State},
    },
    world::{
        routes::Routes,
        upstream::{Failure, Going, How, Upstreams},
    },
};
use page::Notice;
pub use probe::Probed;
use sign_in::Door;
use watched::{Moved, watched};

/// Seconds after which a page that waits looks again.
const RELOAD_SECONDS: u32 = 2;
/// How long a request that found no open door is tried again.
const RETRY_TIME: Duration = Duration::from_secs(5);
/// Pause between two rounds over the doors.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What the proxy stands on.
pub struct Proxy {
    domain: Domain,
    routes: Routes,
    upstreams: Upstreams,
    config: config::Proxy,
    door: Option<Door>,
    tunnels: Arc<Semaphore>,
    busy: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A request's place at its host, counted until dropped.
type Place = OwnedSemaphorePermit;

impl Proxy {
    /// A proxy over a table.
    #[must_use]
    pub fn new(config: &config::Proxy, routes: Routes) -> Self {
        let upstreams = Upstreams::new(Duration::from_millis(config.connect_timeout_ms));
        let (domain, busy) = (Domain::new(&config.domain), Mutex::default());
        let door = config.platform_url.as_deref().and_then(Door::at);
        let tunnels = Arc::new(Semaphore::new(config.tunnels));
        Self { domain, routes, upstreams, config: config.clone(), door, tunnels, busy }
    }

    /// Where browsers sign in, if they can.
    pub(super) fn door(&self) -> Option<&Door> {
        self.door.as_ref()
    }

    /// The route of a host that needs a sign-in.
    pub(super) fn guarded(&self, host: &str) -> Option<Arc<Route>> {
        self.routes.find(host).flatten().filter(|route| route.access != Access::Public)
    }

    /// What a request says of its host.
    pub(super) fn claim(&self, request: &Request<Body>) -> Claim {
        let hosts: Vec<&[u8]> = request.headers().get_all(header::HOST).iter().map(|v| v.as_bytes()).collect();
        self.domain.claim(request.uri().authority().map(http::uri::Authority::as_str), &hosts)
    }

    fn place(&self, host: &str) -> Option<Place> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.config.requests_per_host;
        busy.retain(|name, room| name == host || room.available_permits() < most);
        let room = busy.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(most)));
        room.clone().try_acquire_owned().ok()
    }

    /// The route once it can answer, or what to tell instead.
    async fn awake(&self, host: &str, is_page: bool) -> Result<Arc<Route>, Response<Body>> {
        let until = Instant::now() + Duration::from_secs(self.config.hold_seconds);
        let mut changes = self.routes.subscribe();
        loop {
            changes.mark_unchanged();
            let Some(Some(route)) = self.routes.find(host) else { return Err(unknown(is_page)) };
            if route.is_ready() {
                return Ok(route);
            }
            let look = format!("{} does not answer. See its conditions: GET /v1/{}.", route.resource, route.resource);
            if route.state == State::None {
                return Err(Notice::new(StatusCode::BAD_GATEWAY, &look).of(&route.uid).answer(is_page));
            }
            if route.state == State::Asleep {
                self.routes.wake(host).await;
            }
            if is_page || Instant::now() >= until {
                let text = format!("{} is waking up. This takes some seconds.", route.resource);
                let notice = Notice::new(StatusCode::SERVICE_UNAVAILABLE, &text).again(RELOAD_SECONDS);
                return Err(notice.of(&route.uid).answer(is_page));
            }
            let pause = tokio::time::sleep_until(until.min(Instant::now() + Duration::from_secs(1)));
            tokio::select! { _ = changes.changed() => {}, () = pause => {} }
        }
    }

    /// Sends a request to one of the addresses at its path, and to another one if nothing was done.
    async fn send(&self, host: &str, request: Request<Body>) -> Result<(Response<Incoming>, Going), StatusCode> {
        let is_grpc =
            request.headers().get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
        let path = request.uri().path().to_owned();
        let replay = replay(&request);
        let mut request = request;
        let (until, mut tried) = (Instant::now() + RETRY_TIME, Vec::<SocketAddr>::new());
        loop {
            // Read anew each time: while a host rolls to another version, its addresses change.
            let route = self.routes.find(host).flatten().ok_or(StatusCode::NOT_FOUND)?;
            let upstream = route.upstream(&path).ok_or(StatusCode::NOT_FOUND)?;
            let Some(at) = self.upstreams.choose(&upstream.endpoints, &tried) else {
                if Instant::now() >= until {
                    return Err(StatusCode::BAD_GATEWAY);
                }
                tried.clear();
                let mut changes = self.routes.subscribe();
                tokio::select! { _ = changes.changed() => {}, () = tokio::time::sleep(RETRY_PAUSE) => {} }
                continue;
            };
            tried.push(at);
            let how = match (upstream.is_h2c || is_grpc, &replay) {
                (true, _) => How::H2c,
                (false, Some(_)) => How::Kept,
                (false, None) => How::Fresh,
            };
            match self.upstreams.send(at, how, shaped(request, host, how)).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Unsent(again)) => request = *again,
                Err(Failure::Lost) => match &replay {
                    Some(again) if Instant::now() < until => request = again.clone().map(|()| Body::empty()),
                    _ => return Err(StatusCode::BAD_GATEWAY),
                },
            }
        }
    }
}

/// The request to send again if it may have been received: only one that changes nothing and has no body.
fn replay(request: &Request<Body>) -> Option<Request<()>> {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_safe || !http_body::Body::is_end_stream(request.body()) || request.headers().contains_key(header::UPGRADE) {
        return None;
    }
    let mut again = Request::new(());
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    Some(again)
}

/// The request with target and version as the connection wants them.
fn shaped(mut request: Request<Body>, host: &str, how: How) -> Request<Body> {
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let (target, version) = match how {
        How::H2c => (format!("http://{host}{path}"), Version::HTTP_2),
        How::Kept | How::Fresh => (path, Version::HTTP_11),
    };
    if let Ok(target) = target.parse::<Uri>() {
        *request.uri_mut() = target;
    }
    if how == How::H2c {
        request.headers_mut().remove(header::HOST);
    }
    *request.version_mut() = version;
    request
}

fn too_many(is_page: bool) -> Response<Body> {
    let text = "Too many failed credentials.";
    Notice::new(StatusCode::TOO_MANY_REQUESTS, text).again(60).answer(is_page)
}

fn unknown(is_page: bool) -> Response<Body> {
    Notice::new(StatusCode::NOT_FOUND, "There is nothing at this address.").answer(is_page)
}

impl Edge {
    /// A request whose host is the proxy's.
    pub(super) async fn proxied(&self, proxy: &Proxy, claim: Claim, request: Request<Body>) -> Response<Body> {
        let is_page = headers::wants_page(request.method(), request.headers());
        let Claim::Host(host, port) = claim else {
            return Notice::new(StatusCode::BAD_REQUEST, "The request does not name one host.").answer(is_page);
        };
        if headers::is_smuggling(request.headers()) || request.method() == Method::CONNECT {
            return Notice::new(StatusCode::BAD_REQUEST, "The request cannot be passed on.").answer(is_page);
        }
        let route = match proxy.routes.find(&host) {
            None => {
                let text = "The routes are not known yet.";
                return Notice::new(StatusCode::SERVICE_UNAVAILABLE, text).again(RELOAD_SECONDS).answer(is_page);
            }
            Some(None) => return unknown(is_page),
            Some(Some(route)) => route,
        };
        let named = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let asked = Asked { method, uri, headers, from: admit::source(&request), is_page };
        if route.access != Access::Public {
            if let Some(answer) = self.own_page(proxy, &route, &asked).await {
                return answer;
            }
            if request.uri().path() == "/robots.txt" && matches!(*request.method(), Method::GET | Method::HEAD) {
                return page::robots();
            }
        }
        let passed = match self.may_pass(proxy, &route, &named, &asked).await {
            Ok(passed) => passed,
            Err(refused) => return refused,
        };
        let Some(place) = proxy.place(&host) else {
            let text = "This host has too many requests going on.";
            return Notice::new(StatusCode::SERVICE_UNAVAILABLE, text).again(1).answer(is_page);
        };
        proxy.routes.count(&host);
        let mut answer = match proxy.awake(&host, is_page).await {
            Ok(route) => self.pass(proxy, &route, &named, request, (place, passed.is_bearer), is_page).await,
            Err(answer) => answer,
        };
        if let Some(cookie) = passed.cookie.and_then(|text| http::HeaderValue::from_str(&text).ok()) {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
        answer
    }

    /// Whether whoever asks may use the route; by one credential, never by two (SAFE-6).
    async fn may_pass(
        &self,
        proxy: &Proxy,
        route: &Route,
        named: &str,
        asked: &Asked<'_>,
    ) -> Result<Passed, Response<Body>> {
        if route.access == Access::Public {
            return Ok(Passed { is_bearer: false, cookie: None });
        }
        let (parts, found, is_page) = (&self.0.parts, asked.headers, asked.is_page);
        let is_bearer = self.is_ours(found);
        let door = proxy.door.as_ref();
        let carried = door.map(|door| sign_in::cookies(found, SESSION_COOKIE, door.is_secure())).unwrap_or_default();
        if is_bearer && !carried.is_empty() {
            let text = "The request carries two credentials: send the cookie or the token.";
            return Err(Notice::new(StatusCode::UNAUTHORIZED, text).answer(is_page));
        }
        if let (Some(door), false) = (door, carried.is_empty()) {
            match parts.sessions.resume(&route.host, &carried).await {
                Ok(_) if proxy.is_foreign(route, named, asked) => {
                    let text = "This request was made by a page of another address.";
                    return Err(Notice::new(StatusCode::FORBIDDEN, text).answer(is_page));
                }
                Ok(resumed) if route.admits(&resumed.admission.caller) => {
                    let cookie = resumed.renewed.map(|text| sign_in::session_cookie(&text, door.is_secure()));
                    return Ok(Passed { is_bearer: false, cookie });
                }
                Ok(resumed) => return Err(forbidden(&resumed.admission.caller.principal, is_page)),
                Err(refusal) if !refusal.is_credential => return Err(undecided(is_page)),
                // A session that ended: whoever has a browser signs in again.
                Err(_) => {}
            }
        }
        if let (Some(door), true, false) = (door, is_page, is_bearer) {
            let path = asked.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            return Err(proxy.to_sign_in(door, route, found, path));
        }
        self.by_bearer(route, asked).await
    }

    /// Whether the bearer of a token may use the route.
    async fn by_bearer(&self, route: &Route, asked: &Asked<'_>) -> Result<Passed, Response<Body>> {
        let (parts, is_page) = (&self.0.parts, asked.is_page);
        let values = asked.headers.get_all(header::AUTHORIZATION);
        let values: Vec<&[u8]> = values.iter().map(|v| v.as_bytes()).collect();
        let admitted = match credential::read(&values) {
            Ok(found) => parts.authentication.admit(found).await,
            Err(_) => Err(crate::app::authentication::refused("unreadable")),
        };
        match admitted {
            Ok(admission) if route.admits(&admission.caller) => Ok(Passed { is_bearer: true, cookie: None }),
            Ok(admission) => Err(forbidden(&admission.caller.principal, false)),
            Err(refusal) if !refusal.is_credential => Err(undecided(is_page)),
            Err(refusal) => {
                let is_counted = refusal.cause != crate::app::authentication::NO_CREDENTIAL;
                if is_counted && parts.limits.failed(asked.from, refusal.token_id.as_deref()).is_err() {
                    return Err(too_many(is_page));
                }
                let text = "This address is for whoever is signed in: send `authorization: Bearer <token>`.";
                Err(Notice::new(StatusCode::UNAUTHORIZED, text).answer(is_page))
            }
        }
    }

    /// Passes a request on, and its answer back.
    async fn pass(
        &self,
        proxy: &Proxy,
        route: &Route,
        named: &str,
        mut request: Request<Body>,
        (place, is_bearer): (Place, bool),
        is_page: bool,
    ) -> Response<Body> {
        let upgrade = headers::upgrade(request.headers()).filter(|_| request.version() == Version::HTTP_11);
        let room = upgrade.is_some().then(|| proxy.tunnels.clone().try_acquire_owned());
        if matches!(room, Some(Err(_))) {
            let text = "Too many connections with a changed protocol are open.";
            return Notice::new(StatusCode::SERVICE_UNAVAILABLE, text).again(5).answer(is_page);
        }
        let theirs = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let is_ours = is_bearer || self.is_ours(request.headers());
        let came = headers::Came { from: peer.address.map(|a| a.ip()), host: named, tls: peer.tls, is_ours };
        headers::request(request.headers_mut(), &came);
        if let Some(protocol) = &upgrade {
            request.headers_mut().insert(header::UPGRADE, protocol.clone());
            request.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("upgrade"));
        }
        request.extensions_mut().clear();
        let (idle, moved) = (Duration::from_secs(proxy.config.idle_seconds), Moved::now());
        if !http_body::Body::is_end_stream(request.body()) {
            let moved = moved.clone();
            request = request.map(|body| watched(body, idle, moved, ()));
        }
        let sent = tokio::select! {
            sent = proxy.send(&route.host, request) => sent,
            () = moved.stand(Duration::from_secs(proxy.config.answer_seconds)) => Err(StatusCode::GATEWAY_TIMEOUT),
        };
        let (mut answer, going) = match sent {
            Ok(sent) => sent,
            Err(code) => {
                let text = gave_none(code, &route.resource, proxy.config.answer_seconds);
                return Notice::new(code, &text).of(&route.uid).answer(is_page);
            }
        };
        if let (Some(protocol), Some(theirs), StatusCode::SWITCHING_PROTOCOLS) = (upgrade, theirs, answer.status()) {
            let ours = hyper::upgrade::on(&mut answer);
            let idle = Duration::from_secs(proxy.config.tunnel_idle_seconds);
            tokio::spawn(tunnel::tunnel(theirs, ours, idle, (place, going, room)));
            headers::answer(answer.headers_mut(), &route.uid);
            answer.headers_mut().insert(header::UPGRADE, protocol);
            answer.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("upgrade"));
            return answer.map(|_| Body::empty());
        }
        headers::answer(answer.headers_mut(), &route.uid);
        answer.map(|body| watched(body, idle, Moved::now(), (place, going)))
    }

    /// Whether `authorization` carries a credential of the platform, by its form and issuer alone.
    fn is_ours(&self, headers: &http::HeaderMap) -> bool {
        let given = headers.get_all(header::AUTHORIZATION);
        given.iter().any(|value| match credential::read(&[value.as_bytes()]) {
            Ok(found) => self.0.parts.authentication.is_ours(found),
            Err(_) => false,
        })
    }
}

/// What of a request decides whether it passes.
struct Asked<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a http::HeaderMap,
    from: Option<std::net::IpAddr>,
    /// Whether a page is wanted.
    is_page: bool,
}

/// How a request came to pass.
struct Passed {
    /// Whether by a token, which stays here.
    is_bearer: bool,
    /// A cookie to take along.
    cookie: Option<String>,
}

fn forbidden(principal: &str, is_page: bool) -> Response<Body> {
    let text = format!("You are {principal} and may not use this address. Its owners decide who may.");
    let notice = Notice::new(StatusCode::FORBIDDEN, &text);
    notice.link("/.slipway/sign-in", "Sign in as somebody else").answer(is_page)
}

fn undecided(is_page: bool) -> Response<Body> {
    let text = "It cannot be decided now who may use this address.";
    Notice::new(StatusCode::SERVICE_UNAVAILABLE, text).again(RELOAD_SECONDS).answer(is_page)
}

/// Why there is no answer, in words.
fn gave_none(code: StatusCode, resource: &str, seconds: u64) -> String {
    match code {
        StatusCode::GATEWAY_TIMEOUT => format!("{resource} did not begin to answer within {seconds} seconds."),
        StatusCode::NOT_FOUND => format!("{resource} serves nothing at this path."),
        _ => format!("{resource} gave no answer: the connection could not be made, or ended before an answer began."),
    }
}
