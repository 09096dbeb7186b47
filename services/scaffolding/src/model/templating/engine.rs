//! Runs templates on minijinja, which sees only calls, branches and loops of our own making.
//!
//! Owns limits (SCF-16), settings (SCF-14) and the way back from the engine's errors to places in the source; refuses loaders, time
//! and chance (SCF-15).
use std::cell::RefCell;
use std::io;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use minijinja::value::{Rest, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value as Json};

use super::emit::{self, Emitted};
use super::fault::{At, Code, Fault};
use super::lexer::{self, Piece, Syntax};
use super::operators::{OPERATORS, Op};
use super::parser::Parser;
use super::value::{Fail, View, from_json, root, text, to_json, view};
use super::{filters, statements};

/// Instructions of one template.
const FUEL: u64 = 2_000_000;
/// Nested macros and blocks.
const RECURSION: usize = 64;
/// Bytes one template may put out.
pub(crate) const OUTPUT_BYTES_MAX: usize = 8 << 20;
/// Bytes that values made by one template may have together.
const WORK_BYTES_MAX: u64 = 128 << 20;
/// Bytes of the source of one template.
const SOURCE_BYTES_MAX: usize = 8 << 20;

thread_local! {
    /// What ends the rendering that this thread does.
    static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Ends rendering from outside: when whoever asked for it gave up.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Stops when it is dropped.
#[derive(Debug)]
pub struct StopOnDrop(Stop);

impl Stop {
    /// Something that stops the work as soon as it goes out of scope, as an abandoned call does.
    #[must_use]
    pub fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }

    /// Does work in which every engine looks at this.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = STOP.replace(Some(self.clone()));
        let done = work();
        STOP.set(before);
        done
    }

    fn is_given(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// What operations share while a template runs.
#[derive(Debug, Default)]
struct Meter {
    spent: AtomicU64,
    last: AtomicUsize,
    warnings: Mutex<Vec<(usize, String)>>,
    lenient: bool,
    failed: AtomicBool,
    stop: Option<Stop>,
}

impl Meter {
    fn check_time(&self) -> Result<(), Fail> {
        if self.stop.as_ref().is_some_and(Stop::is_given) {
            return Err(Fail::new(Code::RenderLimit, "the time for rendering is over"));
        }
        Ok(())
    }

    fn charge(&self, amount: u64) -> Result<(), Fail> {
        self.check_time()?;
        let spent = self.spent.fetch_add(amount.min(WORK_BYTES_MAX), Ordering::Relaxed) + amount;
        if spent > WORK_BYTES_MAX {
            return Err(Fail::new(Code::RenderLimit, format!("values of the template exceed {WORK_BYTES_MAX} bytes")));
        }
        Ok(())
    }
}

/// One call of an operation.
pub(super) struct Call<'m> {
    meter: &'m Meter,
    pub at: usize,
    pub args: Vec<Value>,
    named: Vec<(String, Value)>,
}

static NULL: Value = Value::UNDEFINED;

impl Call<'_> {
    /// A positional argument, null when it is left out.
    pub fn get(&self, i: usize) -> &Value {
        self.args.get(i).unwrap_or(&NULL)
    }

    /// An argument by position or name, unless it is left out or null.
    pub fn named(&self, i: usize, name: &str) -> Option<&Value> {
        let value = self.args.get(i).or_else(|| self.named.iter().find(|(n, _)| n == name).map(|(_, v)| v));
        value.filter(|v| !matches!(view(v), View::Null))
    }

    pub fn text(&self, i: usize) -> Result<String, Fail> {
        text(self.get(i))
    }

    pub fn charge(&self, amount: u64) -> Result<(), Fail> {
        self.meter.charge(amount)
    }

    pub fn charge_value(&self, value: &Value) -> Result<(), Fail> {
        self.charge(weight(value))
    }

    pub fn lenient(&self) -> bool {
        self.meter.lenient
    }

    pub fn failed(&self) -> bool {
        self.meter.failed.load(Ordering::Relaxed)
    }

    pub fn warn(&self, at: usize, message: String) {
        if let Ok(mut warnings) = self.meter.warnings.lock() {
            warnings.push((at, message));
        }
    }
}

fn weight(value: &Value) -> u64 {
    let size = match view(value) {
        View::Text(text) => text.len(),
        View::List(items) => items.len() * 32,
        View::Dict(dict) => dict.entries.len() * 64,
        View::Other => value.len().unwrap_or(1) * 32,
        _ => 0,
    };
    16 + size as u64
}

/// A text that came out of a template, and what was remarked on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Undeclared names that a lenient template got away with.
    pub warnings: Vec<Fault>,
}

/// An engine with its context: the roots that templates may name.
pub struct Engine {
    env: Environment<'static>,
    meter: Arc<Meter>,
    roots: Vec<String>,
    context: Vec<(String, Value)>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("roots", &self.roots).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without roots; a lenient one turns undeclared names into empty text with a warning (SCF-13).
    #[must_use]
    pub fn new(lenient: bool) -> Engine {
        let meter = Arc::new(Meter { lenient, stop: STOP.with_borrow(Clone::clone), ..Meter::default() });
        let mut env = Environment::empty();
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        env.set_fuel(Some(FUEL));
        env.set_recursion_limit(RECURSION);
        env.add_function("namespace", minijinja::functions::namespace);
        for (name, op) in OPERATORS {
            register(&mut env, (*name).to_owned(), *op, &meter);
        }
        for (name, op) in filters::all() {
            register(&mut env, format!("f_{name}"), *op, &meter);
        }
        let shared = Arc::clone(&meter);
        env.add_function("op_text", move |value: Value| -> Result<Value, Error> {
            let spent = shared.charge(weight(&value));
            spent.map_err(|fail| carry(fail, shared.last.load(Ordering::Relaxed)))?;
            Ok(value)
        });
        Engine { env, meter, roots: Vec::new(), context: Vec::new() }
    }

    /// Adds a root whose keys are all that may be asked of it.
    pub fn declare(&mut self, name: &str, entries: &Map<String, Json>) {
        self.set(name, root(name, entries));
    }

    /// Adds a root with any value, keys of which may be missing.
    pub fn provide(&mut self, name: &str, value: &Json) {
        self.set(name, from_json(value));
    }

    fn set(&mut self, name: &str, value: Value) {
        self.forget(name);
        self.roots.push(name.to_owned());
        self.context.push((format!("r_{name}"), value));
    }

    /// Says whether an earlier step failed, which `failure()` answers.
    pub fn set_failed(&self, failed: bool) {
        self.meter.failed.store(failed, Ordering::Relaxed);
    }

    /// Takes a root away.
    pub fn forget(&mut self, name: &str) {
        self.roots.retain(|r| r != name);
        self.context.retain(|(r, _)| r.strip_prefix("r_") != Some(name));
    }

    /// Renders a source to text.
    ///
    /// # Errors
    /// The first failure with its place.
    pub fn render(&self, file: &str, source: &str, syntax: Syntax) -> Result<Rendered, Fault> {
        self.guarded(file, source, || {
            let roots: Vec<&str> = self.roots.iter().map(String::as_str).collect();
            let nodes = statements::parse(lexer::split(source, syntax)?, source.len())?;
            let emitted = emit::template(&nodes, &roots, self.meter.lenient)?;
            let template = self.env.template_from_str(&emitted.code).map_err(|e| self.place(&e))?;
            let mut out = Capped::default();
            let done = template.render_captured_to(self.globals(emitted.texts), &mut out);
            if out.full {
                return Err(self.limit(format!("the output exceeds {OUTPUT_BYTES_MAX} bytes")));
            }
            done.map_err(|e| self.place(&e))?;
            String::from_utf8(out.bytes).map_err(|_| self.limit("the output is not UTF-8".to_owned()))
        })
        .map(|(text, warnings)| Rendered { text, warnings })
    }

    /// Evaluates a string of an input: the typed value when it is exactly one output, else its text (SCF-11).
    ///
    /// # Errors
    /// The first failure with its place.
    pub fn value(&self, file: &str, source: &str) -> Result<Json, Fault> {
        if !(source.starts_with("${{") && source.ends_with("}}")) {
            return Ok(Json::String(self.render(file, source, Syntax::default())?.text));
        }
        let single = self.guarded(file, source, || {
            let pieces = lexer::split(source, Syntax::default())?;
            let [Piece::Output { at, tokens }] = pieces.as_slice() else { return Ok(None) };
            let mut parser = Parser::new(tokens, *at);
            let expr = parser.expression()?;
            parser.finish()?;
            let roots: Vec<&str> = self.roots.iter().map(String::as_str).collect();
            let Emitted { code, texts } = emit::expression(&expr, &roots, self.meter.lenient)?;
            let expression = self.env.compile_expression(&code).map_err(|e| self.place(&e))?;
            let value = expression.eval(self.globals(texts)).map_err(|e| self.place(&e))?;
            to_json(&value).map(Some).map_err(|fail| At::new(fail.code, *at, fail.message))
        })?;
        match single.0 {
            Some(value) => Ok(value),
            None => Ok(Json::String(self.render(file, source, Syntax::default())?.text)),
        }
    }

    /// Evaluates every string of a value; `place` names it in errors.
    ///
    /// # Errors
    /// The first failure with its place.
    pub fn json(&self, place: &str, value: &Json) -> Result<Json, Fault> {
        Ok(match value {
            Json::String(source) => self.value(place, source)?,
            Json::Array(items) => {
                let items = items.iter().enumerate().map(|(i, v)| self.json(&format!("{place}/{i}"), v));
                Json::Array(items.collect::<Result<_, _>>()?)
            }
            Json::Object(entries) => {
                let mut out = Map::new();
                for (key, value) in entries {
                    let place = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
                    let key = self.render(&place, key, Syntax::default())?.text;
                    out.insert(key, self.json(&place, value)?);
                }
                Json::Object(out)
            }
            other => other.clone(),
        })
    }

    fn globals(&self, texts: Vec<String>) -> Value {
        let texts = ("texts".to_owned(), Value::from(texts));
        Value::from_pairs(self.context.iter().cloned().chain([texts]))
    }

    /// Runs with fresh limits, turns a place into line and column, and hands the warnings over.
    fn guarded<T>(
        &self,
        file: &str,
        source: &str,
        run: impl FnOnce() -> Result<T, At>,
    ) -> Result<(T, Vec<Fault>), Fault> {
        self.meter.spent.store(0, Ordering::Relaxed);
        self.meter.last.store(0, Ordering::Relaxed);
        self.meter.check_time().map_err(|fail| At::new(fail.code, 0, fail.message).locate(file, ""))?;
        if source.len() > SOURCE_BYTES_MAX {
            let at = At::new(Code::RenderLimit, 0, format!("the template exceeds {SOURCE_BYTES_MAX} bytes"));
            return Err(at.locate(file, ""));
        }
        let done = run();
        let warnings = self.meter.warnings.lock().map(|mut w| std::mem::take(&mut *w)).unwrap_or_default();
        let located =
            warnings.into_iter().map(|(at, message)| At::new(Code::UndeclaredName, at, message).locate(file, source));
        let located = located.collect();
        done.map(|value| (value, located)).map_err(|at| at.locate(file, source))
    }

    fn limit(&self, message: String) -> At {
        At::new(Code::RenderLimit, self.meter.last.load(Ordering::Relaxed), message)
    }

    /// The place an error of the engine came from: its own note, else the last operation that ran.
    fn place(&self, error: &Error) -> At {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(current) = cause {
            if let Some(at) = current.downcast_ref::<At>() {
                return at.clone();
            }
            cause = current.source();
        }
        match error.kind() {
            ErrorKind::OutOfFuel => self.limit(format!("the template exceeds {FUEL} operations")),
            ErrorKind::InvalidOperation if error.to_string().contains("recursion") => {
                self.limit(format!("macros may nest {RECURSION} deep"))
            }
            ErrorKind::SyntaxError => At::syntax(0, "the template nests too deep"),
            _ => {
                let detail = error.detail().unwrap_or("the operation failed").to_owned();
                At::new(Code::InvalidOperation, self.meter.last.load(Ordering::Relaxed), detail)
            }
        }
    }
}

/// Makes an operation a function of the engine: the first argument is its place.
fn register(env: &mut Environment<'static>, name: String, op: Op, meter: &Arc<Meter>) {
    let meter = Arc::clone(meter);
    env.add_function(name, move |args: Rest<Value>| -> Result<Value, Error> {
        let mut args = args.0;
        let at = if args.is_empty() { 0 } else { args.remove(0).as_usize().unwrap_or_default() };
        meter.last.store(at, Ordering::Relaxed);
        let named = match args.last() {
            Some(last) if last.is_kwargs() => keywords(&args.pop().unwrap_or_default()),
            _ => Vec::new(),
        };
        let call = Call { meter: &meter, at, args, named };
        let run = || {
            call.charge(call.args.iter().map(weight).sum())?;
            let value = op(&call)?;
            call.charge_value(&value)?;
            Ok(value)
        };
        run().map_err(|fail: Fail| carry(fail, at))
    });
}

fn keywords(value: &Value) -> Vec<(String, Value)> {
    let keys = value.try_iter().into_iter().flatten();
    keys.filter_map(|k| Some((k.as_str()?.to_owned(), value.get_item(&k).ok()?))).collect()
}

/// An error of the engine that knows its place.
fn carry(fail: Fail, at: usize) -> Error {
    let at = At::new(fail.code, fail.at.unwrap_or(at), fail.message);
    Error::new(ErrorKind::InvalidOperation, at.message.clone()).with_source(at)
}

/// Takes output up to the limit.
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Capped {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > OUTPUT_BYTES_MAX {
            self.full = true;
            return Err(io::Error::other("the output is full"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
