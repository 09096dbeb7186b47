//! What the scaffolding service is told when it starts.
//!
//! Owns fields, units and defaults. Refuses values that could only fail later.
use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde::Deserialize;
use slipway_kit::{
    check::Check,
    db::DbConfig,
    error::{Result, Violations},
    program::{Configured, tool},
    scm::ScmConfig,
};

/// Configuration of the scaffolding service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the data is.
    pub database: DbConfig,
    /// SCM connections by id.
    pub scm: BTreeMap<String, ScmConfig>,
    /// Connection that new repositories are made at; `local` unless stated.
    #[serde(default = "publish_connection")]
    pub publish_connection: String,
    /// Runs worked on at one time.
    #[serde(default = "workers")]
    pub workers: usize,
}

fn publish_connection() -> String {
    "local".to_owned()
}

fn workers() -> usize {
    10
}

impl Config {
    /// Defaults around what has none.
    #[must_use]
    pub fn new(database: DbConfig, scm: BTreeMap<String, ScmConfig>) -> Self {
        Self { database, scm, publish_connection: publish_connection(), workers: workers() }
    }

    /// The connection that new repositories are made at.
    ///
    /// # Errors
    /// INVALID_FIELD if there is none of that name, or a number is out of range.
    pub fn validate(&self) -> Result<&ScmConfig> {
        let mut violations = Violations::new();
        violations.check((1..=1000).contains(&self.workers), "workers", "must be 1 to 1,000");
        let connection = self.scm.get(&self.publish_connection);
        violations.check(connection.is_some(), "publish_connection", "must be one of the keys of scm");
        violations.finish()?;
        connection.ok_or_else(|| slipway_kit::error::Error::internal("a checked connection exists"))
    }
}

impl Configured for Config {
    fn database(&self) -> &DbConfig {
        &self.database
    }

    fn validate(&self) -> Result<()> {
        Self::validate(self).map(|_| ())
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Check>> {
        Box::pin(async { vec![tool("git", None)] })
    }
}
