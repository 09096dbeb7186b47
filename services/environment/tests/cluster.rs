//! What every cluster must do: the one in memory, and the real one that `SLIPWAY_TEST_KUBECONFIG` names.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "cluster/contract.rs"]
mod contract;
#[path = "cluster/fake.rs"]
mod fake;
#[path = "cluster/role.rs"]
mod role;
