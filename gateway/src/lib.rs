//! The gateway: who calls, whether the rule of the RPC lets them in, and where the call goes.
//!
//! Owns the nouns of access (platform tokens, role bindings) and the edge of the platform; refuses every other noun, and never
//! decodes a call it forwards. Rooms: `model` decides without I/O.

pub mod model;
