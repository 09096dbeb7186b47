//! Safe outbound HTTP for addresses that a user or a configuration can influence (SAFE-49 to SAFE-51).
//!
//! Owns the allow list, the check of every resolved address, redirects, time and size. Refuses everything not allowed by an entry,
//! and addresses that are not public unless the entry names their network.
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Client, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header, redirect,
};
use url::Url;

use crate::error::{DEPENDENCY_UNAVAILABLE, Error, Result, URL_NOT_ALLOWED};

mod allow;
mod exchange;

pub use allow::Allow;
pub use exchange::{Answer, Ask, Incoming};

/// Longest fetch, redirects included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer, after decompression.
const BYTES_MAX: usize = 10 * 1024 * 1024;
/// Most redirects.
const REDIRECTS_MAX: usize = 5;

/// Fetches from allowed hosts; cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    allow: Arc<[Allow]>,
    client: Client,
}

impl Fetcher {
    /// A fetcher for these entries; see [`Allow`] for how one is written.
    pub fn new(allow: &[impl AsRef<str>]) -> Result<Self> {
        let allow: Arc<[Allow]> = allow.iter().map(|entry| entry.as_ref().parse()).collect::<Result<_>>()?;
        // Has no effect if the process has chosen already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(TIMEOUT / 2)
            .timeout(TIMEOUT)
            .dns_resolver(Arc::new(Checked { allow: Arc::clone(&allow) }))
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::internal)?;
        Ok(Self { allow, client })
    }

    /// The body of a successful answer. URL_NOT_ALLOWED before anything is sent, DEPENDENCY_UNAVAILABLE for what fails after.
    pub async fn get(&self, url: &str) -> Result<Bytes> {
        let url = Url::parse(url).map_err(|e| refused("the address is not a URL").source(e))?;
        tokio::time::timeout(TIMEOUT, self.follow(url)).await.unwrap_or_else(|_| Err(away("the answer took too long")))
    }

    async fn follow(&self, mut url: Url) -> Result<Bytes> {
        for _ in 0..=REDIRECTS_MAX {
            self.check(&url)?;
            let sent = self.client.get(url.clone()).send().await.map_err(failed)?;
            if !sent.status().is_redirection() {
                return body(sent).await;
            }
            let target = sent.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
            let next = target.and_then(|to| url.join(to).ok()).ok_or_else(|| away("the redirect leads nowhere"))?;
            if next.origin() != url.origin() {
                return Err(refused("the answer redirects to another host"));
            }
            url = next;
        }
        Err(away("too many redirects"))
    }

    fn check(&self, url: &Url) -> Result<()> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("the address holds credentials"));
        }
        let entry = self.allow.iter().find(|entry| entry.covers(url));
        let entry =
            entry.ok_or_else(|| refused(format!("{} is not an allowed host", url.host_str().unwrap_or("it"))))?;
        // A name is checked when it is resolved; an address is never resolved.
        let literal = match url.host() {
            Some(url::Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(url::Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            _ => None,
        };
        match literal {
            Some(ip) if !entry.permits(ip) => Err(refused("the address is not public")),
            _ => Ok(()),
        }
    }
}

async fn body(mut answer: Response) -> Result<Bytes> {
    if !answer.status().is_success() {
        return Err(away(format!("the answer was {}", answer.status().as_u16())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > BYTES_MAX {
            return Err(away(format!("the answer has more than {BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// Resolves names, and lets through only addresses that the name's entries permit. What is connected to is what was checked.
struct Checked {
    allow: Arc<[Allow]>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = Arc::clone(&self.allow);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let entries: Vec<&Allow> = allow.iter().filter(|entry| entry.names(&host)).collect();
            let permitted = |ip: IpAddr| entries.iter().any(|entry| entry.permits(ip));
            if found.is_empty() || !found.iter().all(|address| permitted(address.ip())) {
                return Err(NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the name leads to an address that is not public")]
struct NotPublic;

fn failed(error: reqwest::Error) -> Error {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(inner) = cause {
        if inner.is::<NotPublic>() {
            return refused("the name leads to an address that is not public");
        }
        cause = inner.source();
    }
    away("the host does not answer").source(error)
}

fn refused(why: impl Into<String>) -> Error {
    Error::new(&URL_NOT_ALLOWED, why)
}

fn away(why: impl Into<String>) -> Error {
    Error::new(&DEPENDENCY_UNAVAILABLE, why)
}

#[cfg(test)]
mod tests;
