//! What a principal may be, computed from role bindings and memberships (SAFE-30, SAFE-31).
//!
//! Refuses to invent rights: who has no binding and no team gets none, and a group's role on the platform reaches only members.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use slipway_kit::caller::{Role, Scope};

/// Everyone's bindings and memberships at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    bindings: HashMap<String, Vec<(Role, String)>>,
    groups: HashMap<String, Vec<String>>,
}

/// One role of one subject, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who gets it: a user or a group.
    pub subject: String,
    /// The role.
    pub role: Role,
    /// The team it holds in; empty for the whole platform.
    pub team: String,
}

/// Roles of one principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Best role per team.
    pub teams: BTreeMap<String, Role>,
    /// Roles on the whole platform.
    pub roles: BTreeSet<Role>,
}

impl Facts {
    /// Sorts bindings and `(user, group)` memberships for look-ups.
    #[must_use]
    pub fn new(grants: &[Grant], memberships: &[(String, String)]) -> Self {
        let mut facts = Self::default();
        for grant in grants {
            let roles = facts.bindings.entry(grant.subject.clone()).or_default();
            roles.push((grant.role, grant.team.clone()));
        }
        for (user, group) in memberships {
            facts.groups.entry(user.clone()).or_default().push(group.clone());
        }
        facts
    }

    /// The rights of a principal.
    #[must_use]
    pub fn of(&self, principal: &str) -> Rights {
        let mut rights = Rights::default();
        let groups = self.groups.get(principal).map(Vec::as_slice).unwrap_or_default();
        for group in groups {
            rights.raise(group, Role::Developer);
        }
        for subject in std::iter::once(principal).chain(groups.iter().map(String::as_str)) {
            for (role, team) in self.bindings.get(subject).into_iter().flatten() {
                if team.is_empty() {
                    rights.roles.insert(*role);
                } else {
                    rights.raise(team, *role);
                }
            }
        }
        rights
    }

    /// Whether the bindings alone, without any group, make the principal an administrator.
    #[must_use]
    pub fn is_administrator_by_name(&self, principal: &str) -> bool {
        let own = self.bindings.get(principal).into_iter().flatten();
        own.into_iter().any(|(role, team)| *role == Role::PlatformAdmin && team.is_empty())
    }
}

impl Rights {
    /// Whether there is no right at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.teams.is_empty() && self.roles.is_empty()
    }

    fn raise(&mut self, team: &str, role: Role) {
        let best = self.teams.entry(team.to_owned()).or_insert(role);
        *best = role.max(*best);
    }
}

/// Whether a role belongs to a team (`true`) or to the whole platform (`false`).
#[must_use]
pub fn is_team_role(role: Role) -> bool {
    matches!(role, Role::Viewer | Role::Developer | Role::Maintainer)
}

/// Whether every scope of `wanted` lies inside one of `held`; a credential without limits (`None`) holds everything.
#[must_use]
pub fn scopes_within(wanted: &[Scope], held: Option<&[Scope]>) -> bool {
    let Some(held) = held else { return true };
    wanted.iter().all(|w| held.iter().any(|h| covers(h, w)))
}

fn covers(held: &Scope, wanted: &Scope) -> bool {
    let any = |resource: &str| resource.is_empty() || resource == "*";
    let permission = held.permission == "*"
        || held.permission == wanted.permission
        || held
            .permission
            .strip_suffix(".*")
            .is_some_and(|noun| wanted.permission.strip_prefix(noun).is_some_and(|rest| rest.starts_with('.')));
    permission && (any(&held.resource) || held.resource == wanted.resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(subject: &str, role: Role, team: &str) -> Grant {
        Grant { subject: subject.into(), role, team: team.into() }
    }

    fn scope(permission: &str, resource: &str) -> Scope {
        Scope { permission: permission.into(), resource: resource.into() }
    }

    #[test]
    fn members_are_developers_and_bindings_raise_them() {
        let grants = [
            grant("user:default/ann", Role::Maintainer, "group:default/pay"),
            grant("group:default/pay", Role::Viewer, "group:default/web"),
            grant("group:default/pay", Role::Viewer, "group:default/pay"),
            grant("group:default/platform", Role::PlatformAdmin, ""),
            grant("user:default/aud", Role::Auditor, ""),
        ];
        let members = [
            ("user:default/ann", "group:default/pay"),
            ("user:default/bob", "group:default/pay"),
            ("user:default/root", "group:default/platform"),
        ]
        .map(|(u, g)| (u.to_owned(), g.to_owned()));
        let facts = Facts::new(&grants, &members);
        let ann = facts.of("user:default/ann");
        assert_eq!(ann.teams["group:default/pay"], Role::Maintainer);
        assert_eq!(ann.teams["group:default/web"], Role::Viewer);
        assert!(ann.roles.is_empty());
        assert_eq!(facts.of("user:default/bob").teams["group:default/pay"], Role::Developer);
        assert!(facts.of("user:default/root").roles.contains(&Role::PlatformAdmin));
        assert!(!facts.is_administrator_by_name("user:default/root"));
        assert_eq!(facts.of("user:default/aud").roles.len(), 1);
        for nobody in ["user:default/eve", "", "group:default/platform", "user:default/ANN"] {
            assert_eq!(facts.of(nobody).teams.len(), 0, "{nobody}");
        }
        assert!(facts.of("user:default/eve").is_empty());
    }

    #[test]
    fn a_token_gives_no_wider_token() {
        let held = [scope("environments.*", "group:default/pay"), scope("entities.get", "")];
        for (wanted, within) in [
            (scope("environments.create", "group:default/pay"), true),
            (scope("environments.*", "group:default/pay"), true),
            (scope("entities.get", "group:default/web"), true),
            (scope("environments.create", ""), false),
            (scope("environments.create", "group:default/web"), false),
            (scope("environmentsx.create", "group:default/pay"), false),
            (scope("entities.list", ""), false),
            (scope("entities.*", ""), false),
            (scope("*", "group:default/pay"), false),
        ] {
            assert_eq!(scopes_within(std::slice::from_ref(&wanted), Some(&held)), within, "{wanted:?}");
            assert!(scopes_within(&[wanted], None));
        }
        assert!(scopes_within(&[scope("*", "")], Some(&[scope("*", "*")])));
        assert!(!scopes_within(&[scope("entities.get", ""), scope("a.b", "")], Some(&held)));
    }
}
