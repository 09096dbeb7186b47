//! The outside of the metrics service: the catalog, and the source providers.
pub mod commits;
pub mod directory;
