//! Findings: what is wrong, or could be better, in a document, with its place.
//!
//! Owns positions, order and the cap of CAT-2. Refuses to decide what is a finding: the checks do.

use serde::{Deserialize, Serialize};

/// Most findings kept of one document; one more says that there are more.
pub const FINDINGS_MAX: usize = 200;
/// Longest value shown in a message, in characters.
const SHOWN_MAX: usize = 80;

/// How bad a finding is; a document with an error is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// The document is not accepted.
    Error,
    /// Accepted, but probably not what was meant.
    Warning,
    /// Accepted; a remark.
    Info,
}

/// A stretch of text, lines and columns counted from 1, columns in characters; the end is after the last character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First line.
    pub line: u32,
    /// First column.
    pub column: u32,
    /// Last line.
    pub end_line: u32,
    /// Column after the last character.
    pub end_column: u32,
}

impl Span {
    /// The first character of a document.
    pub fn start() -> Self {
        Self { line: 1, column: 1, end_line: 1, end_column: 1 }
    }

    /// The same stretch with lines counted over a file in which the document begins at `first_line`.
    pub fn in_file(self, first_line: u32) -> Self {
        let by = first_line.saturating_sub(1);
        Self { line: self.line + by, end_line: self.end_line + by, ..self }
    }
}

/// One finding; lines are counted from the document's first line, so that they stay true when it moves in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// Sentence for people.
    pub message: String,
    /// RFC 6901 pointer; empty for the document itself.
    pub pointer: String,
    /// Where.
    pub at: Span,
    /// Canonical reference of the other entity, if any.
    pub related: String,
}

/// Collects the findings of one document.
#[derive(Clone, Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds an error.
    pub fn error(&mut self, code: &str, pointer: &str, at: Span, message: impl Into<String>) {
        self.push(Severity::Error, code, pointer, at, message.into(), String::new());
    }

    /// Adds a warning.
    pub fn warn(&mut self, code: &str, pointer: &str, at: Span, message: impl Into<String>) {
        self.push(Severity::Warning, code, pointer, at, message.into(), String::new());
    }

    /// Adds a warning about another entity.
    pub fn warn_of(&mut self, code: &str, pointer: &str, at: Span, message: impl Into<String>, related: &str) {
        self.push(Severity::Warning, code, pointer, at, message.into(), related.to_owned());
    }

    /// Adds a remark.
    pub fn info(&mut self, code: &str, pointer: &str, at: Span, message: impl Into<String>) {
        self.push(Severity::Info, code, pointer, at, message.into(), String::new());
    }

    fn push(&mut self, severity: Severity, code: &str, pointer: &str, at: Span, message: String, related: String) {
        self.0.push(Finding { code: code.to_owned(), severity, message, pointer: pointer.to_owned(), at, related });
    }

    /// Whether there is an error.
    pub fn has_error(&self) -> bool {
        self.0.iter().any(|f| f.severity == Severity::Error)
    }

    /// The findings by line, column and code, at most [`FINDINGS_MAX`] and one that says there are more.
    pub fn finish(mut self) -> Vec<Finding> {
        self.0.sort_by(|a, b| (a.at.line, a.at.column, &a.code).cmp(&(b.at.line, b.at.column, &b.code)));
        let left_out = self.0.split_off(self.0.len().min(FINDINGS_MAX));
        if let Some(first) = left_out.first() {
            let bad = left_out.iter().any(|f| f.severity == Severity::Error);
            let severity = if bad { Severity::Error } else { Severity::Warning };
            let message = format!("{} more findings are not shown", left_out.len());
            self.push(severity, "TOO_MANY_FINDINGS", "", first.at, message, String::new());
        }
        self.0
    }
}

/// A value as messages show it: on one line, at most 80 characters.
pub fn shown(text: &str) -> String {
    let one_line: String = text
        .chars()
        .take(SHOWN_MAX)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().nth(SHOWN_MAX).is_some() { format!("`{one_line}…`") } else { format!("`{one_line}`") }
}

/// One more token of an RFC 6901 pointer.
pub fn pointer_to(parent: &str, key: &str) -> String {
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_ordered_and_capped() {
        let mut all = Findings::default();
        for line in (1..=250).rev() {
            all.error("B", "", Span { line, column: 1, end_line: line, end_column: 2 }, "x");
        }
        all.error("A", "", Span { line: 1, column: 1, end_line: 1, end_column: 2 }, "x");
        let done = all.finish();
        assert_eq!(done.len(), FINDINGS_MAX + 1);
        assert_eq!((done[0].code.as_str(), done[1].code.as_str()), ("A", "B"));
        assert_eq!(done[FINDINGS_MAX].code, "TOO_MANY_FINDINGS");
        assert!(done[FINDINGS_MAX].message.starts_with("51 more"));
    }

    #[test]
    fn values_are_shown_on_one_line_and_cut() {
        assert_eq!(shown("a\nb"), "`a\\nb`");
        assert_eq!(shown(&"ü".repeat(81)).chars().count(), 83);
        assert_eq!(pointer_to("/a", "b/c~d"), "/a/b~1c~0d");
    }
}
