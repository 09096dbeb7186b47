//! What of a request and of an answer passes the proxy.
//!
//! Refuses everything that concerns one connection alone, everything by which a caller could pretend to have come through us, and
//! the platform's own credentials.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        self, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE,
    },
};

use crate::model::{credential, session};

const HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "http2-settings",
];

/// The protocol a request wants to change to, if it may.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wants = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let mut named = headers.get_all(UPGRADE).iter();
    let (first, second) = (named.next()?, named.next());
    let is_websocket = first.to_str().is_ok_and(|text| text.eq_ignore_ascii_case("websocket"));
    (wants && second.is_none() && is_websocket).then(|| first.clone())
}

/// Whether the length of a request's body is told in two ways.
pub(super) fn is_smuggling(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
        || headers.get_all(CONTENT_LENGTH).iter().count() > 1
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

/// Takes away what concerns the connection it came on.
fn strip_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION).filter_map(|t| t.parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP {
        headers.remove(name);
    }
    headers.remove(UPGRADE);
}

/// What the proxy tells of where a request came from.
pub(super) struct Came<'a> {
    /// Address of the sender.
    pub from: Option<std::net::IpAddr>,
    /// Host and port as the sender named them.
    pub host: &'a str,
    /// Whether it came encrypted.
    pub tls: bool,
    /// Whether `authorization` is the platform's own.
    pub is_ours: bool,
}

/// Makes the headers of a request those that go on.
pub(super) fn request(headers: &mut HeaderMap, came: &Came<'_>) {
    let trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop(headers);
    headers.remove(TE);
    let doomed: Vec<HeaderName> =
        headers.keys().filter(|name| credential::is_stripped(name.as_str())).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
    if came.is_ours {
        headers.remove(AUTHORIZATION);
    }
    keep_other_cookies(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let mut set = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    if let Some(from) = came.from {
        set("x-forwarded-for", &from.to_canonical().to_string());
    }
    set("x-forwarded-host", came.host);
    set("x-forwarded-proto", if came.tls { "https" } else { "http" });
    if let Ok(value) = HeaderValue::from_str(came.host) {
        headers.insert(HOST, value);
    }
}

/// Takes the session's cookie out, and leaves the application its own.
fn keep_other_cookies(headers: &mut HeaderMap) {
    let all: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for value in all {
        let own = |part: &&[u8]| !session::is_own_cookie(cookie_name(part));
        let kept: Vec<&[u8]> = value.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii).filter(own).collect();
        if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
            && !value.is_empty()
        {
            headers.append(COOKIE, value);
        }
    }
}

fn cookie_name(part: &[u8]) -> &[u8] {
    part.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii()
}

/// Makes the headers of an answer those that go back.
pub(super) fn answer(headers: &mut HeaderMap, uid: &str) {
    strip_hop(headers);
    let doomed: Vec<HeaderName> =
        headers.keys().filter(|name| credential::is_stripped(name.as_str())).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
    // A cookie of one host is of no other, and none takes the session's place.
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for value in cookies {
        let mut parts = value.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let first = parts.next().unwrap_or_default();
        let kept: Vec<&[u8]> = std::iter::once(first)
            .chain(parts.filter(|part| !cookie_name(part).eq_ignore_ascii_case(b"domain")))
            .collect();
        if !session::is_own_cookie(cookie_name(first))
            && let Ok(value) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
        {
            headers.append(SET_COOKIE, value);
        }
    }
    mark(headers, uid);
}

/// Marks an answer as one of a preview.
pub(super) fn mark(headers: &mut HeaderMap, uid: &str) {
    headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow"));
    if let Ok(uid) = HeaderValue::from_str(uid)
        && !uid.is_empty()
    {
        headers.insert(HeaderName::from_static("x-slipway-env-uid"), uid);
    }
}

/// Whether a page is wanted: a browser that goes somewhere.
pub(super) fn wants_page(method: &http::Method, headers: &HeaderMap) -> bool {
    let goes = headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    *method == http::Method::GET && goes && tokens(headers, &header::ACCEPT).any(|t| t.starts_with("text/html"))
}
