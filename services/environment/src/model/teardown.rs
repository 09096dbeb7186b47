//! How an environment leaves its cluster: the order of ENV-44 and the proof that it is gone.
//!
//! Owns the order, the waits and when a teardown counts as blocked. Refuses to strip finalizers, to touch what is not ours, and to
//! end a life whose namespace was not seen gone.
use super::{
    condition::{Aspect, Verdict},
    environment::{Environment, Held, ObjectRef},
    hook::{self, Phase},
    manifest,
    observed::{Left, Remains, Seen, Space},
    outcome::same,
    progress::TeardownStep,
    rollout, state,
    step::{Action, BLOCKED_US, Facts},
    tier::Tier,
};

/// How long pods may take to end before the namespace goes with what is left of them. A namespace whose pods are still ending is
/// looked at by Kubernetes again only after half of their grace period: waiting here is sooner.
const PODS_WAIT_US: i64 = 60 * 1_000_000;
/// How soon a namespace that is emptied is looked at again, though nothing was told; its end is.
const EMPTYING_WAIT_US: i64 = 5 * 1_000_000;
/// Most objects that are named in a message and remembered.
const LEFT_MAX: usize = 40;

/// What a look at a namespace that shall go has to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The namespace itself says enough.
    Nothing,
    /// Its pods.
    Pods,
    /// Every kind that the cluster serves.
    Everything,
}

/// What the next decision rests on: each kind costs a request, and proof is needed where something ends, not on the way.
pub fn asks(env: &Environment, space: &Space) -> Asked {
    let teardown = &env.status.progress.teardown;
    match space {
        Space::Foreign => Asked::Nothing,
        Space::Ours { .. } => match teardown.step {
            TeardownStep::PreHooks | TeardownStep::PostHooks if !env.status.progress.hooks.steps.is_empty() => {
                Asked::Everything
            }
            TeardownStep::PreHooks | TeardownStep::PostHooks => Asked::Nothing,
            TeardownStep::Routes | TeardownStep::Workloads => Asked::Nothing,
            TeardownStep::Secrets => Asked::Pods,
            TeardownStep::Namespace if env.tier == Tier::Development => Asked::Nothing,
            TeardownStep::Namespace => Asked::Everything,
        },
        // Proof, not trust: also where the namespace is gone, nothing may be left under its name.
        Space::Terminating { .. } | Space::Absent => Asked::Everything,
    }
}

/// Decides the next step of a teardown in a cluster.
pub fn step(env: &mut Environment, facts: &Facts<'_>) -> Action {
    let now_us = facts.now_us;
    if env.status.progress.teardown.moved_us == 0 {
        env.status.progress.teardown.moved_us = now_us;
    }
    match facts.seen {
        None | Some(Seen::Unchanged | Seen::Live(_)) => Action::Look,
        Some(Seen::Silent(text)) => {
            tell(env, &format!("The cluster gives no answer; the teardown goes on when it does. {text}"), now_us);
            Action::Backoff
        }
        Some(Seen::Remains(remains)) => remaining(env, facts, remains),
    }
}

/// Hooks of a teardown run where something was installed; one that fails is told, and holds nothing up.
fn hooks(env: &mut Environment, facts: &Facts<'_>, remains: &Remains, phase: Phase, at: TeardownStep) -> Action {
    let was_applied = env.status.progress.applied > 0;
    if let Some(action) = was_applied.then(|| hook::step(env, facts, phase, &remains.hooks)).flatten() {
        return action;
    }
    done(env, at, facts.now_us);
    Action::Again
}

fn remaining(env: &mut Environment, facts: &Facts<'_>, remains: &Remains) -> Action {
    let now_us = facts.now_us;
    match &remains.space {
        // Another's of the same name: ours is gone.
        Space::Foreign => Action::Finish,
        Space::Absent if remains.left.is_empty() => Action::Finish,
        Space::Absent => {
            tell(env, &left_text(&remains.left), now_us);
            Action::Wait(rollout::look_after_us(now_us - env.status.progress.teardown.moved_us))
        }
        Space::Ours { uid } | Space::Terminating { uid } if *uid != env.status.namespace_uid => {
            rollout::adopt(env, uid, now_us);
            Action::Again
        }
        Space::Ours { .. } => match env.status.progress.teardown.step {
            TeardownStep::PreHooks => hooks(env, facts, remains, Phase::PreDelete, TeardownStep::PreHooks),
            TeardownStep::PostHooks => hooks(env, facts, remains, Phase::PostDelete, TeardownStep::PostHooks),
            TeardownStep::Routes => Action::Unroute,
            TeardownStep::Workloads => Action::Stop,
            TeardownStep::Secrets => withdraw(env, remains, now_us),
            TeardownStep::Namespace => leave(env, remains),
        },
        Space::Terminating { .. } => {
            watch(env, remains, now_us);
            let since_us = now_us - env.status.progress.teardown.moved_us;
            Action::Wait(rollout::look_after_us(since_us).max(EMPTYING_WAIT_US))
        }
    }
}

/// What was bound goes once nobody uses it: after the pods, as long as they end in time.
fn withdraw(env: &mut Environment, remains: &Remains, now_us: i64) -> Action {
    let since_us = now_us - env.status.progress.teardown.moved_us;
    if since_us >= PODS_WAIT_US || !remains.left.iter().any(|left| left.object.kind == "Pod") {
        return Action::Withdraw;
    }
    tell(env, &left_text(&remains.left), now_us);
    Action::Wait(rollout::look_after_us(since_us))
}

/// Whether its chart says that it stays (ENV-75).
fn is_kept(env: &Environment, object: &ObjectRef) -> bool {
    env.status.progress.kept.iter().any(|kept| same(kept, object))
}

/// The namespace goes, unless the tier keeps volumes in it (ENV-10), or what its chart keeps.
fn leave(env: &mut Environment, remains: &Remains) -> Action {
    if env.tier == Tier::Development {
        return Action::Leave;
    }
    let stays = |o: &&ObjectRef| o.kind == "PersistentVolumeClaim" || is_kept(env, o);
    let kept: Vec<ObjectRef> = remains.left.iter().map(|left| &left.object).filter(stays).cloned().collect();
    if kept.is_empty() {
        return Action::Leave;
    }
    env.status.progress.teardown.retained = kept;
    Action::Finish
}

/// Notes what went since the last look, and says what holds the rest.
fn watch(env: &mut Environment, remains: &Remains, now_us: i64) {
    let left: Vec<String> = remains.left.iter().take(LEFT_MAX).map(Left::title).collect();
    let teardown = &mut env.status.progress.teardown;
    if teardown.left != left {
        (teardown.left, teardown.moved_us) = (left, now_us);
    }
    let mut text = left_text(&remains.left);
    if is_late(env, now_us) {
        for told in &remains.told {
            text.push_str(&format!(" {told}."));
        }
        text.push_str(likely(remains));
    }
    tell(env, &text, now_us);
}

fn left_text(left: &[Left]) -> String {
    if left.is_empty() {
        return "The namespace is being deleted.".to_owned();
    }
    let names: Vec<String> = left.iter().take(LEFT_MAX).map(Left::title).collect();
    format!("{} objects are left: {}.", left.len(), names.join("; "))
}

/// The likely cause of a namespace that does not go (ENV-52, ENV-53).
fn likely(remains: &Remains) -> &'static str {
    let told = |word: &str| remains.told.iter().any(|t| t.starts_with(word));
    let is_held = |left: &&Left| !left.finalizers.is_empty();
    if told("NamespaceDeletionDiscoveryFailure") || told("NamespaceDeletionGroupVersionParsingFailure") {
        " Likely an aggregated API service that does not answer: repair or remove its APIService."
    } else if told("NamespaceDeletionContentFailure") {
        " Likely a webhook or policy that refuses the deletion."
    } else if remains.left.iter().filter(is_held).any(|left| left.object.kind == "Pod") {
        " A pod with a finalizer goes before everything else; if it waits for another object, neither ends."
    } else if remains.left.iter().any(|left| !left.finalizers.is_empty()) {
        " Likely the controller that serves the finalizer is gone or refuses; finalizers are never removed by the platform itself."
    } else {
        ""
    }
}

fn is_late(env: &Environment, now_us: i64) -> bool {
    now_us - env.status.progress.teardown.moved_us >= BLOCKED_US
}

/// Says what a teardown waits for; after five minutes without progress it is blocked, and goes on trying.
fn tell(env: &mut Environment, text: &str, now_us: i64) {
    let at = env.at(now_us);
    let reason =
        if is_late(env, now_us) { state::BLOCKED } else { env.retire.as_ref().map_or("", |r| r.reason.word()) };
    let reason = reason.to_owned();
    env.status.conditions.set(Aspect::Deleting, Verdict::True, &reason, text, at);
}

/// A step of the teardown was done; the next one follows.
pub fn done(env: &mut Environment, step: TeardownStep, now_us: i64) {
    let teardown = &mut env.status.progress.teardown;
    teardown.moved_us = now_us;
    teardown.step = match step {
        TeardownStep::PreHooks => TeardownStep::Routes,
        TeardownStep::Routes => TeardownStep::Workloads,
        TeardownStep::Workloads => TeardownStep::PostHooks,
        TeardownStep::PostHooks => TeardownStep::Secrets,
        TeardownStep::Secrets | TeardownStep::Namespace => TeardownStep::Namespace,
    };
}

/// The cluster refused a deletion; it is tried again, and told.
pub fn refused(env: &mut Environment, sentence: &str, now_us: i64) {
    tell(env, sentence, now_us);
}

/// Objects that a step deletes, in the order in which they go.
pub fn going(env: &Environment, step: TeardownStep) -> Vec<Held> {
    let rank = |kind: &str| match (step, kind) {
        (TeardownStep::Routes, kind) if manifest::is_route(kind) => Some(0),
        // What would scale or make workloads again goes before them.
        (TeardownStep::Workloads, "HorizontalPodAutoscaler" | "ScaledObject" | "CronJob") => Some(0),
        (TeardownStep::Workloads, "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job") => Some(1),
        (TeardownStep::Workloads, "Pod") => Some(2),
        _ => None,
    };
    let leaves = |held: &&Held| !is_kept(env, &held.object);
    let inventory = env.status.inventory.iter().filter(leaves);
    let mut going: Vec<(i32, &Held)> = inventory.filter_map(|held| Some((rank(&held.object.kind)?, held))).collect();
    going.sort_by_key(|(rank, _)| *rank);
    going.into_iter().map(|(_, held)| held.clone()).collect()
}
