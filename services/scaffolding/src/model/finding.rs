//! Remarks about a template or a file it made.
use serde::{Deserialize, Serialize};

use super::templating::Fault;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// For information.
    Info,
    /// Works, but probably not as meant.
    Warning,
    /// Refused.
    Error,
}

/// A remark with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// Stable word.
    pub code: String,
    /// Sentence for people.
    pub message: String,
    /// File it is about; empty if none.
    pub path: String,
    /// Line from 1; 0 if unknown.
    pub line: usize,
    /// Column from 1; 0 if unknown.
    pub column: usize,
}

impl Finding {
    /// A finding about a file as a whole.
    #[must_use]
    pub fn new(severity: Severity, code: &str, path: &str, message: impl Into<String>) -> Finding {
        Finding { severity, code: code.to_owned(), message: message.into(), path: path.to_owned(), line: 0, column: 0 }
    }

    /// The same at a place.
    #[must_use]
    pub fn at(mut self, line: usize, column: usize) -> Finding {
        (self.line, self.column) = (line, column);
        self
    }

    /// Whether it refuses what it is about.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Finding {
        Finding::new(Severity::Error, fault.code.as_str(), &fault.file, fault.message).at(fault.line, fault.column)
    }
}
