//! The state of an environment as a function of its conditions (ENV-120).
//!
//! Owns the words and their order of precedence. Refuses to be stored as a truth of its own.
use serde::{Deserialize, Serialize};

use super::{
    budget::TEAM_BUDGET,
    condition::{Aspect, Condition, Conditions, Verdict},
    environment::Target,
    rollout::ROLLING_OUT,
};

/// State of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Accepted; waits for the image, the SCM or budget.
    Pending,
    /// Waits for a person.
    AwaitingApproval,
    /// What the workloads stand on is being made.
    Provisioning,
    /// A generation is being brought out.
    Deploying,
    /// Everything runs and answers at this generation.
    Ready,
    /// Health was lost.
    Degraded,
    /// On its way to sleep.
    Sleeping,
    /// Asleep.
    Asleep,
    /// Waking up.
    Waking,
    /// The manifests are committed; nothing is known of the cluster.
    Published,
    /// The user must act, or a deadline has passed.
    Failed,
    /// Being torn down.
    Deleting,
    /// The teardown makes no progress.
    DeleteBlocked,
    /// Gone.
    Deleted,
}

/// Every state, for tables and filters.
pub const ALL: [State; 14] = [
    State::Pending,
    State::AwaitingApproval,
    State::Provisioning,
    State::Deploying,
    State::Ready,
    State::Degraded,
    State::Sleeping,
    State::Asleep,
    State::Waking,
    State::Published,
    State::Failed,
    State::Deleting,
    State::DeleteBlocked,
    State::Deleted,
];

impl State {
    /// The word in rows, filters and contracts.
    pub fn word(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::AwaitingApproval => "AWAITING_APPROVAL",
            State::Provisioning => "PROVISIONING",
            State::Deploying => "DEPLOYING",
            State::Ready => "READY",
            State::Degraded => "DEGRADED",
            State::Sleeping => "SLEEPING",
            State::Asleep => "ASLEEP",
            State::Waking => "WAKING",
            State::Published => "PUBLISHED",
            State::Failed => "FAILED",
            State::Deleting => "DELETING",
            State::DeleteBlocked => "DELETE_BLOCKED",
            State::Deleted => "DELETED",
        }
    }
}

/// How far a teardown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Nobody wants it gone.
    None,
    /// Under way.
    Running,
    /// Finished.
    Done,
}

/// Reason of `Deleting` while nothing moves.
pub const BLOCKED: &str = "BLOCKED";

/// The state that follows from these conditions.
pub fn compute(conditions: &Conditions, generation: i64, deletion: Deletion, target: Target) -> State {
    let blocked = || conditions.get(Aspect::Deleting).is_some_and(|c| c.reason == BLOCKED);
    match deletion {
        Deletion::Done => return State::Deleted,
        Deletion::Running if blocked() => return State::DeleteBlocked,
        Deletion::Running => return State::Deleting,
        Deletion::None => {}
    }
    if conditions.get(Aspect::Approved).is_some_and(|c| c.verdict == Verdict::False) {
        return State::AwaitingApproval;
    }
    if conditions.holds(Aspect::Stalled, generation) {
        return State::Failed;
    }
    let is_over_budget = |c: &Condition| c.reason == TEAM_BUDGET && c.generation == generation;
    if conditions.get(Aspect::Accepted).is_some_and(is_over_budget) {
        return State::Pending;
    }
    if target == Target::Apply {
        return in_cluster(conditions, generation);
    }
    if conditions.holds(Aspect::Published, generation) {
        return State::Published;
    }
    if conditions.get(Aspect::Published).is_some_and(|c| c.verdict == Verdict::True) {
        return State::Deploying;
    }
    if !conditions.holds(Aspect::Accepted, generation) {
        return State::Pending;
    }
    if !conditions.holds(Aspect::SecretsReady, generation) {
        return State::Provisioning;
    }
    State::Deploying
}

/// The state of what is applied to a cluster and observed there.
fn in_cluster(conditions: &Conditions, generation: i64) -> State {
    if !conditions.holds(Aspect::Applied, generation) {
        let holds = |aspect| conditions.holds(aspect, generation);
        let stands = [Aspect::NamespaceReady, Aspect::GuardrailsReady, Aspect::SecretsReady].into_iter().all(holds);
        return match conditions.get(Aspect::Applied) {
            Some(earlier) if earlier.verdict == Verdict::True => State::Deploying,
            _ if !holds(Aspect::Accepted) => State::Pending,
            _ if stands => State::Deploying,
            _ => State::Provisioning,
        };
    }
    match conditions.get(Aspect::Asleep).map(|c| c.verdict) {
        Some(Verdict::True) => return State::Asleep,
        Some(Verdict::Unknown) => return State::Sleeping,
        Some(Verdict::False) => return State::Waking,
        None => {}
    }
    let is_coming = |reason: &str| matches!(reason, ROLLING_OUT | "ROUTE_PENDING" | "PROBE_PENDING");
    for aspect in [Aspect::Healthy, Aspect::Routed] {
        match conditions.get(aspect).filter(|c| c.generation == generation) {
            Some(c) if c.verdict == Verdict::True => {}
            Some(c) if is_coming(&c.reason) => return State::Deploying,
            Some(_) => return State::Degraded,
            None => return State::Deploying,
        }
    }
    // An address that cannot be tried is taken to answer (ENV-102).
    match conditions.get(Aspect::Reachable).filter(|c| c.generation == generation && c.verdict == Verdict::False) {
        Some(c) if is_coming(&c.reason) => State::Deploying,
        Some(_) => State::Degraded,
        None => State::Ready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::condition::At;

    fn conditions(set: &[(Aspect, Verdict, i64)]) -> Conditions {
        let mut c = Conditions::default();
        for (aspect, verdict, generation) in set {
            c.set(*aspect, *verdict, "R", "", At { generation: *generation, now_us: 1 });
        }
        c
    }

    #[test]
    fn the_table_of_env_120() {
        use Aspect::{Accepted, Approved, Published, SecretsReady, Stalled};
        use Verdict::{False, True};
        type Case<'a> = (&'a [(Aspect, Verdict, i64)], State);
        let cases: &[Case<'_>] = &[
            (&[], State::Pending),
            (&[(Accepted, False, 2)], State::Pending),
            (&[(Accepted, True, 1)], State::Pending),
            (&[(Accepted, True, 2)], State::Provisioning),
            (&[(Accepted, True, 2), (SecretsReady, True, 2)], State::Deploying),
            (&[(Accepted, True, 2), (SecretsReady, True, 2), (Published, True, 2)], State::Published),
            (&[(Published, True, 1)], State::Deploying),
            (&[(Published, True, 1), (Accepted, False, 2)], State::Deploying),
            (&[(Published, True, 1), (Stalled, True, 2)], State::Failed),
            (&[(Published, True, 2), (Stalled, True, 1)], State::Published),
            (&[(Accepted, True, 2), (Approved, False, 2)], State::AwaitingApproval),
        ];
        for (set, want) in cases {
            assert_eq!(compute(&conditions(set), 2, Deletion::None, Target::Git), *want, "{set:?}");
            assert_eq!(compute(&conditions(set), 2, Deletion::Running, Target::Git), State::Deleting);
            assert_eq!(compute(&conditions(set), 2, Deletion::Done, Target::Git), State::Deleted);
        }
    }

    #[test]
    fn in_a_cluster_the_state_is_what_was_seen() {
        use Aspect::{
            Accepted, Applied, Asleep, GuardrailsReady, Healthy, NamespaceReady, Routed, SecretsReady, Stalled,
        };
        use Verdict::{False, True, Unknown};
        type Case<'a> = (&'a [(Aspect, Verdict, i64)], State);
        let cases: &[Case<'_>] = &[
            (&[], State::Pending),
            (&[(Accepted, True, 2), (SecretsReady, True, 2)], State::Provisioning),
            (
                &[(Accepted, True, 2), (SecretsReady, True, 2), (NamespaceReady, True, 2), (GuardrailsReady, True, 2)],
                State::Deploying,
            ),
            (&[(Applied, True, 1), (Healthy, True, 1), (Routed, True, 1)], State::Deploying),
            (&[(Applied, True, 2)], State::Deploying),
            (&[(Applied, True, 2), (Healthy, True, 2)], State::Deploying),
            (&[(Applied, True, 2), (Healthy, True, 2), (Routed, True, 2)], State::Ready),
            (&[(Applied, True, 2), (Healthy, False, 2), (Routed, True, 2)], State::Degraded),
            (&[(Applied, True, 2), (Healthy, Unknown, 2), (Routed, True, 2)], State::Degraded),
            (&[(Applied, True, 2), (Healthy, Unknown, 2), (Asleep, True, 2)], State::Asleep),
            (&[(Applied, True, 2), (Asleep, Unknown, 2)], State::Sleeping),
            (&[(Applied, True, 2), (Asleep, False, 2)], State::Waking),
            (&[(Applied, True, 2), (Stalled, True, 2)], State::Failed),
        ];
        for (set, want) in cases {
            assert_eq!(compute(&conditions(set), 2, Deletion::None, Target::Apply), *want, "{set:?}");
        }
        let mut c = conditions(&[(Applied, True, 2)]);
        c.set(Healthy, False, ROLLING_OUT, "", At { generation: 2, now_us: 1 });
        assert_eq!(compute(&c, 2, Deletion::None, Target::Apply), State::Deploying);
    }

    #[test]
    fn a_blocked_teardown_says_so() {
        let mut c = Conditions::default();
        c.set(
            Aspect::Deleting,
            Verdict::True,
            BLOCKED,
            "the repository does not answer",
            At { generation: 1, now_us: 1 },
        );
        assert_eq!(compute(&c, 1, Deletion::Running, Target::Git), State::DeleteBlocked);
    }
}
