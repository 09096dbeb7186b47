//! From text to tree, by recursive descent with bounds on length, depth and nodes.
//!
//! Owns positions in messages. Refuses what the subset does not have, with a word on what to write instead.
use super::{CHARS_MAX, Compare, DEPTH_MAX, Filter, NODES_MAX, Op, invalid};
use crate::error::Result;

/// Reads a filter; the empty text is [`Filter::All`].
pub fn parse(text: &str) -> Result<Filter> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > CHARS_MAX {
        return Err(invalid(CHARS_MAX + 1, &format!("at most {CHARS_MAX} characters")));
    }
    let mut parser = Parser { chars, at: 0, nodes: 0, depth: 0 };
    parser.blank();
    if parser.peek().is_none() {
        return Ok(Filter::All);
    }
    let filter = parser.all()?;
    match parser.peek() {
        None => Ok(filter),
        Some(')') => Err(parser.error("this parenthesis closes nothing")),
        Some(other) => Err(parser.error(&format!("unexpected `{other}`"))),
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    nodes: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn error(&self, why: &str) -> crate::error::Error {
        invalid(self.at + 1, why)
    }

    fn node(&mut self, filter: Filter) -> Result<Filter> {
        self.nodes += 1;
        if self.nodes > NODES_MAX { Err(self.error(&format!("at most {NODES_MAX} parts"))) } else { Ok(filter) }
    }

    /// Takes a keyword that stands alone.
    fn keyword(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let fits = self.chars.get(self.at..end).is_some_and(|cs| cs.iter().copied().eq(word.chars()));
        let alone = self.chars.get(end).is_none_or(|c| c.is_whitespace() || *c == '(' || *c == ')');
        if fits && alone {
            self.at = end;
            self.blank();
        }
        fits && alone
    }

    /// Parts joined by AND, or standing side by side, which means the same.
    fn all(&mut self) -> Result<Filter> {
        let mut parts = vec![self.any()?];
        loop {
            self.blank();
            if !self.keyword("AND") && self.peek().is_none_or(|c| c == ')') {
                break;
            }
            parts.push(self.any()?);
        }
        if parts.len() == 1 { Ok(parts.remove(0)) } else { self.node(Filter::And(parts)) }
    }

    fn any(&mut self) -> Result<Filter> {
        let mut parts = vec![self.term()?];
        loop {
            self.blank();
            if !self.keyword("OR") {
                break;
            }
            parts.push(self.term()?);
        }
        if parts.len() == 1 { Ok(parts.remove(0)) } else { self.node(Filter::Or(parts)) }
    }

    fn term(&mut self) -> Result<Filter> {
        self.blank();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(&format!("at most {DEPTH_MAX} levels")));
        }
        let negated = self.keyword("NOT") || self.minus();
        let filter = if negated {
            let inner = self.term()?;
            self.node(Filter::Not(Box::new(inner)))?
        } else if self.peek() == Some('(') {
            self.at += 1;
            let inner = self.all()?;
            self.blank();
            if self.peek() != Some(')') {
                return Err(self.error("a parenthesis is not closed"));
            }
            self.at += 1;
            inner
        } else {
            let compare = self.compare()?;
            self.node(Filter::Compare(compare))?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn minus(&mut self) -> bool {
        let minus = self.peek() == Some('-');
        if minus {
            self.at += 1;
        }
        minus
    }

    fn compare(&mut self) -> Result<Compare> {
        let position = self.at + 1;
        let path = self.path()?;
        self.blank();
        let op = self.op(&path)?;
        self.blank();
        let (value, quoted) = self.value()?;
        Ok(Compare { path, op, value, quoted, position })
    }

    /// `name`, `labels.team`, `annotations."example.com/x"`.
    fn path(&mut self) -> Result<String> {
        let mut path = String::new();
        loop {
            match self.peek() {
                Some('"' | '\'') if !path.is_empty() => path.push_str(&self.quoted()?),
                Some(c) if c.is_alphabetic() || c == '_' || (!path.is_empty() && c.is_ascii_digit()) => {
                    while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/')) {
                        path.push(c);
                        self.at += 1;
                    }
                }
                Some(c) => return Err(self.error(&format!("a field is expected, not `{c}`"))),
                None => return Err(self.error("a field is expected here")),
            }
            if self.peek() != Some('.') {
                return Ok(path);
            }
            path.push('.');
            self.at += 1;
        }
    }

    fn op(&mut self, path: &str) -> Result<Op> {
        for op in [Op::Ne, Op::Le, Op::Ge, Op::Eq, Op::Lt, Op::Gt, Op::Has] {
            let end = self.at + op.text().len();
            if self.chars.get(self.at..end).is_some_and(|cs| cs.iter().copied().eq(op.text().chars())) {
                self.at = end;
                return Ok(op);
            }
        }
        Err(self.error(&format!("after `{path}` one of = != < <= > >= : is expected")))
    }

    fn value(&mut self) -> Result<(String, bool)> {
        if matches!(self.peek(), Some('"' | '\'')) {
            return Ok((self.quoted()?, true));
        }
        let start = self.at;
        while self
            .peek()
            .is_some_and(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | '"' | '\'' | '=' | '<' | '>' | ','))
        {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error("a value is expected here; put other text in quotes"));
        }
        Ok((self.chars[start..self.at].iter().collect(), false))
    }

    fn quoted(&mut self) -> Result<String> {
        let start = self.at;
        let quote = self.peek();
        let mut text = String::new();
        loop {
            self.at += 1;
            match self.peek() {
                None => return Err(invalid(start + 1, "a quote is not closed")),
                end if end == quote => break,
                Some('\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some('n') => text.push('\n'),
                        Some('t') => text.push('\t'),
                        Some(c @ ('\\' | '"' | '\'' | '*')) => text.push(c),
                        _ => return Err(self.error("an escape is one of \\\\ \\\" \\' \\n \\t \\*")),
                    }
                }
                Some(c) => text.push(c),
            }
        }
        self.at += 1;
        Ok(text)
    }
}
