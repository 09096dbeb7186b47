//! The secrets service from outside: every RPC through the in-process transport, with each user's mistakes; its store; its seals.
#![allow(clippy::unwrap_used, missing_docs)]

mod bindings;
mod cage;
mod canary;
mod mistakes;
mod reveal;
mod rig;
mod seal;
mod secrets;
mod store;
