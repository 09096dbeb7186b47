//! Expressions as calls that carry their place.
//!
//! Owns how names, members, methods, filters and operators are written; refuses names that nothing declares.
use std::fmt::Write as _;

use super::{Emitter, safe};
use crate::model::templating::ast::{Arg, Expr, Filter, Kind};
use crate::model::templating::fault::{At, Code};
use crate::model::templating::{filters, operators};

/// Global functions a template may call by name.
const GLOBALS: [&str; 5] = ["range", "cycler", "joiner", "always", "failure"];

impl Emitter<'_> {
    pub(super) fn expr(&mut self, expr: &Expr) -> Result<(), At> {
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

    pub(super) fn args(&mut self, args: &[Arg]) -> Result<(), At> {
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

    pub(super) fn filter_head(&self, filter: &Filter) -> Result<(), At> {
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
