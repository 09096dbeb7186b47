//! The outside: repositories and files that hold documents, and the sibling services an overview asks.

mod siblings;
mod sources;

pub use siblings::{EnvironmentSummary, PipelineSummary, Siblings};
pub use sources::{Snapshot, Sources};
