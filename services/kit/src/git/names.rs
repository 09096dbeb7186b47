//! Names in git: object ids, refs, authors, trailers.
//!
//! Owns their checks. Refuses abbreviations and everything `git check-ref-format` refuses.
use std::fmt;

use super::REF_INVALID;
use crate::error::{Error, Result};

/// Full name of a commit or other object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha(String);

impl Sha {
    /// Takes 40 or 64 lower-case hexadecimal characters.
    ///
    /// # Errors
    /// REF_INVALID otherwise.
    pub fn parse(text: &str) -> Result<Self> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && matches!(text.len(), 40 | 64) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(&REF_INVALID, format!("{text:?} is no full commit id")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id that stands for "nothing" of the same length.
    pub fn zero(&self) -> Self {
        Self("0".repeat(self.0.len()))
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Full name of a ref, such as `refs/heads/main`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

impl RefName {
    /// Takes a full ref name.
    ///
    /// # Errors
    /// REF_INVALID if it does not begin with `refs/` or breaks git's rules.
    pub fn full(name: &str) -> Result<Self> {
        if name.starts_with("refs/") && is_valid_ref(name) {
            return Ok(Self(name.to_owned()));
        }
        Err(Error::new(&REF_INVALID, format!("{name:?} is no valid ref")))
    }

    /// The ref of a branch given by its short name.
    ///
    /// # Errors
    /// REF_INVALID if the name breaks git's rules, begins with `-` or `refs/`, or is `HEAD`.
    pub fn branch(name: &str) -> Result<Self> {
        if name.starts_with('-') || name.starts_with("refs/") || name == "HEAD" {
            return Err(Error::new(&REF_INVALID, format!("{name:?} is no valid branch name")));
        }
        Self::full(&format!("refs/heads/{name}"))
    }

    /// The full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rules of `git check-ref-format`, and at most 255 bytes.
pub fn is_valid_ref(name: &str) -> bool {
    let bad_char = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let bad_component = |c: &str| c.is_empty() || c.starts_with('.') || c.ends_with(".lock");
    name.len() <= 255
        && name.contains('/')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.chars().any(bad_char)
        && !name.split('/').any(bad_component)
}

/// Who made a commit, and when: equal authors at equal times make equal commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Name for people.
    pub name: String,
    /// Mail address, which need not exist.
    pub email: String,
    /// Seconds since the Unix epoch, written as UTC.
    pub time_seconds: i64,
}

impl Author {
    /// An author whose name and address are freed of the characters git reserves.
    pub fn new(name: &str, email: &str, time_seconds: i64) -> Self {
        let clean = |text: &str| {
            let text: String = text.chars().filter(|c| !c.is_control() && !"<>".contains(*c)).collect();
            if text.trim().is_empty() { "unknown".to_owned() } else { text.trim().to_owned() }
        };
        Self { name: clean(name), email: clean(email), time_seconds: time_seconds.max(0) }
    }

    pub(super) fn line(&self) -> String {
        let clean = Self::new(&self.name, &self.email, self.time_seconds);
        format!("{} <{}> {} +0000", clean.name, clean.email, clean.time_seconds)
    }
}

/// The `Key: value` lines that end a commit message, in order; empty if the last paragraph holds anything else.
pub fn trailers(message: &str) -> Vec<(String, String)> {
    let body = message.trim_end();
    let Some((_, last)) = body.rsplit_once("\n\n") else { return Vec::new() };
    let token = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let mut found: Vec<(String, String)> = Vec::new();
    for line in last.lines() {
        match (line.split_once(": "), line.starts_with([' ', '\t'])) {
            (_, true) if !found.is_empty() => {
                if let Some((_, value)) = found.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
            (Some((key, value)), false) if token(key) => found.push((key.to_owned(), value.trim().to_owned())),
            _ => return Vec::new(),
        }
    }
    found
}
