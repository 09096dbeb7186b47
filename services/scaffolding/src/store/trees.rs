//! Parsed templates with their files, kept while they are in use.
//!
//! Owns a small cache by digest; refuses to grow beyond it.
use std::sync::{Arc, Mutex, PoisonError};

use slipway_kit::error::{Error, Result};

use super::Store;
use crate::model::{files::Files, template::Template};

/// Templates kept.
const KEPT_MAX: usize = 16;

/// A template with its files.
#[derive(Debug)]
pub struct Tree {
    /// The parsed document.
    pub template: Template,
    /// Every file.
    pub files: Files,
}

impl Tree {
    /// Parses the document of the files.
    ///
    /// # Errors
    /// INTERNAL: only trees that were parsed before are published.
    pub fn new(files: Files) -> Result<Self> {
        let parsed = Template::parse(&files);
        let template = parsed.map_err(|f| Error::internal(format!("a published template does not parse: {f:?}")))?;
        Ok(Self { template, files })
    }
}

/// Digests with their trees, the last used first.
type Kept = Vec<(String, Arc<Tree>)>;

/// The cache.
#[derive(Clone, Default)]
pub struct Trees(Arc<Mutex<Kept>>);

impl Trees {
    /// The tree of a revision.
    pub async fn load(&self, store: &Store, id: &str, version: &str, digest: &str) -> Result<Arc<Tree>> {
        if let Some(found) = self.get(digest) {
            return Ok(found);
        }
        let tree = Arc::new(Tree::new(store.revision_files(id, version).await?)?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT_MAX - 1);
        kept.insert(0, (digest.to_owned(), Arc::clone(&tree)));
        Ok(tree)
    }

    fn get(&self, digest: &str) -> Option<Arc<Tree>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(d, _)| d == digest)?;
        let found = kept.remove(at);
        let tree = Arc::clone(&found.1);
        kept.insert(0, found);
        Some(tree)
    }
}
