//! The adapter `github`: the REST API below a configurable address, and git's own protocol for commits (ENV-181, ENV-182).
//!
//! Owns the two hosts of a connection, the API's and git's, and what is asked of them. Files at a commit come from a bare mirror
//! that is brought up to date over git's smart protocol by our own client, so that every reader gets the same [`git::Repo`] as
//! from `local`, the credential never reaches a child process, and both hosts are under the same rules of [`crate::fetch`].
//! Refuses any other host.
//!
//! [`git::Repo`]: crate::git::Repo
mod api;
mod check;
mod create;
mod credential;
mod mirror;
mod pack;
mod read;
mod report;
mod shape;

use url::Url;

use self::{api::Api, credential::Credential};
use super::{ScmConfig, local::open_git};
use crate::{
    error::{Result, Violations},
    fetch::Fetcher,
    git::Git,
};

/// The public API.
const API_URL: &str = "https://api.github.com";

/// One connection to GitHub.
pub(super) struct Github {
    api: Api,
    git: Git,
    /// What repositories are below, for git.
    git_url: Url,
    /// When open pull requests were last reopened, by `<repository>/<number>/<updated_us>`.
    reopened: moka::sync::Cache<String, i64>,
    /// Login of a token's user, asked once.
    login: tokio::sync::OnceCell<String>,
}

impl Github {
    /// Takes the configuration; nothing is asked and no credential is read until it is needed.
    pub(super) async fn open(config: &ScmConfig) -> Result<Self> {
        let mut v = Violations::new();
        let api_text = config.api_url.as_deref().unwrap_or(API_URL);
        let api_url = base(api_text);
        v.check(api_url.is_some(), "api_url", "must be an http or https address without query and credentials");
        let git_url = match &config.git_url {
            Some(text) => base(text),
            None => api_url.as_ref().and_then(git_url_of),
        };
        v.check(config.git_url.is_none() || git_url.is_some(), "git_url", "must be an http or https address");
        let is_app = config.app_id.is_some() && config.installation_id.is_some() && config.private_key_file.is_some();
        let is_partly =
            config.app_id.is_some() || config.installation_id.is_some() || config.private_key_file.is_some();
        let rule = "exactly one of token_file, and app_id with installation_id and private_key_file";
        v.check(is_app != config.token_file.is_some() && is_app == is_partly, "token_file", rule);
        v.finish()?;
        let (Some(api_url), Some(git_url)) = (api_url, git_url) else {
            return Err(crate::error::Error::internal("addresses were checked"));
        };
        let networks = config.networks.iter().map(|network| format!(" {network}")).collect::<String>();
        let entry = |url: &Url| format!("{}{networks}", url.origin().ascii_serialization());
        let fetcher = Fetcher::new(&[entry(&api_url), entry(&git_url)])?;
        Ok(Self {
            api: Api::new(fetcher, api_url, Credential::of(config)?),
            git: open_git(config).await?,
            git_url,
            reopened: moka::sync::Cache::new(10_000),
            login: tokio::sync::OnceCell::new(),
        })
    }
}

/// An address that paths can be put below.
fn base(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let plain =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    if !plain || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return None;
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

/// Where git is, from where the API is: `api.` is left out in the cloud, `/api/v3` in an installation of one's own.
fn git_url_of(api: &Url) -> Option<Url> {
    let mut url = api.clone();
    if let Some(rest) = api.host_str()?.strip_prefix("api.") {
        url.set_host(Some(rest)).ok()?;
    }
    let path = api.path().strip_suffix("/api/v3/").unwrap_or("").to_owned();
    url.set_path(&format!("{path}/"));
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gits_address_follows_from_the_apis() {
        for (api, git) in [
            ("https://api.github.com", "https://github.com/"),
            ("https://api.acme.ghe.com", "https://acme.ghe.com/"),
            ("https://git.acme.example/api/v3", "https://git.acme.example/"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
        ] {
            assert_eq!(git_url_of(&base(api).expect(api)).expect(api).as_str(), git);
        }
        for bad in ["ftp://x", "https://u:p@x/", "https://x/?a=b", "nothing"] {
            assert!(base(bad).is_none(), "{bad}");
        }
    }
}
