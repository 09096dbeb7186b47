//! Verbs of the gateway: who is calling, what they may do now, and the changes of access data.
//!
//! Refuses to change anything without its audit record, and to decide on facts older than a second.

pub mod access;
pub mod assertion_keys;
pub mod assertions;
pub mod authentication;
pub mod doubts;
pub mod jobs;
pub mod lists;
pub mod rates;
pub mod role_bindings;
pub mod sessions;
pub mod start;
pub mod tokens;
pub mod trust_entries;
