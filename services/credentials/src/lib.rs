//! Credentials of clusters and registries, as operators put them beside the platform: files below one directory, by name.
//!
//! Owns which names and which files are taken, the same for every service that reaches clusters. Refuses names that climb out, files that
//! would run a program, skip the check of certificates, go through a proxy or over plain http, and to say what stands in a file:
//! errors are about its shape.
mod kubeconfig;
mod registry;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

pub use registry::{RegistryLogins, is_registry_file, pull_secret_name};

/// Most bytes of a credential.
pub const BYTES_MAX: u64 = 256 * 1024;
/// Longest name of a file.
pub const NAME_BYTES_MAX: usize = 100;

/// Why a credential cannot be used; never a word of its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(String);

impl Unusable {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// The sentence.
    pub fn why(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// Result of reading a credential.
pub type Result<T> = std::result::Result<T, Unusable>;

/// The directory of credentials.
#[derive(Clone, Debug)]
pub struct Credentials {
    root: PathBuf,
}

impl Credentials {
    /// Files below this directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The configuration of a client, from a kubeconfig; its current context.
    ///
    /// # Errors
    /// [`Unusable`] by this crate's rules.
    pub async fn kubeconfig(&self, name: &str) -> Result<kube::Config> {
        let text = self.text(name).await?;
        kubeconfig::config(&text).await
    }

    /// Logins of registries, from a Docker configuration.
    ///
    /// # Errors
    /// [`Unusable`] by this crate's rules.
    pub async fn registry_logins(&self, name: &str) -> Result<RegistryLogins> {
        RegistryLogins::parse(self.text(name).await?)
    }

    /// Where a credential stands, if its name stays in the directory; for looking whether it changed.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        is_name(name).then(|| self.root.join(name))
    }

    async fn text(&self, name: &str) -> Result<Zeroizing<String>> {
        let Some(path) = self.path(name) else {
            return Err(Unusable::new(format!("{name:?} is no name of a file in the directory of credentials")));
        };
        let (root, name) = (self.root.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || text(&root, &path, &name)).await;
        read.unwrap_or_else(|_| Err(Unusable::new("the file cannot be read")))
    }
}

/// Whether the text names a file of a directory and nothing else.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.')
}

fn text(root: &Path, path: &Path, name: &str) -> Result<Zeroizing<String>> {
    // Mounted Secrets are links inside their own directory; links that leave it are not followed.
    let root = root.canonicalize().map_err(|_| Unusable::new("the directory of credentials is not there"))?;
    let real = path.canonicalize().map_err(|_| Unusable::new(format!("there is no file {name}")))?;
    let is_fit = real.metadata().is_ok_and(|about| about.is_file() && about.len() <= BYTES_MAX);
    if !real.starts_with(&root) || !is_fit {
        return Err(Unusable::new(format!("{name} is no small file below the directory of credentials")));
    }
    let read = std::fs::read_to_string(&real).map_err(|_| Unusable::new(format!("the file {name} cannot be read")))?;
    Ok(Zeroizing::new(read))
}

#[cfg(test)]
mod tests;
