//! Reads expressions with the grammar and the precedence of Nunjucks.
//!
//! Owns the order of operators; refuses nesting deeper than a fixed bound, so that no template can exhaust the stack.
use super::ast::{Arg, Expr, Filter, Kind};
use super::fault::At;
use super::lexer::{Tok, Token};

/// Nesting of expressions and of blocks.
pub(super) const MAX_DEPTH: usize = 64;
/// Operators, members, calls and filters in one chain, which nest as deep.
const MAX_CHAIN: usize = 60;
/// Operands of one sum or concatenation, whose tree is as deep.
const MAX_SUM: usize = 250;

pub(super) struct Parser<'t> {
    tokens: &'t [Token],
    next: usize,
    end: usize,
    depth: usize,
}

type Parsed = Result<Expr, At>;

impl<'t> Parser<'t> {
    /// Reads from `tokens`; `end` is the offset that errors at the end point to.
    pub fn new(tokens: &'t [Token], end: usize) -> Self {
        Parser { tokens, next: 0, end, depth: 0 }
    }

    pub fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |t| t.at)
    }

    pub fn peek(&self) -> Option<&'t Tok> {
        self.tokens.get(self.next).map(|t| &t.kind)
    }

    pub fn bump(&mut self) {
        self.next += 1;
    }

    pub fn op(&mut self, op: &str) -> bool {
        let found = matches!(self.peek(), Some(Tok::Op(o)) if *o == op);
        self.next += usize::from(found);
        found
    }

    pub fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Tok::Ident(name)) if name == word);
        self.next += usize::from(found);
        found
    }

    pub fn need(&mut self, op: &str) -> Result<(), At> {
        if self.op(op) { Ok(()) } else { Err(self.unexpected(&format!("`{op}`"))) }
    }

    pub fn ident(&mut self, what: &str) -> Result<String, At> {
        match self.peek() {
            Some(Tok::Ident(name)) => {
                self.bump();
                Ok(name.clone())
            }
            _ => Err(self.unexpected(what)),
        }
    }

    pub fn finish(&self) -> Result<(), At> {
        if self.next < self.tokens.len() { Err(self.unexpected("the end of the expression")) } else { Ok(()) }
    }

    pub fn unexpected(&self, wanted: &str) -> At {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(Tok::Ident(name)) => format!("`{name}`"),
            Some(Tok::Str(_)) => "a string".to_owned(),
            Some(Tok::Int(_) | Tok::Float(_)) => "a number".to_owned(),
            Some(Tok::Op(op)) => format!("`{op}`"),
        };
        At::syntax(self.at(), format!("expected {wanted}, found {found}"))
    }

    /// Counts one operation of a chain; a long chain makes a deep tree.
    fn operation(&self, chain: &mut usize) -> Result<(), At> {
        *chain += 1;
        if *chain > MAX_CHAIN {
            return Err(At::syntax(self.at(), format!("an expression may chain {MAX_CHAIN} operations")));
        }
        Ok(())
    }

    /// A whole expression, with `a if b else c`.
    pub fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(At::syntax(self.at(), format!("expressions may nest {MAX_DEPTH} deep")));
        }
        let at = self.at();
        let mut value = self.or()?;
        if self.word("if") {
            let condition = self.or()?;
            let otherwise = if self.word("else") { Some(Box::new(self.or()?)) } else { None };
            value = Expr { at, kind: Kind::Inline(Box::new(value), Box::new(condition), otherwise) };
        }
        self.depth -= 1;
        Ok(value)
    }

    fn or(&mut self) -> Parsed {
        let at = self.at();
        let mut left = self.and()?;
        let mut chain = 0;
        while self.word("or") {
            self.operation(&mut chain)?;
            left = Expr { at, kind: Kind::Or(Box::new(left), Box::new(self.and()?)) };
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let at = self.at();
        let mut left = self.not()?;
        let mut chain = 0;
        while self.word("and") {
            self.operation(&mut chain)?;
            left = Expr { at, kind: Kind::And(Box::new(left), Box::new(self.not()?)) };
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed {
        let at = self.at();
        let mut negations = 0_usize;
        while self.word("not") {
            negations += 1;
        }
        let mut value = self.membership()?;
        for _ in 0..negations.min(2 - negations % 2) {
            value = Expr { at, kind: Kind::Not(Box::new(value)) };
        }
        Ok(value)
    }

    fn membership(&mut self) -> Parsed {
        let at = self.at();
        let mut left = self.test()?;
        let mut chain = 0;
        loop {
            let before = self.next;
            let negated = self.word("not");
            if !self.word("in") {
                self.next = before;
                return Ok(left);
            }
            self.operation(&mut chain)?;
            let right = self.test()?;
            left = Expr { at, kind: Kind::Binary("in", Box::new(left), Box::new(right)) };
            if negated {
                left = Expr { at, kind: Kind::Not(Box::new(left)) };
            }
        }
    }

    fn test(&mut self) -> Parsed {
        let at = self.at();
        let value = self.compare()?;
        if !self.word("is") {
            return Ok(value);
        }
        let negated = self.word("not");
        let name = self.ident("the name of a test")?;
        let args = if self.op("(") { self.arguments(")")? } else { Vec::new() };
        Ok(Expr { at, kind: Kind::Is(Box::new(value), name, args, negated) })
    }

    fn binary(&mut self, ops: &[&'static str], operand: fn(&mut Self) -> Parsed) -> Parsed {
        let at = self.at();
        let mut left = operand(self)?;
        // Sums and concatenations become one call each, so they may be long.
        let flat = ops == ["+"] || ops == ["~"];
        let mut chain = 0;
        while let Some(op) = ops.iter().find(|op| self.op(op)) {
            if flat && chain < MAX_SUM {
                chain += 1;
            } else {
                self.operation(&mut chain)?;
            }
            let right = operand(self)?;
            left = Expr { at, kind: Kind::Binary(op, Box::new(left), Box::new(right)) };
        }
        Ok(left)
    }

    fn compare(&mut self) -> Parsed {
        self.binary(&["===", "!==", "==", "!=", "<=", ">=", "<", ">"], Self::concat)
    }

    fn concat(&mut self) -> Parsed {
        self.binary(&["~"], Self::add)
    }

    // Nunjucks gives every arithmetic operator a level of its own.
    fn add(&mut self) -> Parsed {
        self.binary(&["+"], Self::sub)
    }

    fn sub(&mut self) -> Parsed {
        self.binary(&["-"], Self::mul)
    }

    fn mul(&mut self) -> Parsed {
        self.binary(&["*"], Self::div)
    }

    fn div(&mut self) -> Parsed {
        self.binary(&["/"], Self::floor)
    }

    fn floor(&mut self) -> Parsed {
        self.binary(&["//"], Self::modulo)
    }

    fn modulo(&mut self) -> Parsed {
        self.binary(&["%"], Self::power)
    }

    fn power(&mut self) -> Parsed {
        self.binary(&["**"], |p| p.unary(true))
    }

    fn unary(&mut self, filters: bool) -> Parsed {
        let at = self.at();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(At::syntax(at, format!("expressions may nest {MAX_DEPTH} deep")));
        }
        let mut value = if self.op("-") {
            Expr { at, kind: Kind::Neg(Box::new(self.unary(false)?)) }
        } else if self.op("+") {
            Expr { at, kind: Kind::Pos(Box::new(self.unary(false)?)) }
        } else {
            self.postfix()?
        };
        if filters {
            let mut chain = 0;
            while self.op("|") {
                self.operation(&mut chain)?;
                let filter = self.filter()?;
                value = Expr { at, kind: Kind::Filter(Box::new(value), filter) };
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    /// A filter's name and arguments.
    pub fn filter(&mut self) -> Result<Filter, At> {
        let at = self.at();
        let mut name = self.ident("the name of a filter")?;
        while self.op(".") {
            name = format!("{name}.{}", self.ident("the name of a filter")?);
        }
        let args = if self.op("(") { self.arguments(")")? } else { Vec::new() };
        Ok(Filter { at, name, args })
    }

    fn postfix(&mut self) -> Parsed {
        let mut value = self.primary()?;
        let mut chain = 0;
        loop {
            let at = self.at();
            if matches!(self.peek(), Some(Tok::Op("." | "[" | "("))) {
                self.operation(&mut chain)?;
            }
            if self.op(".") {
                let key = match self.peek() {
                    Some(Tok::Int(index)) => {
                        self.bump();
                        Expr { at, kind: Kind::Int(*index) }
                    }
                    _ => Expr { at: self.at(), kind: Kind::Str(self.ident("a name")?) },
                };
                value = self.member(value, key)?;
            } else if self.op("[") {
                let key = self.expression()?;
                if self.op(":") {
                    return Err(At::syntax(at, "slices are not supported; use `.slice(start, end)`"));
                }
                self.need("]")?;
                value = Expr { at, kind: Kind::Get(Box::new(value), Box::new(key)) };
            } else if self.op("(") {
                let args = self.arguments(")")?;
                value = Expr { at: value.at, kind: Kind::Call(Box::new(value), args) };
            } else {
                return Ok(value);
            }
        }
    }

    fn member(&mut self, base: Expr, key: Expr) -> Parsed {
        if let Kind::Str(name) = &key.kind
            && self.op("(")
        {
            let args = self.arguments(")")?;
            return Ok(Expr { at: key.at, kind: Kind::Method(Box::new(base), name.clone(), args) });
        }
        Ok(Expr { at: key.at, kind: Kind::Get(Box::new(base), Box::new(key)) })
    }

    /// Arguments up to the closing bracket, positional ones first.
    pub fn arguments(&mut self, close: &str) -> Result<Vec<Arg>, At> {
        let mut args = Vec::new();
        while !self.op(close) {
            if !args.is_empty() {
                self.need(",")?;
                if self.op(close) {
                    break;
                }
            }
            let value = self.expression()?;
            if self.op("=") {
                let Kind::Name(name) = value.kind else {
                    return Err(At::syntax(value.at, "expected a name before `=`"));
                };
                args.push(Arg { name: Some(name), value: self.expression()? });
            } else if args.iter().any(|a: &Arg| a.name.is_some()) {
                return Err(At::syntax(value.at, "positional arguments stand before named ones"));
            } else {
                args.push(Arg { name: None, value });
            }
        }
        Ok(args)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let kind = match self.peek() {
            Some(Tok::Str(text)) => Kind::Str(text.clone()),
            Some(Tok::Int(int)) => Kind::Int(*int),
            Some(Tok::Float(float)) => Kind::Float(*float),
            Some(Tok::Ident(name)) => match name.as_str() {
                "true" => Kind::Bool(true),
                "false" => Kind::Bool(false),
                "none" | "null" => Kind::Null,
                _ => Kind::Name(name.clone()),
            },
            Some(Tok::Op("[")) => return self.list(at),
            Some(Tok::Op("{")) => return self.dict(at),
            Some(Tok::Op("(")) => {
                self.bump();
                let value = self.expression()?;
                if self.op(",") {
                    return Err(At::syntax(at, "tuples are not supported; use a list `[a, b]`"));
                }
                self.need(")")?;
                return Ok(value);
            }
            _ => return Err(self.unexpected("an expression")),
        };
        self.bump();
        Ok(Expr { at, kind })
    }

    fn list(&mut self, at: usize) -> Parsed {
        self.bump();
        let mut items = Vec::new();
        while !self.op("]") {
            if !items.is_empty() {
                self.need(",")?;
                if self.op("]") {
                    break;
                }
            }
            items.push(self.expression()?);
        }
        Ok(Expr { at, kind: Kind::List(items) })
    }

    fn dict(&mut self, at: usize) -> Parsed {
        self.bump();
        let mut entries = Vec::new();
        while !self.op("}") {
            if !entries.is_empty() {
                self.need(",")?;
                if self.op("}") {
                    break;
                }
            }
            let mut key = self.primary()?;
            if let Kind::Name(name) = key.kind {
                key.kind = Kind::Str(name);
            }
            self.need(":")?;
            entries.push((key, self.expression()?));
        }
        Ok(Expr { at, kind: Kind::Dict(entries) })
    }
}
