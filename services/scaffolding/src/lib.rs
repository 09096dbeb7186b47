//! The scaffolding service.
