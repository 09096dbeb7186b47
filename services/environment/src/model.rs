//! Nouns and decisions of the environment service.
//!
//! Owns what an environment is, how it is named, what its state means and what happens next. Refuses clocks, I/O and async: the
//! caller brings every fact, the answer is data.
pub mod access;
pub mod approval;
pub mod budget;
pub mod cluster;
pub mod condition;
pub mod config;
pub mod delivery;
pub mod diagnosis;
pub mod environment;
pub mod expiry;
pub mod guardrails;
pub mod health;
pub mod hold;
pub mod hook;
pub mod layout;
pub mod lifecycle;
pub mod manifest;
pub mod names;
pub mod observed;
pub mod orphan;
pub mod outcome;
pub mod plan;
pub mod pods;
pub mod policy;
pub mod preflight;
pub mod preview;
pub mod progress;
pub mod quantity;
pub mod receipt;
pub mod redact;
pub mod refusal;
pub mod report;
pub mod rollout;
pub mod route;
pub mod scm_connection;
pub mod sleep;
pub mod state;
pub mod step;
pub mod teardown;
pub mod tier;
pub mod values;
