//! The catalog's RPCs through the in-process transport, by callers with signed assertions, on every engine at hand.
#![allow(clippy::unwrap_used)]

mod api {
    pub mod entities;
    pub mod feeders;
    pub mod house;
    pub mod locations;
    pub mod watching;
}
