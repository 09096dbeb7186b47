//! The table of the proxy: a host, who may use it, and what answers there.
//!
//! Refuses to know what stands behind a host beyond its addresses.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use slipway_kit::caller::{Caller, Role};

/// Every route by host.
pub type Table = Arc<BTreeMap<String, Arc<Route>>>;

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host.
    pub host: String,
    /// What to look at when it does not answer.
    pub resource: String,
    /// Uid told in every answer.
    pub uid: String,
    /// What stands behind it.
    pub state: State,
    /// Who may use it.
    pub access: Access,
    /// What answers, longer paths first.
    pub upstreams: Vec<Upstream>,
}

/// What answers below one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The path.
    pub path: String,
    /// Whether only this very path is meant.
    pub is_exact: bool,
    /// Whether it speaks HTTP/2 without TLS only.
    pub is_h2c: bool,
    /// Where.
    pub endpoints: Vec<SocketAddr>,
}

/// What stands behind a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Up,
    /// Nothing runs until somebody asks for it.
    Asleep,
    /// It answers before long.
    Waking,
    /// It does not answer.
    None,
}

/// Who may use a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Whoever is signed in.
    SignedIn,
    /// These principals and members of these groups.
    AllowList(Vec<String>),
}

impl Route {
    /// Whether this caller may use it.
    #[must_use]
    pub fn admits(&self, caller: &Caller) -> bool {
        match &self.access {
            Access::Public | Access::SignedIn => true,
            Access::AllowList(allowed) => {
                let listed = |entry: &String| *entry == caller.principal || caller.teams.contains_key(entry);
                allowed.iter().any(listed) || caller.roles.contains(&Role::PlatformAdmin)
            }
        }
    }

    /// What answers at a path.
    #[must_use]
    pub fn upstream(&self, path: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|u| {
            let prefix = u.path.trim_end_matches('/');
            let below = path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            path == u.path || (!u.is_exact && below)
        })
    }

    /// Whether any address is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Up && self.upstreams.iter().any(|u| !u.endpoints.is_empty())
    }
}
