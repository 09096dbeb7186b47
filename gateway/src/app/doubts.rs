//! What looks like a mistake in a name and may be none: users and groups that the catalog does not know.
//!
//! Owns the sentences. Refuses to refuse: somebody may be bound before they first sign in, a group before its organisation's source is
//! read (SAFE-30), and a platform whose catalog is away must still be repairable.

use std::sync::Arc;

use crate::world::directory::Owners;

/// Asks the catalog who is known; cheap to clone.
#[derive(Clone)]
pub struct Doubts(Arc<dyn Owners>);

impl Doubts {
    /// Doubts by what this directory says.
    #[must_use]
    pub fn new(directory: Arc<dyn Owners>) -> Self {
        Self(directory)
    }

    /// A sentence for each of these users and groups that the catalog does not know; empty texts are none.
    pub async fn about(&self, references: &[&str]) -> Vec<String> {
        let mut said = Vec::new();
        for reference in references.iter().filter(|reference| !reference.is_empty()) {
            match self.0.owner(reference).await {
                Ok(Some(_)) => {}
                Ok(None) => said.push(unknown(reference)),
                Err(error) => {
                    tracing::debug!(%error, reference, "whether it exists cannot be asked");
                    said.push(format!("the catalog does not answer whether {reference} exists"));
                }
            }
        }
        said
    }
}

fn unknown(reference: &str) -> String {
    let what_then = if reference.starts_with("group:") {
        "it has no members until an organization's source declares it"
    } else {
        "it takes effect when somebody signs in under this name; check its spelling"
    };
    format!("the catalog knows no {reference}: {what_then}")
}
