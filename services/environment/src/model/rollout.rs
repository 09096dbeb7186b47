//! How a generation is brought out in a cluster: the order of ENV-60 and every wait of the target `apply`.
//!
//! Owns the decisions on what a look showed, sleep and wake among them. Refuses effects, as `step` does; what came of an action is
//! told back by the functions in `outcome`.
use super::{
    condition::{Aspect, Verdict},
    environment::{Environment, Kind, Power, Target},
    health::{self, Health, Problem},
    hook::{self, HOOK_FAILED, Phase},
    observed::{Live, Reach, Routing, Seen, Space},
    step::{Action, Facts, RETRY_US, rest},
    tier::Tier,
};

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
/// How long a generation may take to become healthy (ENV-84).
pub const PROGRESS_DEADLINE_US: i64 = 10 * MINUTE_US;
/// How long a cluster may be silent before health counts as lost.
pub const SILENCE_US: i64 = 5 * MINUTE_US;
/// How often a cluster is looked at although nothing was told.
pub const LOOK_EVERY_US: i64 = 5 * MINUTE_US;
/// Least time between two restorations of the same objects.
const RESTORE_EVERY_US: i64 = 10 * SECOND_US;
/// How long until the quota is looked at again.
const QUOTA_WAIT_US: i64 = SECOND_US / 4;
/// How long until a namespace that somebody deletes is looked at again.
const TERMINATING_WAIT_US: i64 = 2 * SECOND_US;

/// Reason of `Healthy` while a generation comes up.
pub const ROLLING_OUT: &str = "ROLLING_OUT";
/// Reason of `Reachable` when an address that answered does not any more.
pub const NOT_REACHABLE: &str = "NOT_REACHABLE";
/// Reason of whatever a silent cluster leaves unknown.
pub const UNREACHABLE: &str = "CLUSTER_UNREACHABLE";
/// Reason of `Stalled` when a generation did not become healthy in time; the cluster is still looked at.
pub const DEADLINE: &str = "PROGRESS_DEADLINE";

/// Restores guard rails before anything else is decided: they stand also while a generation waits (ENV-60).
pub fn keep_guard(env: &mut Environment, facts: &Facts<'_>) -> Option<Action> {
    if env.target != Target::Apply || env.status.namespace_uid.is_empty() {
        return None;
    }
    let Some(seen) = facts.seen else { return Some(Action::Look) };
    let Seen::Live(live) = seen else { return None };
    match &live.space {
        Space::Absent => {
            lost(env, "The namespace was deleted by somebody else; it is made anew.", facts.now_us);
            Some(Action::Again)
        }
        Space::Ours { uid } if *uid == env.status.namespace_uid => {
            let is_told = env.status.conditions.fails(Aspect::GuardrailsReady, env.generation);
            (!live.rails_broken.is_empty() && !is_told).then_some(Action::Guard)
        }
        Space::Ours { .. } | Space::Foreign | Space::Terminating { .. } => None,
    }
}

/// Whether a stalled generation is still worth a look: what runs may become healthy, and must be able to sleep.
pub fn is_watched(env: &Environment) -> bool {
    let stalled = env.status.conditions.get(Aspect::Stalled);
    let is_applied = env.status.progress.applied == env.generation;
    let is_worth = |reason: &str| reason == DEADLINE || (reason == HOOK_FAILED && is_applied);
    env.target == Target::Apply && stalled.is_some_and(|c| is_worth(&c.reason))
}

/// When an environment that nobody uses goes to sleep; `None` if it never does (ENV-112).
pub fn idle_at_us(env: &Environment) -> Option<i64> {
    if env.target != Target::Apply || env.power == Power::Asleep || env.status.progress.applied == 0 {
        return None;
    }
    // What waits for room to wake is about to be used.
    if env.status.claim.waits_us > 0 && env.status.progress.power == Power::Asleep {
        return None;
    }
    let idle_us = env.idle_us()?;
    let used_us = env.used_us.max(env.status.progress.applied_us);
    let idle_at = used_us.saturating_add(idle_us);
    Some(env.pin.as_ref().map_or(idle_at, |pin| idle_at.max(pin.until_us)))
}

/// The idle time of a kind unless its configuration says otherwise; none where only a person puts to sleep.
pub fn idle_default_us(kind: Kind, tier: Tier) -> Option<i64> {
    match (kind, tier) {
        (Kind::Personal, Tier::Development) => Some(8 * 60 * MINUTE_US),
        (Kind::Branch | Kind::PullRequest, Tier::Development) => Some(2 * 60 * MINUTE_US),
        _ => None,
    }
}

/// Decides the next step of an accepted generation.
pub fn step(env: &mut Environment, facts: &Facts<'_>) -> Action {
    say_power(env, facts.now_us);
    for (aspect, action) in [
        (Aspect::SecretsReady, Action::Bind),
        (Aspect::Rendered, Action::Render),
        (Aspect::PolicyPassed, Action::Render),
    ] {
        if !env.status.conditions.holds(aspect, env.generation) {
            return action;
        }
    }
    match facts.seen {
        None | Some(Seen::Remains(_)) => Action::Look,
        Some(Seen::Unchanged) => rest(env, facts),
        Some(Seen::Silent(text)) => {
            silent(env, text, facts.now_us);
            Action::Backoff
        }
        Some(Seen::Live(live)) => {
            env.status.progress.silent_us = 0;
            provide(env, facts, live).unwrap_or_else(|| run(env, facts, live))
        }
    }
}

/// What the workloads stand on; `None` once it stands.
fn provide(env: &mut Environment, facts: &Facts<'_>, live: &Live) -> Option<Action> {
    let (now_us, at) = (facts.now_us, env.at(facts.now_us));
    match &live.space {
        Space::Absent => return Some(Action::Namespace),
        Space::Foreign => {
            let text = format!("There is a namespace {} that is not ours; it is not touched.", env.namespace);
            env.fail(Aspect::NamespaceReady, "NAMESPACE_TAKEN", &text, now_us + RETRY_US, now_us);
            return Some(Action::Again);
        }
        Space::Terminating { .. } => {
            let text = "Somebody deletes the namespace; it is made anew when it is gone.";
            env.status.conditions.set(Aspect::NamespaceReady, Verdict::False, "NAMESPACE_TERMINATING", text, at);
            return Some(Action::Wait(TERMINATING_WAIT_US));
        }
        Space::Ours { uid } if *uid != env.status.namespace_uid => {
            adopt(env, uid, now_us);
            return Some(Action::Again);
        }
        Space::Ours { .. } => {}
    }
    let generation = env.generation;
    env.status.conditions.set(Aspect::NamespaceReady, Verdict::True, "OURS", "", at);
    if env.status.progress.guarded != generation || !live.rails_broken.is_empty() {
        return Some(Action::Guard);
    }
    if !live.is_quota_counted {
        let text = "The cluster has not yet counted the quota; no workload before it has (ENV-60).";
        env.status.conditions.set(Aspect::GuardrailsReady, Verdict::Unknown, "QUOTA_PENDING", text, at);
        return Some(Action::Wait(QUOTA_WAIT_US));
    }
    env.status.conditions.set(Aspect::GuardrailsReady, Verdict::True, "STANDING", "", at);
    if env.status.progress.delivered != generation {
        return Some(Action::Deliver);
    }
    if !is_applied(env) {
        let hook = if env.power == Power::Awake { hook::step(env, facts, Phase::Pre, &live.hooks) } else { None };
        return Some(hook.unwrap_or(Action::Apply));
    }
    if live.missing.is_empty() {
        return None;
    }
    let since_us = now_us - env.status.progress.applied_us;
    Some(if since_us < RESTORE_EVERY_US { Action::Wait(RESTORE_EVERY_US - since_us) } else { Action::Apply })
}

/// Whether what was applied last is this generation, powered as wanted.
fn is_applied(env: &Environment) -> bool {
    let progress = &env.status.progress;
    let is_done = env.status.conditions.holds(Aspect::Applied, env.generation);
    is_done && progress.applied == env.generation && progress.power == env.power
}

/// A namespace that carries our uid is ours, also when we died before we could write that down (ENV-123).
pub fn adopt(env: &mut Environment, uid: &str, now_us: i64) {
    if !env.status.namespace_uid.is_empty() {
        lost(env, "The namespace was made anew.", now_us);
    }
    uid.clone_into(&mut env.status.namespace_uid);
    super::outcome::hold(env, super::outcome::namespace_ref(env), uid, now_us);
}

/// The namespace went, and everything in it.
pub fn lost(env: &mut Environment, text: &str, now_us: i64) {
    let at = env.at(now_us);
    env.status.namespace_uid.clear();
    env.status.inventory.clear();
    let progress = &mut env.status.progress;
    (progress.guarded, progress.delivered, progress.healthy) = (0, 0, 0);
    progress.stale.clear();
    let conditions = &mut env.status.conditions;
    if !progress.hooks.steps.is_empty() {
        // What was installed is gone: it is rendered and installed anew.
        conditions.clear(Aspect::Rendered);
    }
    progress.hooks.forget();
    conditions.set(Aspect::NamespaceReady, Verdict::False, "NAMESPACE_LOST", text, at);
    for aspect in
        [Aspect::GuardrailsReady, Aspect::Applied, Aspect::Healthy, Aspect::Routed, Aspect::Reachable, Aspect::InSync]
    {
        conditions.clear(aspect);
    }
}

/// The cluster gives no answer: nothing is done on a guess, and health counts as lost only after a while.
pub fn silent(env: &mut Environment, text: &str, now_us: i64) {
    let at = env.at(now_us);
    if env.status.progress.silent_us == 0 {
        env.status.progress.silent_us = now_us;
    }
    let conditions = &mut env.status.conditions;
    conditions.set(Aspect::InSync, Verdict::Unknown, UNREACHABLE, text, at);
    if now_us - env.status.progress.silent_us >= SILENCE_US {
        for aspect in [Aspect::Healthy, Aspect::Routed] {
            conditions.set(aspect, Verdict::Unknown, UNREACHABLE, text, at);
        }
    }
}

/// What runs, once everything is applied.
fn run(env: &mut Environment, facts: &Facts<'_>, live: &Live) -> Action {
    let at = env.at(facts.now_us);
    env.status.conditions.set(Aspect::InSync, Verdict::True, "APPLIED", "", at);
    match env.power {
        Power::Awake => awake(env, facts, live),
        Power::Asleep => asleep(env, facts, live),
    }
}

fn asleep(env: &mut Environment, facts: &Facts<'_>, live: &Live) -> Action {
    let (now_us, at) = (facts.now_us, env.at(facts.now_us));
    let conditions = &mut env.status.conditions;
    if live.pods > 0 {
        let text = format!("{} pods are still ending.", live.pods);
        conditions.set(Aspect::Asleep, Verdict::Unknown, "FALLING_ASLEEP", text, at);
        return Action::Wait(look_after_us(now_us - env.status.progress.applied_us));
    }
    conditions.set(Aspect::Asleep, Verdict::True, "ASLEEP", "No pod runs; the first request wakes it.", at);
    conditions.set(Aspect::Healthy, Verdict::Unknown, "ASLEEP", "", at);
    conditions.set(Aspect::Reachable, Verdict::Unknown, "ASLEEP", "", at);
    conditions.clear(Aspect::Stalled);
    env.status.retry_us = None;
    env.status.observed_generation = env.generation;
    if env.status.progress.stale.is_empty() { rest(env, facts) } else { Action::Prune }
}

fn awake(env: &mut Environment, facts: &Facts<'_>, live: &Live) -> Action {
    match &live.health {
        Health::Ready => ready(env, facts, live),
        Health::Progressing(problems) => unhealthy(env, facts, problems, false),
        Health::Degraded(problems) => unhealthy(env, facts, problems, true),
    }
}

fn ready(env: &mut Environment, facts: &Facts<'_>, live: &Live) -> Action {
    let (now_us, at, generation) = (facts.now_us, env.at(facts.now_us), env.generation);
    if let Some(action) = hook::step(env, facts, Phase::Post, &live.hooks) {
        if env.status.progress.healthy != generation && !env.status.conditions.holds(Aspect::Stalled, generation) {
            let text = "The workloads are healthy; hooks that follow are run.";
            env.status.conditions.set(Aspect::Healthy, Verdict::False, ROLLING_OUT, text, at);
        }
        return action;
    }
    env.status.progress.hooks.is_installed = true;
    let conditions = &mut env.status.conditions;
    let was_ready = env.status.progress.healthy == generation && conditions.get(Aspect::Routed).is_some();
    conditions.set(Aspect::Healthy, Verdict::True, "HEALTHY", "", at);
    conditions.clear(Aspect::Asleep);
    env.status.progress.healthy = generation;
    match &live.routing {
        Routing::Waiting(text) => {
            let reason = if was_ready { "ROUTE_LOST" } else { "ROUTE_PENDING" };
            let reason = if conditions.get(Aspect::Routed).is_some_and(|c| c.reason == "ROUTE_PENDING") {
                "ROUTE_PENDING"
            } else {
                reason
            };
            conditions.set(Aspect::Routed, Verdict::False, reason, text.as_str(), at);
            return overdue(env, facts, Aspect::Routed, text);
        }
        Routing::Accepted => conditions.set(Aspect::Routed, Verdict::True, "ROUTED", "", at),
        Routing::Proxy => {
            let text = "The built-in preview proxy answers for the host.";
            conditions.set(Aspect::Routed, Verdict::True, "PREVIEW_PROXY", text, at);
        }
    }
    if let Some(action) = unreached(env, facts, &live.reach) {
        return action;
    }
    let conditions = &mut env.status.conditions;
    conditions.clear(Aspect::Stalled);
    env.status.retry_us = None;
    env.status.observed_generation = generation;
    if env.status.progress.stale.is_empty() { rest(env, facts) } else { prune(env, now_us) }
}

/// Says whether the address answers; what follows if it does not (ENV-102).
fn unreached(env: &mut Environment, facts: &Facts<'_>, reach: &Reach) -> Option<Action> {
    let (at, generation) = (env.at(facts.now_us), env.generation);
    let conditions = &mut env.status.conditions;
    let text = match reach {
        Reach::Unknown(text) => {
            conditions.set(Aspect::Reachable, Verdict::Unknown, "NOT_PROBED", text.as_str(), at);
            return None;
        }
        Reach::Answers(text) => {
            conditions.set(Aspect::Reachable, Verdict::True, "ANSWERS", text.as_str(), at);
            return None;
        }
        Reach::Silent(text) => text,
    };
    // It comes up until it has answered once; after that, not to answer is a loss.
    let is_lost = conditions
        .get(Aspect::Reachable)
        .is_some_and(|c| c.generation == generation && (c.verdict == Verdict::True || c.reason == NOT_REACHABLE));
    let reason = if is_lost { NOT_REACHABLE } else { "PROBE_PENDING" };
    conditions.set(Aspect::Reachable, Verdict::False, reason, text.as_str(), at);
    if !is_lost {
        return Some(overdue(env, facts, Aspect::Reachable, text));
    }
    env.status.observed_generation = generation;
    Some(Action::Wait(look_after_us(facts.now_us - env.status.progress.applied_us)))
}

fn prune(env: &mut Environment, now_us: i64) -> Action {
    let at = env.at(now_us);
    let text = format!("{} objects of earlier generations are being removed.", env.status.progress.stale.len());
    env.status.conditions.set(Aspect::InSync, Verdict::False, "PRUNING", text, at);
    Action::Prune
}

fn unhealthy(env: &mut Environment, facts: &Facts<'_>, problems: &[Problem], is_degraded: bool) -> Action {
    let at = env.at(facts.now_us);
    let text = health::sentence(problems);
    let first = problems.first().map_or(ROLLING_OUT, |p| p.reason);
    let was_healthy = env.status.progress.healthy == env.generation;
    let reason = match (is_degraded, was_healthy) {
        (true, _) if first != ROLLING_OUT => first,
        (true, _) | (false, true) => "HEALTH_LOST",
        (false, false) => ROLLING_OUT,
    };
    env.status.conditions.set(Aspect::Healthy, Verdict::False, reason, text.as_str(), at);
    if was_healthy {
        env.status.observed_generation = env.generation;
        return Action::Wait(look_after_us(facts.now_us - env.status.progress.applied_us));
    }
    overdue(env, facts, Aspect::Healthy, &text)
}

/// Waits, or stops when the deadline of progress is over (ENV-84).
fn overdue(env: &mut Environment, facts: &Facts<'_>, aspect: Aspect, text: &str) -> Action {
    let since_us = facts.now_us - env.status.progress.applied_us;
    if since_us < PROGRESS_DEADLINE_US {
        return Action::Wait(look_after_us(since_us));
    }
    if !env.status.conditions.holds(Aspect::Stalled, env.generation) {
        let reason = env.status.conditions.get(aspect).map_or(DEADLINE.to_owned(), |c| c.reason.clone());
        let text = format!("Not ready within 10 minutes. {text}");
        env.fail(aspect, &reason, &text, facts.now_us + RETRY_US, facts.now_us);
        let at = env.at(facts.now_us);
        env.status.conditions.set(Aspect::Stalled, Verdict::True, DEADLINE, text, at);
        return Action::Again;
    }
    rest(env, facts)
}

/// How long until the next look at something that moves: soon at first, then rarer; what changes is told anyway.
pub fn look_after_us(since_us: i64) -> i64 {
    match since_us {
        ..30_000_000 => 2 * SECOND_US,
        30_000_000..120_000_000 => 3 * SECOND_US,
        _ => 10 * SECOND_US,
    }
}

/// Says that it falls asleep or wakes, whoever wanted it.
fn say_power(env: &mut Environment, now_us: i64) {
    let at = env.at(now_us);
    let said = env.status.conditions.get(Aspect::Asleep).map(|c| c.verdict);
    let conditions = &mut env.status.conditions;
    match (env.power, said) {
        (Power::Awake, Some(Verdict::True | Verdict::Unknown)) => {
            conditions.set(Aspect::Asleep, Verdict::False, "WAKING", "", at);
        }
        (Power::Asleep, None | Some(Verdict::False)) => {
            conditions.set(Aspect::Asleep, Verdict::Unknown, "FALLING_ASLEEP", "", at);
        }
        _ => {}
    }
}

/// Puts to sleep or wakes; false if it is so already (ENV-113, ENV-114).
pub fn set_power(env: &mut Environment, power: Power, reason: &str, now_us: i64) -> bool {
    if env.power == power {
        return false;
    }
    let at = env.at(now_us);
    env.power = power;
    let verdict = if power == Power::Asleep { Verdict::Unknown } else { Verdict::False };
    env.status.conditions.set(Aspect::Asleep, verdict, reason, "", at);
    true
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
