//! Locations: registered origins of documents, and how their targets are written.

use serde::{Deserialize, Serialize};
use slipway_kit::error::Violations;

use super::entity_ref::EntityRef;

/// File read when none is named.
pub const DEFAULT_PATH: &str = "catalog-info.yaml";
/// Uid of the organisation built into the platform.
pub const BUILTIN_UID: &str = "00000000-0000-7000-8000-000000000001";

/// What a location's target is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A file in a repository of a configured SCM connection.
    Git {
        /// Connection.
        scm: String,
        /// Repository as `owner/name`.
        repository: String,
        /// File below its top.
        path: String,
    },
    /// A file below the configured root.
    File {
        /// Path below the root.
        path: String,
    },
    /// The organisation built into the platform.
    Builtin,
}

impl Target {
    /// Reads `scm://<connection>/<owner>/<name>` and the path of the file; adds what is wrong.
    pub fn git(target: &str, path: &str, violations: &mut Violations) -> Option<Self> {
        let parts: Vec<_> = target.strip_prefix("scm://").map(|rest| rest.split('/').collect()).unwrap_or_default();
        let good = |p: &&str| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) && !p.starts_with('.')
        };
        let path = if path.is_empty() { DEFAULT_PATH } else { path };
        let path_good = is_path(path);
        violations.check(path_good, "location.path", "must be a relative path without `..`, as in `catalog-info.yaml`");
        match parts.as_slice() {
            [scm, owner, name] if parts.iter().all(good) => path_good.then(|| Self::Git {
                scm: (*scm).to_owned(),
                repository: format!("{owner}/{name}"),
                path: path.to_owned(),
            }),
            _ => {
                violations.add("location.target", "must have the form `scm://<connection>/<owner>/<name>`");
                None
            }
        }
    }

    /// Reads the path of a file below the root; adds what is wrong.
    pub fn file(target: &str, path: &str, violations: &mut Violations) -> Option<Self> {
        violations.check(path.is_empty(), "location.path", "must be empty for FILE; the target names the file");
        let good = is_path(target);
        violations.check(good, "location.target", "must be a relative path without `..` below the configured root");
        (good && path.is_empty()).then(|| Self::File { path: target.to_owned() })
    }

    /// The file read first, below the location.
    pub fn path(&self) -> &str {
        match self {
            Self::Git { path, .. } => path,
            Self::File { path } => path,
            Self::Builtin => "organization.yaml",
        }
    }

    /// The target as written in the contract.
    pub fn text(&self) -> String {
        match self {
            Self::Git { scm, repository, .. } => format!("scm://{scm}/{repository}"),
            Self::File { path } => path.clone(),
            Self::Builtin => "builtin".to_owned(),
        }
    }

    /// One key per origin: two locations never have the same.
    pub fn key(&self) -> String {
        match self {
            Self::Git { scm, repository, path } => format!("git:{scm}/{}:{path}", repository.to_lowercase()),
            Self::File { path } => format!("file:{path}"),
            Self::Builtin => "builtin:".to_owned(),
        }
    }

    /// The connection and the repository of a git target.
    pub fn repository(&self) -> (&str, &str) {
        match self {
            Self::Git { scm, repository, .. } => (scm, repository),
            Self::File { .. } | Self::Builtin => ("", ""),
        }
    }
}

fn is_path(text: &str) -> bool {
    slipway_kit::files::FilePath::parse(text).is_ok()
}

/// What someone wants registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLocation {
    /// Origin.
    pub target: Target,
    /// Group that may refresh and delete it.
    pub owner: EntityRef,
    /// Whether it may declare groups and users.
    pub organization: bool,
    /// Whether it may declare templates.
    pub templates: bool,
}

/// State of a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The content as last read is applied.
    Ready,
    /// The content could not be read or was refused.
    Stale,
}

/// One registered origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// Uid.
    pub uid: String,
    /// Origin.
    pub target: Target,
    /// Canonical reference of the group that may refresh and delete it.
    pub owner: String,
    /// Whether it may declare groups and users.
    pub organization: bool,
    /// Whether it may declare templates.
    pub templates: bool,
    /// State of the last read.
    pub state: State,
    /// Why it is stale, as a word.
    pub reason: String,
    /// Why it is stale, for people.
    pub message: String,
    /// Commit last applied.
    pub commit: String,
    /// Hash of everything last applied.
    pub content_hash: String,
    /// Sequence last applied.
    pub sequence: i64,
    /// Number of the state, from 1.
    pub version: i64,
    /// When it was registered, in µs.
    pub created_us: i64,
    /// When it or its content last changed, in µs.
    pub updated_us: i64,
    /// When the content was last read, in µs.
    pub refreshed_us: i64,
    /// Entities served from here.
    pub entity_count: i64,
    /// Documents that are not served as they stand; only in the answer about one location.
    pub reports: Vec<Report>,
}

impl Location {
    /// Resource name.
    pub fn name(&self) -> String {
        format!("locations/{}", self.uid)
    }

    /// Whether a document of this kind may come from here (CAT-37).
    pub fn allows(&self, kind: &str) -> bool {
        match kind.to_ascii_lowercase().as_str() {
            "group" | "user" => self.organization,
            "template" => self.templates,
            _ => true,
        }
    }

    /// Etag of the state.
    pub fn etag(&self) -> String {
        format!("{}-{}", self.version, self.uid.get(self.uid.len().saturating_sub(12)..).unwrap_or_default())
    }
}

/// What is wrong with one document of a location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Path of the file.
    pub path: String,
    /// Index of the document in its file.
    pub index: i64,
    /// Canonical reference, if any.
    pub identity: String,
    /// Line on which the document begins.
    pub line: u32,
    /// What was found.
    pub findings: Vec<super::finding::Finding>,
}

/// What a read changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Entities that appeared.
    pub added: i64,
    /// Entities that changed.
    pub changed: i64,
    /// Entities that went.
    pub removed: i64,
}

impl Tally {
    /// Whether so many removals of `served` entities are too many to believe (CAT-40).
    pub fn is_mass_removal(self, served: i64) -> bool {
        self.removed > (served / 5).max(10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_with_all_that_is_wrong() {
        let mut none = Violations::new();
        let git = Target::git("scm://local/acme/pay", "", &mut none).map(|t| t.key());
        assert_eq!(git.as_deref(), Some("git:local/acme/pay:catalog-info.yaml"));
        assert!(Target::file("org/teams.yaml", "", &mut none).is_some() && none.is_empty());
        for (target, path, wrong) in [
            ("https://x/y", "", 1),
            ("scm://local/acme", "", 1),
            ("scm://local/acme/pay/x", "../y", 2),
            ("scm://local/../pay", "/etc", 2),
            ("scm:///a/b", "", 1),
            ("scm://local/a b/c", "", 1),
        ] {
            let mut violations = Violations::new();
            assert!(Target::git(target, path, &mut violations).is_none());
            let error = violations.finish().expect_err(target);
            assert_eq!(error.violations().len(), wrong, "{target} {path}");
        }
    }

    #[test]
    fn a_fifth_and_more_than_ten_is_mass_removal() {
        let removed = |removed, served| Tally { removed, ..Tally::default() }.is_mass_removal(served);
        assert!(!removed(10, 10) && removed(11, 11) && !removed(20, 100) && removed(21, 100));
    }
}
