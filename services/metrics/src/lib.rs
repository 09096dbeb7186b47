//! The metrics service: delivery performance from facts.
pub mod model;
