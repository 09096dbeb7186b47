//! What happens next to an environment: the pure core of its reconcile loop (ENV-121, REL-63).
//!
//! Owns the order of steps and every wait. Refuses effects: it changes the noun and names ONE action; what came of the action is
//! told back by the functions below.
use super::{
    approval, budget,
    condition::{Aspect, Verdict},
    environment::{Environment, Power, Publication, Removal, RetireReason, Source, Spec, Target},
    expiry::{self, ends_at_us},
    hold::Gate,
    hook::Phase,
    observed::Seen,
    preview::{self, Head, Reading},
    rollout, teardown,
};

const MINUTE_US: i64 = 60_000_000;
/// How long a generation waits for its images (ENV-25).
pub const IMAGE_WAIT_US: i64 = 30 * MINUTE_US;
/// When a failed generation is tried again (ENV-120).
pub const RETRY_US: i64 = 15 * MINUTE_US;
/// How long absence must last to be believed (ENV-40).
pub const ABSENCE_US: i64 = MINUTE_US;
/// How long a teardown may make no progress before it says so (ENV-52).
pub const BLOCKED_US: i64 = 5 * MINUTE_US;
/// How long nothing happens while the SCM gives no answer or deletions are held.
const HOLD_WAIT_US: i64 = MINUTE_US;
/// Reason of conditions while a hold stands.
pub const HELD: &str = "HELD";
/// Age at which a reading is too old for a write (ENV-22).
pub const READING_AGE_MAX_US: i64 = 5_000_000;

/// What is known when a step is decided.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The instant in microseconds.
    pub now_us: i64,
    /// The instant that it certainly is by now, whatever the clock was set to; nothing ends before its time.
    pub sure_us: i64,
    /// The source as just read.
    pub reading: &'a Reading,
    /// What stands between a source that says "ended" and the end (ENV-40 to ENV-42).
    pub gate: &'a Gate,
    /// How often the source is looked at without a hint, in microseconds.
    pub poll_us: i64,
    /// What the last look at the cluster showed; none before there was one.
    pub seen: Option<&'a Seen>,
}

/// The next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Decide again: something changed.
    Again,
    /// Ask for its part of the team's budget.
    Claim,
    /// Ask which Secrets are bound.
    Bind,
    /// Render and check the chart.
    Render,
    /// Commit the manifests.
    Publish,
    /// Look at the cluster.
    Look,
    /// Make the namespace.
    Namespace,
    /// Apply the guard rails.
    Guard,
    /// Have the bound Secrets delivered.
    Deliver,
    /// Do what is next about the hooks of a phase.
    Hook(Phase),
    /// Apply what was rendered, powered as wanted.
    Apply,
    /// Put to sleep what an earlier generation runs: nobody approved the present one.
    Doze,
    /// Delete what earlier generations left.
    Prune,
    /// Delete the routes.
    Unroute,
    /// Delete the workloads.
    Stop,
    /// Have the bound Secrets withdrawn.
    Withdraw,
    /// Delete the namespace.
    Leave,
    /// The cluster gave no answer: try again with back-off.
    Backoff,
    /// Commit their removal.
    Remove,
    /// Write the receipt and end the life.
    Finish,
    /// Look again after so many microseconds.
    Wait(i64),
    /// Nothing is left to do until something changes.
    Rest,
}

/// Decides the next step.
pub fn step(env: &mut Environment, facts: &Facts<'_>) -> Action {
    if env.deleted_us.is_some() {
        return Action::Rest;
    }
    if env.retire.is_some() {
        return match env.target {
            Target::Apply => teardown::step(env, facts),
            Target::Git if env.status.removal.is_none() => Action::Remove,
            Target::Git => Action::Finish,
        };
    }
    if ends_at_us(env).is_some_and(|at| at <= facts.now_us.min(facts.sure_us)) {
        env.end(RetireReason::Expired, "", facts.now_us, facts.now_us);
        return Action::Again;
    }
    expiry::warn(env, facts.now_us);
    budget::settle(env);
    if rollout::idle_at_us(env).is_some_and(|at| at <= facts.now_us) {
        rollout::set_power(env, Power::Asleep, "IDLE", facts.now_us);
        return Action::Again;
    }
    if let Some(action) = rollout::keep_guard(env, facts) {
        return action;
    }
    if let Some(action) = follow(env, facts) {
        return action;
    }
    if let Some(action) = admit(env, facts) {
        return action;
    }
    match env.target {
        Target::Apply => rollout::step(env, facts),
        Target::Git => publish(env, facts),
    }
}

fn publish(env: &mut Environment, facts: &Facts<'_>) -> Action {
    for (aspect, action) in [
        (Aspect::SecretsReady, Action::Bind),
        (Aspect::Rendered, Action::Render),
        (Aspect::PolicyPassed, Action::Render),
        (Aspect::Published, Action::Publish),
    ] {
        if !env.status.conditions.holds(aspect, env.generation) {
            return action;
        }
    }
    rest(env, facts)
}

/// Makes the spec what the source says; `None` if it is so already.
fn follow(env: &mut Environment, facts: &Facts<'_>) -> Option<Action> {
    match facts.reading {
        Reading::Fixed => {
            env.status.conditions.clear(Aspect::Deleting);
            None
        }
        // Whatever the SCM would say, what nobody approved does not run.
        Reading::Unknown { .. } if approval::is_missing(env) => None,
        Reading::Unknown { reason, message } => {
            if env.status.conditions.holds(Aspect::Published, env.generation) {
                return Some(rest(env, facts));
            }
            if env.status.conditions.holds(Aspect::Applied, env.generation) {
                return None;
            }
            let at = env.at(facts.now_us);
            env.status.conditions.set(Aspect::Accepted, Verdict::Unknown, reason, message, at);
            Some(Action::Wait(HOLD_WAIT_US))
        }
        Reading::Ended { reason, at_us } => ended(env, facts, *reason, *at_us),
        Reading::Open(head) => {
            let unwanted = preview::unwanted(head, env.spec.source.pull_request.is_some());
            if let Some(reason) = unwanted.filter(|reason| preview::retires(&head.config, *reason)) {
                return believed(env, facts, reason, facts.now_us);
            }
            env.status.ended_seen_us = None;
            if env.status.conditions.get(Aspect::Deleting).is_some_and(|c| c.reason == HELD) {
                // It slept because it seemed to be closed.
                rollout::set_power(env, Power::Awake, "REOPENED", facts.now_us);
            }
            env.status.conditions.clear(Aspect::Deleting);
            env.want(wanted(env, head), facts.now_us).then_some(Action::Again)
        }
    }
}

fn ended(env: &mut Environment, facts: &Facts<'_>, reason: RetireReason, at_us: i64) -> Option<Action> {
    // Staging and production are never ended by what the SCM says (ENV-43).
    if env.tier.ttl_cap_us().is_none() || !preview::retires(&env.spec.config, reason) {
        env.status.ended_seen_us = None;
        return (!env.status.conditions.holds(Aspect::Applied, env.generation)).then(|| rest(env, facts));
    }
    believed(env, facts, reason, at_us)
}

/// The source says that it ended: it does, unless a hold stands or it must be seen once more.
fn believed(env: &mut Environment, facts: &Facts<'_>, reason: RetireReason, at_us: i64) -> Option<Action> {
    let since = *env.status.ended_seen_us.get_or_insert(facts.now_us);
    if let Gate::Held(text) = facts.gate {
        let at = env.at(facts.now_us);
        env.status.conditions.set(Aspect::Deleting, Verdict::False, HELD, text.as_str(), at);
        if !env.status.conditions.holds(Aspect::Applied, env.generation) {
            return Some(Action::Wait(HOLD_WAIT_US));
        }
        // What is believed closed sleeps until the hold is let go: that can be undone (ENV-42).
        rollout::set_power(env, Power::Asleep, HELD, facts.now_us);
        return None;
    }
    // A branch that is not there may be there in a moment; a pull request of whose end a webhook told was read as ended.
    let is_once = *facts.gate == Gate::Once && reason != RetireReason::BranchDeleted;
    if !is_once && facts.now_us - since < ABSENCE_US {
        return Some(Action::Wait(ABSENCE_US - (facts.now_us - since)));
    }
    env.end(reason, "", at_us.min(facts.now_us), facts.now_us);
    Some(Action::Again)
}

/// The spec that follows from the head. Images belong to a commit: another commit begins without any.
pub fn wanted(env: &Environment, head: &Head) -> Spec {
    let old = &env.spec;
    let source = Source {
        repository: head.repository.clone(),
        branch: head.branch.clone(),
        head_sha: head.head_sha.clone(),
        base_sha: head.base_sha.clone(),
        fork: head.fork,
        ..old.source.clone()
    };
    let same = old.source.head_sha == source.head_sha;
    let images = if same { old.images.clone() } else { Default::default() };
    // At an unchanged commit an unreadable file cannot replace one that was read.
    let config = if same && head.config.is_err() && head.base_sha == old.source.base_sha {
        old.config.clone()
    } else {
        head.config.clone()
    };
    Spec { source, images, config, ..old.clone() }
}

/// Whether this generation may be worked on; `None` if so.
fn admit(env: &mut Environment, facts: &Facts<'_>) -> Option<Action> {
    if let Some(action) = approval::gate(env, facts) {
        return Some(action);
    }
    let (now_us, at) = (facts.now_us, env.at(facts.now_us));
    if budget::is_bound(env) && !env.status.claim.is_counted {
        return Some(Action::Claim);
    }
    let conditions = &mut env.status.conditions;
    if conditions.holds(Aspect::Stalled, env.generation) {
        if env.status.retry_us.is_none_or(|retry| now_us < retry) {
            return (!rollout::is_watched(env)).then(|| rest(env, facts));
        }
        env.status.retry_us = None;
        for aspect in [Aspect::Stalled, Aspect::Accepted, Aspect::Rendered, Aspect::PolicyPassed] {
            env.status.conditions.clear(aspect);
        }
        // Everything of this generation is tried again in the cluster too.
        (env.status.progress.guarded, env.status.progress.applied_us) = (0, now_us);
        if env.status.conditions.holds(Aspect::Applied, env.generation) {
            env.status.conditions.clear(Aspect::Applied);
        }
        for aspect in [Aspect::NamespaceReady, Aspect::GuardrailsReady] {
            if env.status.conditions.fails(aspect, env.generation) {
                env.status.conditions.clear(aspect);
            }
        }
        env.status.generation_us = now_us;
        return Some(Action::Again);
    }
    let config = match &env.spec.config {
        Ok(config) => config,
        Err(fault) => {
            let fault = fault.clone();
            env.fail(Aspect::Accepted, "CONFIG_INVALID", &fault, now_us + RETRY_US, now_us);
            return Some(Action::Again);
        }
    };
    let missing = config.images_missing(&env.spec.images).join(", ");
    if !missing.is_empty() {
        // What is not ready to run keeps no place in the line.
        env.status.claim.waits_us = 0;
        return Some(wait_for_images(env, facts, &missing));
    }
    if !budget::is_satisfied(env) {
        return Some(Action::Claim);
    }
    env.status.conditions.set(Aspect::Accepted, Verdict::True, "ACCEPTED", "", at);
    None
}

fn wait_for_images(env: &mut Environment, facts: &Facts<'_>, missing: &str) -> Action {
    let waited_us = facts.now_us - env.status.generation_us;
    if waited_us >= IMAGE_WAIT_US {
        let text = format!(
            "No digest came within 30 minutes for: {missing}. Call EnsurePreview with the images of this commit."
        );
        env.fail(Aspect::Accepted, "IMAGE_TIMEOUT", &text, facts.now_us + RETRY_US, facts.now_us);
        return Action::Again;
    }
    let text = format!("CI has not yet said which digest was built of: {missing}.");
    let at = env.at(facts.now_us);
    env.status.conditions.set(Aspect::Accepted, Verdict::False, "WAITING_FOR_IMAGE", text, at);
    Action::Wait((IMAGE_WAIT_US - waited_us).min(facts.poll_us))
}

/// How long nothing has to be done: until it expires, is tried again, or the source is looked at without a hint.
pub(super) fn rest(env: &Environment, facts: &Facts<'_>) -> Action {
    // What is past by a clock that was set forward is looked at again in a while.
    let expiry = ends_at_us(env).map(|at| if at <= facts.now_us { facts.now_us + HOLD_WAIT_US } else { at });
    let stalled = env.status.conditions.holds(Aspect::Stalled, env.generation);
    let retry = env.status.retry_us.filter(|_| stalled);
    let poll = (facts.reading != &Reading::Fixed).then_some(facts.now_us + facts.poll_us);
    let look = (env.target == Target::Apply).then_some(facts.now_us + rollout::LOOK_EVERY_US);
    match [expiry, expiry::next_at_us(env), retry, poll, look, rollout::idle_at_us(env)].into_iter().flatten().min() {
        Some(at) => Action::Wait((at - facts.now_us).max(0)),
        None => Action::Rest,
    }
}

/// The names of Secrets were answered.
pub fn bound(env: &mut Environment, names: Vec<String>, now_us: i64) {
    let at = env.at(now_us);
    let text = match names.len() {
        0 => "No secret is bound to this service in this tier.".to_owned(),
        n => format!("{n} bound; the cluster's owner delivers them: {}", names.join(", ")),
    };
    let reason = if names.is_empty() { "NONE_BOUND" } else { "BOUND" };
    env.status.conditions.set(Aspect::SecretsReady, Verdict::True, reason, text, at);
    env.status.secret_names = names;
}

/// Something is bound, and a fork gets none of it: it goes on without (SEC-46).
pub fn withheld(env: &mut Environment, now_us: i64) {
    let at = env.at(now_us);
    let text = "Secrets are bound to this service, and a fork gets none of them: nothing was delivered. A workload that needs one does \
                not start; build the change from a branch of the repository itself to see it with them.";
    env.status.conditions.set(Aspect::SecretsReady, Verdict::True, "FORK_NO_SECRETS", text, at);
    env.status.secret_names = Vec::new();
}

/// Something is bound that does not exist: no workload changes before it does (SEC-44).
pub fn unbound(env: &mut Environment, missing: &[String], now_us: i64) {
    let at = env.at(now_us);
    let text = format!("Put what is bound, or make it optional: {}.", missing.join("; "));
    env.status.conditions.set(Aspect::SecretsReady, Verdict::False, "SECRET_MISSING", text, at);
}

/// Something this generation needs gave no answer; it is tried again.
pub fn unavailable(env: &mut Environment, aspect: Aspect, reason: &str, message: &str, now_us: i64) {
    let at = env.at(now_us);
    env.status.conditions.set(aspect, Verdict::Unknown, reason, message, at);
}

/// The chart was rendered and keeps the rules.
pub fn rendered(env: &mut Environment, sha256: &str, manifests: usize, now_us: i64) {
    let at = env.at(now_us);
    let text = format!("{manifests} manifests, rendered twice and equal.");
    env.status.conditions.set(Aspect::Rendered, Verdict::True, "RENDERED", text, at);
    env.status.conditions.set(Aspect::PolicyPassed, Verdict::True, "PASSED", "", at);
    env.status.render_sha256 = Some(sha256.to_owned());
}

/// The manifests stand in the repository.
pub fn published(env: &mut Environment, publication: Publication, now_us: i64) {
    let at = env.at(now_us);
    let text = format!("{} manifests at commit {}.", publication.manifests, publication.commit);
    let conditions = &mut env.status.conditions;
    conditions.set(Aspect::Published, Verdict::True, "PUBLISHED", text, at);
    for (aspect, text) in
        [(Aspect::NamespaceReady, "The namespace is"), (Aspect::GuardrailsReady, "The guard rails are")]
    {
        conditions.set(aspect, Verdict::True, "PUBLISHED", format!("{text} among the published manifests."), at);
    }
    for aspect in [Aspect::Healthy, Aspect::Routed, Aspect::Reachable, Aspect::InSync] {
        conditions.set(
            aspect,
            Verdict::Unknown,
            "NOT_OBSERVED",
            "With the target git the cluster is not observed.",
            at,
        );
    }
    env.status.observed_generation = env.generation;
    env.status.publication = Some(publication);
}

/// The manifests are gone from the repository.
pub fn removed(env: &mut Environment, removal: Removal, now_us: i64) {
    let at = env.at(now_us);
    env.status.conditions.set(Aspect::Published, Verdict::False, "REMOVED", "The manifests are removed.", at);
    env.status.removal = Some(removal);
}

/// The life is over.
pub fn finished(env: &mut Environment, now_us: i64) {
    env.status.observed_generation = env.generation;
    env.deleted_us = Some(now_us);
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
