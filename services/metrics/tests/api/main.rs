//! The metrics service through its RPCs, over the in-process transport, on every engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod d1;
mod events;
mod ingest;
mod pipelines;
mod platform;
