//! What the secrets service is told at start.
//!
//! Owns the fields. Refuses secrets in it: the master key is named by its file only.
use std::path::PathBuf;

use serde::Deserialize;
use slipway_kit::{db::DbConfig, error::Result, program::Configured};

/// Configuration of the secrets service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where metadata and ciphertext are.
    pub database: DbConfig,
    /// File of the master key: 32 bytes, mode 0400 or 0600, owned by the service's user. Back it up apart from the database.
    pub key_file: PathBuf,
    /// File that counts writes outside the database, so that a restored older database is noticed; none is kept if absent.
    #[serde(default)]
    pub witness_file: Option<PathBuf>,
    /// Directory of kubeconfig files, for delivery to clusters that name one; none can be used if absent.
    #[serde(default)]
    pub credentials_root: Option<PathBuf>,
}

impl Configured for Config {
    fn database(&self) -> &DbConfig {
        &self.database
    }

    fn validate(&self) -> Result<()> {
        Ok(())
    }
}
