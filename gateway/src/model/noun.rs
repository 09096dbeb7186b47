//! The nouns of access as they are stored and answered: platform tokens and role bindings.
//!
//! Refuses secrets: a token here has none, only the id that names it.

use serde::{Deserialize, Serialize};
use slipway_kit::caller::{Role, Scope};

/// A platform token without its secret; times in microseconds, 0 for never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Public id of eight characters.
    pub id: String,
    /// Uid.
    pub uid: String,
    /// Raised by each change.
    pub version: i64,
    /// What it is for, in the owner's words.
    pub display_name: String,
    /// Whom it speaks for.
    pub owner: String,
    /// What it is limited to.
    pub scopes: Vec<Scope>,
    /// Made at.
    pub created_us: i64,
    /// Changed at.
    pub updated_us: i64,
    /// Ends at.
    pub expires_us: i64,
    /// Revoked at.
    pub revoked_us: i64,
    /// Last used at, to the minute.
    pub last_use_us: i64,
}

impl Token {
    /// Resource name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("tokens/{}", self.id)
    }

    /// Whether it is neither revoked nor over at `now_us`.
    #[must_use]
    pub fn is_live(&self, now_us: i64) -> bool {
        self.revoked_us == 0 && now_us < self.expires_us
    }
}

/// A role binding; times in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Uid.
    pub uid: String,
    /// Raised by each change.
    pub version: i64,
    /// Who gets the role.
    pub subject: String,
    /// The role.
    pub role: Role,
    /// The team it holds in; empty for the whole platform.
    pub team: String,
    /// Made at.
    pub created_us: i64,
    /// Changed at.
    pub updated_us: i64,
}

impl Binding {
    /// Resource name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("roleBindings/{}", self.uid)
    }
}

/// The stored word of a role.
#[must_use]
pub fn role_word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Developer => "developer",
        Role::Maintainer => "maintainer",
        Role::Automation => "automation",
        Role::Auditor => "auditor",
        Role::Operator => "operator",
        Role::PlatformAdmin => "platform-admin",
    }
}

/// The role of a stored word.
#[must_use]
pub fn role_of(word: &str) -> Option<Role> {
    let all = [
        Role::Viewer,
        Role::Developer,
        Role::Maintainer,
        Role::Automation,
        Role::Auditor,
        Role::Operator,
        Role::PlatformAdmin,
    ];
    all.into_iter().find(|role| role_word(*role) == word)
}
