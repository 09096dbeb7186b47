//! What a file says that options of the command line would be too long for: who issues credentials, and where the sources are.
//!
//! Owns the form of that file. Refuses unknown keys, and everything that the data directory decides.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use slipway_gateway::config::{Issuer, Webhook};
use slipway_kit::scm::ScmConfig;

use crate::layout::SCM;

/// The file given with `--config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Identity providers and issuers of CI jobs, by an id of one's choice.
    #[serde(default)]
    pub issuers: BTreeMap<String, Issuer>,
    /// Hosts that their keys may be fetched from although they are not public, for example `http://127.0.0.1:8080`.
    #[serde(default)]
    pub issuer_hosts: Vec<String>,
    /// Source providers by connection, for every service; the embedded one is `local` and always there.
    #[serde(default)]
    pub scm: BTreeMap<String, ScmConfig>,
    /// Hosts that connections made while running may reach; GitHub's own if left out.
    #[serde(default)]
    pub scm_hosts: Option<Vec<String>>,
    /// Webhook endpoints `/webhooks/<connection>` of these providers.
    #[serde(default)]
    pub webhooks: BTreeMap<String, Webhook>,
}

impl Settings {
    /// Reads the file; without one, nothing is set.
    ///
    /// # Errors
    /// When the file cannot be read or says what is not known.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let settings: Self =
            slipway_kit::config::parse(&text).with_context(|| format!("{} is no configuration", path.display()))?;
        if settings.scm.contains_key(SCM) || settings.webhooks.contains_key(SCM) {
            bail!("{}: `{SCM}` is the embedded source provider and not configured", path.display());
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_names_issuers_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("slipway.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Settings::read(Some(&path))
        };
        assert!(Settings::read(None).unwrap().issuers.is_empty());
        let text = "issuer_hosts = [\"http://127.0.0.1:9\"]\n[issuers.github]\nkind = \"github-actions\"\n\
                    issuer = \"http://127.0.0.1:9\"\naudience = \"https://slipway.corp.example\"\n";
        assert_eq!(read(text).unwrap().issuers.len(), 1);
        let text = "[scm.github]\nkind = \"github\"\napp_id = 1\ninstallation_id = 2\nprivate_key_file = \"/keys/app.pem\"\n\
                    [webhooks.github]\nsecret_files = [\"/keys/hook\"]\n";
        let settings = read(text).unwrap();
        assert_eq!((settings.scm["github"].app_id, settings.webhooks.len()), (Some(1), 1));
        assert!(read("[scm.local]\nroot = \"/x\"").is_err());
        assert!(read("listen = \"0.0.0.0:1\"").is_err() && read("[issuers").is_err());
        assert!(Settings::read(Some(&home.path().join("none"))).is_err());
    }
}
