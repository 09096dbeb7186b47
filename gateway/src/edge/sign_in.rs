//! The platform's own sign-in page, for the hosts of the proxy: a token is pasted once, and each host gets a code of its own.
//!
//! Owns the page and its one form. Refuses forms that other pages send, hosts that are not the proxy's, and to keep the token: what
//! the browser carries afterwards is sealed, of this host alone, and worth what the token is worth.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use slipway_kit::{audit::Record, serve::Body};

use super::{
    Edge, admit,
    proxy::{
        Proxy,
        page::escape,
        sign_in::{Door, cookies, go, session_cookie},
    },
    respond,
};
use crate::{
    app::authentication::{Admission, Refusal, refused},
    model::{
        credential,
        session::{SESSION_COOKIE, SIGN_IN_PATH, is_nonce, safe_path},
        upstream::Route,
    },
};

/// Largest form.
const FORM_BYTES_MAX: usize = 24 * 1024;
/// How long a form may take to arrive.
const FORM_TIME: std::time::Duration = std::time::Duration::from_secs(10);

/// What a sign-in is for, as the page was asked.
struct Wanted {
    route: std::sync::Arc<Route>,
    state: String,
    path: String,
}

impl Edge {
    /// The page and its form.
    pub(super) async fn sign_in(&self, request: Request<Body>) -> Response<Body> {
        let Some((proxy, door)) = self.0.parts.proxy.as_ref().and_then(|proxy| Some((proxy, proxy.door()?))) else {
            return respond::empty(StatusCode::NOT_FOUND);
        };
        match *request.method() {
            Method::GET => {
                let query = request.uri().query().unwrap_or_default();
                let fields = fields(query.as_bytes());
                match wanted(proxy, &fields) {
                    Some(wanted) => {
                        let known = self.known(door, request.headers()).await;
                        page(door, &wanted, known.as_ref(), "", StatusCode::OK)
                    }
                    None => {
                        words(StatusCode::NOT_FOUND, "There is nothing to sign in to here. Open a preview's address.")
                    }
                }
            }
            Method::POST => self.signed_in(proxy, door, request).await,
            _ => respond::empty(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    /// Who signed in at this page before.
    async fn known(&self, door: &Door, headers: &HeaderMap) -> Option<std::sync::Arc<Admission>> {
        let carried = cookies(headers, SESSION_COOKIE, door.is_secure());
        let resumed = self.0.parts.sessions.resume(door.host(), &carried).await;
        resumed.ok().map(|resumed| resumed.admission)
    }

    /// Takes the form.
    async fn signed_in(&self, proxy: &Proxy, door: &Door, request: Request<Body>) -> Response<Body> {
        let from = admit::source(&request);
        let (head, body) = request.into_parts();
        let text = |name: &str| head.headers.get(name).map(|v| v.to_str().unwrap_or("?"));
        let is_form = text("content-type").is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        let is_own = text("origin") == Some(&door.origin())
            && text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
        if !is_form || !is_own {
            return words(StatusCode::FORBIDDEN, "Only the sign-in page itself may send this form.");
        }
        let known = self.known(door, &head.headers).await;
        let read = tokio::time::timeout(FORM_TIME, Limited::new(body, FORM_BYTES_MAX).collect()).await;
        let Ok(Ok(body)) = read else {
            return words(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large or too slow.");
        };
        let mut fields = fields(&body.to_bytes());
        let Some(wanted) = wanted(proxy, &fields) else {
            return words(StatusCode::NOT_FOUND, "There is nothing at that address any more.");
        };
        let token = fields.remove("token").unwrap_or_default();
        let admitted = match (&known, token.trim()) {
            (Some(known), "") => Ok(known.clone()),
            (_, token) => self.of_token(token).await,
        };
        match admitted {
            Ok(admission) => self.welcome(door, &wanted, &admission),
            Err(refusal) if !refusal.is_credential => page(
                door,
                &wanted,
                None,
                "It cannot be decided now who you are. Try again.",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Err(refusal) => {
                if self.0.parts.limits.failed(from, refusal.token_id.as_deref()).is_err() {
                    return words(StatusCode::TOO_MANY_REQUESTS, "Too many failed sign-ins. Wait a minute.");
                }
                self.note(&wanted, None, refusal.cause);
                page(door, &wanted, None, "This token is not valid, or its time is over.", StatusCode::UNAUTHORIZED)
            }
        }
    }

    async fn of_token(&self, token: &str) -> Result<std::sync::Arc<Admission>, Refusal> {
        let value = format!("Bearer {token}");
        match credential::read(&[value.as_bytes()]) {
            Ok(found) => self.0.parts.authentication.admit(found).await,
            Err(_) => Err(refused("unreadable")),
        }
    }

    /// Sends who signed in back to the host, if that host is open to them.
    fn welcome(&self, door: &Door, wanted: &Wanted, admission: &Admission) -> Response<Body> {
        let caller = &admission.caller;
        if !wanted.route.admits(caller) {
            self.note(wanted, Some(admission), "not admitted");
            let text = format!("{} may not use this address. Its owners decide who may.", caller.principal);
            return page(door, wanted, None, &text, StatusCode::FORBIDDEN);
        }
        let sessions = &self.0.parts.sessions;
        let code = sessions.code(&wanted.route.host, admission, &wanted.state, &wanted.path);
        let (Some(code), Some(carried)) = (code, sessions.carry(door.host(), admission)) else {
            let text = "This is the token of a job; jobs send it with each request.";
            return page(door, wanted, None, text, StatusCode::FORBIDDEN);
        };
        if !self.note(wanted, Some(admission), "") {
            return words(StatusCode::SERVICE_UNAVAILABLE, "The record of this sign-in cannot be kept now. Try again.");
        }
        go(&door.back(&wanted.route.host, &code), &[session_cookie(&carried, door.is_secure())])
    }

    /// Keeps the record of a sign-in (SAFE-73); `false` if it cannot be kept.
    fn note(&self, wanted: &Wanted, who: Option<&Admission>, cause: &str) -> bool {
        let record = Record {
            principal: who.map(|a| a.caller.principal.clone()).unwrap_or_default(),
            credential: who.map(|a| a.caller.credential.clone()).unwrap_or_default(),
            peer: String::new(),
            method: SIGN_IN_PATH.to_owned(),
            resource: wanted.route.resource.clone(),
            uid: wanted.route.uid.clone(),
            decision: if cause.is_empty() { "ALLOWED" } else { "DENIED" },
            reason: cause.to_owned(),
            code: if cause.is_empty() { "OK".to_owned() } else { "Unauthenticated".to_owned() },
            request_id: slipway_kit::id::uuid4(),
            body_hash: String::new(),
            trace_id: String::new(),
            fields: String::new(),
        };
        self.0.parts.recorder.record(record).is_ok()
    }
}

fn fields(text: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

fn wanted(proxy: &Proxy, fields: &HashMap<String, String>) -> Option<Wanted> {
    let route = proxy.guarded(fields.get("host")?)?;
    let state = fields.get("state").filter(|state| is_nonce(state))?.clone();
    let path = safe_path(fields.get("path").map_or("/", String::as_str)).to_owned();
    Some(Wanted { route, state, path })
}

/// The page: which host asks, and the one form.
fn page(
    door: &Door,
    wanted: &Wanted,
    known: Option<&std::sync::Arc<Admission>>,
    told: &str,
    code: StatusCode,
) -> Response<Body> {
    let host = escape(&wanted.route.host);
    let hidden =
        |name: &str, value: &str| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value));
    let form = |inner: &str| {
        let (state, path) = (hidden("state", &wanted.state), hidden("path", &wanted.path));
        format!(
            "<form method=\"post\" action=\"{SIGN_IN_PATH}\">{}{state}{path}{inner}</form>",
            hidden("host", &wanted.route.host)
        )
    };
    let again = known.map(|known| {
        let name = escape(&known.caller.principal);
        form(&format!("<p><button>Continue as {name}</button>"))
    });
    let told =
        if told.is_empty() { String::new() } else { format!("<p role=\"alert\"><strong>{}</strong>", escape(told)) };
    let fresh = form(
        "<p><label>Token of the platform, or of your identity provider<br>\
         <input type=\"password\" name=\"token\" autocomplete=\"off\" required style=\"width:100%\"></label><p><button>Sign in</button>",
    );
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"robots\" content=\"noindex\"><title>Sign in</title>\
         <body style=\"font:16px system-ui;max-width:40em;margin:15vh auto;padding:0 1em\"><h1>Sign in</h1>\
         <p><strong>{host}</strong> is for whoever is signed in to the platform.{told}{again}{fresh}",
        again = again.unwrap_or_default(),
    );
    // Browsers hold a form's redirect to the same list.
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' {}",
        door.origin_of(&wanted.route.host)
    );
    html(code, text, &policy)
}

fn words(code: StatusCode, text: &str) -> Response<Body> {
    let page =
        format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sign in</title><p>{}", escape(text));
    html(code, page, "default-src 'none'; frame-ancestors 'none'")
}

fn html(code: StatusCode, text: String, policy: &str) -> Response<Body> {
    let mut answer = Response::new(Body::new(http_body_util::Full::new(bytes::Bytes::from(text))));
    *answer.status_mut() = code;
    let found = answer.headers_mut();
    let mut set = |name, value: &'static str| drop(found.insert(name, HeaderValue::from_static(value)));
    set(header::CONTENT_TYPE, "text/html; charset=utf-8");
    set(header::CACHE_CONTROL, "no-store");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // With `no-referrer` a browser would not say which page sends the form.
    set(header::REFERRER_POLICY, "same-origin");
    if let Ok(policy) = HeaderValue::from_str(policy) {
        found.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}
