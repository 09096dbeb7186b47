//! What the metrics service is told at start.
use std::collections::BTreeMap;

use serde::Deserialize;
use slipway_kit::{db::DbConfig, error::Result, program::Configured, scm::ScmConfig};

/// Configuration of the metrics service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the facts are.
    pub database: DbConfig,
    /// Source providers by connection id; commits are read from them when a push is told of.
    #[serde(default)]
    pub scm: BTreeMap<String, ScmConfig>,
    /// Connection that a repository named only `owner/name` belongs to.
    #[serde(default = "connection")]
    pub default_connection: String,
    /// IANA time zone of the organisation: that of windows which name none.
    #[serde(default = "zone")]
    pub time_zone: String,
}

fn connection() -> String {
    "local".to_owned()
}

fn zone() -> String {
    "UTC".to_owned()
}

impl Config {
    /// Defaults over one database.
    pub fn new(database: DbConfig) -> Self {
        Self { database, scm: BTreeMap::new(), default_connection: connection(), time_zone: zone() }
    }
}

impl Configured for Config {
    fn database(&self) -> &DbConfig {
        &self.database
    }

    fn validate(&self) -> Result<()> {
        Ok(())
    }
}
