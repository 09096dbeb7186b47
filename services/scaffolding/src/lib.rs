//! The scaffolding service: templates, their revisions, and durable runs that turn them into repositories.
pub mod model;
