//! The REST API: one request at a time, pages, conditional requests, and what each wrong answer means.
//!
//! Owns the classes of answers (ENV-41), the memory of the rate limit and of what was read last. Refuses to take anything but a
//! whole JSON answer from the configured host as an answer: everything else is a typed error, never "nothing".
use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{sync::Semaphore, time::Instant};
use url::Url;

use super::{
    super::{
        SCM_ANSWER_INVALID, SCM_FORBIDDEN, SCM_RATE_LIMITED, SCM_REDIRECTED, SCM_REFUSED, SCM_UNAUTHORIZED,
        SCM_UNAVAILABLE,
    },
    credential::{self, Credential, Held, bearer},
    shape::InstallationToken,
};
use crate::{
    error::{DEPENDENCY_UNAVAILABLE, Error, Result},
    fetch::{Answer, Ask, Fetcher},
};

/// Requests of one connection at one time; the provider asks for few.
const AT_ONCE: usize = 4;
/// Most pages of one listing.
const PAGES_MAX: usize = 200;
/// Most redirects on the same host, as after a rename.
const REDIRECTS_MAX: usize = 5;
/// Bytes of answers that are kept for conditional requests.
const KEPT_BYTES_MAX: u64 = 32 << 20;
/// Wait when the provider limits and does not say for how long.
const WAIT_DEFAULT: Duration = Duration::from_secs(60);
/// Longest wait that is believed.
const WAIT_MAX: Duration = Duration::from_secs(3600);
const VERSION: &str = "2022-11-28";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// The installation, or the token's user.
    Connection,
    /// The App itself.
    App,
}

/// The API of one connection.
pub(super) struct Api {
    pub(super) fetcher: Fetcher,
    pub(super) base: Url,
    pub(super) credential: Credential,
    places: Semaphore,
    kept: moka::sync::Cache<String, Kept>,
    /// Until when nothing is asked, because the provider said so.
    rest_until: Mutex<Option<Instant>>,
}

/// An answer that may be asked for again with its tag.
#[derive(Clone)]
struct Kept {
    etag: String,
    answer: Answer,
}

/// A whole answer of the API.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) answer: Answer,
}

impl Reply {
    /// The body in its shape.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.answer.body)
            .map_err(|e| invalid("the answer has another shape than documented").source(e))
    }
}

impl Api {
    pub(super) fn new(fetcher: Fetcher, base: Url, credential: Credential) -> Self {
        let weigh = |key: &String, kept: &Kept| u32::try_from(key.len() + kept.answer.body.len()).unwrap_or(u32::MAX);
        Self {
            fetcher,
            base,
            credential,
            places: Semaphore::new(AT_ONCE),
            kept: moka::sync::Cache::builder().weigher(weigh).max_capacity(KEPT_BYTES_MAX).build(),
            rest_until: Mutex::new(None),
        }
    }

    /// An address below the base; every part is one segment.
    pub(super) fn url(&self, parts: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::internal("a base address without path"))?
            .pop_if_empty()
            .extend(parts);
        Ok(url)
    }

    /// One thing; `None` if the provider says that it is not there.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<Option<T>> {
        let reply = self.call(Method::GET, url, None, As::Connection).await?;
        if reply.status == 404 { Ok(None) } else { reply.read().map(Some) }
    }

    /// Every page of a listing; `key` names the array where the answer is an object. `None` if there is nothing to list in.
    pub(super) async fn list<T: DeserializeOwned>(&self, url: Url, key: Option<&str>) -> Result<Option<Vec<T>>> {
        let (mut all, mut next, mut total) = (Vec::new(), Some(url), None);
        for _ in 0..PAGES_MAX {
            let Some(url) = next.take() else { break };
            let reply = self.call(Method::GET, url, None, As::Connection).await?;
            if reply.status == 404 {
                return Ok(None);
            }
            let mut body: Value = reply.read()?;
            if let Some(key) = key {
                total = body.get("total_count").and_then(Value::as_u64).or(total);
                body =
                    body.get_mut(key).map(Value::take).ok_or_else(|| invalid(format!("the listing has no {key}")))?;
            }
            let page: Vec<T> =
                serde_json::from_value(body).map_err(|e| invalid("the listing has another shape").source(e))?;
            all.extend(page);
            next = self.next_page(&reply.answer)?;
        }
        if next.is_some() {
            return Err(invalid(format!("the listing has more than {PAGES_MAX} pages")));
        }
        if total.is_some_and(|total| total > all.len() as u64) {
            return Err(invalid("the listing ended before all it announced"));
        }
        Ok(Some(all))
    }

    /// A change; the answer's status is one of success, or 404.
    pub(super) async fn send(&self, method: Method, url: Url, body: &Value) -> Result<Reply> {
        self.call(method, url, Some(body), As::Connection).await
    }

    /// One call, with redirects on the same host followed for reads, and a token that is no longer taken renewed once.
    pub(super) async fn call(&self, method: Method, url: Url, body: Option<&Value>, who: As) -> Result<Reply> {
        let mut url = url;
        let mut is_renewed = false;
        for _ in 0..=REDIRECTS_MAX {
            let token = self.token(who).await?;
            let answer = self.exchange(&method, &url, body, &token).await?;
            match answer.status {
                301 | 302 | 307 | 308 => url = self.redirected(&url, &answer)?,
                401 if who == As::Connection && !is_renewed && self.forget().await => is_renewed = true,
                _ => return self.classify(answer),
            }
        }
        Err(invalid("the provider redirects in a circle"))
    }

    async fn exchange(&self, method: &Method, url: &Url, body: Option<&Value>, token: &SecretString) -> Result<Answer> {
        self.may_ask()?;
        let _place = self.places.acquire().await.map_err(Error::internal)?;
        let is_read = *method == Method::GET;
        let kept = self.kept.get(url.as_str()).filter(|_| is_read);
        let mut ask = Ask::get(url.clone())
            .header(header::AUTHORIZATION, bearer(token)?)
            .header(header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"))
            .header(HeaderName::from_static("x-github-api-version"), HeaderValue::from_static(VERSION));
        ask.method = method.clone();
        if let Some(body) = body {
            ask.body = Bytes::from(body.to_string());
            ask = ask.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(etag) = kept.as_ref().and_then(|kept| HeaderValue::from_str(&kept.etag).ok()) {
            ask = ask.header(header::IF_NONE_MATCH, etag);
        }
        let answer = self.fetcher.ask(ask).await.map_err(unavailable)?;
        match (answer.status, kept) {
            // The headers are of this instant: limits and scopes may have changed.
            (304, Some(mut kept)) => {
                answer.headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH).for_each(|(name, value)| {
                    kept.answer.headers.insert(name.clone(), value.clone());
                });
                Ok(kept.answer)
            }
            (304, None) => Err(invalid("the provider answers that nothing changed since nothing")),
            // Half an answer has the tag of the whole one: kept, it would come back as "nothing changed".
            (200, _) if is_read && is_json(&answer) && is_whole(&answer) && !answer.header("etag").is_empty() => {
                let etag = answer.header("etag").to_owned();
                self.kept.insert(url.to_string(), Kept { etag, answer: answer.clone() });
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }

    /// What an answer means.
    fn classify(&self, answer: Answer) -> Result<Reply> {
        let status = answer.status;
        if let Some(wait) = limited(&answer) {
            return Err(self.rest(wait));
        }
        match status {
            200..=299 if status == 204 => Ok(Reply { status, answer }),
            200..=299 | 404 => {
                // A page for people says nothing, whatever its status.
                if !is_json(&answer) {
                    return Err(invalid(format!("an answer {status} is not JSON")));
                }
                if !is_whole(&answer) {
                    return Err(invalid(format!("an answer {status} is not whole")));
                }
                Ok(Reply { status, answer })
            }
            401 => Err(Error::new(&SCM_UNAUTHORIZED, "the provider does not accept the credential")),
            403 => {
                let needed = answer.header("x-accepted-github-permissions").to_owned();
                let text = if needed.is_empty() {
                    "the provider refuses: the credential has no right to this".to_owned()
                } else {
                    format!("the provider refuses: {needed} is needed")
                };
                Err(Error::new(&SCM_FORBIDDEN, text).meta("permissions", needed))
            }
            400 | 405 | 409 | 410 | 422 => {
                let text = format!("the provider refuses with {status}: {}", message(&answer));
                Err(Error::new(&SCM_REFUSED, text).meta("status", status.to_string()))
            }
            500..=599 => Err(Error::new(&SCM_UNAVAILABLE, format!("the provider answers {status}"))),
            _ => Err(invalid(format!("the provider answers {status}"))),
        }
    }

    /// The next hop of a redirect, on the same host only.
    fn redirected(&self, from: &Url, answer: &Answer) -> Result<Url> {
        let to = from.join(answer.header("location")).map_err(|_| invalid("a redirect leads nowhere"))?;
        if answer.header("location").is_empty() || to.origin() != self.base.origin() {
            let host = to.host_str().unwrap_or("nowhere").to_owned();
            return Err(Error::new(&SCM_REDIRECTED, format!("the provider redirects to {host}")));
        }
        Ok(to)
    }

    /// The page that `Link` calls next, on the same host only.
    fn next_page(&self, answer: &Answer) -> Result<Option<Url>> {
        let Some(target) = next_link(answer.header("link")) else { return Ok(None) };
        let url = Url::parse(target).map_err(|_| invalid("the next page has no address"))?;
        if url.origin() != self.base.origin() {
            return Err(Error::new(&SCM_REDIRECTED, "the next page is on another host"));
        }
        Ok(Some(url))
    }

    /// The credential of a call.
    pub(super) async fn token(&self, who: As) -> Result<SecretString> {
        let (app_id, installation_id, key_file, held) = match &self.credential {
            Credential::Token(file) => return credential::token(file),
            Credential::App { app_id, installation_id, key_file, held } => (*app_id, *installation_id, key_file, held),
        };
        if who == As::App {
            return credential::assertion(app_id, key_file);
        }
        let mut held = held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.is_fresh()) {
            return Ok(held.token.clone());
        }
        let url = self.url(&["app", "installations", &installation_id.to_string(), "access_tokens"])?;
        let assertion = credential::assertion(app_id, key_file)?;
        let answer = self.exchange(&Method::POST, &url, None, &assertion).await?;
        let reply = self.classify(answer)?;
        if reply.status == 404 {
            let text = "the App has no such installation: it was removed, or its id is wrong";
            return Err(Error::new(&SCM_UNAUTHORIZED, text));
        }
        let got: InstallationToken = reply.read()?;
        let until_us = got.expires_at.as_microsecond();
        let token = SecretString::from(got.token);
        *held = Some(Held { token: token.clone(), until_us });
        Ok(token)
    }

    /// Forgets an installation's token; false if there is none to renew.
    pub(super) async fn forget(&self) -> bool {
        match &self.credential {
            Credential::Token(_) => false,
            Credential::App { held, .. } => held.lock().await.take().is_some(),
        }
    }

    /// Whether the provider may be asked now.
    pub(super) fn may_ask(&self) -> Result<()> {
        let until = *self.rest_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match until.and_then(|until| until.checked_duration_since(Instant::now())) {
            Some(left) if !left.is_zero() => Err(rate_limited(left)),
            _ => Ok(()),
        }
    }

    /// Asks nothing for a while.
    pub(super) fn rest(&self, wait: Duration) -> Error {
        let wait = wait.min(WAIT_MAX);
        *self.rest_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now() + wait);
        rate_limited(wait)
    }
}

/// How long to wait, if the answer says that a limit is used up.
pub(super) fn limited(answer: &Answer) -> Option<Duration> {
    if !matches!(answer.status, 403 | 429) {
        return None;
    }
    if let Ok(seconds) = answer.header("retry-after").parse() {
        return Some(Duration::from_secs(seconds));
    }
    if answer.header("x-ratelimit-remaining") == "0" {
        let reset = answer.header("x-ratelimit-reset").parse::<i64>().ok();
        let left = reset.map(|at| at - jiff::Timestamp::now().as_second()).and_then(|left| u64::try_from(left).ok());
        return Some(left.map_or(WAIT_DEFAULT, |left| Duration::from_secs(left.max(1))));
    }
    let is_secondary = answer.status == 429 || message(answer).contains("rate limit");
    is_secondary.then_some(WAIT_DEFAULT)
}

fn rate_limited(wait: Duration) -> Error {
    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let text = format!("the provider's rate limit is used up for {} s", wait.as_secs().max(1));
    Error::new(&SCM_RATE_LIMITED, text).retry_after_ms(ms)
}

/// What went wrong below HTTP, in the port's words; what was refused before it was sent stays as it is.
pub(super) fn unavailable(error: Error) -> Error {
    if !error.is(&DEPENDENCY_UNAVAILABLE) {
        return error;
    }
    Error::new(&SCM_UNAVAILABLE, format!("the provider gives no whole answer: {}", error.message())).source(error)
}

pub(super) fn invalid(what: impl Into<String>) -> Error {
    Error::new(&SCM_ANSWER_INVALID, what)
}

fn is_json(answer: &Answer) -> bool {
    let kind = answer.header("content-type").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn is_whole(answer: &Answer) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body).is_ok()
}

/// The provider's own message, short and on one line.
fn message(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = body.get("message").and_then(Value::as_str).unwrap_or("no message");
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Target of `rel="next"` in a `Link` header.
fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|part| {
        let (target, params) = part.trim().split_once('>')?;
        let is_next = params.split(';').any(|param| matches!(param.trim(), r#"rel="next""# | "rel=next"));
        is_next.then(|| target.strip_prefix('<')).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found() {
        let header =
            r#"<https://x/a?page=1>; rel="prev", <https://x/a?page=3>; rel="next", <https://x/a?page=9>; rel="last""#;
        assert_eq!(next_link(header), Some("https://x/a?page=3"));
        assert_eq!((next_link(""), next_link(r#"<https://x>; rel="last""#)), (None, None));
    }
}
