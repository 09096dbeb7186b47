//! The outside of the secrets service: the catalog's directory, clusters that secrets are delivered to, and the engine with its
//! files beside the database.
//!
//! Owns the adapters. Refuses decisions: those are the model's.

pub mod cluster;
pub mod directory;
pub mod engine;
