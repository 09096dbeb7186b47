//! How far an environment has been brought in its cluster: the journal of the target `apply` (ENV-123).
//!
//! Owns what a restart must know and cannot observe. Refuses anything that a look at the cluster would tell.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    delivery::Delivered,
    environment::{ObjectRef, Power},
    hook::Hooks,
};

/// What was done in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Generation whose guard rails were applied last.
    pub guarded: i64,
    /// Generation whose bound Secrets were delivered last.
    pub delivered: i64,
    /// What stands of them in the namespace.
    pub secrets: Delivered,
    /// Generation whose objects were applied last.
    pub applied: i64,
    /// Generation last seen healthy; 0 again when it is woken.
    pub healthy: i64,
    /// Generation for which what ran before was put to sleep, because nobody approved that generation yet.
    pub dozed: i64,
    /// How the objects applied last are powered.
    pub power: Power,
    /// When they were applied; begins the progress deadline.
    pub applied_us: i64,
    /// Objects of earlier generations, which go once the new ones are healthy (ENV-82).
    pub stale: Vec<ObjectRef>,
    /// Replicas that ran before the sleep, by `Kind/name`, where the render does not say them (ENV-113).
    pub replicas: BTreeMap<String, i64>,
    /// Since when the cluster gives no answer; 0 if it does.
    pub silent_us: i64,
    /// Hooks, and how far they are.
    pub hooks: Hooks,
    /// Objects that stay when nobody wants them any more (`helm.sh/resource-policy: keep`).
    pub kept: Vec<ObjectRef>,
    /// How far the teardown is.
    pub teardown: Teardown,
}

/// The steps of a teardown in the order of ENV-44.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeardownStep {
    /// Hooks that run before anything is taken away.
    #[default]
    PreHooks,
    /// Routes go first: no request reaches what is ending.
    Routes,
    /// Workloads are deleted.
    Workloads,
    /// Hooks that run after them.
    PostHooks,
    /// Bound Secrets are withdrawn by the secrets service.
    Secrets,
    /// The namespace is deleted, and waited for.
    Namespace,
}

/// How far a teardown is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Teardown {
    /// The step that comes next.
    pub step: TeardownStep,
    /// What was left at the last look, as people read it.
    pub left: Vec<String>,
    /// When something last went; in microseconds.
    pub moved_us: i64,
    /// Volumes that the tier keeps, and with them their namespace.
    pub retained: Vec<ObjectRef>,
}
