//! Slipway's contracts in Rust: generated messages, clients and servers, and the descriptors with every option.
//!
//! Owns nothing but the rendering of `proto/`; refuses behaviour.
#![allow(missing_docs, dead_code, clippy::all, clippy::pedantic, clippy::unwrap_used)]

use std::sync::LazyLock;

mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}
pub use generated::slipway::*;

/// Encoded `FileDescriptorSet` of all contracts and their imports, custom options included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

static POOL: LazyLock<prost_reflect::DescriptorPool> =
    LazyLock::new(|| prost_reflect::DescriptorPool::decode(DESCRIPTORS).expect("the build encoded these descriptors"));

/// The descriptors of all contracts, decoded once.
pub fn pool() -> &'static prost_reflect::DescriptorPool {
    &POOL
}

/// A request that may be repeated safely under a caller-chosen id.
pub trait RequestId {
    /// The id as sent; empty if the caller chose none.
    fn request_id(&self) -> &str;
    /// Empties the id, so that equal requests with different ids hash alike.
    fn clear_request_id(&mut self);
}

include!(concat!(env!("OUT_DIR"), "/request_ids.rs"));
// Messages that carry secrets do not show their fields.
include!(concat!(env!("OUT_DIR"), "/redactions.rs"));
