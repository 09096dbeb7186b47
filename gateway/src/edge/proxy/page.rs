//! The proxy's own answers: text for programs, a page for browsers.
//!
//! Refuses scripts: a page that waits reloads itself.

use http::{HeaderValue, Response, StatusCode, header};
use slipway_kit::serve::Body;

use super::headers;

/// What is told.
pub(super) struct Notice<'a> {
    /// Code.
    pub code: StatusCode,
    /// One sentence.
    pub text: &'a str,
    /// Seconds after which to come again; 0 if that does not help.
    pub retry_seconds: u32,
    /// Uid of the life, if it may be told.
    pub uid: &'a str,
    /// Where a person may go instead, and in which words; a path of the same host.
    pub link: Option<(&'a str, &'a str)>,
}

impl<'a> Notice<'a> {
    pub(super) fn new(code: StatusCode, text: &'a str) -> Self {
        Self { code, text, retry_seconds: 0, uid: "", link: None }
    }

    pub(super) fn again(self, retry_seconds: u32) -> Self {
        Self { retry_seconds, ..self }
    }

    pub(super) fn of(self, uid: &'a str) -> Self {
        Self { uid, ..self }
    }

    pub(super) fn link(self, path: &'a str, words: &'a str) -> Self {
        Self { link: Some((path, words)), ..self }
    }

    /// The answer; a page if one is wanted.
    pub(super) fn answer(&self, is_page: bool) -> Response<Body> {
        let (kind, text) = if is_page {
            ("text/html; charset=utf-8", page(self))
        } else {
            ("text/plain; charset=utf-8", format!("{}\n", self.text))
        };
        let mut answer = Response::new(Body::new(http_body_util::Full::new(bytes::Bytes::from(text))));
        *answer.status_mut() = self.code;
        let found = answer.headers_mut();
        let mut set = |name, value: &'static str| drop(found.insert(name, HeaderValue::from_static(value)));
        set(header::CONTENT_TYPE, kind);
        set(header::CACHE_CONTROL, "no-store");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::REFERRER_POLICY, "no-referrer");
        set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
        if self.code == StatusCode::UNAUTHORIZED {
            set(header::WWW_AUTHENTICATE, "Bearer");
        }
        if self.retry_seconds > 0 {
            found.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_seconds));
        }
        headers::mark(found, self.uid);
        answer
    }
}

fn page(notice: &Notice<'_>) -> String {
    let refresh = match notice.retry_seconds {
        0 => String::new(),
        n => format!("<meta http-equiv=\"refresh\" content=\"{n}\">"),
    };
    let link = notice.link.map(|(path, words)| format!("<p><a href=\"{}\">{}</a>", escape(path), escape(words)));
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"robots\" content=\"noindex\">{refresh}<title>{code}</title>\
         <body style=\"font:16px system-ui;max-width:40em;margin:15vh auto;padding:0 1em\"><p>{text}</p>{link}",
        code = notice.code.as_u16(),
        text = escape(notice.text),
        link = link.unwrap_or_default(),
    )
}

pub(in crate::edge) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// What robots are told where not everybody may come.
pub(super) fn robots() -> Response<Body> {
    let text = bytes::Bytes::from_static(b"User-agent: *\nDisallow: /\n");
    let mut answer = Response::new(Body::new(http_body_util::Full::new(text)));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers::mark(answer.headers_mut(), "");
    answer
}
