//! From the parser's events to a tree, within the limits of CAT-5.
//!
//! Owns anchors, duplicate keys, tags and budgets. Stops at the first error of syntax or budget: what follows has no sure meaning.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::{Chunk, Entry, Node, Value, scalar};
use crate::model::finding::{Findings, Span, pointer_to, shown};

/// Largest document in bytes (CAT-5).
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;
/// Most nodes after expansion of aliases.
const NODES_MAX: usize = 100_000;
/// Most bytes of text after expansion of aliases.
const TEXT_BYTES_MAX: usize = 4 * DOCUMENT_BYTES_MAX;
/// Most uses of one anchor.
const ALIASES_PER_ANCHOR_MAX: usize = 100;

/// Parses one document; `None` after an error that leaves no tree. The positions count from the document's first line.
pub fn parse(chunk: &Chunk<'_>, findings: &mut Findings) -> Option<Node> {
    if chunk.text.len() > DOCUMENT_BYTES_MAX {
        let message = format!("the document has {} bytes, more than {DOCUMENT_BYTES_MAX}", chunk.text.len());
        findings.error("DOCUMENT_TOO_LARGE", "", Span::start(), message);
        return None;
    }
    let mut builder = Builder::new(chunk.yaml_1_1, findings);
    match builder.run(chunk.text) {
        Ok(()) => builder.root,
        Err(stop) => {
            builder.findings.error(stop.code, "", stop.at, stop.message);
            None
        }
    }
}

struct Stop {
    code: &'static str,
    at: Span,
    message: String,
}

struct Builder<'f> {
    yaml_1_1: bool,
    findings: &'f mut Findings,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchor>,
    root: Option<Node>,
    size: Size,
}

#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

struct Anchor {
    node: Node,
    size: Size,
    uses: usize,
}

struct Frame {
    at: Span,
    anchor: usize,
    before: Size,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<String, Span>, key: Option<(String, Span)> },
}

impl<'f> Builder<'f> {
    fn new(yaml_1_1: bool, findings: &'f mut Findings) -> Self {
        Self { yaml_1_1, findings, stack: Vec::new(), anchors: HashMap::new(), root: None, size: Size::default() }
    }

    fn run(&mut self, text: &str) -> Result<(), Stop> {
        let mut parser = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| {
                let (line, column) = (to_u32(error.marker().line()), to_u32(error.marker().col()) + 1);
                let at = Span { line, column, end_line: line, end_column: column };
                // The parser's own bound on nesting may strike first.
                let code = if error.info().contains("recursion limit") { "DOCUMENT_TOO_LARGE" } else { "YAML_SYNTAX" };
                Stop { code, at, message: format!("not valid YAML: {}", error.info()) }
            })?;
            self.event(event, place(span))?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, at: Span) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.size.bytes += text.len();
                let value = self.scalar(text, style, tag.as_deref(), at);
                self.done(Node { at, value }, anchor, Size { nodes: 1, ..Size::default() })
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag, "seq", at);
                self.open(at, anchor, Items::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag, "map", at);
                self.open(at, anchor, Items::Map { entries: Vec::new(), seen: HashMap::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(id) => self.alias(id, at),
            Event::DocumentStart(_) if self.root.is_some() => {
                let message = "not valid YAML: more follows after the end of the document".to_owned();
                Err(Stop { code: "YAML_SYNTAX", at, message })
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>, at: Span) -> Value {
        match tag {
            None if style == ScalarStyle::Plain => scalar::plain(&text, self.yaml_1_1),
            None => Value::Text(text.into_owned()),
            Some(tag) if tag.is_yaml_core_schema() => {
                scalar::tagged(&tag.suffix, &text, self.yaml_1_1).unwrap_or_else(|| {
                    let message =
                        format!("{} does not fit the tag `!!{}`; it is kept as a string", shown(&text), tag.suffix);
                    self.findings.warn("YAML_TAG_UNKNOWN", "", at, message);
                    Value::Text(text.into_owned())
                })
            }
            Some(tag) => {
                // The non-specific tag `!` only says: not resolved.
                if !["", "!"].contains(&tag.handle.as_str()) || !["", "!"].contains(&tag.suffix.as_str()) {
                    self.unknown_tag(tag, at);
                }
                Value::Text(text.into_owned())
            }
        }
    }

    fn check_tag(&mut self, tag: Option<Cow<'_, Tag>>, core: &str, at: Span) {
        if let Some(tag) = tag.filter(|t| !(t.is_yaml_core_schema() && t.suffix == core)) {
            self.unknown_tag(&tag, at);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, at: Span) {
        let message = format!("the tag {} is unknown and ignored; the value is kept", shown(&tag.to_string()));
        self.findings.warn("YAML_TAG_UNKNOWN", "", at, message);
    }

    fn open(&mut self, at: Span, anchor: usize, items: Items) -> Result<(), Stop> {
        if self.stack.len() >= DEPTH_MAX {
            let message = format!("the document nests deeper than {DEPTH_MAX}");
            return Err(Stop { code: "DOCUMENT_TOO_LARGE", at, message });
        }
        let before = self.size;
        self.stack.push(Frame { at, anchor, before, items });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Stop> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let value = match frame.items {
            Items::List(items) => Value::List(items),
            Items::Map { entries, .. } => Value::Map(entries),
        };
        let at = Span { end_line: end.end_line, end_column: end.end_column, ..frame.at };
        let inner =
            Size { nodes: self.size.nodes - frame.before.nodes + 1, bytes: self.size.bytes - frame.before.bytes };
        let own = Size { nodes: 1, bytes: 0 };
        if frame.anchor > 0 {
            let node = Node { at, value: value.clone() };
            self.anchors.insert(frame.anchor, Anchor { node, size: inner, uses: 0 });
        }
        self.done(Node { at, value }, 0, own)
    }

    fn alias(&mut self, id: usize, at: Span) -> Result<(), Stop> {
        let Some(anchor) = self.anchors.get_mut(&id) else {
            let message = "not valid YAML: an alias inside the value of its own anchor".to_owned();
            return Err(Stop { code: "YAML_SYNTAX", at, message });
        };
        anchor.uses += 1;
        let size = Size { nodes: self.size.nodes + anchor.size.nodes, bytes: self.size.bytes + anchor.size.bytes };
        if anchor.uses > ALIASES_PER_ANCHOR_MAX || size.nodes > NODES_MAX || size.bytes > TEXT_BYTES_MAX {
            let message = "aliases expand to more than a document may hold".to_owned();
            return Err(Stop { code: "YAML_ALIAS_BOMB", at, message });
        }
        let node = Node { at, value: anchor.node.value.clone() };
        self.size.bytes = size.bytes;
        let nodes = anchor.size.nodes;
        self.done(node, 0, Size { nodes, bytes: 0 })
    }

    /// A value is complete: it becomes the root, an item, a key or the value of a key.
    fn done(&mut self, node: Node, anchor: usize, own: Size) -> Result<(), Stop> {
        self.size.nodes += own.nodes;
        if self.size.nodes > NODES_MAX {
            let message = format!("the document has more than {NODES_MAX} values");
            return Err(Stop { code: "DOCUMENT_TOO_LARGE", at: node.at, message });
        }
        if anchor > 0 {
            let bytes = node.text().map_or(0, str::len);
            self.anchors.insert(anchor, Anchor { node: node.clone(), size: Size { nodes: 1, bytes }, uses: 0 });
        }
        match self.stack.last_mut().map(|f| &mut f.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map { entries, seen, key }) => match key.take() {
                None => *key = Some((key_text(&node)?, node.at)),
                Some((key, key_at)) => {
                    if let Some(first) = seen.insert(key.clone(), key_at) {
                        let message = format!("the key {} stands here and in line {} already", shown(&key), first.line);
                        self.findings.error("DUPLICATE_KEY", &pointer_to("", &key), key_at, message);
                    }
                    entries.push(Entry { key, key_at, node });
                }
            },
        }
        Ok(())
    }
}

fn key_text(node: &Node) -> Result<String, Stop> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Bool(b) => Ok(b.to_string()),
        Value::Number(n) => Ok(n.to_string()),
        Value::NonFinite => Ok("NaN".to_owned()),
        Value::List(_) | Value::Map(_) => {
            let message = "not usable: a key of a mapping must be a scalar".to_owned();
            Err(Stop { code: "YAML_SYNTAX", at: node.at, message })
        }
    }
}

fn place(span: saphyr_parser::Span) -> Span {
    Span {
        line: to_u32(span.start.line()),
        column: to_u32(span.start.col()) + 1,
        end_line: to_u32(span.end.line()),
        end_column: to_u32(span.end.col()) + 1,
    }
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
