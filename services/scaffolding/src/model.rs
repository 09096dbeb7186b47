//! Nouns and decisions of scaffolding: no async, no I/O, no clock.
pub mod templating;
