//! The tree of a template: statements and expressions with their places.
//!
//! Owns shape only; refuses meaning, which stands in `emit` and `operators`.

/// An expression and the byte offset it starts at.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub at: usize,
    pub kind: Kind,
}

/// Kinds of expressions.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Name(String),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// `base.key` or `base[key]`.
    Get(Box<Expr>, Box<Expr>),
    /// `name(arguments)` or any other call that is not a method.
    Call(Box<Expr>, Vec<Arg>),
    /// `base.method(arguments)`.
    Method(Box<Expr>, String, Vec<Arg>),
    Filter(Box<Expr>, Filter),
    /// `value is test(arguments)`, negated or not.
    Is(Box<Expr>, String, Vec<Arg>, bool),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    Pos(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// An operator with two operands, by the spelling of Nunjucks.
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// `value if condition else other`.
    Inline(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

/// An argument of a call, positional or by name.
#[derive(Clone, Debug)]
pub(super) struct Arg {
    pub name: Option<String>,
    pub value: Expr,
}

/// A filter with its arguments.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub at: usize,
    pub name: String,
    pub args: Vec<Arg>,
}

/// A statement.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Output(Expr),
    If(Vec<(Expr, Vec<Node>)>, Option<Vec<Node>>),
    For { targets: Vec<String>, over: Expr, body: Vec<Node>, otherwise: Option<Vec<Node>> },
    Set(Vec<String>, Expr),
    SetBlock(String, Vec<Node>),
    FilterBlock(Filter, Vec<Node>),
    Macro { name: String, params: Vec<Param>, body: Vec<Node> },
    CallBlock { params: Vec<Param>, call: Expr, body: Vec<Node> },
}

/// A parameter of a macro.
#[derive(Clone, Debug)]
pub(super) struct Param {
    pub name: String,
    pub default: Option<Expr>,
}
