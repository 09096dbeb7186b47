//! Secrets and their versions as metadata, and what a write, deletion or destruction does to them.
//!
//! Owns check-and-set and the states of a version. Refuses values: those are a [`super::document::Document`].
use serde::{Deserialize, Serialize};
use slipway_kit::error::{ETAG_MISMATCH, Error, NOT_FOUND, Result};

use super::name::Path;
use crate::error::{ALREADY_DELETED, NOT_DELETED, SECRET_DELETED, VERSION_CONFLICT, VERSION_DESTROYED};

/// Metadata of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Uid.
    pub uid: String,
    /// Path in the engine.
    pub path: Path,
    /// Reference of the service.
    pub service: String,
    /// Owning group; empty if nobody owns it.
    pub owner: String,
    /// What it is for.
    pub description: String,
    /// Newest version, from 1.
    pub version: i64,
    /// Keys of the newest version; empty once that is destroyed.
    pub keys: Vec<String>,
    /// Grows with each change; the etag.
    pub revision: i64,
    /// When the first version was written, µs.
    pub created_us: i64,
    /// When it last changed, µs.
    pub updated_us: i64,
    /// When it was softly deleted, µs; 0 while it is not.
    pub deleted_us: i64,
    /// Who wrote the first version.
    pub creator: String,
    /// Who made the last change.
    pub updater: String,
    /// Names of the bindings that deliver it; only where asked for.
    pub consumers: Vec<String>,
}

/// Metadata of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Number, from 1.
    pub version: i64,
    /// Names of its keys.
    pub keys: Vec<String>,
    /// When it was written, µs.
    pub created_us: i64,
    /// Who wrote it.
    pub creator: String,
    /// When it was destroyed, µs; 0 while it is not.
    pub destroyed_us: i64,
    /// Why it was destroyed.
    pub destroy_reason: String,
    /// Whether the secret it is of is softly deleted.
    pub deleted: bool,
}

/// The number of the version to write; `VERSION_CONFLICT` if another one is the newest than the writer expected.
pub fn next_version(current: i64, expected: Option<i64>) -> Result<i64> {
    match expected {
        Some(expected) if expected != current => {
            Err(Error::new(&VERSION_CONFLICT, format!("the newest version is {current}, not {expected}"))
                .meta("current_version", current.to_string()))
        }
        _ => Ok(current + 1),
    }
}

impl Secret {
    /// The etag.
    pub fn etag(&self) -> String {
        self.revision.to_string()
    }

    /// ETAG_MISMATCH unless the etag is this one's or empty.
    pub fn guard(&self, etag: &str) -> Result<()> {
        if etag.is_empty() || etag == self.etag() {
            return Ok(());
        }
        Err(Error::new(&ETAG_MISMATCH, "the secret changed since it was read")
            .resource("slipway.dev/Secret", self.path.name()))
    }

    /// Keys as callers see them.
    pub fn visible_keys(&self) -> &[String] {
        if self.deleted_us == 0 { &self.keys } else { &[] }
    }

    /// A next revision by `updater`.
    #[must_use]
    pub fn touched(mut self, now_us: i64, updater: &str) -> Self {
        self.revision += 1;
        self.updated_us = now_us;
        updater.clone_into(&mut self.updater);
        self
    }

    /// The secret with a new version, which also takes a deletion back; an empty description changes nothing.
    #[must_use]
    pub fn written(mut self, version: i64, keys: Vec<String>, description: String) -> Self {
        if !description.is_empty() {
            self.description = description;
        }
        Self { version, keys, deleted_us: 0, ..self }
    }

    /// The secret softly deleted.
    pub fn deleted(self, now_us: i64, updater: &str) -> Result<Self> {
        if self.deleted_us != 0 {
            return Err(Error::new(&ALREADY_DELETED, "the secret is deleted already")
                .resource("slipway.dev/Secret", self.path.name()));
        }
        Ok(Self { deleted_us: now_us, ..self.touched(now_us, updater) })
    }

    /// The secret with its deletion taken back.
    pub fn undeleted(self, now_us: i64, updater: &str) -> Result<Self> {
        if self.deleted_us == 0 {
            return Err(
                Error::new(&NOT_DELETED, "the secret is not deleted").resource("slipway.dev/Secret", self.path.name())
            );
        }
        Ok(Self { deleted_us: 0, ..self.touched(now_us, updater) })
    }

    /// Which version is meant: the newest for 0. The secret must not be deleted.
    pub fn version_meant(&self, version: i64) -> Result<i64> {
        if self.deleted_us != 0 {
            return Err(
                Error::new(&SECRET_DELETED, "the secret is deleted").resource("slipway.dev/Secret", self.path.name())
            );
        }
        if version > self.version {
            return Err(self.no_version(version));
        }
        Ok(if version == 0 { self.version } else { version })
    }

    /// NOT_FOUND about a version.
    pub fn no_version(&self, version: i64) -> Error {
        Error::new(&NOT_FOUND, format!("there is no version {version}; the newest is {}", self.version))
            .resource("slipway.dev/Secret", self.path.name())
    }
}

impl Version {
    /// The version without its values.
    pub fn destroyed(self, now_us: i64, reason: &str) -> Result<Self> {
        self.readable()?;
        Ok(Self { destroyed_us: now_us, destroy_reason: reason.to_owned(), ..self })
    }

    /// `VERSION_DESTROYED` if its values are gone.
    pub fn readable(&self) -> Result<()> {
        if self.destroyed_us == 0 {
            return Ok(());
        }
        Err(Error::new(&VERSION_DESTROYED, format!("version {} is destroyed", self.version)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::Tier;

    pub(crate) fn secret(version: i64) -> Secret {
        Secret {
            uid: "u".to_owned(),
            path: Path::new("payments-h4vyy", Tier::Staging, "").unwrap(),
            service: "component:default/payments".to_owned(),
            owner: "group:default/payments".to_owned(),
            description: String::new(),
            version,
            keys: vec!["A".to_owned()],
            revision: version,
            created_us: 1,
            updated_us: 1,
            deleted_us: 0,
            creator: "user:default/ann".to_owned(),
            updater: "user:default/ann".to_owned(),
            consumers: Vec::new(),
        }
    }

    #[test]
    fn check_and_set() {
        for (current, expected, want) in
            [(0, None, Some(1)), (0, Some(0), Some(1)), (3, Some(3), Some(4)), (3, None, Some(4))]
        {
            assert_eq!(next_version(current, expected).ok(), want);
        }
        for (current, expected) in [(0, 1), (3, 0), (3, 2), (3, 4)] {
            assert!(next_version(current, Some(expected)).unwrap_err().is(&VERSION_CONFLICT));
        }
    }

    #[test]
    fn a_deletion_is_soft_once_and_taken_back() {
        let gone = secret(2).deleted(9, "user:default/bob").unwrap();
        assert!(gone.visible_keys().is_empty());
        assert!(gone.version_meant(0).unwrap_err().is(&SECRET_DELETED));
        assert!(gone.clone().deleted(10, "x").unwrap_err().is(&ALREADY_DELETED));
        let back = gone.undeleted(11, "user:default/bob").unwrap();
        assert_eq!((back.version_meant(0).unwrap(), back.revision), (2, 4));
        assert!(back.undeleted(12, "x").unwrap_err().is(&NOT_DELETED));
    }

    #[test]
    fn versions_are_found_by_number() {
        let secret = secret(2);
        assert_eq!(secret.version_meant(1).unwrap(), 1);
        assert!(secret.version_meant(3).unwrap_err().is(&NOT_FOUND));
        assert!(secret.guard("2").is_ok() && secret.guard("").is_ok());
        assert!(secret.guard("1").unwrap_err().is(&ETAG_MISMATCH));
    }
}
