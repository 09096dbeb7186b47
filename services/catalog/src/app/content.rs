//! Everything a location declares at one state of its origin: its file, the files its Location documents name, and what placeholders
//! bring (CAT-36, CAT-11 step 3).

use std::collections::{BTreeSet, HashMap, VecDeque};

use sha2::{Digest as _, Sha256};
use slipway_kit::error::{Error, Result};

use crate::{
    model::{
        document::{self, Document, Draft, Target},
        finding::{Finding, Severity, shown},
        placeholder,
    },
    world::Snapshot,
};

/// Names the rules documents are checked by; a new number makes unchanged content be read anew.
const RULES: &str = "rules-1";
/// Deepest nesting of Location documents.
const DEPTH_MAX: usize = 10;
/// Most files of one location.
const FILES_MAX: usize = 1_000;
/// Most other files that placeholders of one location bring.
const PLACEHOLDERS_MAX: usize = 1_000;
/// Documents checked in one piece of work.
const CHECK_BATCH: usize = 500;

/// What a location declares.
pub struct Content {
    /// Commit, if the origin has commits.
    pub commit: String,
    /// Files in the order they were reached, each with its documents.
    pub files: Vec<(String, Vec<Document>)>,
    /// Hash over everything that was read.
    pub hash: String,
    /// Whether the first file is there.
    pub found: bool,
}

struct Wanted {
    path: String,
    depth: usize,
    /// File, document and target that named it.
    by: Option<(usize, usize, Target)>,
}

/// Reads everything below `path`.
pub async fn read(snapshot: &Snapshot, path: &str) -> Result<Content> {
    let mut reader = Reader { snapshot, digest: Sha256::new().chain_update(RULES), brought: HashMap::new() };
    let mut content =
        Content { commit: snapshot.commit().to_owned(), files: Vec::new(), hash: String::new(), found: true };
    let mut seen = BTreeSet::from([path.to_owned()]);
    let mut queue = VecDeque::from([Wanted { path: path.to_owned(), depth: 0, by: None }]);
    while let Some(wanted) = queue.pop_front() {
        let Some(bytes) = reader.file(&wanted.path).await? else {
            match wanted.by {
                None => content.found = false,
                Some((file, at, target)) => missing(&mut content.files[file].1[at], &target),
            }
            continue;
        };
        let documents = reader.documents(&wanted.path, &bytes).await?;
        let file = content.files.len();
        content.files.push((wanted.path.clone(), documents));
        follow(&mut content, file, wanted.depth, &mut seen, &mut queue);
    }
    content.hash = hex::encode(reader.digest.finalize());
    Ok(content)
}

/// Queues the targets of a file's Location documents.
fn follow(content: &mut Content, file: usize, depth: usize, seen: &mut BTreeSet<String>, queue: &mut VecDeque<Wanted>) {
    let (path, documents) = &mut content.files[file];
    for (at, document) in documents.iter_mut().enumerate() {
        for target in std::mem::take(&mut document.targets) {
            let resolved = placeholder::resolve(path, &target.text);
            match resolved {
                None => note(
                    document,
                    &target,
                    "TARGET_NOT_FOLLOWED",
                    Severity::Warning,
                    "is not below this location and is not followed",
                ),
                Some(_) if depth >= DEPTH_MAX || seen.len() >= FILES_MAX => {
                    note(
                        document,
                        &target,
                        "TARGET_NOT_FOLLOWED",
                        Severity::Error,
                        "is beyond the limit of nested files",
                    );
                }
                Some(resolved) if seen.insert(resolved.clone()) => {
                    queue.push_back(Wanted { path: resolved, depth: depth + 1, by: Some((file, at, target)) });
                }
                Some(_) => {}
            }
        }
    }
}

fn missing(document: &mut Document, target: &Target) {
    let severity = if target.optional { Severity::Warning } else { Severity::Error };
    note(document, target, "TARGET_MISSING", severity, "is not there");
}

fn note(document: &mut Document, target: &Target, code: &str, severity: Severity, why: &str) {
    document.findings.push(Finding {
        code: code.to_owned(),
        severity,
        message: format!("{} {why}", shown(&target.text)),
        pointer: target.pointer.clone(),
        at: target.at,
        related: String::new(),
    });
    document.findings.sort_by(|a, b| (a.at.line, a.at.column, &a.code).cmp(&(b.at.line, b.at.column, &b.code)));
    if severity == Severity::Error {
        document.body = None;
    }
}

struct Reader<'s> {
    snapshot: &'s Snapshot,
    digest: Sha256,
    brought: HashMap<String, Option<String>>,
}

impl Reader<'_> {
    async fn file(&mut self, path: &str) -> Result<Option<Vec<u8>>> {
        let bytes = self.snapshot.read(path).await?;
        self.digest.update((path.len() as u64).to_be_bytes());
        self.digest.update(path);
        let length = bytes.as_ref().map_or(u64::MAX, |b| b.len() as u64);
        self.digest.update(length.to_be_bytes());
        self.digest.update(bytes.as_deref().unwrap_or_default());
        Ok(bytes)
    }

    /// Parses, fills placeholders, and checks on the threads kept for work that does not wait.
    async fn documents(&mut self, path: &str, bytes: &[u8]) -> Result<Vec<Document>> {
        let owned = bytes.to_vec();
        let mut drafts = tokio::task::spawn_blocking(move || document::read(&owned)).await.map_err(Error::internal)?;
        for draft in &mut drafts {
            self.fill(path, draft).await?;
        }
        let mut pieces = Vec::new();
        while !drafts.is_empty() {
            let rest = drafts.split_off(drafts.len().min(CHECK_BATCH));
            let piece = std::mem::replace(&mut drafts, rest);
            pieces.push(tokio::task::spawn_blocking(move || piece.into_iter().map(Draft::check).collect::<Vec<_>>()));
        }
        let mut all = Vec::new();
        for piece in pieces {
            all.append(&mut piece.await.map_err(Error::internal)?);
        }
        Ok(all)
    }

    async fn fill(&mut self, path: &str, draft: &mut Draft) -> Result<()> {
        for found in draft.placeholders() {
            let Some(target) = placeholder::resolve(path, &found.target) else {
                draft.unfilled(&found, "is not below this location and is not fetched");
                continue;
            };
            if !self.brought.contains_key(&target) {
                if self.brought.len() >= PLACEHOLDERS_MAX {
                    draft.unfilled(&found, "is beyond the limit of files that placeholders may bring");
                    continue;
                }
                let text = self.file(&target).await?.and_then(|bytes| String::from_utf8(bytes).ok());
                self.brought.insert(target.clone(), text);
            }
            match self.brought.get(&target).and_then(Option::as_ref) {
                Some(text) => draft.fill(&found, text),
                None => draft.unfilled(&found, "is not there, or is not UTF-8"),
            }
        }
        Ok(())
    }
}
