//! The source provider as a port, and its adapters `local` and `github` (ENV-181).
//!
//! Owns what a repository and a pull request are to every service. `local` is bare repositories below one root in which branches
//! are refs and a pull request is `refs/pull/N/head`, `refs/pull/N/base` and a small state file; `github` is GitHub's REST API with
//! bare mirrors below a directory. Refuses to be asked for anything but the present state: what a webhook says is never taken from
//! here; and to answer less than there is: a wrong answer of a provider is an error, never an empty list (ENV-41).
mod github;
mod local;
mod noun;
mod port;
mod webhook;

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::Deserialize;

pub use crate::check::{Check, Verdict};
pub use noun::{
    ClosePullRequest, DeployState, Filed, NewRepository, OpenPullRequest, PullRequest, PushTo, Report, Repository,
};
pub use webhook::{Action, Hook, check_shape, pull_request_hook, push_hook};

use self::{github::Github, local::Local};
use crate::{
    error::{Error, Result},
    files::FilePath,
};

crate::reasons! {
    REPOSITORY_UNKNOWN: NotFound, "The source provider has no such repository.", "Check the name as owner/name, or create the repository first.";
    REPOSITORY_TAKEN: AlreadyExists, "A repository of that name exists and was made by somebody else.", "Choose another name.";
    REPOSITORY_NAME_INVALID: InvalidArgument, "A repository name breaks the provider's rules.", "Use owner/name: letters, digits and dashes; dots and underscores in the name only.";
    PULL_REQUEST_UNKNOWN: NotFound, "The repository has no such pull request.", "Check the number, or open the pull request first.";
    PULL_REQUEST_CLOSED: FailedPrecondition, "The pull request is closed.", "Reopen it, or open another one.";
    NOTHING_TO_COMPARE: FailedPrecondition, "The head branch of the pull request does not exist.", "Push the branch first, or give files to commit.";
    SCM_UNAUTHORIZED: FailedPrecondition, "The source provider does not accept the credential of the connection.", "Run TestConnection and renew the App's key, its installation, or the token.";
    SCM_FORBIDDEN: FailedPrecondition, "The credential of the connection lacks a permission; the metadata names it.", "Grant the permission to the App or token, then run TestConnection.";
    SCM_RATE_LIMITED: ResourceExhausted, "The source provider's rate limit for the connection is used up.", "Wait as RetryInfo says; raise the poll interval if it happens often.";
    SCM_UNAVAILABLE: Unavailable, "The source provider does not answer, or answers that it cannot.", "Repeat later; nothing was taken from the missing answer.";
    SCM_ANSWER_INVALID: Unavailable, "The source provider answered something that is not its API: another type, half a page, or another shape.", "Check the connection's api_url and what stands between; nothing was taken from the answer.";
    SCM_REDIRECTED: FailedPrecondition, "The source provider redirects to another host, where the credential is not sent.", "Set api_url and git_url of the connection to the host that answers.";
    SCM_REFUSED: FailedPrecondition, "The source provider refused the change; the message is its own.", "Correct what the message names.";
    SCM_CREDENTIAL_UNREADABLE: FailedPrecondition, "The file of the connection's credential is missing or is not what it should be.", "Put the App's private key in PEM, or the token, into the file that the connection names.";
    SCM_UNSUPPORTED: FailedPrecondition, "The connection's kind of provider cannot do this through Slipway.", "Do it at the provider itself.";
}

/// Scheme of clone URLs and location targets of this port.
pub const SCHEME: &str = "scm";

/// Which adapter serves a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Bare repositories below a directory of this machine.
    #[default]
    Local,
    /// GitHub, in the cloud or an installation of one's own.
    Github,
}

impl Kind {
    /// The word in configuration and contract.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Local => "local",
            Kind::Github => "github",
        }
    }
}

/// One SCM connection, `[scm.<id>]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScmConfig {
    /// Adapter.
    #[serde(default)]
    pub kind: Kind,
    /// `local`: directory that holds the repositories as `<owner>/<name>.git`; `github`: directory of its mirrors, which may be
    /// removed at any time. Made if missing.
    #[serde(default)]
    pub root: PathBuf,
    /// Absolute path of git; found on PATH if left out.
    #[serde(default)]
    pub git: Option<PathBuf>,
    /// How often open pull requests are looked at, in seconds.
    #[serde(default = "poll_default")]
    pub poll_interval_seconds: u64,
    /// `github`: what the paths of the REST API are below; the public API if left out.
    #[serde(default)]
    pub api_url: Option<String>,
    /// `github`: what `<owner>/<name>.git` is below; follows from `api_url` if left out.
    #[serde(default)]
    pub git_url: Option<String>,
    /// `github`: networks such as `10.0.0.0/8` that the two hosts may lie in besides public ones.
    #[serde(default)]
    pub networks: Vec<String>,
    /// `github`: id of the App, with `installation_id` and `private_key_file`.
    #[serde(default)]
    pub app_id: Option<u64>,
    /// `github`: id of the App's installation.
    #[serde(default)]
    pub installation_id: Option<u64>,
    /// `github`: file of the App's private key in PEM.
    #[serde(default)]
    pub private_key_file: Option<PathBuf>,
    /// `github`: file of a token, instead of an App.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

fn poll_default() -> u64 {
    60
}

impl ScmConfig {
    /// The adapter `local` on a directory, with everything else as by default.
    pub fn local(root: impl Into<PathBuf>) -> Self {
        Self {
            kind: Kind::Local,
            root: root.into(),
            git: None,
            poll_interval_seconds: poll_default(),
            api_url: None,
            git_url: None,
            networks: Vec::new(),
            app_id: None,
            installation_id: None,
            private_key_file: None,
            token_file: None,
        }
    }

    /// The adapter `github` with a token, with everything else as by default.
    pub fn github(root: impl Into<PathBuf>, api_url: &str, token_file: impl Into<PathBuf>) -> Self {
        Self {
            kind: Kind::Github,
            api_url: Some(api_url.to_owned()),
            token_file: Some(token_file.into()),
            ..Self::local(root)
        }
    }
}

/// One connection to a source provider; cheap to clone.
#[derive(Clone)]
pub struct Scm(Arc<Inner>);

struct Inner {
    id: String,
    poll_interval: Duration,
    adapter: Adapter,
}

enum Adapter {
    Local(Local),
    Github(Box<Github>),
}

/// Connection and repository of a URL `scm://<connection>/<owner>/<name>`; anything after the name is left to the caller.
pub fn parse_url(url: &str) -> Option<(String, String)> {
    let (connection, rest) = url.strip_prefix("scm://")?.split_once('/')?;
    let mut parts = rest.splitn(3, '/');
    let (owner, name) = (parts.next()?, parts.next()?);
    let name = format!("{owner}/{}", name.trim_end_matches(".git"));
    path_of(&name).ok()?;
    Some((connection.to_owned(), name))
}

/// Path of a repository below the root.
fn path_of(name: &str) -> Result<FilePath> {
    let invalid = || {
        let text = format!("{name:?} is no repository name");
        Err(Error::new(&REPOSITORY_NAME_INVALID, text).violation("repository", "owner/name"))
    };
    let Some((owner, short)) = name.split_once('/') else { return invalid() };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric());
    let owner_fits = begins(owner) && owner.len() <= 39 && owner.chars().all(plain);
    let name_fits = begins(short) && short.len() <= 99 && short.chars().all(|c| plain(c) || c == '.' || c == '_');
    if !owner_fits || !name_fits || short.ends_with(".git") || short.ends_with('.') {
        return invalid();
    }
    FilePath::parse(&format!("{name}.git"))
}

fn unknown(name: &str) -> Error {
    Error::new(&REPOSITORY_UNKNOWN, format!("there is no repository {name}")).resource("repository", name)
}

#[cfg(test)]
#[path = "scm/tests.rs"]
mod tests;
