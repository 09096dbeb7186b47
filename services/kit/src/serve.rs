//! Serving and calling: the hardened transport, the layers around every RPC, and the way services reach each other.
//!
//! Owns what happens between a socket and an api method: limits, deadlines, request ids, who may call, whose call it is, drain.
//! Refuses meaning: what a method does is its service's affair.

mod body;
mod call;
mod deadline;
mod frames;
mod guard;
mod health;
mod hub;
mod keys;
mod mesh;
mod peers;
mod record;
mod room;
mod routes;
mod running;
mod service;
mod shutdown;
pub mod transport;

use crate::{caller::Verifier, clock::Clock};

pub use crate::error::error_from;
pub use call::{Call, accept, accept_change, accept_stream};
pub use deadline::{BUDGET_HEADER, budget, of as deadline_of};
pub use guard::{Guard, REQUEST_ID_HEADER};
pub use hub::Hub;
pub use keys::follow_keys;
pub use mesh::{Mesh, MeshConfig};
pub use peers::{Client, Outgoing, Peers};
pub use service::Service;
pub use shutdown::Shutdown;
pub use tonic::body::Body;

/// What a service gets from the process it runs in.
#[derive(Clone)]
pub struct Context {
    /// Current time.
    pub clock: Clock,
    /// The other services.
    pub peers: Peers,
    /// Checks callers.
    pub verifier: Verifier,
}

/// Whoever is at the other end of a connection; a request extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Name of the service, when the connection proves it.
    pub service: Option<&'static str>,
    /// Remote address, for connections over a network.
    pub address: Option<std::net::SocketAddr>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}
