//! An entity as the catalog serves it: its last good document, where it stands and what is wrong with it.

use serde::{Deserialize, Serialize};

use super::{document::Head, entity_ref::EntityRef, finding::Finding, relation::Edge};

/// State of an entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Its document is valid and present.
    #[default]
    Active,
    /// Its document as last read is invalid; the last good version is served.
    Invalid,
    /// The location that led to it is gone.
    Orphaned,
    /// A tombstone.
    Deleted,
}

impl State {
    /// Every state, in the order lists sort by.
    pub const ALL: [Self; 4] = [Self::Active, Self::Invalid, Self::Orphaned, Self::Deleted];

    /// The word in events, filters and the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Invalid => "INVALID",
            Self::Orphaned => "ORPHANED",
            Self::Deleted => "DELETED",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.word().eq_ignore_ascii_case(word))
    }
}

/// Why a version was made (CAT-90).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The entity is new.
    Created,
    /// Its document changed, or became valid again.
    Changed,
    /// The same document stands elsewhere in the same location.
    Moved,
    /// Another location serves it now.
    OwnerChanged,
    /// Its document became invalid, or is invalid in another way.
    Invalidated,
    /// It became a tombstone.
    Deleted,
    /// It came back.
    Restored,
}

impl Cause {
    const ALL: [Self; 7] = [
        Self::Created,
        Self::Changed,
        Self::Moved,
        Self::OwnerChanged,
        Self::Invalidated,
        Self::Deleted,
        Self::Restored,
    ];

    /// The word in events and the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Changed => "CHANGED",
            Self::Moved => "MOVED",
            Self::OwnerChanged => "OWNER_CHANGED",
            Self::Invalidated => "INVALIDATED",
            Self::Deleted => "DELETED",
            Self::Restored => "RESTORED",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.word() == word)
    }
}

/// Where a document stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Uid of the location.
    pub location: String,
    /// Path of the file below the location.
    pub path: String,
    /// Index of the document in its file, from 0.
    pub index: i64,
    /// Line on which the document begins, from 1.
    pub line: u32,
    /// Commit, if the location has commits.
    pub commit: String,
}

/// One version of an entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// Uid.
    pub uid: String,
    /// Canonical reference.
    pub identity: String,
    /// State.
    pub state: State,
    /// Number of the version, from 1.
    pub version: i64,
    /// Summary of the last good document; only kind, namespace and name if there never was one.
    pub head: Head,
    /// The last good document; empty if there never was one.
    pub json: String,
    /// Its text.
    pub raw: String,
    /// Relations both ways, if they were asked for.
    pub relations: Vec<Edge>,
    /// Findings of the document as last read.
    pub findings: Vec<Finding>,
    /// Where the document stands.
    pub place: Place,
    /// When the catalog first knew it, in µs.
    pub created_us: i64,
    /// When this version was made, in µs.
    pub updated_us: i64,
}

impl Entity {
    /// The etag: uid and version name one state of one entity.
    pub fn etag(&self) -> String {
        format!("{}-{}", self.version, self.uid.get(self.uid.len().saturating_sub(12)..).unwrap_or_default())
    }

    /// The reference in its parts.
    pub fn reference(&self) -> EntityRef {
        EntityRef::parse(&self.identity, None).unwrap_or_else(|_| EntityRef::new("", "", &self.identity))
    }
}

/// The facts by which other services decide about a service (`DirectoryService.ResolveOwner`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Canonical reference.
    pub identity: String,
    /// Uid.
    pub uid: String,
    /// The owning group; empty if no group owns it.
    pub owner: String,
    /// Word of the tier.
    pub tier: String,
    /// SCM connection.
    pub scm: String,
    /// Repository as `owner/name`.
    pub repository: String,
    /// Folder of the service in the repository; empty for its top.
    pub folder: String,
    /// Canonical reference of the system.
    pub system: String,
    /// Login of a user at the source provider; empty if unknown.
    pub login: String,
}
