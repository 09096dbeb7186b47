//! Cuts a template into text, outputs and tags, and these into tokens.
//!
//! Owns delimiters, whitespace control and raw blocks; refuses operators of other languages with the spelling to use instead.
use super::fault::At;

/// Delimiters and whitespace switches of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syntax {
    /// Outputs are `{{ }}` instead of `${{ }}`, as in cookiecutter.
    pub cookiecutter: bool,
    /// Removes the line break after a tag.
    pub trim_blocks: bool,
    /// Removes the blanks before a tag that stands first in its line.
    pub lstrip_blocks: bool,
}

impl Syntax {
    fn output_start(self) -> &'static str {
        if self.cookiecutter { "{{" } else { "${{" }
    }
}

/// A token and the byte offset it starts at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: Tok,
    pub at: usize,
}

/// Kinds of tokens.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok {
    Ident(String),
    Str(String),
    Int(i64),
    Float(f64),
    Op(&'static str),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Output { at: usize, tokens: Vec<Token> },
    Tag { at: usize, tokens: Vec<Token> },
}

const OPERATORS: [&str; 31] = [
    "===", "!==", "==", "!=", "<=", ">=", "//", "**", "&&", "||", "??", "<", ">", "+", "-", "*", "/", "%", "~", "|",
    ".", ",", ":", "(", ")", "[", "]", "{", "}", "=", "?",
];

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Output,
    Tag,
    Comment,
}

struct Lexer<'s> {
    source: &'s str,
    syntax: Syntax,
    at: usize,
    pieces: Vec<Piece>,
    strip_next: bool,
    drop_newline: bool,
}

/// Cuts the source into its parts.
pub(super) fn split(source: &str, syntax: Syntax) -> Result<Vec<Piece>, At> {
    let mut lexer = Lexer { source, syntax, at: 0, pieces: Vec::new(), strip_next: false, drop_newline: false };
    while let Some((start, mark)) = lexer.next_mark() {
        lexer.begin(start, mark)?;
    }
    let rest = lexer.source.len();
    lexer.text(rest, false, false);
    Ok(lexer.pieces)
}

impl<'s> Lexer<'s> {
    fn next_mark(&self) -> Option<(usize, Mark)> {
        let marks = [(self.syntax.output_start(), Mark::Output), ("{%", Mark::Tag), ("{#", Mark::Comment)];
        marks
            .into_iter()
            .filter_map(|(text, mark)| self.source[self.at..].find(text).map(|i| (self.at + i, mark)))
            .min_by_key(|(i, _)| *i)
    }

    fn begin(&mut self, start: usize, mark: Mark) -> Result<(), At> {
        let width = if mark == Mark::Output { self.syntax.output_start().len() } else { 2 };
        let strip = self.source[start + width..].starts_with('-');
        self.text(start, strip, self.syntax.lstrip_blocks && mark != Mark::Output);
        self.at = start + width + usize::from(strip);
        match mark {
            Mark::Comment => self.comment(start),
            Mark::Output => {
                let tokens = self.tokens("}}", start)?;
                self.pieces.push(Piece::Output { at: start, tokens });
                Ok(())
            }
            Mark::Tag => self.tag(start),
        }
    }

    /// Takes the text up to `end`, with the whitespace control of what stands around it.
    fn text(&mut self, end: usize, strip: bool, lstrip: bool) {
        let mut text = &self.source[self.at..end];
        if std::mem::take(&mut self.strip_next) {
            text = text.trim_start();
        }
        if std::mem::take(&mut self.drop_newline) {
            text = text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')).unwrap_or(text);
        }
        if strip {
            text = text.trim_end();
        } else if lstrip {
            let trimmed = text.trim_end_matches([' ', '\t']);
            let first_in_line = if trimmed.is_empty() {
                self.source[..end - text.len()].is_empty() || self.source[..end - text.len()].ends_with('\n')
            } else {
                trimmed.ends_with('\n')
            };
            if first_in_line {
                text = trimmed;
            }
        }
        if !text.is_empty() {
            self.pieces.push(Piece::Text(text.to_owned()));
        }
        self.at = end;
    }

    fn comment(&mut self, start: usize) -> Result<(), At> {
        let Some(length) = self.source[self.at..].find("#}") else {
            return Err(At::syntax(start, "the comment is not closed with `#}`"));
        };
        let strip = self.source[self.at..self.at + length].ends_with('-');
        self.at += length + 2;
        self.after_block(strip, true);
        Ok(())
    }

    fn after_block(&mut self, strip: bool, block: bool) {
        self.strip_next = strip;
        self.drop_newline = !strip && block && self.syntax.trim_blocks;
    }

    fn tag(&mut self, start: usize) -> Result<(), At> {
        let tokens = self.tokens("%}", start)?;
        if let [Token { kind: Tok::Ident(name), .. }] = tokens.as_slice()
            && (name == "raw" || name == "verbatim")
        {
            let end = format!("end{name}");
            return self.raw(start, name.clone().as_str(), &end);
        }
        self.pieces.push(Piece::Tag { at: start, tokens });
        Ok(())
    }

    /// Copies everything up to the matching end tag, nested raw blocks included.
    fn raw(&mut self, start: usize, open: &str, close: &str) -> Result<(), At> {
        let mut depth = 1;
        let mut from = self.at;
        while let Some(found) = self.source[from..].find("{%") {
            let tag = from + found;
            let Some((name, strip_before, strip_after, end)) = plain_tag(self.source, tag) else {
                from = tag + 2;
                continue;
            };
            from = end;
            if name == open {
                depth += 1;
            } else if name == close {
                depth -= 1;
            }
            if depth == 0 {
                self.text(tag, strip_before, self.syntax.lstrip_blocks);
                self.at = end;
                self.after_block(strip_after, true);
                return Ok(());
            }
        }
        Err(At::syntax(start, format!("the block `{open}` is not closed with `{close}`")))
    }

    fn tokens(&mut self, end: &'static str, start: usize) -> Result<Vec<Token>, At> {
        let mut tokens = Vec::new();
        let mut braces = 0_usize;
        loop {
            let rest = &self.source[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            let strip = trimmed.starts_with('-') && trimmed[1..].starts_with(end);
            if strip || (braces == 0 && trimmed.starts_with(end)) {
                self.at += usize::from(strip) + end.len();
                self.after_block(strip, end == "%}");
                return Ok(tokens);
            }
            if trimmed.is_empty() {
                return Err(At::syntax(start, format!("`{end}` is missing")));
            }
            let token = self.token()?;
            match token.kind {
                Tok::Op("{") => braces += 1,
                Tok::Op("}") => braces = braces.saturating_sub(1),
                _ => {}
            }
            tokens.push(token);
        }
    }

    fn token(&mut self) -> Result<Token, At> {
        let at = self.at;
        let rest = &self.source[at..];
        let first = rest.chars().next().unwrap_or(' ');
        let kind = match first {
            '"' | '\'' => self.string(first)?,
            '0'..='9' => self.number()?,
            'r' if rest.starts_with("r/") => {
                return Err(At::syntax(
                    at,
                    "regular expression literals are not supported; use the filter `matches(\"pattern\")`",
                ));
            }
            c if c == '_' || c == '$' || c.is_alphabetic() => {
                let length = rest.find(|c: char| c != '_' && c != '$' && !c.is_alphanumeric()).unwrap_or(rest.len());
                self.at += length;
                Tok::Ident(rest[..length].to_owned())
            }
            _ => Tok::Op(self.operator(rest)?),
        };
        Ok(Token { kind, at })
    }

    fn operator(&mut self, rest: &str) -> Result<&'static str, At> {
        let Some(op) = OPERATORS.into_iter().find(|op| rest.starts_with(op)) else {
            let hint = if rest.starts_with('!') { "; write `not`" } else { "" };
            let found = rest.chars().next().unwrap_or(' ');
            return Err(At::syntax(self.at, format!("unexpected character `{found}`{hint}")));
        };
        let instead = match op {
            "&&" => "write `and`",
            "||" => "write `or`",
            "??" => "write `| default(value)`",
            "?" => "write `a if condition else b`",
            _ => {
                self.at += op.len();
                return Ok(op);
            }
        };
        Err(At::syntax(self.at, format!("`{op}` is not supported; {instead}")))
    }

    fn string(&mut self, quote: char) -> Result<Tok, At> {
        let start = self.at;
        let mut value = String::new();
        let mut chars = self.source[start + 1..].char_indices();
        while let Some((i, c)) = chars.next() {
            if c == quote {
                self.at = start + 1 + i + 1;
                return Ok(Tok::Str(value));
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, other)) => value.push(other),
                None => break,
            }
        }
        Err(At::syntax(start, "the string is not closed"))
    }

    fn number(&mut self) -> Result<Tok, At> {
        let rest = &self.source[self.at..];
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let whole = digits(rest);
        let fraction = rest[whole..].strip_prefix('.').map_or(0, digits);
        let length = if fraction > 0 { whole + 1 + fraction } else { whole };
        let at = self.at;
        self.at += length;
        let text = &rest[..length];
        if fraction == 0
            && let Ok(int) = text.parse::<i64>()
        {
            return Ok(Tok::Int(int));
        }
        text.parse::<f64>().map(Tok::Float).map_err(|_| At::syntax(at, format!("`{text}` is not a number")))
    }
}

/// Reads `{%-? name -?%}` at `start`: the name, strip before, strip after, and the offset behind it.
fn plain_tag(source: &str, start: usize) -> Option<(&str, bool, bool, usize)> {
    let rest = &source[start + 2..];
    let close = rest.find("%}")?;
    let inner = &rest[..close];
    let (before, inner) = inner.strip_prefix('-').map_or((false, inner), |i| (true, i));
    let (after, inner) = inner.strip_suffix('-').map_or((false, inner), |i| (true, i));
    let name = inner.trim();
    name.chars().all(|c| c.is_ascii_alphabetic()).then_some((name, before, after, start + 2 + close + 2))
}
