//! Decisions of the gateway as pure functions: credential formats, signatures, signed tokens.
//!
//! Refuses async, I/O and clocks: the caller brings the bytes, the keys and the time.

pub mod credential;
pub mod jwt;
pub mod strict_json;
pub mod token;
pub mod webhook;
