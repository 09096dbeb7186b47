//! Cutting a file into documents by their markers, so that a broken one leaves its neighbours alone (CAT-9).
//!
//! A line that begins with `---` or `...` followed by a blank ends whatever stands before it, even inside a scalar (YAML 1.2, `c-forbidden`).

/// Largest file in bytes (CAT-5).
pub const FILE_BYTES_MAX: usize = 5 << 20;
/// Most documents in one file (CAT-5).
pub const DOCUMENTS_MAX: usize = 5_000;

/// The text of one document with its markers and directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Line of the file on which the text begins, from 1.
    pub line: u32,
    /// The text.
    pub text: &'a str,
    /// Whether the document asks for the rules of YAML 1.1.
    pub yaml_1_1: bool,
}

/// The documents of a file; stretches of comments only are left out. A byte-order mark is accepted.
pub fn split(file: &str) -> Vec<Chunk<'_>> {
    let file = file.strip_prefix('\u{feff}').unwrap_or(file);
    let mut chunks = Vec::new();
    let mut open = Open { start: 0, line: 1, begun: false, yaml_1_1: false };
    let (mut at, mut line) = (0, 1);
    for text in file.split_inclusive('\n') {
        let end = at + text.len();
        if is_marker(text, "---") {
            if open.begun {
                open.close(file, at, &mut chunks);
                open = Open { start: at, line, begun: false, yaml_1_1: false };
            }
            open.begun = true;
        } else if is_marker(text, "...") {
            open.close(file, end, &mut chunks);
            open = Open { start: end, line: line + 1, begun: false, yaml_1_1: false };
        } else if !open.begun {
            open.read_ahead(text);
        }
        (at, line) = (end, line + 1);
    }
    open.close(file, file.len(), &mut chunks);
    chunks
}

struct Open {
    start: usize,
    line: u32,
    begun: bool,
    yaml_1_1: bool,
}

impl Open {
    fn read_ahead(&mut self, text: &str) {
        if let Some(directive) = text.strip_prefix('%') {
            let mut words = directive.split_whitespace();
            self.yaml_1_1 |= words.next() == Some("YAML") && words.next() == Some("1.1");
        } else {
            let content = text.trim();
            self.begun = !content.is_empty() && !content.starts_with('#');
        }
    }

    fn close<'a>(&self, file: &'a str, end: usize, chunks: &mut Vec<Chunk<'a>>) {
        if self.begun {
            chunks.push(Chunk { line: self.line, text: &file[self.start..end], yaml_1_1: self.yaml_1_1 });
        }
    }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}
