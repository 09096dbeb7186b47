//! The outside of the secrets service: the catalog's directory, and the engine with its files beside the database.
//!
//! Owns the adapters. Refuses decisions: those are the model's.

pub mod directory;
pub mod engine;
