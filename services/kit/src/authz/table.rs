//! The table of SAFE-30 as data, and the place of every permission in it.
//!
//! A new noun is one line of [`NOUNS`]. Refuses to guess: what is not listed has no place and is denied.
use crate::caller::Role;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Reading catalog, environments, metrics, templates, runs.
    Reading,
    /// Preview and development environments, and other everyday work of a team.
    Development,
    /// Staging environments, databases, alerts, flags.
    Staging,
    /// Production changes.
    Production,
    /// Metadata of secrets.
    SecretMetadata,
    /// Binding a secret to a development or staging environment.
    SecretBinding,
    /// Binding a secret to a production environment.
    SecretBindingProduction,
    /// The value of a secret.
    SecretValue,
    /// Team settings, tokens, trust entries.
    TeamSettings,
    /// Platform settings, templates of the platform, role bindings, forced deletes.
    PlatformSettings,
    /// The audit log beyond one's own acts.
    AuditLog,
}

/// What a role may do in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// Nothing.
    No,
    /// Everything of the row.
    Yes,
    /// Only reading.
    Reads,
    /// Only repairing.
    Repairs,
    /// Asking for a change that another approves.
    Requests,
    /// Asking for and approving changes; not both of one change.
    RequestsAndApproves,
    /// What the credential's scopes list.
    Scoped,
    /// Only from a pinned workflow, by a trust entry.
    PinnedWorkflow,
    /// Only under break-glass.
    BreakGlass,
}

/// What a verb does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Looks.
    Read,
    /// Changes, or asks for a change.
    Change,
    /// Approves what another asked for.
    Approve,
    /// Repairs without changing content.
    Repair,
}

/// How the changing verbs of a noun find their row.
#[derive(Clone, Copy)]
enum Changes {
    /// Always this row.
    In(Group),
    /// By the tier of the environment; without a tier there is no place.
    ByTier,
    /// Binding of secrets, by the tier of the environment.
    Binding,
}

use Cell::{BreakGlass, No, PinnedWorkflow, Reads, Repairs, Requests, RequestsAndApproves, Scoped, Yes};
use Changes::{Binding, ByTier, In};
use Group::{
    AuditLog, Development, PlatformSettings, Production, Reading, SecretBinding, SecretBindingProduction,
    SecretMetadata, SecretValue, Staging, TeamSettings,
};

/// Columns: viewer, developer, maintainer, automation, auditor, operator, platform-admin.
#[rustfmt::skip]
const TABLE: [(Group, [Cell; 7]); 11] = [
    (Reading,                 [Yes, Yes,      Yes,                 Scoped,         Yes,   Yes,     Yes]),
    (Development,             [No,  Yes,      Yes,                 Scoped,         No,    Repairs, Yes]),
    (Staging,                 [No,  Yes,      Yes,                 Scoped,         No,    Repairs, Yes]),
    (Production,              [No,  Requests, RequestsAndApproves, PinnedWorkflow, No,    Repairs, RequestsAndApproves]),
    (SecretMetadata,          [No,  Yes,      Yes,                 Scoped,         Reads, No,      Yes]),
    (SecretBinding,           [No,  Yes,      Yes,                 Scoped,         No,    No,      No]),
    (SecretBindingProduction, [No,  No,       Yes,                 Scoped,         No,    No,      No]),
    (SecretValue,             [No,  No,       Yes,                 No,             No,    No,      BreakGlass]),
    (TeamSettings,            [No,  No,       Yes,                 No,             Reads, No,      Yes]),
    (PlatformSettings,        [No,  No,       No,                  No,             Reads, No,      Yes]),
    (AuditLog,                [No,  No,       Yes,                 No,             Reads, No,      Yes]),
];

/// Every noun of a permission: the row its reads are in, and how its changes find theirs.
const NOUNS: &[(&str, Group, Changes)] = &[
    ("alerts", Reading, In(Staging)),
    ("audit", AuditLog, In(PlatformSettings)),
    ("budgets", Reading, In(PlatformSettings)),
    ("callers", Reading, In(TeamSettings)),
    ("clusters", Reading, In(PlatformSettings)),
    ("databases", Reading, In(Staging)),
    ("deliveryPerformance", Reading, In(Development)),
    ("deployments", Reading, In(Development)),
    ("diagnoses", Development, In(Development)),
    ("entities", Reading, In(Development)),
    ("environments", Reading, ByTier),
    ("facts", Reading, In(Development)),
    ("findings", Reading, In(Development)),
    ("flags", Reading, In(Staging)),
    ("holds", Reading, In(PlatformSettings)),
    ("incidents", Reading, In(Development)),
    ("locations", Reading, In(Development)),
    ("manifest_policies", Reading, In(PlatformSettings)),
    ("metrics", Reading, In(Development)),
    ("orphans", Reading, In(PlatformSettings)),
    ("overviews", Reading, In(Development)),
    ("pipelineRuns", Reading, In(Development)),
    ("pipelines", Reading, In(Development)),
    ("previews", Reading, In(Development)),
    ("role_bindings", PlatformSettings, In(PlatformSettings)),
    ("runs", Reading, In(Development)),
    ("scm_connections", PlatformSettings, In(PlatformSettings)),
    ("secret_bindings", SecretMetadata, Binding),
    ("secrets", SecretMetadata, Binding),
    ("settings", PlatformSettings, In(PlatformSettings)),
    ("slos", Reading, In(Development)),
    ("teams", Reading, In(TeamSettings)),
    ("templates", Reading, In(PlatformSettings)),
    ("tokens", TeamSettings, In(TeamSettings)),
    ("trust_entries", TeamSettings, In(TeamSettings)),
];

/// Permissions whose row does not follow from their noun and verb.
const SPECIAL: &[(&str, Group, Act)] = &[
    ("environments.ensure_preview", Development, Act::Change),
    ("environments.force_delete", PlatformSettings, Act::Change),
    ("secrets.reveal", SecretValue, Act::Read),
];

/// Permissions that a credential's scopes do not limit: every caller may ask who it is.
const UNSCOPED: &[&str] = &["callers.get"];

const READS: &[&str] = &["get", "list", "read", "watch", "wait", "search", "query", "metadata", "overview"];
const APPROVALS: &[&str] = &["approve", "confirm", "confirm_delete", "reject"];
const REPAIRS: &[&str] = &["repair", "retry", "resync"];

/// Row and act of a permission `noun.verb`; `None` denies.
pub(super) fn place(permission: &str, environment_tier: Option<&str>) -> Option<(Group, Act)> {
    if let Some((_, group, act)) = SPECIAL.iter().find(|(name, _, _)| *name == permission) {
        return Some((*group, *act));
    }
    let (noun, verb) = permission.split_once('.')?;
    let (_, read, changes) = NOUNS.iter().find(|(name, _, _)| *name == noun)?;
    let act = act(verb)?;
    if act == Act::Read {
        return Some((*read, act));
    }
    let group = match (changes, environment_tier) {
        (In(group), _) => *group,
        (ByTier, Some("development")) => Development,
        (ByTier, Some("staging")) => Staging,
        (ByTier, Some("production")) => Production,
        (Binding, Some("development" | "staging")) => SecretBinding,
        (Binding, Some("production")) => SecretBindingProduction,
        (ByTier | Binding, _) => return None,
    };
    Some((group, act))
}

fn act(verb: &str) -> Option<Act> {
    let well_formed = !verb.is_empty() && verb.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    Some(match verb {
        _ if !well_formed => return None,
        v if READS.contains(&v) => Act::Read,
        v if APPROVALS.contains(&v) => Act::Approve,
        v if REPAIRS.contains(&v) => Act::Repair,
        _ => Act::Change,
    })
}

/// What `role` may do in the row `group`.
pub(super) fn cell(group: Group, role: Role) -> Cell {
    let column = match role {
        Role::Viewer => 0,
        Role::Developer => 1,
        Role::Maintainer => 2,
        Role::Automation => 3,
        Role::Auditor => 4,
        Role::Operator => 5,
        Role::PlatformAdmin => 6,
    };
    TABLE.iter().find(|(row, _)| *row == group).map_or(No, |(_, cells)| cells[column])
}

/// Whether the scopes of a credential leave this permission alone.
pub(super) fn is_unscoped(permission: &str) -> bool {
    UNSCOPED.contains(&permission)
}
