//! Nouns and decisions of the secrets service: names, tiers, documents, versions, bindings, reveals.
//!
//! Owns what may happen. Refuses I/O, clocks, and any way to print a value.

pub mod binding;
pub mod delivery;
pub mod document;
pub mod name;
pub mod reveal;
pub mod secret;
pub mod service;
