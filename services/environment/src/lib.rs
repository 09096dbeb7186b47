//! The environment service: environments of every tier, previews, rendering, guard rails, output to git, teardown.
pub mod model;
