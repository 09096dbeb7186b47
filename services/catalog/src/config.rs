//! Configuration of the catalog.

use std::{collections::BTreeMap, path::PathBuf};

use futures::future::BoxFuture;
use serde::Deserialize;
use slipway_kit::{
    check::Check,
    db::DbConfig,
    error::{Result, Violations},
    program::{Configured, tool},
    scm::ScmConfig,
};

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the data is.
    pub database: DbConfig,
    /// SCM connections by id.
    pub scm: BTreeMap<String, ScmConfig>,
    /// Directory below which locations of type FILE are read; none are without it.
    pub file_root: Option<PathBuf>,
    /// How often a location is read again without a trigger, in seconds; 1 h to 7 d.
    pub reread_interval_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: DbConfig::Sqlite { path: "catalog.db".into() },
            scm: BTreeMap::new(),
            file_root: None,
            reread_interval_seconds: 6 * 3600,
        }
    }
}

impl Config {
    /// Checks what types cannot say; every violation at once.
    pub fn validate(&self) -> Result<()> {
        let mut violations = Violations::new();
        let range = 3600..=7 * 24 * 3600;
        violations.check(
            range.contains(&self.reread_interval_seconds),
            "reread_interval_seconds",
            "must be from 3600 to 604800",
        );
        if let Some(root) = &self.file_root {
            violations.check(root.is_dir(), "file_root", "must be a directory");
        }
        violations.finish()
    }
}

impl Configured for Config {
    fn database(&self) -> &DbConfig {
        &self.database
    }

    fn validate(&self) -> Result<()> {
        Self::validate(self)
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Check>> {
        Box::pin(async { vec![tool("git", None)] })
    }
}
