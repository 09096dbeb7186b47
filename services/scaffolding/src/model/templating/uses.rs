//! What a template asks of its context, found without running it.
//!
//! Owns the walk over the tree for the lint; refuses judgement, which stands in `lint`.
use super::ast::{Arg, Expr, Filter, Kind, Node};
use super::emit;
use super::fault::{At, Fault, line_column};
use super::lexer::{self, Syntax};
use super::statements;

/// A member of a root that a template names, such as `parameters.name` or `steps.publish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Root, for example `parameters`.
    pub root: String,
    /// First key below the root; empty if the root is used whole or by a computed key.
    pub key: String,
    /// Line from 1.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
}

/// Everything found in one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Members of roots, in the order of the source.
    pub members: Vec<Use>,
    /// Comparisons of a string literal with a number literal, which are never equal here (line, column).
    pub mixed_comparisons: Vec<(usize, usize)>,
}

/// Checks a source against the roots it may name, and answers what it uses.
///
/// # Errors
/// The first failure that can be known without running: syntax, undeclared roots, unknown filters and tests.
pub fn uses(file: &str, source: &str, syntax: Syntax, roots: &[&str], lenient: bool) -> Result<Uses, Fault> {
    let check = || {
        let nodes = statements::parse(lexer::split(source, syntax)?, source.len())?;
        emit::template(&nodes, roots, lenient)?;
        let mut walk = Walk { source, roots, found: Uses::default() };
        walk.nodes(&nodes);
        Ok(walk.found)
    };
    check().map_err(|at: At| at.locate(file, source))
}

struct Walk<'s> {
    source: &'s str,
    roots: &'s [&'s str],
    found: Uses,
}

impl Walk<'_> {
    fn nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Text(_) => {}
                Node::Output(value) | Node::Set(_, value) => self.expr(value),
                Node::If(branches, otherwise) => {
                    for (condition, body) in branches {
                        self.expr(condition);
                        self.nodes(body);
                    }
                    self.nodes(otherwise.as_deref().unwrap_or_default());
                }
                Node::For { over, body, otherwise, .. } => {
                    self.expr(over);
                    self.nodes(body);
                    self.nodes(otherwise.as_deref().unwrap_or_default());
                }
                Node::SetBlock(_, body) => self.nodes(body),
                Node::FilterBlock(filter, body) => {
                    self.filter(filter);
                    self.nodes(body);
                }
                Node::Macro { params, body, .. } => {
                    params.iter().filter_map(|p| p.default.as_ref()).for_each(|d| self.expr(d));
                    self.nodes(body);
                }
                Node::CallBlock { call, body, .. } => {
                    self.expr(call);
                    self.nodes(body);
                }
            }
        }
    }

    fn filter(&mut self, filter: &Filter) {
        self.args(&filter.args);
    }

    fn args(&mut self, args: &[Arg]) {
        args.iter().for_each(|arg| self.expr(&arg.value));
    }

    fn used(&mut self, root: &str, key: &str, at: usize) {
        if self.roots.contains(&root) {
            let (line, column) = line_column(self.source, at);
            self.found.members.push(Use { root: root.to_owned(), key: key.to_owned(), line, column });
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Str(_) => {}
            Kind::Name(name) => self.used(name, "", expr.at),
            Kind::List(items) => items.iter().for_each(|i| self.expr(i)),
            Kind::Dict(entries) => entries.iter().for_each(|(k, v)| {
                self.expr(k);
                self.expr(v);
            }),
            Kind::Get(base, key) => match (&base.kind, &key.kind) {
                (Kind::Name(root), Kind::Str(name)) => self.used(root, name, expr.at),
                _ => {
                    self.expr(base);
                    self.expr(key);
                }
            },
            Kind::Call(target, args) => {
                if !matches!(target.kind, Kind::Name(_)) {
                    self.expr(target);
                }
                self.args(args);
            }
            Kind::Method(base, _, args) | Kind::Is(base, _, args, _) => {
                self.expr(base);
                self.args(args);
            }
            Kind::Filter(value, filter) => {
                self.expr(value);
                self.filter(filter);
            }
            Kind::Not(value) | Kind::Neg(value) | Kind::Pos(value) => self.expr(value),
            Kind::And(a, b) | Kind::Or(a, b) => {
                self.expr(a);
                self.expr(b);
            }
            Kind::Binary(op, a, b) => self.binary(op, a, b, expr.at),
            Kind::Inline(value, condition, otherwise) => {
                self.expr(value);
                self.expr(condition);
                otherwise.iter().for_each(|o| self.expr(o));
            }
        }
    }

    fn binary(&mut self, op: &str, a: &Expr, b: &Expr, at: usize) {
        let mixed =
            |a: &Expr, b: &Expr| matches!(a.kind, Kind::Str(_)) && matches!(b.kind, Kind::Int(_) | Kind::Float(_));
        if matches!(op, "==" | "!=") && (mixed(a, b) || mixed(b, a)) {
            self.found.mixed_comparisons.push(line_column(self.source, at));
        }
        self.expr(a);
        self.expr(b);
    }
}
