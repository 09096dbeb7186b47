//! One request and its answer, whatever its status, for adapters that speak a protocol over HTTP.
//!
//! Owns limits of size and time of one exchange. Refuses to follow redirects: whoever asks decides about the next hop, and its
//! credential goes to no host it was not made for.
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Response;
use url::Url;

use super::{Fetcher, away, failed};
use crate::error::{Error, Result};

/// One request.
pub struct Ask {
    /// Verb.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Headers; one that holds a credential is marked sensitive.
    pub headers: HeaderMap,
    /// Body, empty if none.
    pub body: Bytes,
    /// Most bytes of the answer, after decompression.
    pub bytes_max: u64,
    /// Time until the whole answer has come.
    pub timeout: Duration,
}

impl Ask {
    /// A GET with the fetcher's usual limits.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            bytes_max: super::BYTES_MAX as u64,
            timeout: super::TIMEOUT,
        }
    }

    /// Adds a header of our own.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// A whole answer.
#[derive(Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// A header as text; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// An answer whose body is still coming.
pub struct Incoming {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    rest: Response,
    left: u64,
    until: tokio::time::Instant,
}

impl Incoming {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// DEPENDENCY_UNAVAILABLE beyond the limits, or if the connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = tokio::time::timeout_at(self.until, self.rest.chunk()).await.map_err(|_| late())?;
        let Some(piece) = piece.map_err(|e| failed(e.without_url()))? else { return Ok(None) };
        let len = piece.len() as u64;
        self.left = self.left.checked_sub(len).ok_or_else(|| away("the answer is larger than its limit"))?;
        Ok(Some(piece))
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`Incoming::next`].
    pub async fn rest(&mut self) -> Result<Bytes> {
        let mut body = Vec::new();
        while let Some(piece) = self.next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }
}

impl Fetcher {
    /// The whole answer to a request.
    ///
    /// # Errors
    /// URL_NOT_ALLOWED before anything is sent; DEPENDENCY_UNAVAILABLE without a whole answer.
    pub async fn ask(&self, ask: Ask) -> Result<Answer> {
        let mut incoming = self.open(ask).await?;
        let body = incoming.rest().await?;
        Ok(Answer { status: incoming.status, headers: incoming.headers, body })
    }

    /// The answer to a request as soon as its headers are there.
    ///
    /// # Errors
    /// As [`Fetcher::ask`].
    pub async fn open(&self, ask: Ask) -> Result<Incoming> {
        self.check(&ask.url)?;
        let until = tokio::time::Instant::now() + ask.timeout;
        let request = self.client.request(ask.method, ask.url).headers(ask.headers).timeout(ask.timeout);
        let sent = request.body(ask.body).send();
        let sent = tokio::time::timeout_at(until, sent).await.map_err(|_| late())?;
        let rest = sent.map_err(|e| failed(e.without_url()))?;
        let (status, headers) = (rest.status().as_u16(), rest.headers().clone());
        Ok(Incoming { status, headers, rest, left: ask.bytes_max, until })
    }
}

fn late() -> Error {
    away("the answer took too long")
}
