//! The step function as a table, and as a simulation over random histories.
use super::*;
use crate::model::{
    config::Config,
    environment::{Pin, fixture},
    state::State,
};

const NOW: i64 = 10_000_000;
const POLL: i64 = 60_000_000;

fn head(sha: &str) -> Head {
    Head {
        repository: "acme/payments".to_owned(),
        branch: "feature".to_owned(),
        head_sha: sha.repeat(40),
        base_sha: "b".repeat(40),
        fork: false,
        author: "fred".to_owned(),
        draft: false,
        labels: Vec::new(),
        opened_us: 1,
        config: Ok(Config::default()),
    }
}

fn facts(reading: &Reading, now_us: i64) -> Facts<'_> {
    Facts { now_us, sure_us: now_us, reading, gate: &Gate::Once, poll_us: POLL, seen: None }
}

fn publication(env: &Environment) -> Publication {
    Publication {
        branch: "main".to_owned(),
        commit: "c".repeat(40),
        path: "x".to_owned(),
        generation: env.generation,
        manifests: 9,
        render_sha256: "d".to_owned(),
        published_us: NOW,
    }
}

fn removal() -> Removal {
    let files = vec!["f".to_owned()];
    Removal { branch: "main".to_owned(), commit: "e".repeat(40), files, kept: Vec::new(), removed_us: NOW }
}

/// Does what the action says, as a world in which everything works.
fn perform(env: &mut Environment, action: Action, now_us: i64) {
    let brings_out = matches!(action, Action::Bind | Action::Render | Action::Publish);
    assert!(!brings_out || !approval::is_missing(env), "{action:?} of what nobody approved");
    match action {
        Action::Claim => budget::grant(env),
        Action::Bind => bound(env, vec!["db".to_owned()], now_us),
        Action::Render => rendered(env, "d", 9, now_us),
        Action::Publish => {
            let publication = publication(env);
            published(env, publication, now_us);
        }
        Action::Doze => {
            let publication = publication(env);
            crate::model::outcome::dozed_published(env, publication, now_us);
        }
        Action::Remove => removed(env, removal(), now_us),
        Action::Finish => finished(env, now_us),
        Action::Again | Action::Wait(_) | Action::Rest => {}
        other => panic!("{other:?} is no action of the target git"),
    }
}

/// Steps until nothing is left to do now; the actions taken.
fn settle(env: &mut Environment, reading: &Reading, now_us: i64) -> Vec<Action> {
    let mut taken = Vec::new();
    for _ in 0..20 {
        let action = step(env, &facts(reading, now_us));
        taken.push(action);
        if matches!(action, Action::Wait(_) | Action::Rest) {
            return taken;
        }
        perform(env, action, now_us);
    }
    panic!("never settles: {taken:?}");
}

#[test]
fn a_preview_is_published_in_order() {
    let mut env = fixture::preview();
    let open = Reading::Open(head("a"));
    let taken = settle(&mut env, &open, NOW);
    assert_eq!(taken, [Action::Bind, Action::Render, Action::Publish, Action::Wait(POLL)]);
    assert_eq!((env.state(), env.generation, env.is_settled()), (State::Published, 1, true));
    // The same again does nothing.
    assert_eq!(settle(&mut env, &open, NOW + 1), [Action::Wait(POLL)]);
}

#[test]
fn a_pinned_preview_rests_beyond_its_time_and_ends_with_its_pin() {
    let mut env = fixture::preview();
    let open = Reading::Open(head("a"));
    env.expire_us = Some(NOW + 1);
    env.pin = Some(Pin { reason: "demo".to_owned(), actor: "user:default/ann".to_owned(), until_us: NOW + 10 * POLL });
    settle(&mut env, &open, NOW);
    assert_eq!(settle(&mut env, &open, NOW + POLL), [Action::Wait(POLL)]);
    let taken = settle(&mut env, &open, NOW + 10 * POLL);
    assert!(taken.contains(&Action::Remove), "{taken:?}");
}

#[test]
fn a_push_waits_for_its_image_and_then_fails() {
    let mut env = fixture::preview();
    settle(&mut env, &Reading::Open(head("a")), NOW);
    let pushed = Reading::Open(head("f"));
    assert_eq!(settle(&mut env, &pushed, NOW), [Action::Again, Action::Wait(POLL)]);
    assert_eq!((env.generation, env.state()), (2, State::Deploying));
    let accepted = env.status.conditions.get(Aspect::Accepted).cloned().expect("it was decided");
    assert_eq!((accepted.verdict, accepted.reason.as_str()), (Verdict::False, "WAITING_FOR_IMAGE"));
    let late = NOW + IMAGE_WAIT_US;
    let taken = settle(&mut env, &pushed, late);
    assert_eq!(taken, [Action::Again, Action::Wait(POLL)]);
    assert_eq!(env.state(), State::Failed);
    // The slow retry begins the wait again; with images it goes through.
    assert_eq!(settle(&mut env, &pushed, late + RETRY_US)[0], Action::Again);
    assert_eq!(env.state(), State::Deploying);
    let images = fixture::preview().spec.images;
    env.want(Spec { images, ..env.spec.clone() }, late + RETRY_US);
    settle(&mut env, &pushed, late + RETRY_US);
    assert_eq!((env.generation, env.state()), (3, State::Published));
}

#[test]
fn closing_tears_down_and_ends() {
    for (reason, at_us) in [(RetireReason::Closed, 5), (RetireReason::Merged, 6)] {
        let mut env = fixture::preview();
        settle(&mut env, &Reading::Open(head("a")), NOW);
        let taken = settle(&mut env, &Reading::Ended { reason, at_us }, NOW);
        assert_eq!(taken, [Action::Again, Action::Remove, Action::Finish, Action::Rest]);
        assert_eq!((env.state(), env.retire.as_ref().map(|r| r.at_us)), (State::Deleted, Some(at_us)));
        let receipt = crate::model::receipt::of(&env, NOW);
        let kinds: Vec<_> = receipt.objects.iter().map(|o| o.kind.as_str()).collect();
        assert_eq!(kinds, ["GitFile", "GitCommit", "Namespace", "HostReservation"]);
    }
}

#[test]
fn absence_must_last_and_a_brake_holds() {
    let gone = Reading::Ended { reason: RetireReason::BranchDeleted, at_us: NOW };
    let mut env = fixture::preview();
    settle(&mut env, &Reading::Open(head("a")), NOW);
    assert_eq!(step(&mut env, &facts(&gone, NOW)), Action::Wait(ABSENCE_US));
    assert_eq!(settle(&mut env, &Reading::Open(head("a")), NOW + 1), [Action::Wait(POLL)]);
    assert_eq!(step(&mut env, &facts(&gone, NOW + 2)), Action::Wait(ABSENCE_US));
    let held = Facts { gate: &Gate::Held(String::new()), ..facts(&gone, NOW + 2 + ABSENCE_US) };
    assert!(matches!(step(&mut env, &held), Action::Wait(_)));
    assert_eq!(env.status.conditions.get(Aspect::Deleting).map(|c| c.reason.as_str()), Some("HELD"));
    assert_eq!(env.state(), State::Published);
    assert_eq!(step(&mut env, &facts(&gone, NOW + 3 + ABSENCE_US)), Action::Again);
    assert!(env.retire.is_some());
}

#[test]
fn nothing_is_decided_on_a_guess() {
    let unknown = Reading::Unknown { reason: "SCM_UNREACHABLE", message: "no answer".to_owned() };
    let mut env = fixture::preview();
    assert!(matches!(step(&mut env, &facts(&unknown, NOW)), Action::Wait(_)));
    assert_eq!(env.state(), State::Pending);
    settle(&mut env, &Reading::Open(head("a")), NOW);
    let before = env.clone();
    assert!(matches!(step(&mut env, &facts(&unknown, NOW)), Action::Wait(_)));
    assert_eq!(env, before);
}

#[test]
fn a_fork_waits_for_a_person_and_expiry_ends_everything_but_long_lives() {
    let mut fork = fixture::preview();
    settle(&mut fork, &Reading::Open(Head { fork: true, ..head("a") }), NOW);
    assert_eq!((fork.state(), fork.is_settled()), (State::AwaitingApproval, true));
    let mut env = fixture::preview();
    env.expire_us = Some(NOW);
    settle(&mut env, &Reading::Open(head("a")), NOW);
    assert_eq!(env.retire.map(|r| r.reason), Some(RetireReason::Expired));
    let mut production = fixture::preview();
    (production.tier, production.expire_us) = (crate::model::tier::Tier::Production, Some(NOW));
    settle(&mut production, &Reading::Ended { reason: RetireReason::Closed, at_us: 1 }, NOW);
    assert_eq!(production.retire, None);
}

#[test]
fn a_broken_configuration_fails_and_a_mended_one_goes_on() {
    let mut env = fixture::preview();
    let broken = Reading::Open(Head { config: Err("line 3".to_owned()), ..head("f") });
    settle(&mut env, &broken, NOW);
    assert_eq!(env.state(), State::Failed);
    assert!(env.is_settled());
    settle(&mut env, &Reading::Open(head("a")), NOW);
    assert_eq!((env.state(), env.generation), (State::Pending, 3));
}

/// A small generator, so that every seed is a history that can be told again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn ten_thousand_random_histories_end_in_the_newest_state() {
    for seed in 0..10_000 {
        let mut dice = Dice(seed);
        let mut env = fixture::preview();
        let mut now_us = NOW;
        let mut last_published = 0;
        for _ in 0..12 {
            now_us += dice.roll(90) as i64 * 1_000_000;
            let sha = ["a", "f", "0"][dice.roll(3) as usize];
            let reading = match dice.roll(8) {
                0 => Reading::Unknown { reason: "SCM_UNREACHABLE", message: String::new() },
                1 => Reading::Ended { reason: RetireReason::Closed, at_us: now_us },
                2 => Reading::Ended { reason: RetireReason::BranchDeleted, at_us: now_us },
                3 => Reading::Open(Head { config: Err("broken".to_owned()), ..head(sha) }),
                4 => Reading::Open(Head { fork: true, ..head(sha) }),
                _ => Reading::Open(head(sha)),
            };
            let mut action = step(&mut env, &facts(&reading, now_us));
            // The worker may be killed after any effect, before its outcome is saved.
            while !matches!(action, Action::Wait(_) | Action::Rest) && dice.roll(6) > 0 {
                perform(&mut env, action, now_us);
                if let Some(publication) = &env.status.publication {
                    assert!(publication.generation >= last_published, "seed {seed}");
                    last_published = publication.generation;
                }
                action = step(&mut env, &facts(&reading, now_us));
            }
            if env.retire.is_none() && approval::is_missing(&env) && dice.roll(2) == 0 {
                approval::approve(&mut env, "user:default/ann", "", now_us);
            }
        }
        let ended = env.retire.is_some();
        now_us += 2 * IMAGE_WAIT_US;
        env.expire_us = Some(i64::MAX);
        let images = fixture::preview().spec.images;
        if !ended {
            step(&mut env, &facts(&Reading::Open(head("a")), now_us));
            env.want(Spec { images, ..env.spec.clone() }, now_us);
        }
        settle(&mut env, &Reading::Open(head("a")), now_us);
        assert_eq!(env.state(), if ended { State::Deleted } else { State::Published }, "seed {seed}");
        assert!(env.status.observed_generation == env.generation);
    }
}
