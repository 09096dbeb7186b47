//! Writes the tree as a minijinja template in which everything that can fail is a call that carries its place.
//!
//! Owns scopes with the rules of Nunjucks (`set` reaches outwards, macros do not) and the check that every name is declared; refuses to
//! evaluate. Names of the template get prefixes, so that none can meet a name of the engine: `l_` locals, `m_` macros, `r_` roots,
//! `v<n>.` variables of frame n. Text stands in a table, so that no text can be read as code.
mod expression;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::ast::{Expr, Filter, Node, Param};
use super::fault::At;

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
}

/// A name as an identifier of the engine: ASCII letters and digits stay, everything else is spelled by code point.
fn safe(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_string() } else { format!("_u{:x}_", c as u32) })
        .collect()
}
