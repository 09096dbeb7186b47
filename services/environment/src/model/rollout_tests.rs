//! The decisions of the target apply against a cluster of a few fields, and as a simulation with kills after every effect.
use super::*;
use crate::model::budget;
use crate::model::{
    config::Config,
    delivery::Delivered,
    environment::{ObjectRef, Pin, RetireReason, Spec, fixture},
    hold::Gate,
    observed::{Left, Remains},
    outcome,
    preview::{Head, Reading},
    progress::TeardownStep,
    state::State,
    step::{bound, finished, rendered, step as decide},
    teardown,
};

const NOW: i64 = 10_000_000_000;

/// A cluster as far as one environment is concerned.
#[derive(Clone)]
struct World {
    namespace: Option<u32>,
    namespaces: u32,
    rails: bool,
    applied: Option<(i64, Power)>,
    is_healthy: bool,
    routed: Routing,
    reach: Reach,
    is_silent: bool,
    is_quota_counted: bool,
    is_stuck: bool,
    /// Workloads that were applied without guard rails.
    unguarded: u32,
}

impl World {
    fn new() -> Self {
        Self {
            namespace: None,
            namespaces: 0,
            rails: false,
            applied: None,
            is_healthy: true,
            routed: Routing::Proxy,
            reach: Reach::Unknown(String::new()),
            is_silent: false,
            is_quota_counted: true,
            is_stuck: false,
            unguarded: 0,
        }
    }

    fn uid(&self) -> String {
        self.namespace.map(|n| format!("ns-{n}")).unwrap_or_default()
    }

    fn look(&self, env: &Environment) -> Seen {
        if self.is_silent {
            return Seen::Silent("no route to host".to_owned());
        }
        let space = match self.namespace {
            None => Space::Absent,
            Some(_) if self.is_stuck => Space::Terminating { uid: self.uid() },
            Some(_) => Space::Ours { uid: self.uid() },
        };
        if env.retire.is_some() {
            let left = Left { object: object("ConfigMap", "c"), finalizers: vec!["acme.io/hold".to_owned()] };
            let left = if self.is_stuck { vec![left] } else { Vec::new() };
            return Seen::Remains(Remains { space, left, told: Vec::new(), hooks: Default::default() });
        }
        let pods = usize::from(self.applied.is_some_and(|(_, power)| power == Power::Awake));
        let problem = || vec![problem("CRASH_LOOP")];
        Seen::Live(Box::new(Live {
            space,
            rails_broken: if self.rails { Vec::new() } else { vec!["ResourceQuota/slipway-quota".to_owned()] },
            is_quota_counted: self.is_quota_counted,
            missing: Vec::new(),
            health: if self.is_healthy { Health::Ready } else { Health::Degraded(problem()) },
            routing: self.routed.clone(),
            reach: self.reach.clone(),
            pods,
            replicas: Default::default(),
            hooks: Default::default(),
        }))
    }

    /// The effect of an action in the cluster, told to the environment only if nobody died in between.
    fn perform(&mut self, env: &mut Environment, action: Action, now_us: i64, is_killed: bool) {
        let mut told = env.clone();
        match action {
            Action::Claim => budget::grant(&mut told),
            Action::Bind => bound(&mut told, Vec::new(), now_us),
            Action::Render => rendered(&mut told, "d", 9, now_us),
            Action::Namespace => {
                if self.namespace.is_none() {
                    self.namespaces += 1;
                    self.namespace = Some(self.namespaces);
                }
                adopt(&mut told, &self.uid(), now_us);
            }
            Action::Guard => {
                self.rails = true;
                outcome::guarded(&mut told, vec![(object("ResourceQuota", "slipway-quota"), "q".to_owned())], now_us);
            }
            Action::Deliver => outcome::delivered(&mut told, Delivered::default(), now_us),
            Action::Apply => {
                let objects = [object("Deployment", "api"), object("ConfigMap", &format!("g{}", env.generation))];
                outcome::intended(&mut told, &objects, now_us);
                self.unguarded += u32::from(!self.rails || self.namespace.is_none());
                self.applied = Some((env.generation, env.power));
                let objects = objects.map(|o| {
                    let uid = format!("u-{}", o.name);
                    (o, uid)
                });
                outcome::applied(&mut told, objects.to_vec(), env.power, now_us);
            }
            Action::Prune => {
                let stale = told.status.progress.stale.clone();
                outcome::pruned(&mut told, &stale);
            }
            Action::Unroute => teardown::done(&mut told, TeardownStep::Routes, now_us),
            Action::Stop => {
                self.applied = None;
                teardown::done(&mut told, TeardownStep::Workloads, now_us);
            }
            Action::Withdraw => teardown::done(&mut told, TeardownStep::Secrets, now_us),
            Action::Leave => {
                if !self.is_stuck {
                    (self.namespace, self.rails, self.applied) = (None, false, None);
                }
                teardown::done(&mut told, TeardownStep::Namespace, now_us);
            }
            Action::Finish => finished(&mut told, now_us),
            other => panic!("{other:?} is no action of the target apply"),
        }
        if !is_killed {
            *env = told;
        }
    }
}

fn object(kind: &str, name: &str) -> ObjectRef {
    ObjectRef { kind: kind.to_owned(), name: name.to_owned(), ..ObjectRef::default() }
}

fn problem(reason: &'static str) -> Problem {
    let message = "container app exited with 1".to_owned();
    Problem {
        reason,
        object: object("Pod", "p"),
        workload: object("Deployment", "api"),
        container: "app".to_owned(),
        exit_code: Some(1),
        restarts: 3,
        message,
    }
}

fn head(sha: &str) -> Reading {
    Reading::Open(Head {
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
    })
}

fn preview() -> Environment {
    let mut env = fixture::preview();
    (env.target, env.expire_us, env.used_us) = (Target::Apply, Some(i64::MAX), NOW);
    env
}

/// One look and what follows from it, until nothing is left to do now; the actions that were taken.
fn settle(env: &mut Environment, world: &mut World, reading: &Reading, now_us: i64) -> Vec<Action> {
    let (mut taken, mut seen) = (Vec::new(), None);
    for _ in 0..40 {
        let facts =
            Facts { now_us, sure_us: now_us, reading, gate: &Gate::Once, poll_us: MINUTE_US, seen: seen.as_ref() };
        let action = decide(env, &facts);
        match action {
            Action::Look => seen = Some(world.look(env)),
            Action::Again => {}
            Action::Wait(_) | Action::Rest | Action::Backoff => {
                taken.push(action);
                return taken;
            }
            action => {
                taken.push(action);
                seen = None;
                world.perform(env, action, now_us, false);
            }
        }
    }
    panic!("never settles: {taken:?} {:?}", env.status.conditions);
}

fn ready() -> (Environment, World) {
    let (mut env, mut world) = (preview(), World::new());
    settle(&mut env, &mut world, &head("a"), NOW);
    assert_eq!(env.state(), State::Ready, "{:?}", env.status.conditions);
    (env, world)
}

#[test]
fn a_preview_comes_up_in_the_order_of_env_60() {
    let (mut env, mut world) = (preview(), World::new());
    let taken = settle(&mut env, &mut world, &head("a"), NOW);
    use Action::{Apply, Bind, Deliver, Guard, Namespace, Render};
    assert_eq!(taken[..6], [Bind, Render, Namespace, Guard, Deliver, Apply]);
    assert_eq!((env.state(), env.is_settled(), env.status.namespace_uid.as_str()), (State::Ready, true, "ns-1"));
    assert_eq!(env.status.conditions.get(Aspect::Routed).map(|c| c.reason.as_str()), Some("PREVIEW_PROXY"));
    // The same again does nothing.
    let before = env.clone();
    assert!(matches!(settle(&mut env, &mut world, &head("a"), NOW + 1)[..], [Action::Wait(_)]));
    assert_eq!(env, before);
}

#[test]
fn no_workload_before_the_quota_counts() {
    let (mut env, mut world) = (preview(), World::new());
    world.is_quota_counted = false;
    assert_eq!(settle(&mut env, &mut world, &head("a"), NOW).last(), Some(&Action::Wait(QUOTA_WAIT_US)));
    assert_eq!((env.state(), world.applied), (State::Provisioning, None));
    world.is_quota_counted = true;
    settle(&mut env, &mut world, &head("a"), NOW + 1);
    assert_eq!(env.state(), State::Ready);
}

#[test]
fn guard_rails_come_back_even_while_a_push_waits_for_its_image() {
    let (mut env, mut world) = ready();
    world.rails = false;
    let taken = settle(&mut env, &mut world, &head("f"), NOW + 1);
    assert_eq!(taken[0], Action::Guard);
    assert_eq!((env.state(), env.generation, world.rails), (State::Deploying, 2, true));
    let images = fixture::preview().spec.images;
    env.want(Spec { images, ..env.spec.clone() }, NOW + 2);
    let taken = settle(&mut env, &mut world, &head("f"), NOW + 2);
    assert!(taken.contains(&Action::Apply) && taken.contains(&Action::Prune), "{taken:?}");
    assert_eq!((env.state(), env.generation), (State::Ready, 3));
    // What generation 1 had and this one has not is gone from the inventory too.
    let names: Vec<_> = env.status.inventory.iter().map(|h| h.object.name.as_str()).collect();
    assert_eq!(names, ["payments-pr-7-h4vyy", "slipway-quota", "api", "g3"]);
}

#[test]
fn a_foreign_namespace_is_never_touched() {
    let mut env = preview();
    let foreign = Seen::Live(Box::new(Live { space: Space::Foreign, ..live(&World::new(), &env) }));
    bound(&mut env, Vec::new(), NOW);
    rendered(&mut env, "d", 1, NOW);
    let reading = head("a");
    let facts = Facts {
        now_us: NOW,
        sure_us: NOW,
        reading: &reading,
        gate: &Gate::Once,
        poll_us: MINUTE_US,
        seen: Some(&foreign),
    };
    assert_eq!(decide(&mut env, &facts), Action::Again);
    assert!(matches!(decide(&mut env, &facts), Action::Wait(_)));
    assert_eq!(env.state(), State::Failed);
    assert_eq!(env.status.conditions.get(Aspect::NamespaceReady).map(|c| c.reason.as_str()), Some("NAMESPACE_TAKEN"));
}

fn live(world: &World, env: &Environment) -> Live {
    match world.look(env) {
        Seen::Live(live) => *live,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_ready_once_its_address_answered_and_degraded_when_it_stops() {
    let silent = || Reach::Silent("/ answered 503".to_owned());
    let (mut env, mut world) = (preview(), World::new());
    world.reach = silent();
    settle(&mut env, &mut world, &head("a"), NOW);
    let told = |env: &Environment| env.status.conditions.get(Aspect::Reachable).map(|c| (c.verdict, c.reason.clone()));
    assert_eq!((env.state(), told(&env)), (State::Deploying, Some((Verdict::False, "PROBE_PENDING".to_owned()))));
    world.reach = Reach::Answers("/ answered 200".to_owned());
    settle(&mut env, &mut world, &head("a"), NOW + 1);
    assert_eq!((env.state(), told(&env)), (State::Ready, Some((Verdict::True, "ANSWERS".to_owned()))));
    world.reach = silent();
    settle(&mut env, &mut world, &head("a"), NOW + 2);
    settle(&mut env, &mut world, &head("a"), NOW + 3);
    assert_eq!((env.state(), told(&env)), (State::Degraded, Some((Verdict::False, NOT_REACHABLE.to_owned()))));
    world.reach = Reach::Unknown("the gateway is away".to_owned());
    settle(&mut env, &mut world, &head("a"), NOW + 4);
    assert_eq!(env.state(), State::Ready, "what cannot be tried holds nothing up");
    let (mut late, mut never) = (preview(), World::new());
    never.reach = silent();
    settle(&mut late, &mut never, &head("a"), NOW);
    settle(&mut late, &mut never, &head("a"), NOW + PROGRESS_DEADLINE_US + MINUTE_US);
    assert_eq!(late.state(), State::Failed);
}

#[test]
fn a_namespace_deleted_by_hand_is_made_anew_and_a_cluster_without_an_answer_is_believed_nothing() {
    let (mut env, mut world) = ready();
    (world.namespace, world.rails, world.applied) = (None, false, None);
    settle(&mut env, &mut world, &head("a"), NOW + 1);
    assert_eq!((env.state(), env.status.namespace_uid.as_str(), world.rails), (State::Ready, "ns-2", true));
    world.is_silent = true;
    assert_eq!(settle(&mut env, &mut world, &head("a"), NOW + 2), [Action::Backoff]);
    assert_eq!(env.state(), State::Ready);
    settle(&mut env, &mut world, &head("a"), NOW + 2 + SILENCE_US);
    assert_eq!(env.state(), State::Degraded);
    world.is_silent = false;
    settle(&mut env, &mut world, &head("a"), NOW + 3 + SILENCE_US);
    assert_eq!((env.state(), env.status.progress.silent_us), (State::Ready, 0));
    // A silent cluster keeps no close from being noticed, and nothing ends before the cluster was seen.
    world.is_silent = true;
    let closed = Reading::Ended { reason: RetireReason::Closed, at_us: 1 };
    assert_eq!(settle(&mut env, &mut world, &closed, NOW + 4 + SILENCE_US), [Action::Backoff]);
    assert_eq!(env.state(), State::Deleting);
    settle(&mut env, &mut world, &closed, NOW + 5 + 2 * SILENCE_US);
    assert_eq!(env.state(), State::DeleteBlocked);
}

#[test]
fn health_that_is_lost_is_told_and_comes_back() {
    let (mut env, mut world) = ready();
    world.is_healthy = false;
    settle(&mut env, &mut world, &head("a"), NOW + 1);
    assert_eq!(env.state(), State::Degraded);
    let told = env.status.conditions.get(Aspect::Healthy).cloned().expect("it was seen");
    assert!(told.reason == "CRASH_LOOP" && told.message.contains("exited with 1"), "{told:?}");
    settle(&mut env, &mut world, &head("a"), NOW + 2 * PROGRESS_DEADLINE_US);
    assert_eq!(env.state(), State::Degraded);
    world.is_healthy = true;
    settle(&mut env, &mut world, &head("a"), NOW + 3 * PROGRESS_DEADLINE_US);
    assert_eq!(env.state(), State::Ready);
}

#[test]
fn a_generation_that_never_comes_up_fails_at_its_deadline_and_recovers() {
    let (mut env, mut world) = (preview(), World::new());
    world.is_healthy = false;
    settle(&mut env, &mut world, &head("a"), NOW);
    assert_eq!(env.state(), State::Degraded);
    let late = NOW + PROGRESS_DEADLINE_US;
    settle(&mut env, &mut world, &head("a"), late);
    assert_eq!((env.state(), env.is_settled()), (State::Failed, true));
    let text = env.status.conditions.get(Aspect::Stalled).map(|c| c.message.clone()).unwrap_or_default();
    assert!(text.contains("10 minutes") && text.contains("exited with 1"), "{text}");
    // It is still looked at, and what became healthy by itself is ready.
    world.is_healthy = true;
    settle(&mut env, &mut world, &head("a"), late + 1);
    assert_eq!(env.state(), State::Ready);
    // Else the slow retry applies everything again.
    (env, world) = (preview(), World::new());
    world.is_healthy = false;
    settle(&mut env, &mut world, &head("a"), NOW);
    settle(&mut env, &mut world, &head("a"), late);
    let taken = settle(&mut env, &mut world, &head("a"), late + RETRY_US);
    assert!(taken.contains(&Action::Apply), "{taken:?}");
}

#[test]
fn a_route_that_waits_is_no_loss_and_one_that_is_lost_is() {
    let (mut env, mut world) = (preview(), World::new());
    world.routed = Routing::Waiting("no Gateway".to_owned());
    settle(&mut env, &mut world, &head("a"), NOW);
    settle(&mut env, &mut world, &head("a"), NOW + 1);
    assert_eq!(env.state(), State::Deploying);
    world.routed = Routing::Accepted;
    settle(&mut env, &mut world, &head("a"), NOW + 2);
    assert_eq!(env.state(), State::Ready);
    world.routed = Routing::Waiting("gone".to_owned());
    settle(&mut env, &mut world, &head("a"), NOW + 3);
    assert_eq!(env.state(), State::Degraded);
}

#[test]
fn who_is_idle_sleeps_and_wakes_and_a_pin_or_a_push_keeps_awake() {
    let (mut env, mut world) = ready();
    let idle = idle_at_us(&env).expect("a preview is idle some time");
    assert_eq!(idle, NOW + 2 * 60 * MINUTE_US);
    let mut pinned = env.clone();
    pinned.pin = Some(Pin { reason: "demo".to_owned(), actor: "user:default/ann".to_owned(), until_us: idle + 5 });
    assert_eq!(idle_at_us(&pinned), Some(idle + 5));
    let taken = settle(&mut env, &mut world, &head("a"), idle);
    assert_eq!((taken[0], env.state(), env.is_settled()), (Action::Apply, State::Asleep, true));
    assert_eq!(world.applied, Some((1, Power::Asleep)));
    // Asleep it rests, and a wish from outside wakes it.
    assert!(matches!(settle(&mut env, &mut world, &head("a"), idle + 1)[..], [Action::Wait(_)]));
    world.is_healthy = false;
    (env.power, env.used_us) = (Power::Awake, idle + 2);
    settle(&mut env, &mut world, &head("a"), idle + 2);
    assert_eq!((env.state(), world.applied), (State::Waking, Some((1, Power::Awake))));
    world.is_healthy = true;
    settle(&mut env, &mut world, &head("a"), idle + 3);
    assert_eq!((env.state(), env.generation), (State::Ready, 1));
    // A push to what sleeps updates and wakes it.
    let again = idle_at_us(&env).expect("idle again");
    settle(&mut env, &mut world, &head("a"), again);
    assert_eq!(env.state(), State::Asleep);
    let images = env.spec.images.clone();
    settle(&mut env, &mut world, &head("f"), again + 1);
    env.want(Spec { images, ..env.spec.clone() }, again + 1);
    settle(&mut env, &mut world, &head("f"), again + 2);
    assert_eq!((env.state(), env.power, world.applied), (State::Ready, Power::Awake, Some((3, Power::Awake))));
    let mut production = env;
    (production.tier, production.kind) = (Tier::Production, Kind::LongLived);
    assert_eq!(idle_at_us(&production), None);
}

#[test]
fn a_brake_puts_to_sleep_what_it_does_not_delete() {
    let (mut env, mut world) = ready();
    let closed = Reading::Ended { reason: RetireReason::Closed, at_us: 1 };
    let mut seen = None;
    for _ in 0..20 {
        let facts = Facts {
            now_us: NOW + 1,
            sure_us: NOW + 1,
            reading: &closed,
            gate: &Gate::Held(String::new()),
            poll_us: MINUTE_US,
            seen: seen.as_ref(),
        };
        match decide(&mut env, &facts) {
            Action::Look => seen = Some(world.look(&env)),
            Action::Wait(_) => break,
            Action::Again => {}
            action => {
                seen = None;
                world.perform(&mut env, action, NOW + 1, false);
            }
        }
    }
    assert_eq!((env.state(), world.applied), (State::Asleep, Some((1, Power::Asleep))));
    assert_eq!(env.status.conditions.get(Aspect::Deleting).map(|c| c.reason.as_str()), Some("HELD"));
}

#[test]
fn a_teardown_goes_in_order_and_a_blocked_one_says_by_what() {
    let (mut env, mut world) = ready();
    let closed = Reading::Ended { reason: RetireReason::Closed, at_us: 1 };
    let mut stuck = (env.clone(), world.clone());
    let taken = settle(&mut env, &mut world, &closed, NOW + 1);
    use Action::{Finish, Leave, Rest, Stop, Unroute, Withdraw};
    assert_eq!(taken, [Unroute, Stop, Withdraw, Leave, Finish, Rest]);
    assert_eq!((env.state(), world.namespace), (State::Deleted, None));
    let (env, world) = (&mut stuck.0, &mut stuck.1);
    world.is_stuck = true;
    settle(env, world, &closed, NOW + 1);
    assert_eq!(env.state(), State::Deleting);
    settle(env, world, &closed, NOW + 2 + super::super::step::BLOCKED_US);
    assert_eq!(env.state(), State::DeleteBlocked);
    let told = env.status.conditions.get(Aspect::Deleting).map(|c| c.message.clone()).unwrap_or_default();
    assert!(told.contains("ConfigMap/c held by acme.io/hold") && told.contains("finalizer"), "{told}");
    world.is_stuck = false;
    settle(env, world, &closed, NOW + 3 + super::super::step::BLOCKED_US);
    assert_eq!((env.state(), world.namespace), (State::Deleted, None));
}

#[test]
fn volumes_of_staging_outlive_it() {
    let (mut env, world) = ready();
    (env.tier, env.kind) = (Tier::Staging, Kind::LongLived);
    env.end(RetireReason::Requested, "user:default/ann", NOW, NOW);
    env.status.progress.teardown.step = TeardownStep::Namespace;
    let volume = Left { object: object("PersistentVolumeClaim", "data"), finalizers: Vec::new() };
    let remains = Remains {
        space: Space::Ours { uid: world.uid() },
        left: vec![volume],
        told: Vec::new(),
        hooks: Default::default(),
    };
    let (fixed, seen) = (Reading::Fixed, Seen::Remains(remains));
    let facts =
        Facts { now_us: NOW, sure_us: NOW, reading: &fixed, gate: &Gate::Once, poll_us: MINUTE_US, seen: Some(&seen) };
    assert_eq!(decide(&mut env, &facts), Action::Finish);
    assert_eq!(env.status.progress.teardown.retained.len(), 1);
}

#[path = "rollout_tests/histories.rs"]
mod histories;
