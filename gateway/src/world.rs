//! The outside of the gateway: key sets of identity providers, the catalog's directory, and key files.
//!
//! Refuses decisions: it fetches and reads.

pub mod directory;
pub mod issuer;
pub mod key_file;
pub mod key_source;
pub mod routes;
pub mod upstream;
