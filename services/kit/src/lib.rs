//! The one shared crate of Slipway: transport, identity, access, storage, journal, worker.
//!
//! A dozen deep modules that every service stands on. Refuses any word of a service's domain: what one service alone needs is
//! not here.

pub mod audit;
pub mod authz;
pub mod caller;
pub mod check;
pub mod clock;
pub mod config;
pub mod db;
pub mod error;
pub mod fetch;
pub mod files;
pub mod filter;
pub mod git;
pub mod id;
pub mod inbox;
pub mod journal;
pub mod mutation;
pub mod page;
pub mod program;
pub mod retention;
pub mod scm;
pub mod seal;
pub mod serve;
pub mod subprocess;
pub mod telemetry;
pub mod validate;
pub mod worker;
