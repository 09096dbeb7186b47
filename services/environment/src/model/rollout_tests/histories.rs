//! Random histories with kills after every effect: always the same end, and no workload without its guard rails.
use super::*;

/// A small generator, so that every seed is a history that can be told again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Something happens that nobody planned.
fn happen(dice: &mut Dice, env: &mut Environment, world: &mut World, now_us: i64) {
    match dice.roll(9) {
        0 => world.rails = false,
        1 if world.namespace.is_some() => (world.namespace, world.rails, world.applied) = (None, false, None),
        2 => world.is_healthy = !world.is_healthy,
        3 => world.is_silent = !world.is_silent,
        4 => env.power = if env.power == Power::Awake { Power::Asleep } else { Power::Awake },
        5 => {
            let images = fixture::preview().spec.images;
            env.want(Spec { images, ..env.spec.clone() }, now_us);
        }
        6 => world.is_quota_counted = !world.is_quota_counted,
        _ => {}
    }
}

#[test]
fn ten_thousand_histories_with_kills_end_where_they_should() {
    for seed in 0..10_000 {
        let mut dice = Dice(seed);
        let (mut env, mut world, mut now_us) = (preview(), World::new(), NOW);
        let closed = Reading::Ended { reason: RetireReason::Closed, at_us: now_us };
        for _ in 0..12 {
            now_us += dice.roll(90) as i64 * SECOND_US;
            happen(&mut dice, &mut env, &mut world, now_us);
            let reading = match dice.roll(12) {
                0 => closed.clone(),
                1 => head("f"),
                2 => Reading::Unknown { reason: "SCM_UNREACHABLE", message: String::new() },
                _ => head("a"),
            };
            let mut seen = None;
            for _ in 0..40 {
                let facts = Facts {
                    now_us,
                    sure_us: now_us,
                    reading: &reading,
                    gate: &Gate::Once,
                    poll_us: MINUTE_US,
                    seen: seen.as_ref(),
                };
                match decide(&mut env, &facts) {
                    Action::Look => seen = Some(world.look(&env)),
                    Action::Again => {}
                    Action::Wait(_) | Action::Rest | Action::Backoff => break,
                    action => {
                        let is_killed = dice.roll(6) == 0;
                        seen = None;
                        world.perform(&mut env, action, now_us, is_killed);
                        if is_killed {
                            break;
                        }
                    }
                }
            }
        }
        let is_ended = env.retire.is_some();
        (world.is_silent, world.is_healthy, world.is_quota_counted) = (false, true, true);
        let images = fixture::preview().spec.images;
        for round in 1..4 {
            now_us += RETRY_US * round;
            env.want(Spec { images: images.clone(), ..env.spec.clone() }, now_us);
            env.power = Power::Awake;
            env.used_us = now_us;
            settle(&mut env, &mut world, &if is_ended { closed.clone() } else { head("a") }, now_us);
        }
        assert_eq!(world.unguarded, 0, "seed {seed}");
        assert_eq!(world.namespace.is_some(), !is_ended, "seed {seed}");
        let want = if is_ended { State::Deleted } else { State::Ready };
        assert_eq!(env.state(), want, "seed {seed}: {:?}", env.status.conditions);
    }
}
