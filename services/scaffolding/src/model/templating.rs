//! The template language: Nunjucks as Backstage uses it, rewritten for minijinja (scaffolding.md section 2).
//!
//! Owns the language from its text to values and text; refuses reach: no files, no network, no time, no chance.
mod ast;
mod emit;
mod engine;
mod fault;
mod filters;
mod lexer;
mod methods;
mod operators;
mod parser;
mod statements;
mod uses;
mod value;

pub use engine::{Engine, Rendered, Stop, StopOnDrop};
pub use fault::{Code, Fault};
pub use lexer::Syntax;
pub use uses::{Use, Uses, uses};
