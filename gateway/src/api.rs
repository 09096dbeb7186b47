//! The RPCs of access: each accepts, calls its verb and renders.
//!
//! Refuses logic: a method here is a page of wiring.

mod delegations;
mod probes;
mod role_bindings;
mod tokens;
mod trust_entries;

pub use delegations::DelegationApi;
pub use probes::ProbeApi;
pub use role_bindings::RoleBindingApi;
pub use tokens::TokenApi;
pub use trust_entries::TrustEntryApi;
