//! Trees of files: what templates are made of and what runs produce.
//!
//! Owns digests, glob patterns and the limits of a tree; refuses paths that could leave a directory (SCF-41).
use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use slipway_kit::files::{FilePath, PathSet};

/// Most files of a tree (SCF-16).
pub const FILES_MAX: usize = 20_000;
/// Most bytes of a tree (SCF-16, SCF-54).
pub const TREE_BYTES_MAX: usize = 64 << 20;

/// Content and mode of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Mode 0755 instead of 0644.
    pub executable: bool,
    /// Content.
    pub content: Arc<[u8]>,
}

impl File {
    /// A plain file.
    #[must_use]
    pub fn plain(content: impl Into<Vec<u8>>) -> File {
        File { executable: false, content: content.into().into() }
    }

    /// Permission bits.
    #[must_use]
    pub fn mode(&self) -> i32 {
        if self.executable { 0o755 } else { 0o644 }
    }

    /// SHA-256 of the content in hex.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256(&self.content)
    }
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// Files by path, in order.
pub type Files = BTreeMap<String, File>;

/// One line of a manifest: what stands at a path, without the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path.
    pub path: String,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
    /// SHA-256 of the content in hex.
    pub sha256: String,
}

/// The manifest of a tree, ordered by path.
#[must_use]
pub fn manifest(files: &Files) -> Vec<Entry> {
    let entry = |(path, file): (&String, &File)| Entry {
        path: path.clone(),
        executable: file.executable,
        sha256: file.sha256(),
    };
    files.iter().map(entry).collect()
}

/// SHA-256 over the sorted files: path, mode, content hash (SCF-2).
#[must_use]
pub fn digest(files: &Files) -> String {
    let mut hash = Sha256::new();
    for (path, file) in files {
        hash.update(format!("{path}\0{:o}\0{}\n", file.mode(), file.sha256()));
    }
    hex::encode(hash.finalize())
}

/// Checks the paths and the size of a tree; answers what breaks a rule, path and rule.
#[must_use]
pub fn problems(files: &Files) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut set = PathSet::default();
    for path in files.keys() {
        let checked = FilePath::parse(path).and_then(|p| set.insert(&p));
        if let Err(error) = checked {
            found.push((path.clone(), error.message().to_owned()));
        }
    }
    if files.len() > FILES_MAX {
        found.push((String::new(), format!("a tree has at most {FILES_MAX} files")));
    }
    if files.values().map(|f| f.content.len()).sum::<usize>() > TREE_BYTES_MAX {
        found.push((String::new(), format!("a tree has at most {TREE_BYTES_MAX} bytes")));
    }
    found
}

/// Whether content is text: no NUL in its first 8 KiB, and valid UTF-8 (SCF-43).
#[must_use]
pub fn as_text(content: &[u8]) -> Option<&str> {
    if content.iter().take(8192).any(|b| *b == 0) {
        return None;
    }
    std::str::from_utf8(content).ok()
}

/// Whether a path matches a pattern: `*` and `?` stay within a segment, `**` spans segments.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let pattern =
        if let Some(folder) = pattern.strip_suffix('/') { format!("{folder}/**") } else { pattern.to_owned() };
    segments(&pattern.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
}

fn segments(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), None) => segments(rest, path),
        (Some((&"**", rest)), Some((_, tail))) => {
            // Neighbouring `**` are one, so that the search stays short.
            let rest = if rest.first() == Some(&"**") { &rest[1..] } else { rest };
            if rest.is_empty() { true } else { segments(rest, path) || segments(pattern, tail) }
        }
        (Some((first, rest)), Some((segment, tail))) => segment_matches(first, segment) && segments(rest, tail),
        _ => false,
    }
}

/// Matches one segment in linear space: the last `*` seen is the only point to return to.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let (pattern, segment): (Vec<char>, Vec<char>) = (pattern.chars().collect(), segment.chars().collect());
    let (mut p, mut s, mut star) = (0, 0, None);
    while s < segment.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, s));
                p += 1;
            }
            Some(c) if *c == '?' || *c == segment[s] => {
                p += 1;
                s += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    s = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_by_segment() {
        for (pattern, path, want) in [
            ("Dockerfile", "Dockerfile", true),
            ("Dockerfile", "x/Dockerfile", false),
            ("chart/**", "chart/a/b.yaml", true),
            ("chart/**", "chart", true),
            ("chart/*", "chart/a/b.yaml", false),
            ("**/*.yaml", "a/b/c.yaml", true),
            ("**/*.yaml", "c.yaml", true),
            (".github/workflows/*", ".github/workflows/ci.yaml", true),
            ("a?c", "abc", true),
            ("*a*b", "xaayb", true),
            ("*a*b", "xaay", false),
            ("docs/", "docs/x/y.md", true),
            ("**/**/x", "a/b/x", true),
        ] {
            assert_eq!(matches(pattern, path), want, "{pattern} {path}");
        }
    }

    #[test]
    fn a_digest_tells_path_mode_and_content_apart() {
        let tree = |path: &str, executable, content: &str| {
            Files::from([(path.to_owned(), File { executable, content: content.as_bytes().into() })])
        };
        let all = [tree("a", false, "x"), tree("b", false, "x"), tree("a", true, "x"), tree("a", false, "y")];
        let digests: std::collections::BTreeSet<_> = all.iter().map(digest).collect();
        assert_eq!(digests.len(), 4);
        assert_eq!(digest(&all[0]), digest(&tree("a", false, "x")));
    }

    #[test]
    fn paths_that_leave_or_collide_are_told() {
        let files: Files = ["../x", "ok", "OK", ".git/config"].map(|p| (p.to_owned(), File::plain(""))).into();
        let found: Vec<_> = problems(&files).into_iter().map(|(path, _)| path).collect();
        assert_eq!(found, ["../x", ".git/config", "ok"]);
    }
}
