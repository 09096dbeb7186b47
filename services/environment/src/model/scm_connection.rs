//! Connections to source providers as the platform keeps them (ENV-182).
//!
//! Owns their fields and rules. Refuses credentials: a connection names a file below one directory, and never a way out of it.
use serde::{Deserialize, Serialize};
use slipway_kit::error::Violations;

/// Looks at pull requests are at least this far apart, in seconds.
pub const POLL_SECONDS_MIN: i64 = 5;
/// And at most this far.
pub const POLL_SECONDS_MAX: i64 = 86_400;
/// If nothing is said.
pub const POLL_SECONDS: i64 = 60;
/// The public API.
pub const API_URL: &str = "https://api.github.com";

/// Kind of provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScmKind {
    /// Repositories on the platform's own disk.
    #[default]
    Local,
    /// GitHub.
    Github,
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScmConnection {
    /// Id, also the source of its webhooks.
    pub id: String,
    /// Uid; empty for one of the configuration.
    pub uid: String,
    /// Grows with every change; 0 for one of the configuration.
    pub version: i64,
    /// Kind of provider.
    pub kind: ScmKind,
    /// Base address of the API; empty for the public one.
    pub api_url: String,
    /// Base address of git; empty if it follows from the API's.
    pub git_url: String,
    /// Id of the App; 0 if there is none.
    pub app_id: i64,
    /// Id of its installation; 0 if there is none.
    pub installation_id: i64,
    /// Name of the file of the App's key.
    pub private_key_file: String,
    /// Name of the file of a token.
    pub token_file: String,
    /// How often open pull requests are looked at, in seconds.
    pub poll_seconds: i64,
    /// When it was made, in microseconds.
    pub created_us: i64,
    /// When it last changed, in microseconds.
    pub updated_us: i64,
}

impl ScmConnection {
    /// `scmConnections/<id>`.
    pub fn name(&self) -> String {
        format!("scmConnections/{}", self.id)
    }

    /// Version for guarded changes.
    pub fn etag(&self) -> String {
        format!("v{}", self.version)
    }

    /// Whether it stands in the configuration.
    pub fn is_configured(&self) -> bool {
        self.version == 0
    }

    /// Adds every broken rule; fields are named as in a request.
    pub fn check(&self, v: &mut Violations) {
        let field = |name: &str| format!("scm_connection.{name}");
        v.check(self.kind == ScmKind::Github, field("kind"), "must be SCM_KIND_GITHUB; local ones are configured");
        let has_app = self.app_id > 0 && self.installation_id > 0 && !self.private_key_file.is_empty();
        let has_part = self.app_id > 0 || self.installation_id > 0 || !self.private_key_file.is_empty();
        let has_token = !self.token_file.is_empty();
        let rule = "exactly one of token_file, and app_id with installation_id and private_key_file";
        v.check(has_app != has_token && has_app == has_part, field("token_file"), rule);
        for (name, file) in [("private_key_file", &self.private_key_file), ("token_file", &self.token_file)] {
            v.check(file.is_empty() || is_file_name(file), field(name), "must be the plain name of a file");
        }
        let polls = (POLL_SECONDS_MIN..=POLL_SECONDS_MAX).contains(&self.poll_seconds);
        v.check(polls, field("poll_interval"), format!("{POLL_SECONDS_MIN} s to a day"));
    }
}

/// A name that stays in its directory.
fn is_file_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= 128 && name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> ScmConnection {
        ScmConnection {
            kind: ScmKind::Github,
            token_file: "acme.token".to_owned(),
            poll_seconds: POLL_SECONDS,
            ..ScmConnection::default()
        }
    }

    fn broken(change: impl FnOnce(&mut ScmConnection)) -> bool {
        let (mut connection, mut v) = (connection(), Violations::new());
        change(&mut connection);
        connection.check(&mut v);
        !v.is_empty()
    }

    #[test]
    fn a_credential_is_one_plain_name_of_a_file() {
        assert!(!broken(|_| {}));
        for bad in ["../x", "/etc/passwd", "a/b", ".hidden", "", "a\0b", "..", "a\\b"] {
            assert!(broken(|c| c.token_file = bad.to_owned()), "{bad:?}");
        }
        assert!(broken(|c| c.app_id = 1));
        assert!(!broken(|c| {
            (c.app_id, c.installation_id) = (1, 2);
            (c.private_key_file, c.token_file) = ("app.pem".to_owned(), String::new());
        }));
        assert!(broken(|c| c.kind = ScmKind::Local) && broken(|c| c.poll_seconds = 1));
    }
}
