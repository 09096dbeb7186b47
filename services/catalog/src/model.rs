//! Nouns and decisions of the catalog: references, formats, documents and what is wrong with them.
//!
//! Pure: no clock, no socket, no await. Everything here can be tested with a table.

pub mod attribute;
pub mod deployment;
pub mod docs;
pub mod document;
pub mod entity;
pub mod entity_ref;
pub mod finding;
pub mod format;
pub mod kind;
pub mod location;
pub mod membership;
pub mod placeholder;
pub mod relation;
pub mod schema;
pub mod settle;
pub mod tier;
pub mod yaml;
