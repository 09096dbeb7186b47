//! Stories over the whole platform, and what they need: the platform as its own process, real programs, real clients.
//!
//! Owns how a test starts, kills and restarts `slipway up`, and the steps of the main job. Refuses to look inside the process: a
//! story sees what a user sees.

pub mod apart;
pub mod calls;
pub mod cluster;
pub mod github;
pub mod http;
pub mod main_job;
pub mod platform;
pub mod preview_job;
pub mod program;
