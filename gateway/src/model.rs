//! Decisions of the gateway as pure functions: credential formats, signatures, signed tokens, rights, routes.
//!
//! Refuses async, I/O and clocks: the caller brings the bytes, the keys and the time.

pub mod credential;
pub mod host;
pub mod job;
pub mod jwt;
pub mod noun;
pub mod principal;
pub mod rights;
pub mod route;
pub mod session;
pub mod strict_json;
pub mod token;
pub mod trust;
pub mod upstream;
pub mod webhook;
