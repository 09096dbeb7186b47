//! Sign-in of browsers as a host of the proxy sees it: away to the platform's own page, back with a code, a cookie from then on.
//!
//! Owns which cookies count and which requests a page of another host may make with them. Refuses codes that this browser did not
//! ask for, and to send anybody anywhere but to the platform and back to the same host.

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{self, COOKIE, LOCATION, ORIGIN, SET_COOKIE},
};
use slipway_kit::serve::Body;
use url::Url;

use super::{Asked, Proxy, page::Notice};
use crate::{
    edge::Edge,
    model::{
        session::{
            BEGUN_COOKIE, OWN_PATHS, SESSION_COOKIE, SESSION_LIFE_US, SESSION_PATH, SIGN_IN_PATH, SIGN_IN_SECONDS,
            cookie_name, is_nonce, safe_path, set_cookie, state_of,
        },
        upstream::Route,
    },
};

/// Most cookies of one name that are looked at.
const COOKIES_MAX: usize = 4;

/// Where browsers sign in: the platform's own address.
#[derive(Clone, Debug)]
pub(in crate::edge) struct Door {
    url: Url,
}

impl Door {
    /// The platform at its own address, which the configuration has checked.
    pub(super) fn at(address: &str) -> Option<Self> {
        Url::parse(address).ok().map(|url| Self { url })
    }

    /// Whether browsers come encrypted, by us or by what stands before us.
    pub(in crate::edge) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The platform's own host, without port.
    pub(in crate::edge) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The platform's own origin.
    pub(in crate::edge) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// The origin of a host of the proxy: the same listener, so the same scheme and port.
    pub(in crate::edge) fn origin_of(&self, host: &str) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}", self.url.scheme())
    }

    /// The sign-in page for a host.
    fn page(&self, host: &str, state: &str, path: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(SIGN_IN_PATH);
        url.query_pairs_mut().append_pair("host", host).append_pair("state", state).append_pair("path", path);
        url.into()
    }

    /// Where a host of the proxy takes a code.
    pub(in crate::edge) fn back(&self, host: &str, code: &str) -> String {
        format!("{}{SESSION_PATH}?code={code}", self.origin_of(host))
    }
}

/// The values of a cookie of ours.
pub(in crate::edge) fn cookies<'a>(headers: &'a HeaderMap, name: &str, is_secure: bool) -> Vec<&'a str> {
    let name = cookie_name(name, is_secure);
    let all = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    let named = all.filter_map(|part| part.trim().split_once('=')).filter(|(found, _)| *found == name);
    named.map(|(_, value)| value).filter(|value| !value.is_empty()).take(COOKIES_MAX).collect()
}

/// An answer that sends a browser on.
pub(in crate::edge) fn go(to: &str, cookies: &[String]) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let found = answer.headers_mut();
    if let Ok(to) = HeaderValue::from_str(to) {
        found.insert(LOCATION, to);
    }
    for cookie in cookies.iter().filter_map(|cookie| HeaderValue::from_str(cookie).ok()) {
        found.append(SET_COOKIE, cookie);
    }
    found.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    found.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    super::headers::mark(found, "");
    answer
}

/// The `set-cookie` of a session.
pub(in crate::edge) fn session_cookie(carried: &str, is_secure: bool) -> String {
    set_cookie(SESSION_COOKIE, carried, SESSION_LIFE_US / 1_000_000, is_secure)
}

impl Proxy {
    /// Sends a browser to the sign-in page; what it is given now must be there when it comes back.
    pub(super) fn to_sign_in(&self, door: &Door, route: &Route, headers: &HeaderMap, path: &str) -> Response<Body> {
        // Several tabs may be on their way at once: they share what the first one was given.
        let begun = cookies(headers, BEGUN_COOKIE, door.is_secure());
        let begun = begun.into_iter().find(|nonce| is_nonce(nonce)).map(str::to_owned);
        let nonce = begun.unwrap_or_else(|| {
            use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
            URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
        });
        let to = door.page(&route.host, &state_of(&nonce), safe_path(path));
        go(&to, &[set_cookie(BEGUN_COOKIE, &nonce, SIGN_IN_SECONDS, door.is_secure())])
    }

    /// Whether a request with a cookie was made by a page that is not of this host, nor of another host of the same life: browsers
    /// count every host below one domain as the same site, so the cookie alone says nothing.
    pub(super) fn is_foreign(&self, route: &Route, named: &str, asked: &Asked<'_>) -> bool {
        let text = |name: &str| asked.headers.get(name).map(|v| v.to_str().unwrap_or("?"));
        if let Some(origin) = text(ORIGIN.as_str()) {
            let Some((_, authority)) = origin.split_once("://") else { return true };
            if authority.eq_ignore_ascii_case(named) {
                return false;
            }
            let parts = |text: &str| {
                let (host, port) = text.split_once(':').unwrap_or((text, ""));
                (host.to_ascii_lowercase(), port.to_owned())
            };
            let ((host, port), (_, own_port)) = (parts(authority), parts(named));
            let sibling = self.routes.find(&host).flatten().is_some_and(|other| other.uid == route.uid);
            return !(sibling && port == own_port);
        }
        let is_visit = matches!(*asked.method, Method::GET | Method::HEAD)
            && text("sec-fetch-mode") == Some("navigate")
            && text("sec-fetch-dest").is_none_or(|dest| dest == "document");
        !matches!(text("sec-fetch-site"), None | Some("same-origin" | "none")) && !is_visit
    }
}

impl Edge {
    /// Pages of ours on a host of the proxy; `None` for any other path.
    pub(super) async fn own_page(&self, proxy: &Proxy, route: &Route, asked: &Asked<'_>) -> Option<Response<Body>> {
        let (path, door) = (asked.uri.path(), proxy.door.as_ref()?);
        if !path.starts_with(OWN_PATHS) {
            return None;
        }
        Some(match (asked.method, path) {
            (&Method::GET, SESSION_PATH) => self.redeem(door, route, asked).await,
            (&Method::GET, "/.slipway/sign-in") => proxy.to_sign_in(door, route, asked.headers, "/"),
            (&Method::POST, "/.slipway/sign-out") => go("/", &[session_cookie("", door.is_secure())]),
            _ => super::unknown(asked.is_page),
        })
    }

    /// Takes the code that a browser came back with.
    async fn redeem(&self, door: &Door, route: &Route, asked: &Asked<'_>) -> Response<Body> {
        let (parts, is_page) = (&self.0.parts, asked.is_page);
        let code = asked.uri.query().and_then(|query| query.strip_prefix("code=")).unwrap_or_default();
        let nonces = cookies(asked.headers, BEGUN_COOKIE, door.is_secure());
        match parts.sessions.redeem(&route.host, code, &nonces).await {
            Ok((carried, path)) => go(&path, &[session_cookie(&carried, door.is_secure())]),
            Err(refusal) if !refusal.is_credential => {
                let text = "It cannot be decided now who you are.";
                Notice::new(StatusCode::SERVICE_UNAVAILABLE, text).again(super::RELOAD_SECONDS).answer(is_page)
            }
            Err(refusal) => {
                tracing::info!(cause = refusal.cause, host = route.host, "a sign-in was refused");
                if parts.limits.failed(asked.from, None).is_err() {
                    return super::too_many(is_page);
                }
                let text = "This sign-in is over, was used already, or began in another browser.";
                let notice = Notice::new(StatusCode::BAD_REQUEST, text);
                notice.link("/.slipway/sign-in", "Begin anew").answer(is_page)
            }
        }
    }
}
