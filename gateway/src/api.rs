//! The RPCs of access: each accepts, calls its verb and renders.
//!
//! Refuses logic: a method here is a page of wiring.

mod delegations;
mod role_bindings;
mod tokens;

pub use delegations::DelegationApi;
pub use role_bindings::RoleBindingApi;
pub use tokens::TokenApi;
