//! Who may do what: the access table (SAFE-30) decided by one pure function.
//!
//! Owns the rule of every RPC, read from the descriptors, and the decision. Refuses I/O and defaults that allow: a noun, verb,
//! role or relation it does not know is denied (SAFE-1).

mod rule;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::{
    caller::{Caller, CallerKind, Role},
    db::Value,
    error::{Error, PERMISSION_DENIED},
};
pub use rule::{Audit, Class, Deadline, Relation, Rule, peer, rule, rules};
use table::{Act, Cell, Group};

/// What the deciding row says about the resource; never taken from the request (SAFE-31).
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Group that owns the resource; `None` when nobody does, which leaves platform administrators.
    pub owner: Option<&'a str>,
    /// Principal the resource belongs to, for things of one's own.
    pub subject: Option<&'a str>,
    /// `development`, `staging` or `production`, where the resource has one.
    pub environment_tier: Option<&'a str>,
    /// `critical`, `standard` or `experimental`, where the resource has one.
    pub service_tier: Option<&'a str>,
    /// Whether break-glass is open for this caller and resource (SAFE-39).
    pub break_glass: bool,
}

/// Why a call is denied; for the audit record, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The table has no line for the permission.
    UnknownPermission,
    /// Nobody is signed in.
    Anonymous,
    /// Only a Slipway service may call, or a service may not.
    Service,
    /// The credential's scopes do not cover it.
    Scope,
    /// No role of the caller allows it on this resource.
    Role,
}

impl Denied {
    /// Stable word for the audit record.
    pub fn word(self) -> &'static str {
        match self {
            Self::UnknownPermission => "unknown_permission",
            Self::Anonymous => "anonymous",
            Self::Service => "service",
            Self::Scope => "scope",
            Self::Role => "role",
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl From<Denied> for Error {
    /// One text for every cause, also for a resource that does not exist (SAFE-41).
    fn from(_: Denied) -> Error {
        Error::new(&PERMISSION_DENIED, "permission denied, or there is no such resource")
    }
}

/// The binding decision of the owning service: rule, role and the facts of the stored row.
pub fn decide(caller: &Caller, rule: &Rule, facts: &Facts) -> Result<(), Denied> {
    decide_permission(caller, rule.relation, &rule.permission, facts)
}

/// As [`decide`], for a permission other than the rule's own.
pub fn decide_permission(caller: &Caller, relation: Relation, permission: &str, facts: &Facts) -> Result<(), Denied> {
    let is_service = caller.kind == CallerKind::Service;
    match relation {
        Relation::Public => return Ok(()),
        Relation::Internal => return if is_service { Ok(()) } else { Err(Denied::Service) },
        _ if is_service => return Err(Denied::Service),
        _ if caller.is_anonymous() => return Err(Denied::Anonymous),
        _ => {}
    }
    let (group, act) = table::place(permission, facts.environment_tier).ok_or(Denied::UnknownPermission)?;
    let fits = match relation {
        Relation::SignedIn => true,
        Relation::Myself if facts.subject == Some(caller.principal.as_str()) => true,
        Relation::Platform => platform_roles(caller).any(|role| allows(group, act, role, facts.break_glass)),
        _ => owner_role(caller, facts.owner)
            .into_iter()
            .chain(platform_roles(caller))
            .any(|role| allows(group, act, role, facts.break_glass)),
    };
    if !fits {
        return Err(Denied::Role);
    }
    let bound = !matches!(relation, Relation::SignedIn | Relation::Platform)
        && facts.subject != Some(caller.principal.as_str());
    if in_scope(caller, permission, bound.then_some(facts.owner)) { Ok(()) } else { Err(Denied::Scope) }
}

/// The gateway's coarse decision, before any row is read: denies only what no owner and no tier could allow (SAFE-34).
pub fn possible(caller: &Caller, rule: &Rule) -> Result<(), Denied> {
    let owners = caller.teams.keys().map(|group| Some(group.as_str())).chain([None]);
    let bound = caller
        .scopes
        .iter()
        .flatten()
        .map(|scope| Some(scope.resource.as_str()))
        .filter(|o| *o != Some("") && *o != Some("*"));
    let mut last = Err(Denied::Role);
    for owner in owners.chain(bound) {
        for environment_tier in [None, Some("development"), Some("staging"), Some("production")] {
            let facts = Facts {
                owner,
                subject: Some(&caller.principal),
                environment_tier,
                service_tier: None,
                break_glass: true,
            };
            last = decide(caller, rule, &facts);
            if last.is_ok() {
                return last;
            }
        }
    }
    last
}

fn allows(group: Group, act: Act, role: Role, break_glass: bool) -> bool {
    match (table::cell(group, role), act) {
        (Cell::No | Cell::PinnedWorkflow, _) => false,
        (Cell::BreakGlass, _) => break_glass,
        (Cell::Yes | Cell::Scoped, _) => true,
        (Cell::Reads, act) => act == Act::Read,
        (Cell::Repairs, act) => act == Act::Repair,
        (Cell::Requests, act) => act == Act::Change,
        (Cell::RequestsAndApproves, act) => matches!(act, Act::Change | Act::Approve),
    }
}

fn owner_role(caller: &Caller, owner: Option<&str>) -> Option<Role> {
    caller.teams.get(owner?).copied().filter(|role| *role <= Role::Automation)
}

/// Roles that hold whatever the owner; automation reaches what its scopes name.
fn platform_roles(caller: &Caller) -> impl Iterator<Item = Role> + '_ {
    let bare = caller.scopes.is_none();
    caller.roles.iter().copied().filter(move |role| *role > Role::Automation || (*role == Role::Automation && !bare))
}

/// Whether the credential's own limits allow it; `owner` is given where the resource must be reached too.
fn in_scope(caller: &Caller, permission: &str, owner: Option<Option<&str>>) -> bool {
    let Some(scopes) = &caller.scopes else { return true };
    table::is_unscoped(permission)
        || scopes.iter().any(|scope| scope.covers(permission) && owner.is_none_or(|owner| scope.reaches(owner)))
}

/// Which rows of a list the caller sees, as a predicate over the owner column (SAFE-36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visible {
    /// Every row.
    All,
    /// Rows of these owner groups; none if empty.
    Owners(Vec<String>),
}

impl Visible {
    /// What `caller` may read under `permission`.
    pub fn of(caller: &Caller, permission: &str) -> Self {
        let none = Self::Owners(Vec::new());
        let Some((group, Act::Read)) = table::place(permission, None) else { return none };
        if caller.is_anonymous() || caller.kind == CallerKind::Service {
            return none;
        }
        let covering = |scope: &&crate::caller::Scope| scope.covers(permission);
        let unbound = caller.scopes.as_ref().is_none_or(|s| s.iter().filter(covering).any(|scope| scope.is_unbound()));
        let everywhere = platform_roles(caller).any(|role| allows(group, Act::Read, role, false));
        if everywhere && unbound {
            return Self::All;
        }
        let named =
            || caller.scopes.iter().flatten().filter(covering).filter(|s| !s.is_unbound()).map(|s| s.resource.clone());
        if everywhere {
            return Self::owners(named());
        }
        let mine = caller
            .teams
            .iter()
            .filter(|(_, role)| allows(group, Act::Read, **role, false))
            .map(|(team, _)| team.clone());
        if unbound { Self::owners(mine) } else { Self::owners(mine.filter(|team| named().any(|n| n == *team))) }
    }

    fn owners(groups: impl Iterator<Item = String>) -> Self {
        let mut groups = groups.collect::<Vec<_>>();
        groups.sort();
        groups.dedup();
        Self::Owners(groups)
    }

    /// Whether a row of this owner is seen.
    pub fn sees(&self, owner: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Owners(groups) => owner.is_some_and(|owner| groups.iter().any(|group| group == owner)),
        }
    }

    /// The predicate and its arguments, numbered from `first_bind`.
    pub fn sql(&self, column: &str, first_bind: usize) -> (String, Vec<Value>) {
        match self {
            Self::All => ("1 = 1".to_owned(), Vec::new()),
            Self::Owners(groups) if groups.is_empty() => ("1 = 0".to_owned(), Vec::new()),
            Self::Owners(groups) => {
                let binds = (0..groups.len()).map(|i| format!("${}", first_bind + i)).collect::<Vec<_>>().join(", ");
                (format!("{column} IN ({binds})"), groups.iter().map(|group| Value::from(group.as_str())).collect())
            }
        }
    }
}
