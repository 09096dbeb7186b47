//! Checks: one thing of the surroundings that was looked at, how it was, and what to do about it.
//!
//! Owns their shape, for connections and for `doctor` alike. Refuses to look: that is for whoever knows the thing.

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// Something is missing that is needed.
    Failed,
    /// Something is missing that only part of the platform needs, or it cannot be seen.
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, for example `permission.deployments`.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// What to do; empty if it passed.
    pub remedy: String,
}

impl Check {
    /// A check that passed.
    pub fn passed(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Passed, detail: detail.into(), remedy: String::new() }
    }

    /// A check that did not pass.
    pub fn failed(name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Failed, detail: detail.into(), remedy: remedy.into() }
    }
}
