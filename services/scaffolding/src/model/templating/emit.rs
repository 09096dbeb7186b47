//! Writes the tree as a minijinja template in which everything that can fail is a call that carries its place.
//!
//! Owns scopes with the rules of Nunjucks (`set` reaches outwards, macros do not) and the check that every name is declared; refuses to
//! evaluate. Names of the template get prefixes, so that none can meet a name of the engine: `l_` locals, `m_` macros, `r_` roots,
//! `v<n>.` variables of frame n. Text stands in a table, so that no text can be read as code.
use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::ast::{Arg, Expr, Filter, Kind, Node, Param};
use super::fault::{At, Code};
use super::{filters, operators};

/// A template as minijinja source, with its text.
#[derive(Debug, Default)]
pub(super) struct Emitted {
    pub code: String,
    pub texts: Vec<String>,
}

#[derive(Default)]
struct Frame {
    id: usize,
    /// Names that `set` made here.
    variables: BTreeSet<String>,
    /// Loop targets and parameters.
    locals: BTreeSet<String>,
    macros: BTreeSet<String>,
    is_loop: bool,
    is_macro: bool,
    /// Writes do not reach outwards.
    isolated: bool,
}

struct Emitter<'r> {
    out: Emitted,
    frames: Vec<Frame>,
    next_frame: usize,
    roots: &'r [&'r str],
    lenient: bool,
}

/// Writes a template.
pub(super) fn template(nodes: &[Node], roots: &[&str], lenient: bool) -> Result<Emitted, At> {
    let mut emitter = Emitter::new(roots, lenient);
    emitter.open(Frame::default());
    emitter.nodes(nodes)?;
    Ok(emitter.out)
}

/// Writes one expression.
pub(super) fn expression(expr: &Expr, roots: &[&str], lenient: bool) -> Result<Emitted, At> {
    let mut emitter = Emitter::new(roots, lenient);
    emitter.frames.push(Frame::default());
    emitter.expr(expr)?;
    Ok(emitter.out)
}

/// Global functions a template may call by name.
const GLOBALS: [&str; 5] = ["range", "cycler", "joiner", "always", "failure"];

impl<'r> Emitter<'r> {
    fn new(roots: &'r [&'r str], lenient: bool) -> Self {
        Emitter { out: Emitted::default(), frames: Vec::new(), next_frame: 0, roots, lenient }
    }

    fn write(&mut self, code: &str) {
        self.out.code.push_str(code);
    }

    /// Opens a frame with a namespace for its variables.
    fn open(&mut self, mut frame: Frame) {
        frame.id = self.next_frame;
        self.next_frame += 1;
        let _ = write!(self.out.code, "{{% set v{} = namespace() %}}", frame.id);
        self.frames.push(frame);
    }

    fn close(&mut self) {
        self.frames.pop();
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<(), At> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), At> {
        match node {
            Node::Text(text) => {
                let _ = write!(self.out.code, "{{{{ op_text(texts[{}]) }}}}", self.out.texts.len());
                self.out.texts.push(text.clone());
            }
            Node::Output(value) => {
                let _ = write!(self.out.code, "{{{{ op_out({}, ", value.at);
                self.expr(value)?;
                self.write(") }}");
            }
            Node::If(branches, otherwise) => self.conditional(branches, otherwise.as_deref())?,
            Node::For { targets, over, body, otherwise } => {
                self.repetition(targets, over, body, otherwise.as_deref())?
            }
            Node::Set(targets, value) => self.assign(targets, value)?,
            Node::SetBlock(target, body) => {
                self.write("{% set captured %}");
                self.nodes(body)?;
                self.write("{% endset %}");
                let place = self.target(target);
                let _ = write!(self.out.code, "{{% set {place} = captured %}}");
            }
            Node::FilterBlock(filter, body) => self.filter_block(filter, body)?,
            Node::Macro { name, params, body } => self.definition(name, params, body)?,
            Node::CallBlock { params, call, body } => self.call_block(params, call, body)?,
        }
        Ok(())
    }

    fn conditional(&mut self, branches: &[(Expr, Vec<Node>)], otherwise: Option<&[Node]>) -> Result<(), At> {
        for (i, (condition, body)) in branches.iter().enumerate() {
            self.write(if i == 0 { "{% if " } else { "{% elif " });
            self.expr(condition)?;
            self.write(" %}");
            self.nodes(body)?;
        }
        if let Some(body) = otherwise {
            self.write("{% else %}");
            self.nodes(body)?;
        }
        self.write("{% endif %}");
        Ok(())
    }

    fn repetition(
        &mut self,
        targets: &[String],
        over: &Expr,
        body: &[Node],
        otherwise: Option<&[Node]>,
    ) -> Result<(), At> {
        let names = targets.iter().map(|t| format!("l_{}", safe(t))).collect::<Vec<_>>().join(", ");
        // The namespace of the loop's frame is made once, before the loop, as its variables last over the iterations.
        self.open(Frame { is_loop: true, ..Frame::default() });
        let frame = self.frames.pop();
        let _ = write!(self.out.code, "{{% for {names} in op_iter({}, {}, ", over.at, targets.len());
        self.expr(over)?;
        self.write(") %}");
        if let Some(mut frame) = frame {
            frame.locals.extend(targets.iter().cloned());
            self.frames.push(frame);
        }
        self.nodes(body)?;
        self.close();
        if let Some(body) = otherwise {
            self.write("{% else %}");
            self.nodes(body)?;
        }
        self.write("{% endfor %}");
        Ok(())
    }

    fn assign(&mut self, targets: &[String], value: &Expr) -> Result<(), At> {
        self.write("{% set assigned = ");
        self.expr(value)?;
        self.write(" %}");
        for target in targets {
            let place = self.target(target);
            let _ = write!(self.out.code, "{{% set {place} = assigned %}}");
        }
        Ok(())
    }

    /// Where an assignment to `name` goes: outwards to the frame that has the name, else to the innermost.
    fn target(&mut self, name: &str) -> String {
        let innermost = self.frames.len().saturating_sub(1);
        let mut chosen = innermost;
        for (i, frame) in self.frames.iter().enumerate().rev() {
            if frame.locals.contains(name) {
                return format!("l_{}", safe(name));
            }
            if frame.variables.contains(name) {
                chosen = i;
                break;
            }
            if frame.isolated {
                break;
            }
        }
        let Some(frame) = self.frames.get_mut(chosen) else {
            return format!("l_{}", safe(name));
        };
        frame.variables.insert(name.to_owned());
        format!("v{}.{}", frame.id, safe(name))
    }

    fn filter_block(&mut self, filter: &Filter, body: &[Node]) -> Result<(), At> {
        self.write("{% set captured %}");
        self.nodes(body)?;
        self.write("{% endset %}");
        self.filter_head(filter)?;
        let _ = write!(self.out.code, "{{{{ op_out({}, f_{}({}, captured", filter.at, filter.name, filter.at);
        self.args(&filter.args)?;
        self.write(")) }}");
        Ok(())
    }

    fn definition(&mut self, name: &str, params: &[Param], body: &[Node]) -> Result<(), At> {
        if let Some(frame) = self.frames.last_mut() {
            frame.macros.insert(name.to_owned());
        }
        let _ = write!(self.out.code, "{{% macro m_{}(", safe(name));
        self.params(params)?;
        self.write(") %}");
        self.inner(params, body, true)?;
        self.write("{% endmacro %}");
        Ok(())
    }

    fn inner(&mut self, params: &[Param], body: &[Node], is_macro: bool) -> Result<(), At> {
        let locals = params.iter().map(|p| p.name.clone()).collect();
        self.open(Frame { locals, is_macro, isolated: is_macro, ..Frame::default() });
        let done = self.nodes(body);
        self.close();
        done
    }

    fn params(&mut self, params: &[Param]) -> Result<(), At> {
        for (i, param) in params.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let _ = write!(self.out.code, "{comma}l_{}", safe(&param.name));
            // Every parameter may be left out, as in Nunjucks.
            self.write("=");
            match &param.default {
                Some(default) => self.expr(default)?,
                None => self.write("none"),
            }
        }
        Ok(())
    }

    fn call_block(&mut self, params: &[Param], call: &Expr, body: &[Node]) -> Result<(), At> {
        self.write("{% call");
        if !params.is_empty() {
            self.write("(");
            self.params(params)?;
            self.write(")");
        }
        self.write(" ");
        self.expr(call)?;
        self.write(" %}");
        self.inner(params, body, false)?;
        self.write("{% endcall %}");
        Ok(())
    }

    fn expr(&mut self, expr: &Expr) -> Result<(), At> {
        match &expr.kind {
            Kind::Null => self.write("none"),
            Kind::Bool(value) => self.write(if *value { "true" } else { "false" }),
            Kind::Int(value) => self.write(&value.to_string()),
            Kind::Float(value) => self.write(&format!("{value:?}")),
            Kind::Str(text) => self.string(text),
            Kind::Name(name) => self.name(name, expr.at)?,
            Kind::List(items) => self.call("op_list", expr.at, items.iter())?,
            Kind::Dict(entries) => self.call("op_dict", expr.at, entries.iter().flat_map(|(k, v)| [k, v]))?,
            Kind::Get(..) => self.get(expr, false)?,
            Kind::Call(target, args) => self.function(target, args, expr.at)?,
            Kind::Method(base, method, args) => self.method(base, method, args, expr.at)?,
            Kind::Filter(value, filter) => self.filter(value, filter)?,
            Kind::Is(value, test, args, negated) => self.test(value, test, args, *negated, expr.at)?,
            Kind::Not(value) => {
                self.write("(not ");
                self.expr(value)?;
                self.write(")");
            }
            Kind::Neg(value) => self.call("op_neg", expr.at, [&**value].into_iter())?,
            Kind::Pos(value) => self.call("op_pos", expr.at, [&**value].into_iter())?,
            Kind::And(left, right) => self.infix(left, " and ", right)?,
            Kind::Or(left, right) => self.infix(left, " or ", right)?,
            Kind::Binary(op, left, right) => self.binary(op, left, right, expr.at)?,
            Kind::Inline(value, condition, otherwise) => {
                self.write("(");
                self.expr(value)?;
                self.infix_word(" if ", condition)?;
                match otherwise {
                    Some(other) => self.infix_word(" else ", other)?,
                    None => self.write(" else ''"),
                }
                self.write(")");
            }
        }
        Ok(())
    }

    fn infix(&mut self, left: &Expr, word: &str, right: &Expr) -> Result<(), At> {
        self.write("(");
        self.expr(left)?;
        self.infix_word(word, right)?;
        self.write(")");
        Ok(())
    }

    fn infix_word(&mut self, word: &str, right: &Expr) -> Result<(), At> {
        self.write(word);
        self.expr(right)
    }

    fn string(&mut self, text: &str) {
        let mut code = String::from("\"");
        for c in text.chars() {
            match c {
                '"' => code.push_str("\\\""),
                '\\' => code.push_str("\\\\"),
                '\n' => code.push_str("\\n"),
                '\r' => code.push_str("\\r"),
                c => code.push(c),
            }
        }
        code.push('"');
        self.write(&code);
    }

    fn name(&mut self, name: &str, at: usize) -> Result<(), At> {
        if let Some(place) = self.resolve(name) {
            self.write(&place);
            return Ok(());
        }
        if GLOBALS.contains(&name) {
            return Err(At::syntax(at, format!("`{name}` is a function; call it")));
        }
        if self.lenient {
            let _ = write!(self.out.code, "op_undeclared({at}, \"{}\")", safe(name));
            return Ok(());
        }
        Err(At::new(Code::UndeclaredName, at, format!("`{name}` is not declared")))
    }

    /// The emitted place of a name, or nothing when no frame and no root declares it.
    fn resolve(&self, name: &str) -> Option<String> {
        let mut top_only = false;
        for (i, frame) in self.frames.iter().enumerate().rev() {
            if top_only && i > 0 {
                continue;
            }
            if frame.locals.contains(name) {
                return Some(format!("l_{}", safe(name)));
            }
            if name == "loop" && frame.is_loop {
                return Some("loop".to_owned());
            }
            if name == "caller" && frame.is_macro {
                return Some("caller".to_owned());
            }
            if frame.variables.contains(name) {
                return Some(format!("v{}.{}", frame.id, safe(name)));
            }
            if frame.macros.contains(name) {
                return Some(format!("m_{}", safe(name)));
            }
            top_only |= frame.isolated;
        }
        self.roots.contains(&name).then(|| format!("r_{name}"))
    }

    fn call<'e>(&mut self, function: &str, at: usize, args: impl Iterator<Item = &'e Expr>) -> Result<(), At> {
        let _ = write!(self.out.code, "{function}({at}");
        for arg in args {
            self.write(", ");
            self.expr(arg)?;
        }
        self.write(")");
        Ok(())
    }

    fn args(&mut self, args: &[Arg]) -> Result<(), At> {
        for arg in args {
            self.write(", ");
            if let Some(name) = &arg.name {
                let _ = write!(self.out.code, "{}=", safe(name));
            }
            self.expr(&arg.value)?;
        }
        Ok(())
    }

    /// `a.b.c` as one call, so that long paths do not nest; `soft` turns a missing key of a plain object into nothing.
    fn get(&mut self, expr: &Expr, soft: bool) -> Result<(), At> {
        let mut keys = Vec::new();
        let mut base = expr;
        while let Kind::Get(inner, key) = &base.kind {
            keys.push((base.at, &**key));
            base = inner;
        }
        let _ = write!(self.out.code, "op_get({}, {}, ", expr.at, if soft { "true" } else { "false" });
        self.expr(base)?;
        for (at, key) in keys.into_iter().rev() {
            let _ = write!(self.out.code, ", {at}, ");
            self.expr(key)?;
        }
        self.write(")");
        Ok(())
    }

    fn function(&mut self, target: &Expr, args: &[Arg], at: usize) -> Result<(), At> {
        let Kind::Name(name) = &target.kind else {
            return self.object_call(target, args, at);
        };
        match self.resolve(name) {
            Some(place) if place.starts_with("m_") || place == "caller" => {
                self.write(&place);
                self.write("(");
                for (i, arg) in args.iter().enumerate() {
                    self.write(if i == 0 { "" } else { ", " });
                    if let Some(name) = &arg.name {
                        let _ = write!(self.out.code, "l_{}=", safe(name));
                    }
                    self.expr(&arg.value)?;
                }
                self.write(")");
                Ok(())
            }
            Some(_) => self.object_call(target, args, at),
            None if GLOBALS.contains(&name.as_str()) => {
                let _ = write!(self.out.code, "op_{name}({at}");
                self.args(args)?;
                self.write(")");
                Ok(())
            }
            None => Err(At::new(Code::UnknownFunction, at, format!("there is no function or macro `{name}`"))),
        }
    }

    fn object_call(&mut self, target: &Expr, args: &[Arg], at: usize) -> Result<(), At> {
        let _ = write!(self.out.code, "op_call({at}, ");
        self.expr(target)?;
        self.args(args)?;
        self.write(")");
        Ok(())
    }

    fn method(&mut self, base: &Expr, method: &str, args: &[Arg], at: usize) -> Result<(), At> {
        let _ = write!(self.out.code, "op_method({at}, ");
        self.string(method);
        self.write(", ");
        self.expr(base)?;
        self.args(args)?;
        self.write(")");
        Ok(())
    }

    fn filter_head(&self, filter: &Filter) -> Result<(), At> {
        if filters::exists(&filter.name) {
            return Ok(());
        }
        let message = format!("there is no filter `{}`{}", filter.name, filters::instead(&filter.name));
        Err(At::new(Code::UnknownFunction, filter.at, message))
    }

    fn filter(&mut self, value: &Expr, filter: &Filter) -> Result<(), At> {
        self.filter_head(filter)?;
        let _ = write!(self.out.code, "f_{}({}, ", filter.name, filter.at);
        let soft = matches!(filter.name.as_str(), "default" | "d");
        if soft && matches!(value.kind, Kind::Get(..)) {
            self.get(value, true)?
        } else {
            self.expr(value)?
        }
        self.args(&filter.args)?;
        self.write(")");
        Ok(())
    }

    fn test(&mut self, value: &Expr, test: &str, args: &[Arg], negated: bool, at: usize) -> Result<(), At> {
        if !operators::is_test(test) {
            return Err(At::new(Code::UnknownFunction, at, format!("there is no test `{test}`")));
        }
        self.write(if negated { "(not " } else { "(" });
        let _ = write!(self.out.code, "op_is({at}, \"{test}\", ");
        let soft = matches!(test, "defined" | "undefined");
        if soft && matches!(value.kind, Kind::Get(..)) {
            self.get(value, true)?
        } else {
            self.expr(value)?
        }
        self.args(args)?;
        self.write("))");
        Ok(())
    }

    fn binary(&mut self, op: &'static str, left: &Expr, right: &Expr, at: usize) -> Result<(), At> {
        let name = operators::name(op);
        if op != "+" && op != "~" {
            return self.call(name, at, [left, right].into_iter());
        }
        let mut operands = vec![right];
        let mut rest = left;
        while let Kind::Binary(inner, left, right) = &rest.kind
            && *inner == op
        {
            operands.push(right);
            rest = left;
        }
        operands.push(rest);
        self.call(name, at, operands.into_iter().rev())
    }
}

/// A name as an identifier of the engine: ASCII letters and digits stay, everything else is spelled by code point.
fn safe(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_string() } else { format!("_u{:x}_", c as u32) })
        .collect()
}
