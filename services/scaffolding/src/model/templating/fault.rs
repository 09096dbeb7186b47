//! What goes wrong in a template, said with a stable code, a sentence and a place.
//!
//! Owns codes and positions; refuses to know files beyond their name.
use std::fmt;

/// Stable word for a failure of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The template does not parse, or uses a construct that is refused.
    Syntax,
    /// A name that nothing declares.
    UndeclaredName,
    /// A filter, function, method or test that does not exist.
    UnknownFunction,
    /// An object where text is needed.
    ObjectInText,
    /// An operation that its operands do not support.
    InvalidOperation,
    /// A limit was reached; the message names it.
    RenderLimit,
}

impl Code {
    /// The word as callers read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Syntax => "TEMPLATE_SYNTAX",
            Code::UndeclaredName => "UNDECLARED_NAME",
            Code::UnknownFunction => "UNKNOWN_FUNCTION",
            Code::ObjectInText => "OBJECT_IN_TEXT",
            Code::InvalidOperation => "INVALID_OPERATION",
            Code::RenderLimit => "RENDER_LIMIT",
        }
    }
}

/// A failure with its place in the source: line and column from 1, the column in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable word.
    pub code: Code,
    /// Sentence for people.
    pub message: String,
    /// File or input the source came from.
    pub file: String,
    /// Line from 1.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {} ({})", self.file, self.line, self.column, self.message, self.code.as_str())
    }
}

impl std::error::Error for Fault {}

/// A failure at a byte offset, before the offset became a line and a column.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub code: Code,
    pub message: String,
    pub offset: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for At {}

impl At {
    pub fn syntax(offset: usize, message: impl Into<String>) -> At {
        At { code: Code::Syntax, message: message.into(), offset }
    }

    pub fn new(code: Code, offset: usize, message: impl Into<String>) -> At {
        At { code, message: message.into(), offset }
    }

    pub fn locate(self, file: &str, source: &str) -> Fault {
        let (line, column) = line_column(source, self.offset);
        Fault { code: self.code, message: self.message, file: file.to_owned(), line, column }
    }
}

/// Line and column, both from 1, of a byte offset.
pub(super) fn line_column(source: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(source.len());
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    let before = &source[..end];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (line, before[start..].chars().count() + 1)
}
