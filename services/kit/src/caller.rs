//! Who is calling: the identity that the gateway has verified and every service believes only under signature.
//!
//! Owns principals, roles and the limits of a credential, and the signed statement that carries them (SAFE-25). Refuses
//! credentials themselves: a secret never gets this far.

mod assertion;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use assertion::{ASSERTION_HEADER, Assertion, PublicKey, Signer, Verifier};

/// What kind of thing a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    /// A person with a session or an identity provider's token.
    User,
    /// A platform token, speaking for its owner within its scopes.
    Token,
    /// A workload of a registered cluster.
    Workload,
    /// A job of a continuous integration system.
    CiJob,
    /// A Slipway service by itself.
    Service,
}

/// A role of the access table (SAFE-30); the first three are held in a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads what the team owns.
    Viewer,
    /// Works on what the team owns.
    Developer,
    /// Decides for the team.
    Maintainer,
    /// A machine that may do what its scopes list.
    Automation,
    /// Reads everything, changes nothing.
    Auditor,
    /// Repairs, without secrets or content.
    Operator,
    /// Runs the platform.
    PlatformAdmin,
}

/// One limit of a credential: what it may do, and to whose things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// `noun.verb`, `noun.*` or `*`.
    pub permission: String,
    /// Group whose resources are meant; empty or `*` for any.
    pub resource: String,
}

impl Scope {
    /// Whether this scope covers the permission, on whatever resource.
    pub fn covers(&self, permission: &str) -> bool {
        self.permission == "*"
            || self.permission == permission
            || self
                .permission
                .strip_suffix(".*")
                .is_some_and(|noun| permission.split_once('.').is_some_and(|(n, _)| n == noun))
    }

    /// Whether this scope reaches the resources of `owner`; an unowned resource is reached only by an unbound scope.
    pub fn reaches(&self, owner: Option<&str>) -> bool {
        self.is_unbound() || owner == Some(self.resource.as_str())
    }

    /// Whether this scope holds for any owner.
    pub fn is_unbound(&self) -> bool {
        self.resource.is_empty() || self.resource == "*"
    }
}

/// A verified identity with its present rights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Who it is, for example `user:default/ann` or `service:environment`.
    pub principal: String,
    /// What kind of thing it is.
    pub kind: CallerKind,
    /// The credential used, for example `tokens/ab12cd34`; never the secret.
    pub credential: String,
    /// Best role in each team, by group reference.
    pub teams: BTreeMap<String, Role>,
    /// Roles on the whole platform.
    pub roles: BTreeSet<Role>,
    /// Limits of the credential; `None` if it has none of its own.
    pub scopes: Option<Vec<Scope>>,
    /// What a CI job is bound to beyond its scopes; `None` for every other caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
}

/// What a job of a continuous integration system is bound to, as its trust entries and its verified token say (SAFE-17, SAFE-18).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The provider's numeric id of the repository it runs in.
    pub repository_id: String,
    /// The pull request it runs for; such a job acts on the preview of that pull request alone.
    pub pull_request: Option<i64>,
    /// Permissions by service, canonical references: what the scopes hold for a whole team, held for one service.
    pub grants: BTreeMap<String, BTreeSet<String>>,
}

impl Job {
    /// Whether a trust entry gives it this permission on the service.
    pub fn may(&self, permission: &str, service: &str) -> bool {
        self.grants.get(service).is_some_and(|granted| granted.contains(permission))
    }

    /// Whether it may act on what came from this repository and pull request.
    pub fn reaches(&self, repository_id: &str, pull_request: Option<i64>) -> bool {
        self.repository_id == repository_id && (self.pull_request.is_none() || self.pull_request == pull_request)
    }
}

impl Caller {
    /// A Slipway service acting for itself.
    pub fn service(name: &str) -> Self {
        Self::bare(format!("service:{name}"), CallerKind::Service)
    }

    /// Work that no request started, for example a sweep.
    pub fn system() -> Self {
        Self::bare("system".to_owned(), CallerKind::Service)
    }

    /// A caller without a credential, as PUBLIC methods may have.
    pub fn anonymous() -> Self {
        Self::bare(String::new(), CallerKind::User)
    }

    fn bare(principal: String, kind: CallerKind) -> Self {
        Self {
            principal,
            kind,
            credential: String::new(),
            teams: BTreeMap::new(),
            roles: BTreeSet::new(),
            scopes: None,
            job: None,
        }
    }

    /// Whether somebody is signed in at all.
    pub fn is_anonymous(&self) -> bool {
        self.principal.is_empty()
    }

    /// Whether the caller has this role on the whole platform.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether the caller has at least `role` in the team.
    pub fn in_team(&self, group: &str, role: Role) -> bool {
        self.teams.get(group).is_some_and(|held| *held >= role && *held <= Role::Maintainer)
    }
}
