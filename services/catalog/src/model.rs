//! Nouns and decisions of the catalog: references, formats, documents and what is wrong with them.
//!
//! Pure: no clock, no socket, no await. Everything here can be tested with a table.

pub mod entity_ref;
pub mod format;
