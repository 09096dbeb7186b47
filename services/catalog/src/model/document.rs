//! One document: from text to a verdict with findings, a reference and relations (CAT-11, CAT-12).
//!
//! Owns the order of the checks. Strict checks go on after failures wherever the next still has meaning.

mod check;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    entity_ref::EntityRef,
    finding::{Finding, Findings, Span, shown},
    format, kind,
    placeholder::{self, Placeholder},
    relation::Edge,
    tier::{Tier, TierSource},
    yaml::{self, Chunk, Node, Value},
};

/// What lists, filters and overviews need of an accepted document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// `apiVersion`.
    pub api_version: String,
    /// Kind as written.
    pub kind: String,
    /// Namespace as written, or `default`.
    pub namespace: String,
    /// Name as written.
    pub name: String,
    /// `metadata.title`.
    pub title: String,
    /// `metadata.description`.
    pub description: String,
    /// `spec.profile.displayName`.
    pub profile_name: String,
    /// `spec.type`.
    pub kind_type: String,
    /// `spec.lifecycle`.
    pub lifecycle: String,
    /// Canonical reference of the owner.
    pub owner: String,
    /// Canonical reference of the system.
    pub system: String,
    /// Effective tier.
    pub tier: Tier,
    /// Where the tier was read.
    pub tier_source: TierSource,
    /// `metadata.tags`.
    pub tags: Vec<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Relations declared here, sorted.
    pub edges: Vec<Edge>,
}

/// A document before its placeholders are filled.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Line of the file on which it begins, from 1.
    pub line: u32,
    /// The text as in the file.
    pub raw: String,
    root: Option<Node>,
    findings: Findings,
    digest: Sha256,
}

/// A checked document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Line of the file on which it begins, from 1.
    pub line: u32,
    /// The text as in the file.
    pub raw: String,
    /// Hash of the text and of what its placeholders brought, in hex.
    pub hash: String,
    /// The reference, if the envelope is good enough for one.
    pub identity: Option<EntityRef>,
    /// Whether name, namespace and kind are ones an entity can have.
    pub can_exist: bool,
    /// All findings.
    pub findings: Vec<Finding>,
    /// Summary and JSON, of an accepted document only.
    pub body: Option<Body>,
    /// Targets of a Location document that are to be read too.
    pub targets: Vec<Target>,
}

/// Content of an accepted document.
#[derive(Clone, Debug)]
pub struct Body {
    /// Summary.
    pub head: Head,
    /// The document as JSON.
    pub json: serde_json::Value,
}

/// One target of a Location document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As written.
    pub text: String,
    /// Pointer to it.
    pub pointer: String,
    /// Where it stands.
    pub at: Span,
    /// Whether it may be missing.
    pub optional: bool,
}

/// Reads a file into drafts; documents that are null are left out.
pub fn read(file: &[u8]) -> Vec<Draft> {
    if file.len() > yaml::FILE_BYTES_MAX {
        let why = format!("the file has {} bytes, more than {}", file.len(), yaml::FILE_BYTES_MAX);
        return vec![Draft::broken("DOCUMENT_TOO_LARGE", &why, 1)];
    }
    let Ok(text) = std::str::from_utf8(file) else {
        return vec![Draft::broken("YAML_SYNTAX", "the file is not UTF-8", 1)];
    };
    let chunks = yaml::split(text);
    let mut drafts: Vec<_> = chunks.iter().take(yaml::DOCUMENTS_MAX).filter_map(Draft::read).collect();
    if let Some(first) = chunks.get(yaml::DOCUMENTS_MAX) {
        let why = format!("the file has more than {} documents; those from here on are not read", yaml::DOCUMENTS_MAX);
        drafts.push(Draft::broken("DOCUMENT_TOO_LARGE", &why, first.line));
    }
    drafts
}

impl Draft {
    fn read(chunk: &Chunk<'_>) -> Option<Self> {
        let mut findings = Findings::default();
        let root = yaml::parse(chunk, &mut findings);
        if matches!(root, Some(Node { value: Value::Null, .. })) || (root.is_none() && !findings.has_error()) {
            return None;
        }
        let digest = Sha256::new().chain_update(chunk.text);
        Some(Self { line: chunk.line, raw: chunk.text.to_owned(), root, findings, digest })
    }

    fn broken(code: &str, why: &str, line: u32) -> Self {
        let mut findings = Findings::default();
        findings.error(code, "", Span::start(), why);
        Self { line, raw: String::new(), root: None, findings, digest: Sha256::new().chain_update(why) }
    }

    /// What other files this document wants to hold.
    pub fn placeholders(&self) -> Vec<Placeholder> {
        if self.raw.contains('$') { self.root.as_ref().map(placeholder::find).unwrap_or_default() } else { Vec::new() }
    }

    /// Fills one placeholder.
    pub fn fill(&mut self, placeholder: &Placeholder, content: &str) {
        self.digest.update(content.len().to_be_bytes());
        self.digest.update(content);
        if let Some(root) = &mut self.root {
            placeholder::fill(root, placeholder, content, &mut self.findings);
        }
    }

    /// Says that a placeholder's file cannot be had.
    pub fn unfilled(&mut self, placeholder: &Placeholder, why: &str) {
        self.digest.update(why);
        let message = format!("{} {why}", shown(&placeholder.target));
        self.findings.error("PLACEHOLDER_UNREADABLE", &placeholder.pointer, placeholder.at, message);
    }

    /// Runs all checks.
    pub fn check(self) -> Document {
        let Self { line, raw, root, mut findings, digest } = self;
        let hash = hex::encode(digest.finalize());
        let Some(root) = root else {
            let findings = findings.finish();
            return Document {
                line,
                raw,
                hash,
                identity: None,
                can_exist: false,
                findings,
                body: None,
                targets: Vec::new(),
            };
        };
        let (identity, head) = check::run(&root, &mut findings);
        let can_exist = identity.as_ref().is_some_and(|id| {
            format::is_name(id.name())
                && format::is_dns_label(id.namespace())
                && kind::KINDS.iter().any(|k| k.name.eq_ignore_ascii_case(id.kind()))
        });
        let good = !findings.has_error() && identity.is_some();
        let targets = if good && head.kind == "Location" { targets(&root) } else { Vec::new() };
        let body = good.then(|| Body { json: root.to_json(), head });
        Document { line, raw, hash, identity, can_exist, findings: findings.finish(), body, targets }
    }
}

fn targets(root: &Node) -> Vec<Target> {
    let Some(spec) = root.get("spec") else { return Vec::new() };
    let optional = spec.get("presence").and_then(Node::text) == Some("optional");
    let one = spec.get("target").map(|n| (n, "/spec/target".to_owned()));
    let many = spec.get("targets").map(Node::items).unwrap_or_default().iter().enumerate();
    let all = one.into_iter().chain(many.map(|(at, n)| (n, format!("/spec/targets/{at}"))));
    all.filter_map(|(node, pointer)| Some(Target { text: node.text()?.to_owned(), pointer, at: node.at, optional }))
        .collect()
}

#[cfg(test)]
#[path = "document/tests.rs"]
mod tests;
