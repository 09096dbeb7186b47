//! Reads tags into statements: if, for, set, filter, macro, call.
//!
//! Owns which tags exist; refuses those that would load other files or that Nunjucks has for asynchronous work.
use super::ast::{Arg, Expr, Kind, Node, Param};
use super::fault::At;
use super::lexer::{Piece, Tok, Token};
use super::parser::{MAX_DEPTH, Parser};

/// Reads all parts of a template.
pub(super) fn parse(pieces: Vec<Piece>, end: usize) -> Result<Vec<Node>, At> {
    let mut reader = Reader { pieces: pieces.into_iter(), end, depth: 0 };
    let (nodes, stop) = reader.body(&[])?;
    debug_assert!(stop.is_none(), "an unexpected end tag is refused where it stands");
    Ok(nodes)
}

struct Reader {
    pieces: std::vec::IntoIter<Piece>,
    end: usize,
    depth: usize,
}

/// The tag that ended a body: its name, its offset and the tokens behind the name.
struct Stop {
    name: String,
    at: usize,
    tokens: Vec<Token>,
}

type Body = (Vec<Node>, Option<Stop>);

impl Reader {
    /// Reads statements up to one of the tags in `stops`.
    fn body(&mut self, stops: &[&str]) -> Result<Body, At> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(At::syntax(self.end, format!("blocks may nest {MAX_DEPTH} deep")));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            match piece {
                Piece::Text(text) => nodes.push(Node::Text(text)),
                Piece::Output { at, tokens } => nodes.push(output(at, &tokens)?),
                Piece::Tag { at, mut tokens } => {
                    let name = match tokens.first() {
                        Some(Token { kind: Tok::Ident(name), .. }) => name.clone(),
                        _ => return Err(At::syntax(at, "expected the name of a tag")),
                    };
                    tokens.remove(0);
                    if stops.contains(&name.as_str()) {
                        self.depth -= 1;
                        return Ok((nodes, Some(Stop { name, at, tokens })));
                    }
                    nodes.push(self.tag(&name, at, &tokens)?);
                }
            }
        }
        if let Some(last) = stops.last() {
            return Err(At::syntax(self.end, format!("`{last}` is missing")));
        }
        self.depth -= 1;
        Ok((nodes, None))
    }

    fn tag(&mut self, name: &str, at: usize, tokens: &[Token]) -> Result<Node, At> {
        let end = tokens.last().map_or(at, |t| t.at + 1);
        let mut parser = Parser::new(tokens, end);
        match name {
            "if" => self.conditional(parser),
            "for" => self.repetition(parser),
            "set" => self.assignment(parser),
            "filter" => {
                let filter = parser.filter()?;
                parser.finish()?;
                let (body, _) = self.closed(&["endfilter"])?;
                Ok(Node::FilterBlock(filter, body))
            }
            "macro" => self.definition(parser),
            "call" => self.call_block(parser),
            "include" | "import" | "from" | "extends" | "block" | "super" => {
                Err(At::syntax(at, format!("`{name}` is not supported: a template cannot load another file")))
            }
            "asyncEach" | "asyncAll" | "ifAsync" | "switch" => {
                Err(At::syntax(at, format!("`{name}` is not supported; use `for` and `if`")))
            }
            _ => Err(At::syntax(at, format!("unknown or misplaced tag `{name}`"))),
        }
    }

    fn closed(&mut self, stops: &[&str]) -> Result<(Vec<Node>, Stop), At> {
        let (body, stop) = self.body(stops)?;
        stop.map(|stop| (body, stop)).ok_or_else(|| At::syntax(self.end, "the block is not closed"))
    }

    fn conditional(&mut self, mut parser: Parser<'_>) -> Result<Node, At> {
        let mut branches = Vec::new();
        let mut condition = parser.expression()?;
        parser.finish()?;
        loop {
            let (body, stop) = self.closed(&["elif", "elseif", "else", "endif"])?;
            branches.push((condition, body));
            match stop.name.as_str() {
                "endif" => return Ok(Node::If(branches, None)),
                "else" => {
                    let (otherwise, _) = self.closed(&["endif"])?;
                    return Ok(Node::If(branches, Some(otherwise)));
                }
                _ => {
                    let mut parser = Parser::new(&stop.tokens, stop.at);
                    condition = parser.expression()?;
                    parser.finish()?;
                }
            }
        }
    }

    fn repetition(&mut self, mut parser: Parser<'_>) -> Result<Node, At> {
        let mut targets = vec![parser.ident("a name")?];
        while parser.op(",") {
            targets.push(parser.ident("a name")?);
        }
        if !parser.word("in") {
            return Err(parser.unexpected("`in`"));
        }
        let over = parser.expression()?;
        parser.finish()?;
        let (body, stop) = self.closed(&["else", "endfor"])?;
        let otherwise = if stop.name == "else" { Some(self.closed(&["endfor"])?.0) } else { None };
        Ok(Node::For { targets, over, body, otherwise })
    }

    fn assignment(&mut self, mut parser: Parser<'_>) -> Result<Node, At> {
        let at = parser.at();
        let mut targets = vec![parser.ident("a name")?];
        while parser.op(",") {
            targets.push(parser.ident("a name")?);
        }
        if parser.op("=") {
            let value = parser.expression()?;
            parser.finish()?;
            return Ok(Node::Set(targets, value));
        }
        parser.finish()?;
        let [target] = targets.as_slice() else {
            return Err(At::syntax(at, "a set block has one name"));
        };
        let (body, _) = self.closed(&["endset"])?;
        Ok(Node::SetBlock(target.clone(), body))
    }

    fn definition(&mut self, mut parser: Parser<'_>) -> Result<Node, At> {
        let name = parser.ident("the name of the macro")?;
        parser.need("(")?;
        let params = parameters(&mut parser)?;
        parser.finish()?;
        let (body, _) = self.closed(&["endmacro"])?;
        Ok(Node::Macro { name, params, body })
    }

    fn call_block(&mut self, mut parser: Parser<'_>) -> Result<Node, At> {
        let params = if parser.op("(") { parameters(&mut parser)? } else { Vec::new() };
        let at = parser.at();
        let call = parser.expression()?;
        parser.finish()?;
        if !matches!(&call.kind, Kind::Call(target, _) if matches!(target.kind, Kind::Name(_))) {
            return Err(At::syntax(at, "expected the call of a macro"));
        }
        let (body, _) = self.closed(&["endcall"])?;
        Ok(Node::CallBlock { params, call, body })
    }
}

fn output(at: usize, tokens: &[Token]) -> Result<Node, At> {
    let mut parser = Parser::new(tokens, tokens.last().map_or(at, |t| t.at + 1));
    let value = parser.expression()?;
    parser.finish()?;
    Ok(Node::Output(value))
}

fn parameters(parser: &mut Parser<'_>) -> Result<Vec<Param>, At> {
    let args = parser.arguments(")")?;
    args.into_iter().map(parameter).collect()
}

fn parameter(arg: Arg) -> Result<Param, At> {
    match arg {
        Arg { name: Some(name), value } => Ok(Param { name, default: Some(value) }),
        Arg { name: None, value: Expr { kind: Kind::Name(name), .. } } => Ok(Param { name, default: None }),
        Arg { name: None, value } => Err(At::syntax(value.at, "expected the name of a parameter")),
    }
}
