//! The lineage file of a repository born from a template: `.slipway/golden-path.lock.yaml` (SCF-110).
//!
//! Owns its text: stable order, one entry per line, so that git merges stay clean. Refuses secrets: there are none among answers.
use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::files::Files;
use super::template::Template;

/// Where the file stands.
pub const PATH: &str = ".slipway/golden-path.lock.yaml";

/// What the file says besides the files.
#[derive(Clone, Copy, Debug)]
pub struct Lineage<'a> {
    /// Template that was rendered.
    pub template: &'a Template,
    /// Digest of its revision.
    pub digest: &'a str,
    /// Parameters of the run, defaults applied.
    pub answers: &'a Map<String, Json>,
    /// Name of the run.
    pub run: &'a str,
    /// When the run was created, RFC 3339.
    pub created: &'a str,
    /// Who started it.
    pub initiator: &'a str,
}

/// The text of the lock for the delivered files.
#[must_use]
pub fn render(lineage: &Lineage<'_>, files: &Files) -> String {
    let quoted = |text: &str| Json::from(text).to_string();
    let mut out = String::from("schema: 1\n");
    let _ = writeln!(out, "template: {}", quoted(&lineage.template.entity_ref()));
    let _ = writeln!(out, "version: {}", quoted(&lineage.template.version.to_string()));
    let _ = writeln!(out, "digest: {}", quoted(lineage.digest));
    let mut answers: Vec<_> = lineage.answers.iter().collect();
    answers.sort_by_key(|(name, _)| *name);
    let _ = writeln!(out, "answers:{}", if answers.is_empty() { " {}" } else { "" });
    for (name, value) in answers {
        let _ = writeln!(out, "  {}: {value}", quoted(name));
    }
    let _ = writeln!(out, "context:\n  run: {}", quoted(lineage.run));
    let _ = writeln!(out, "  created: {}", quoted(lineage.created));
    let _ = writeln!(out, "  initiator: {}", quoted(lineage.initiator));
    let _ = writeln!(out, "migrations: []\nfiles:");
    for (path, file) in files.iter().filter(|(path, _)| *path != PATH) {
        let class = lineage.template.class_of(path).as_str();
        let (path, hash, mode) = (quoted(path), file.sha256(), file.mode());
        let _ = writeln!(out, "  - {{ path: {path}, class: {class}, sha256: {hash}, mode: \"{mode:04o}\" }}");
    }
    out
}
