//! Approval of forks: who let which content run, and what happens without (ENV-30 to ENV-32).
//!
//! Owns what an approval is bound to, how long it counts, and the gate before everything that is brought out. Refuses to guess what a person
//! meant: any other commit, base or image is another content, and an approval of that counts for nothing.
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    condition::{Aspect, Verdict},
    environment::{Environment, Power, Spec, Target},
    observed::{Live, Seen, Space},
    rollout,
    step::{self, Action, Facts},
};

/// How long a fork's preview may run from its approval on (ENV-32).
pub const LIFE_MAX_US: i64 = 24 * 3_600_000_000;
/// Reason of `Approved` while a fork waits for a person.
pub const WAITING: &str = "FORK";
/// Reason of `Approved` when what was approved is no longer what is wanted.
pub const VOID: &str = "APPROVAL_VOID";

/// Who let a fork run, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who approved.
    pub approver: String,
    /// When, in microseconds.
    pub at_us: i64,
    /// Commit approved.
    pub head_sha: String,
    /// Commit that chart, values and configuration come from.
    pub base_sha: String,
    /// Digest over all that decides what is rendered; see [`content`].
    pub content_sha256: String,
    /// What the approver should know about the cluster; empty if nothing.
    pub note: String,
}

/// What an approval is bound to: the digest over all that decides what is rendered. Chart, values and configuration are what they
/// are at the base commit, so that the two commits and the images by digest leave nothing open.
pub fn content(env: &Environment, spec: &Spec) -> String {
    let source = &spec.source;
    let number = source.pull_request.unwrap_or(0).to_string();
    let mut hash = Sha256::new();
    let parts = [&env.service, &source.scm, &source.repository_id, &source.folder, &number];
    let commits = [&source.head_sha, &source.base_sha];
    let images = spec.images.iter().flat_map(|(name, reference)| [name, reference]);
    for part in parts.into_iter().chain(commits).chain(images) {
        // With its length before it no part runs into the next.
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// The approval that covers what is wanted now.
pub fn covering(env: &Environment) -> Option<&Approval> {
    env.approval.as_ref().filter(|approval| approval.content_sha256 == content(env, &env.spec))
}

/// Whether it shows a fork that nobody has approved as it is now: nothing of it may run.
pub fn is_missing(env: &Environment) -> bool {
    env.spec.source.fork && covering(env).is_none()
}

/// The instant that nothing lets an approved fork run beyond; none for what is no fork, or waits.
pub fn limit_us(env: &Environment) -> Option<i64> {
    covering(env).filter(|_| env.spec.source.fork).map(|approval| approval.at_us.saturating_add(LIFE_MAX_US))
}

/// Whether a user of the platform is the one the source provider knows under a login.
pub fn is_author(author: &str, logins: &[String]) -> bool {
    logins.iter().any(|login| !login.is_empty() && login.eq_ignore_ascii_case(author))
}

/// Takes an approval of what is wanted now: it wakes, and has its time from now on.
pub fn approve(env: &mut Environment, approver: &str, note: &str, now_us: i64) {
    let source = &env.spec.source;
    env.approval = Some(Approval {
        approver: approver.to_owned(),
        at_us: now_us,
        head_sha: source.head_sha.clone(),
        base_sha: source.base_sha.clone(),
        content_sha256: content(env, &env.spec),
        note: note.to_owned(),
    });
    // Of what is published this generation is the sleeping form: the running one is another.
    if env.target == Target::Git && env.status.publication.as_ref().is_some_and(|p| p.generation >= env.generation) {
        env.generation += 1;
    }
    env.status.generation_us = now_us;
    env.used_us = env.used_us.max(now_us);
    env.expire_us = env.life_us().map(|life| now_us.saturating_add(life));
    rollout::set_power(env, Power::Awake, "APPROVED", now_us);
    if env.target == Target::Git {
        env.status.conditions.clear(Aspect::Asleep);
    }
    say_approved(env, now_us);
}

fn say_approved(env: &mut Environment, now_us: i64) {
    let (at, Some(approval)) = (env.at(now_us), covering(env)) else { return };
    let mut text = format!("{} approved commit {} on base {}", approval.approver, approval.head_sha, approval.base_sha);
    text.push_str(". It runs in quarantine: no secrets, no network but DNS, half the quota, at most 24 hours.");
    if !approval.note.is_empty() {
        text = format!("{text} {}", approval.note);
    }
    env.status.conditions.set(Aspect::Approved, Verdict::True, "APPROVED", text, at);
}

fn say_waiting(env: &mut Environment, now_us: i64) {
    let (at, head) = (env.at(now_us), env.spec.source.head_sha.clone());
    let ask = format!(
        "A member of the owning team who is not its author looks at commit {head} and calls ApprovePreview with it."
    );
    let (reason, text) = match &env.approval {
        None => (WAITING, format!("The pull request comes from a fork. {ask}")),
        Some(old) if old.head_sha != head => {
            (VOID, format!("The approval of commit {} by {} ended with the push. {ask}", old.head_sha, old.approver))
        }
        Some(old) if old.base_sha != env.spec.source.base_sha => {
            let text = format!(
                "The base moved from {} to {} since {} approved",
                old.base_sha, env.spec.source.base_sha, old.approver
            );
            (VOID, format!("{text}. {ask}"))
        }
        Some(old) => (VOID, format!("Other images were named since {} approved. {ask}", old.approver)),
    };
    env.status.conditions.set(Aspect::Approved, Verdict::False, reason, text, at);
}

/// Holds a fork until it is approved as it is now; what ran under an older approval sleeps meanwhile. `None` lets it go on.
pub fn gate(env: &mut Environment, facts: &Facts<'_>) -> Option<Action> {
    if !env.spec.source.fork {
        env.status.conditions.clear(Aspect::Approved);
        return None;
    }
    if covering(env).is_some() {
        say_approved(env, facts.now_us);
        return None;
    }
    say_waiting(env, facts.now_us);
    env.status.observed_generation = env.generation;
    Some(quiet(env, facts))
}

/// Puts to sleep what ran, and sees that it does.
fn quiet(env: &mut Environment, facts: &Facts<'_>) -> Action {
    let is_there = match env.target {
        Target::Git => env.status.publication.is_some(),
        Target::Apply => !env.status.namespace_uid.is_empty(),
    };
    if !is_there {
        return step::rest(env, facts);
    }
    rollout::set_power(env, Power::Asleep, "UNAPPROVED", facts.now_us);
    match (env.target, facts.seen) {
        (Target::Git, _) => match &env.status.publication {
            // Of what is published, this generation is the sleeping form.
            Some(published) if published.generation == env.generation => step::rest(env, facts),
            _ => Action::Doze,
        },
        (Target::Apply, Some(Seen::Unchanged)) if env.status.progress.dozed == env.generation => step::rest(env, facts),
        (Target::Apply, None | Some(Seen::Remains(_) | Seen::Unchanged)) => Action::Look,
        (Target::Apply, Some(Seen::Silent(text))) => {
            rollout::silent(env, text, facts.now_us);
            Action::Backoff
        }
        (Target::Apply, Some(Seen::Live(live))) => {
            env.status.progress.silent_us = 0;
            doze(env, facts, live)
        }
    }
}

fn doze(env: &mut Environment, facts: &Facts<'_>, live: &Live) -> Action {
    let (now_us, at) = (facts.now_us, env.at(facts.now_us));
    if !matches!(live.space, Space::Ours { .. }) {
        return step::rest(env, facts);
    }
    if env.status.progress.dozed != env.generation {
        return Action::Doze;
    }
    if !env.status.progress.stale.is_empty() {
        return Action::Prune;
    }
    let conditions = &mut env.status.conditions;
    if live.pods > 0 {
        let text = format!("{} pods are still ending.", live.pods);
        conditions.set(Aspect::Asleep, Verdict::Unknown, "FALLING_ASLEEP", text, at);
        return Action::Wait(rollout::look_after_us(now_us - env.status.progress.applied_us));
    }
    conditions.set(Aspect::Asleep, Verdict::True, "UNAPPROVED", "No pod runs until it is approved again.", at);
    conditions.set(Aspect::Healthy, Verdict::Unknown, "ASLEEP", "", at);
    step::rest(env, facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment::fixture;

    fn fork() -> Environment {
        let mut env = fixture::preview();
        env.spec.source.fork = true;
        env
    }

    #[test]
    fn an_approval_is_bound_to_everything_that_decides_what_is_rendered() {
        let mut env = fork();
        assert!(is_missing(&env) && limit_us(&env).is_none());
        approve(&mut env, "user:default/ann", "", 5);
        assert!(!is_missing(&env) && limit_us(&env) == Some(5 + LIFE_MAX_US) && env.expire_us == limit_us(&env));
        let changes: [fn(&mut Environment); 5] = [
            |env| env.spec.source.head_sha = "c".repeat(40),
            |env| env.spec.source.base_sha = "c".repeat(40),
            |env| env.spec.images = [("app".to_owned(), "other".to_owned())].into(),
            |env| env.spec.source.folder = "other".to_owned(),
            |env| env.spec.source.repository_id = "2".to_owned(),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut other = env.clone();
            change(&mut other);
            assert!(is_missing(&other), "change {at}");
        }
        // A name is none of it, so that a renamed repository keeps its approval.
        env.spec.source.repository = "acme/renamed".to_owned();
        assert!(!is_missing(&env));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let (mut a, mut b) = (fork(), fork());
        a.spec.images = [("ab".to_owned(), "c".to_owned())].into();
        b.spec.images = [("a".to_owned(), "bc".to_owned())].into();
        assert_ne!(content(&a, &a.spec), content(&b, &b.spec));
    }

    #[test]
    fn the_author_is_known_under_any_of_his_logins() {
        let logins = ["ann".to_owned(), "Ann-GH".to_owned()];
        assert!(is_author("ann-gh", &logins) && is_author("Ann", &logins) && !is_author("anna", &logins));
    }
}
