//! The delivery rules beyond data set D1: against a plain reference, and case by case.
#![allow(clippy::unwrap_used, clippy::panic)]
mod cases;
mod properties;
mod world;
