//! Conditions: the observed aspects an environment's state is computed from (ENV-120).
//!
//! Owns their names and how one is set without moving its time needlessly. Refuses any other field for status.
use serde::{Deserialize, Serialize};

/// Longest message kept with a condition, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Which aspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Aspect {
    /// The spec can be worked on: source known, image known, within budget.
    Accepted,
    /// No person has to approve.
    Approved,
    /// The namespace is among what is published.
    NamespaceReady,
    /// The guard rails are among what is published.
    GuardrailsReady,
    /// The Secrets that the manifests name are known, and who delivers them.
    SecretsReady,
    /// The chart was rendered twice and equal.
    Rendered,
    /// The rendered objects keep the rules of the platform.
    PolicyPassed,
    /// The manifests are committed.
    Published,
    /// The objects are applied to the cluster.
    Applied,
    /// The workloads are healthy.
    Healthy,
    /// The route is accepted.
    Routed,
    /// The address answers.
    Reachable,
    /// The cluster holds what was rendered.
    InSync,
    /// Nothing runs, because nobody uses it; it wakes on the first request.
    Asleep,
    /// Its time to live ends soon.
    Expiring,
    /// It is being torn down.
    Deleting,
    /// Work stopped until somebody acts, or the next slow retry.
    Stalled,
}

/// Whether an aspect holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It could not be observed.
    Unknown,
}

/// One observed aspect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Which aspect.
    pub aspect: Aspect,
    /// Whether it holds.
    pub verdict: Verdict,
    /// Stable word for programs.
    pub reason: String,
    /// Sentence for people.
    pub message: String,
    /// Generation this was observed at.
    pub generation: i64,
    /// When the verdict last changed, in microseconds.
    pub changed_us: i64,
}

/// All conditions of one environment, one per aspect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    /// The condition of an aspect, if it was ever observed.
    pub fn get(&self, aspect: Aspect) -> Option<&Condition> {
        self.0.iter().find(|c| c.aspect == aspect)
    }

    /// Whether the aspect was seen to hold at this generation.
    pub fn holds(&self, aspect: Aspect, generation: i64) -> bool {
        self.get(aspect).is_some_and(|c| c.verdict == Verdict::True && c.generation == generation)
    }

    /// Whether the aspect was seen not to hold at this generation.
    pub fn fails(&self, aspect: Aspect, generation: i64) -> bool {
        self.get(aspect).is_some_and(|c| c.verdict == Verdict::False && c.generation == generation)
    }

    /// Sets an aspect; the time of change moves only with the verdict.
    pub fn set(&mut self, aspect: Aspect, verdict: Verdict, reason: &str, message: impl Into<String>, at: At) {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let cut = (0..=MESSAGE_BYTES_MAX).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(cut);
        }
        let new = |changed_us| Condition {
            aspect,
            verdict,
            reason: reason.to_owned(),
            message,
            generation: at.generation,
            changed_us,
        };
        match self.0.iter_mut().find(|c| c.aspect == aspect) {
            Some(old) => *old = new(if old.verdict == verdict { old.changed_us } else { at.now_us }),
            None => self.0.push(new(at.now_us)),
        }
    }

    /// Forgets an aspect.
    pub fn clear(&mut self, aspect: Aspect) {
        self.0.retain(|c| c.aspect != aspect);
    }

    /// Every condition in the order first observed.
    pub fn iter(&self) -> impl Iterator<Item = &Condition> {
        self.0.iter()
    }
}

/// When and for which generation something is observed.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Generation of the spec.
    pub generation: i64,
    /// The instant in microseconds.
    pub now_us: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_only_with_the_verdict() {
        let mut c = Conditions::default();
        c.set(Aspect::Rendered, Verdict::False, "CHART_BROKEN", "line 1", At { generation: 1, now_us: 10 });
        c.set(Aspect::Rendered, Verdict::False, "CHART_BROKEN", "line 2", At { generation: 2, now_us: 20 });
        let seen = c.get(Aspect::Rendered).cloned();
        assert_eq!(seen.as_ref().map(|c| (c.changed_us, c.generation)), Some((10, 2)));
        c.set(Aspect::Rendered, Verdict::True, "RENDERED", "", At { generation: 2, now_us: 30 });
        assert!(c.holds(Aspect::Rendered, 2) && !c.holds(Aspect::Rendered, 1));
        assert_eq!(c.get(Aspect::Rendered).map(|c| c.changed_us), Some(30));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut c = Conditions::default();
        c.set(Aspect::Stalled, Verdict::True, "X", "ü".repeat(5000), At { generation: 1, now_us: 1 });
        assert!(c.get(Aspect::Stalled).is_some_and(|c| c.message.len() <= MESSAGE_BYTES_MAX));
    }
}
