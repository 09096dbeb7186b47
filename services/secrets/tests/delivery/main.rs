//! Delivery of bound secrets: one contract for the cluster in memory and a real one (SLIPWAY_TEST_KUBECONFIG), the service's behaviour
//! with each mistake and kill, and canaries that are found in the cluster's Secret and nowhere else.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]

mod bench;
#[path = "../api/cage.rs"]
mod cage;
mod canary;
mod contract;
#[path = "../api/rig.rs"]
mod rig;
mod service;
