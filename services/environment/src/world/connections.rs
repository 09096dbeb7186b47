//! Open connections to source providers: those of the configuration, and those that were stored while running.
//!
//! Owns which are open, and the way from a stored one to kit's port: its credential is a file below one directory, its hosts are
//! among those that the configuration allows (SAFE-49). Refuses to close a connection of the configuration.
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use slipway_kit::{
    error::{Error, Result, Violations},
    scm::{Kind, Scm, ScmConfig},
};

use crate::{
    error::SCM_UNKNOWN,
    model::scm_connection::{API_URL, POLL_SECONDS, ScmConnection, ScmKind},
};

/// What stored connections may reach.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Allowed hosts, `https://host[:port]` each, then any networks their addresses may lie in besides public ones.
    pub hosts: Vec<String>,
    /// Directory of credentials.
    pub credentials: PathBuf,
    /// Directory of mirrors.
    pub mirrors: PathBuf,
    /// Absolute path of git, if it is not on PATH.
    pub git: Option<PathBuf>,
}

/// The open connections; cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    open: RwLock<BTreeMap<String, Open>>,
    rules: Rules,
}

#[derive(Clone)]
struct Open {
    scm: Scm,
    shown: ScmConnection,
}

impl From<BTreeMap<String, Scm>> for Connections {
    fn from(scms: BTreeMap<String, Scm>) -> Self {
        let configured = scms.into_iter().map(|(id, scm)| {
            let kind = if scm.kind() == Kind::Local { ScmKind::Local } else { ScmKind::Github };
            let poll_seconds = i64::try_from(scm.poll_interval().as_secs()).unwrap_or(POLL_SECONDS);
            let shown = ScmConnection { id: id.clone(), kind, poll_seconds, ..ScmConnection::default() };
            (id, Open { scm, shown })
        });
        Self(Arc::new(Inner { open: RwLock::new(configured.collect()), rules: Rules::default() }))
    }
}

impl Connections {
    /// The connections of the configuration, and the rules for more.
    pub fn new(configured: Vec<(ScmConfig, Scm)>, rules: Rules) -> Self {
        let shown = |config: &ScmConfig, scm: &Scm| {
            let name = |path: &Option<PathBuf>| {
                path.as_ref().and_then(|p| p.file_name()).map_or(String::new(), |n| n.to_string_lossy().into_owned())
            };
            let id = |id: Option<u64>| id.and_then(|id| i64::try_from(id).ok()).unwrap_or(0);
            ScmConnection {
                id: scm.id().to_owned(),
                kind: if config.kind == Kind::Local { ScmKind::Local } else { ScmKind::Github },
                api_url: config.api_url.clone().unwrap_or_default(),
                git_url: config.git_url.clone().unwrap_or_default(),
                app_id: id(config.app_id),
                installation_id: id(config.installation_id),
                private_key_file: name(&config.private_key_file),
                token_file: name(&config.token_file),
                poll_seconds: i64::try_from(config.poll_interval_seconds).unwrap_or(POLL_SECONDS),
                ..ScmConnection::default()
            }
        };
        let open = configured.into_iter().map(|(config, scm)| {
            let shown = shown(&config, &scm);
            (shown.id.clone(), Open { scm, shown })
        });
        Self(Arc::new(Inner { open: RwLock::new(open.collect()), rules }))
    }

    /// An open connection.
    ///
    /// # Errors
    /// SCM_UNKNOWN.
    pub fn scm(&self, id: &str) -> Result<Scm> {
        let open = self.0.open.read().unwrap_or_else(PoisonError::into_inner);
        let found = open.get(id).map(|open| open.scm.clone());
        found.ok_or_else(|| Error::new(&SCM_UNKNOWN, format!("there is no SCM connection {id:?}")))
    }

    /// Every open one as it is shown, in order of id.
    pub fn shown(&self) -> Vec<ScmConnection> {
        let open = self.0.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().map(|open| open.shown.clone()).collect()
    }

    /// What would be opened for a stored connection.
    ///
    /// # Errors
    /// INVALID_FIELD for a host that is not allowed and for what does not fit together.
    pub async fn prepare(&self, connection: &ScmConnection) -> Result<Scm> {
        let config = self.config(connection)?;
        Scm::open(&connection.id, &config).await
    }

    /// Opens stored connections that are new or changed, and closes those that are gone; answers the ids of those opened.
    pub async fn follow(&self, stored: &[ScmConnection]) -> Vec<String> {
        let known: BTreeMap<String, i64> =
            self.shown().into_iter().map(|connection| (connection.id, connection.version)).collect();
        let mut opened = Vec::new();
        for connection in stored.iter().filter(|c| known.get(&c.id).is_none_or(|v| *v != 0 && *v != c.version)) {
            match self.prepare(connection).await {
                Ok(scm) => {
                    let open = Open { scm, shown: connection.clone() };
                    self.0.open.write().unwrap_or_else(PoisonError::into_inner).insert(connection.id.clone(), open);
                    opened.push(connection.id.clone());
                }
                Err(error) => tracing::error!(error = ?error, connection = %connection.id, "not opened"),
            }
        }
        let is_gone = |id: &str| !stored.iter().any(|connection| connection.id == id);
        let mut open = self.0.open.write().unwrap_or_else(PoisonError::into_inner);
        open.retain(|id, open| open.shown.is_configured() || !is_gone(id));
        opened
    }

    fn config(&self, connection: &ScmConnection) -> Result<ScmConfig> {
        let rules = &self.0.rules;
        let api_url = Some(connection.api_url.as_str()).filter(|url| !url.is_empty()).unwrap_or(API_URL);
        let mut v = Violations::new();
        let mut networks = Vec::new();
        for (field, url) in [("api_url", api_url), ("git_url", connection.git_url.as_str())] {
            if url.is_empty() {
                continue;
            }
            match rules.hosts.iter().find(|entry| is_below(url, entry)) {
                Some(entry) => networks.extend(entry.split_whitespace().skip(1).map(str::to_owned)),
                None => v.add(format!("scm_connection.{field}"), "its host is not one that this platform allows"),
            }
        }
        v.finish()?;
        let file = |name: &str| Some(rules.credentials.join(name)).filter(|_| !name.is_empty());
        let id = |id: i64| u64::try_from(id).ok().filter(|id| *id > 0);
        Ok(ScmConfig {
            kind: Kind::Github,
            git: rules.git.clone(),
            poll_interval_seconds: u64::try_from(connection.poll_seconds).unwrap_or(60),
            api_url: Some(api_url.to_owned()),
            git_url: Some(connection.git_url.clone()).filter(|url| !url.is_empty()),
            networks,
            app_id: id(connection.app_id),
            installation_id: id(connection.installation_id),
            private_key_file: file(&connection.private_key_file),
            token_file: file(&connection.token_file),
            ..ScmConfig::local(rules.mirrors.join(&connection.id))
        })
    }
}

/// Whether an address is on the host of an entry: equal up to the path, so that nothing can be put between.
fn is_below(url: &str, entry: &str) -> bool {
    let origin = entry.split_whitespace().next().unwrap_or_default().trim_end_matches('/');
    let rest = url.strip_prefix(origin);
    !origin.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_hosts_are_reached() {
        for (url, entry, fits) in [
            ("https://api.github.com", "https://api.github.com", true),
            ("https://api.github.com/x", "https://api.github.com", true),
            ("https://api.github.com.evil.com", "https://api.github.com", false),
            ("https://api.github.com@evil.com", "https://api.github.com", false),
            ("https://api.github.com:8443", "https://api.github.com", false),
            ("http://api.github.com", "https://api.github.com", false),
            ("https://git.acme.example/api/v3", "https://git.acme.example 10.0.0.0/8", true),
            ("https://x", "", false),
        ] {
            assert_eq!(is_below(url, entry), fits, "{url} {entry}");
        }
    }
}
