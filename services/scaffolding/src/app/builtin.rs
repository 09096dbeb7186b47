//! The golden paths that ship with the platform, published at start.
//!
//! Owns their being there; refuses to replace what was published under the same version.
use include_dir::{Dir, include_dir};
use slipway_kit::error::Result;

use super::{App, Publication};
use crate::{
    error::{REVISION_EXISTS, VERSION_TOO_LOW},
    model::{
        files::{File, Files, digest},
        revision::Channel,
        template::{DOCUMENT, Template},
    },
};

static GOLDEN_PATHS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../golden-paths");
/// Who publishes them.
const PUBLISHER: &str = "system";

/// The embedded golden paths as trees.
fn trees() -> Vec<Files> {
    let with_document = GOLDEN_PATHS.dirs().filter(|d| d.get_file(d.path().join(DOCUMENT)).is_some());
    with_document
        .map(|dir| {
            let mut files = Files::new();
            collect(dir, dir, &mut files);
            files
        })
        .collect()
}

fn collect(root: &Dir<'_>, dir: &Dir<'_>, files: &mut Files) {
    for file in dir.files() {
        if let Ok(path) = file.path().strip_prefix(root.path()) {
            files.insert(path.to_string_lossy().into_owned(), File::plain(file.contents()));
        }
    }
    dir.dirs().for_each(|inner| collect(root, inner, files));
}

impl App {
    /// Publishes every embedded golden path that is not there yet.
    ///
    /// # Errors
    /// TEMPLATE_INVALID if one of them breaks a rule, which the tests keep from happening.
    pub async fn publish_golden_paths(&self) -> Result<()> {
        for files in trees() {
            if self.is_published(&files).await? {
                continue;
            }
            let publication = Publication {
                files,
                commit: String::new(),
                channel: Channel::Stable,
                security: false,
                validate_only: false,
            };
            let (template, revision) = self.prepare(&publication, PUBLISHER).await?;
            let name = revision.name();
            let mut tx = self.store.db().begin().await?;
            match self.record(&mut tx, &template, revision, &publication.files).await {
                Ok(_) => tx.commit().await?,
                // A newer platform published more before, or the path was changed without a new version: what is there stays.
                Err(error) if error.is(&REVISION_EXISTS) || error.is(&VERSION_TOO_LOW) => {
                    tracing::warn!(
                        revision = name,
                        reason = error.reason().name,
                        "a golden path of this build is not published"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether this very tree is published, so that a start need not judge it anew.
    async fn is_published(&self, files: &Files) -> Result<bool> {
        let Ok(template) = Template::parse(files) else { return Ok(false) };
        let known = self.store.revision(self.store.db(), &template.id, &template.version.to_string()).await?;
        Ok(known.is_some_and(|revision| revision.digest == digest(files)))
    }
}
