//! Nouns and decisions of scaffolding: no async, no I/O, no clock.
pub mod action;
pub mod context;
pub mod entity;
pub mod files;
pub mod finding;
pub mod lint;
pub mod lock;
pub mod parameters;
pub mod places;
pub mod revision;
pub mod run;
pub mod skeleton;
pub mod template;
pub mod templating;
