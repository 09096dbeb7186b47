//! Pull requests from forks as people live them: nothing runs before a member approves exactly what would run, it runs in quarantine, and
//! a push ends the approval (ENV-30 to ENV-32).
#![allow(clippy::unwrap_used)]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "forks/mistakes.rs"]
mod mistakes;
mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cluster::Tapped;
use slipway_environment::{
    app::{App, NewApproval, Touch, WORK_ENVIRONMENT},
    model::{
        approval::LIFE_MAX_US,
        condition::Aspect,
        environment::{Environment, Power, RetireReason},
        preview::{Head, Reading},
        state::State,
    },
    store::{Store, migrations},
    worker,
    world::{
        cluster::ObjectRef,
        fake::{Fake, Kill},
        fake_cluster::FakeCluster,
    },
};
use slipway_kit::{
    caller::{Caller, Role},
    clock::Clock,
    db::scratch::{self, Scratch},
    error::{Error, Result},
    worker::enqueue,
};
use support::{OWNER, REPOSITORY, ann, call, caller, head, images, sha};

const NAME: &str = "environments/pr-7-payments";
const MINUTE_US: i64 = 60_000_000;

/// One service over one cluster, and pull request 7, which comes from a fork of fred's.
struct Shop {
    scratch: Scratch,
    fake: Fake,
    app: App,
    clock: Clock,
    world: Tapped,
}

impl Shop {
    async fn new(scratch: Scratch) -> Self {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, OWNER);
        let world = Tapped::new(&fake, Arc::new(FakeCluster::new(clock.clone())));
        let app = support::app_over(&scratch, world.world(), clock.clone()).await;
        Self { scratch, fake, app, clock, world }
    }

    async fn simple() -> Self {
        Self::new(scratch::sqlite(migrations()).await).await
    }

    /// The fork shows a commit, on a base, and the provider says so by webhook.
    async fn shows(&self, head_digit: u64, base_digit: u64) {
        let head = Head { fork: true, base_sha: sha(base_digit), ..head(head_digit, 1) };
        self.fake.set(REPOSITORY, "7", Reading::Open(head));
        self.hint().await;
    }

    async fn hint(&self) {
        let body = format!(r#"{{"action":"synchronize","number":7,"repository":{{"id":{REPOSITORY}}}}}"#);
        self.app.hint("local", "pull_request", body.as_bytes()).await.unwrap();
        worker(&self.app, 1).run_due().await.unwrap();
    }

    async fn env(&self) -> Environment {
        Store::new(self.scratch.db.clone()).by_label(&self.scratch.db, "pr-7-payments").await.unwrap().unwrap()
    }

    /// Looks as often as it takes until a condition holds; the time of the clock that it took.
    async fn until(&self, what: &str, is_so: impl Fn(&Environment) -> bool) -> (Environment, i64) {
        let begun_us = self.clock.now_us();
        for _ in 0..300 {
            let env = self.env().await;
            if is_so(&env) {
                return (env, self.clock.now_us() - begun_us);
            }
            let mut tx = self.scratch.db.begin().await.unwrap();
            enqueue(&mut tx, WORK_ENVIRONMENT, &env.uid, 0).await.unwrap();
            tx.commit().await.unwrap();
            worker(&self.app, 1).run_due().await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.clock.advance_us(200_000);
        }
        let env = self.env().await;
        panic!("never {what}: {} {:#?}", env.state().word(), env.status.conditions);
    }

    async fn until_state(&self, state: State) -> Environment {
        self.until(state.word(), |env| env.state() == state && env.is_settled()).await.0
    }

    async fn approve_as(&self, who: Caller, digit: u64, images: BTreeMap<String, String>) -> Result<Environment> {
        let new = NewApproval { name: NAME.to_owned(), head_sha: sha(digit), images, ..NewApproval::default() };
        self.app.approve_preview(&call(who, "ApprovePreview"), &new).await
    }

    async fn approve(&self, digit: u64) -> Result<Environment> {
        self.approve_as(ann(), digit, images()).await
    }

    async fn found(&self, env: &Environment, api_version: &str, kind: &str, name: &str) -> Option<serde_json::Value> {
        let object = ObjectRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: if kind == "Namespace" { String::new() } else { env.namespace.clone() },
            name: name.to_owned(),
        };
        self.world.cluster.get(&object).await.unwrap()
    }

    async fn deployment(&self, env: &Environment) -> serde_json::Value {
        self.found(env, "apps/v1", "Deployment", "payments").await.unwrap()
    }

    async fn pods(&self, env: &Environment) -> usize {
        self.world.cluster.list("v1", "Pod", &env.namespace, &[]).await.unwrap().len()
    }
}

fn fred() -> Caller {
    caller("user:default/fred", &[(OWNER, Role::Maintainer)], &[])
}

fn reason(env: &Environment, aspect: Aspect) -> String {
    env.status.conditions.get(aspect).map(|c| c.reason.clone()).unwrap_or_default()
}

/// Whether what ran sleeps because nobody approved what is wanted now.
fn asleep(env: &Environment) -> bool {
    reason(env, Aspect::Asleep) == "UNAPPROVED" && env.is_settled()
}

fn message(env: &Environment, aspect: Aspect) -> String {
    env.status.conditions.get(aspect).map(|c| c.message.clone()).unwrap_or_default()
}

/// That what stands in the cluster is in quarantine.
async fn is_quarantined(shop: &Shop, env: &Environment) {
    let quota = shop.found(env, "v1", "ResourceQuota", "slipway-quota").await.unwrap();
    assert_eq!(
        (quota["spec"]["hard"]["requests.cpu"].as_str(), quota["spec"]["hard"]["pods"].as_str()),
        (Some("1000m"), Some("10"))
    );
    let policies = shop.world.cluster.list("networking.k8s.io/v1", "NetworkPolicy", &env.namespace, &[]).await.unwrap();
    let mut names: Vec<_> = policies.iter().filter_map(|p| p["metadata"]["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["slipway-allow-dns", "slipway-allow-gateway", "slipway-deny-all"]);
    let egress: Vec<_> = policies.iter().filter_map(|p| p["spec"]["egress"].as_array()).flatten().collect();
    assert!(egress.len() == 1 && egress[0]["ports"][0]["port"] == 53, "{egress:?}");
    let all = shop.world.cluster.list("v1", "Secret", &env.namespace, &[]).await.unwrap();
    assert_eq!(all, Vec::<serde_json::Value>::new());
    assert!(shop.fake.state().delivered.is_empty());
    assert!(!shop.world.log(&env.namespace).iter().any(|line| line.starts_with("deliver")));
    let namespace = shop.found(env, "v1", "Namespace", &env.namespace).await.unwrap();
    assert_eq!(namespace["metadata"]["labels"]["slipway.dev/class"], "quarantine");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(reason(env, Aspect::SecretsReady), "FORK_NO_SECRETS");
    assert_eq!(env.status.secret_names, [] as [&str; 0]);
}

#[tokio::test]
async fn a_fork_runs_what_was_approved_and_sleeps_after_a_push_until_that_is_approved_too() {
    for scratch in support::databases().await {
        let shop = Shop::new(scratch).await;
        shop.fake.state().secret_names = vec!["db".to_owned()];
        // Opened: it waits, and says for what. Nothing is in the cluster.
        shop.shows(1, 0).await;
        let env = shop.until_state(State::AwaitingApproval).await;
        assert!(message(&env, Aspect::Approved).contains(&sha(1)), "{}", message(&env, Aspect::Approved));
        assert_eq!((shop.world.log(""), env.power), (Vec::new(), Power::Awake));
        // Whoever opened it cannot let it in, and what was looked at must be what is there.
        assert_eq!(shop.approve_as(fred(), 1, images()).await.unwrap_err().reason().name, "SELF_APPROVAL");
        let stale = shop.approve(2).await.unwrap_err();
        assert_eq!(stale.reason().name, "STALE_COMMIT");
        shop.until_state(State::AwaitingApproval).await;
        // A member approves: it answers, in quarantine, for a day.
        let approved = shop.approve(1).await.unwrap();
        assert_eq!(approved.expire_us, Some(shop.clock.now_us() + LIFE_MAX_US));
        let env = shop.until_state(State::Ready).await;
        let told = message(&env, Aspect::Approved);
        assert!(
            told.contains("user:default/ann") && told.contains("quarantine") && told.contains("never checked"),
            "{told}"
        );
        is_quarantined(&shop, &env).await;
        assert!(shop.pods(&env).await > 0 && shop.deployment(&env).await.to_string().contains(&sha(1)));
        // A push: what ran sleeps within a minute, and nothing of the new commit is anywhere.
        shop.shows(2, 0).await;
        let (env, took_us) = shop.until("asleep", asleep).await;
        assert!(took_us <= MINUTE_US, "{took_us}");
        assert_eq!((env.state(), env.power, shop.pods(&env).await), (State::AwaitingApproval, Power::Asleep, 0));
        let deployment = shop.deployment(&env).await;
        assert_eq!(deployment["spec"]["replicas"], 0);
        assert!(!deployment.to_string().contains(&sha(2)));
        let told = message(&env, Aspect::Approved);
        assert!(told.contains(&sha(1)) && told.contains(&sha(2)) && told.contains("push"), "{told}");
        sleeps_on(&shop).await;
        // The commit before counts for nothing; the new one wakes it.
        assert_eq!(shop.approve(1).await.unwrap_err().reason().name, "STALE_COMMIT");
        shop.approve(2).await.unwrap();
        let env = shop.until_state(State::Ready).await;
        assert!(shop.deployment(&env).await.to_string().contains(&sha(2)));
        assert_eq!((shop.deployment(&env).await["spec"]["replicas"].as_i64(), env.power), (Some(2), Power::Awake));
        is_quarantined(&shop, &env).await;
        // Closed: gone.
        let at_us = shop.clock.now_us();
        shop.fake.set(REPOSITORY, "7", Reading::Ended { reason: RetireReason::Closed, at_us });
        let (env, _) = shop.until("deleted", |env| env.state() == State::Deleted).await;
        assert!(shop.found(&env, "v1", "Namespace", &env.namespace).await.is_none());
        assert_eq!(shop.world.taps().unguarded, [] as [&str; 0]);
        assert_eq!(shop.approve(2).await.unwrap_err().reason().name, "ENVIRONMENT_DELETING");
    }
}

/// Neither a person nor a visitor wakes what nobody approved.
async fn sleeps_on(shop: &Shop) {
    let woken = shop.app.wake(&call(ann(), "WakeEnvironment"), NAME).await.unwrap_err();
    assert_eq!(woken.reason().name, "APPROVAL_MISSING");
    let touch = Touch { host: "pr-7-payments.preview.localhost".to_owned(), requests: 3, wake: true };
    shop.app.touch_routes(&[touch]).await.unwrap();
    let env = shop.until_state(State::AwaitingApproval).await;
    assert_eq!((env.power, shop.pods(&env).await), (Power::Asleep, 0));
}

#[tokio::test]
async fn without_a_webhook_the_next_poll_puts_it_to_sleep() {
    let shop = Shop::simple().await;
    shop.shows(1, 0).await;
    shop.approve(1).await.unwrap();
    let env = shop.until_state(State::Ready).await;
    let item = slipway_kit::worker::item(&shop.scratch.db, WORK_ENVIRONMENT, &env.uid).await.unwrap().unwrap();
    let wait_us = item.next_us - Clock::system().now_us();
    assert!(wait_us <= MINUTE_US, "it is looked at again in {wait_us}");
    let other = Head { fork: true, ..head(2, 1) };
    shop.fake.set(REPOSITORY, "7", Reading::Open(other));
    // Also while the provider gives no answer any more: the push was seen.
    let mut tx = shop.scratch.db.begin().await.unwrap();
    enqueue(&mut tx, WORK_ENVIRONMENT, &env.uid, 0).await.unwrap();
    tx.commit().await.unwrap();
    worker(&shop.app, 1).run_due().await.unwrap();
    assert_eq!(shop.env().await.state(), State::AwaitingApproval);
    let unknown = Reading::Unknown { reason: "SCM_UNREACHABLE", message: "away".to_owned() };
    shop.fake.set(REPOSITORY, "7", unknown);
    let (env, _) = shop.until("asleep", asleep).await;
    assert_eq!(shop.pods(&env).await, 0);
}

#[tokio::test]
async fn another_base_and_other_images_are_another_content() {
    let shop = Shop::simple().await;
    shop.shows(1, 0).await;
    shop.approve(1).await.unwrap();
    let env = shop.until_state(State::Ready).await;
    let first = env.approval.clone().unwrap();
    assert_eq!((first.head_sha.clone(), first.base_sha.clone()), (sha(1), sha(0)));
    // The base moves: chart, values and configuration may be others.
    shop.shows(1, 9).await;
    let (env, _) = shop.until("asleep", asleep).await;
    assert!(message(&env, Aspect::Approved).contains("base moved"), "{}", message(&env, Aspect::Approved));
    // The images that were named for the commit are known: approving it needs no more than looking.
    let env = shop.approve_as(ann(), 1, BTreeMap::new()).await.unwrap();
    assert_ne!(env.approval.as_ref().unwrap().content_sha256, first.content_sha256);
    shop.until_state(State::Ready).await;
    // Somebody names another image for the same commit.
    let other = BTreeMap::from([("app".to_owned(), format!("ghcr.io/acme/payments@sha256:{}", "c".repeat(64)))]);
    let wanted = slipway_environment::app::WantedPreview { images: other, ..support::wanted(7, 1) };
    shop.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted).await.unwrap();
    let (env, _) = shop.until("asleep", asleep).await;
    assert!(message(&env, Aspect::Approved).contains("images"), "{}", message(&env, Aspect::Approved));
    assert_eq!(shop.pods(&env).await, 0);
}

#[tokio::test]
async fn a_day_is_a_day() {
    let shop = Shop::simple().await;
    shop.shows(1, 0).await;
    shop.approve(1).await.unwrap();
    let env = shop.until_state(State::Ready).await;
    let limit_us = env.approval.as_ref().unwrap().at_us + LIFE_MAX_US;
    let long = shop.app.extend(&call(ann(), "ExtendEnvironment"), NAME, LIFE_MAX_US, "").await.unwrap_err();
    assert_eq!(long.reason().name, "TTL_TOO_LONG");
    let pin = |until_us| slipway_environment::app::NewPin { reason: "demo".to_owned(), until_us };
    let beyond = shop.app.pin(&call(ann(), "PinEnvironment"), NAME, &pin(limit_us + 1), "").await.unwrap_err();
    assert_eq!(beyond.violations()[0].0, "expire_time");
    shop.app.pin(&call(ann(), "PinEnvironment"), NAME, &pin(limit_us), "").await.unwrap();
    // Approving what is approved changes nothing, and gives no more time.
    shop.clock.advance_us(MINUTE_US);
    let again = shop.approve(1).await.unwrap();
    assert_eq!((again.generation, again.expire_us), (env.generation, Some(limit_us)));
    shop.clock.advance_us(LIFE_MAX_US);
    let (env, _) = shop.until("deleted", |env| env.state() == State::Deleted).await;
    assert_eq!(env.retire.unwrap().reason, RetireReason::Expired);
}

#[tokio::test]
async fn with_the_target_git_the_sleeping_form_is_committed() {
    for scratch in support::databases().await {
        let (fake, app, clock) = support::shop(&scratch).await;
        let shop =
            Shop { world: Tapped::new(&fake, Arc::new(FakeCluster::new(clock.clone()))), scratch, fake, app, clock };
        shop.shows(1, 0).await;
        shop.approve(1).await.unwrap();
        shop.until_state(State::Published).await;
        let replicas = || {
            let state = shop.fake.state();
            let folder = &state.folders["environments/development/payments/pr-7-payments"];
            let text: Vec<_> = folder.files.iter().filter(|(name, _)| name.contains("deployment")).collect();
            (text.len(), text[0].1.contains("replicas: 0"), folder.files.iter().any(|(_, text)| text.contains(&sha(2))))
        };
        assert_eq!(replicas(), (1, false, false));
        shop.shows(2, 0).await;
        shop.until("asleep", |env| reason(env, Aspect::Published) == "UNAPPROVED").await;
        shop.until_state(State::AwaitingApproval).await;
        let (found, sleeps, _) = replicas();
        assert!(found == 1 && sleeps);
        shop.approve(2).await.unwrap();
        shop.until_state(State::Published).await;
        assert_eq!(replicas(), (1, false, true));
    }
}

/// Workers die at every effect; approvals are one transaction, so that there is never half of one.
#[tokio::test]
async fn deaths_at_every_effect_let_nothing_unapproved_run() {
    mistakes::quiet();
    for at in 1..=30 {
        let kill = if at % 2 == 0 { Kill::Before } else { Kill::After };
        let shop = Shop::simple().await;
        shop.world.taps().kills.insert("payments-pr-7".to_owned(), vec![(at, kill)]);
        shop.shows(1, 0).await;
        shop.approve(1).await.unwrap();
        shop.until_state(State::Ready).await;
        shop.shows(2, 0).await;
        let (env, _) = shop.until("asleep", asleep).await;
        assert_eq!(shop.pods(&env).await, 0, "{at} {kill:?}");
        assert!(!shop.deployment(&env).await.to_string().contains(&sha(2)), "{at} {kill:?}");
        shop.approve(2).await.unwrap();
        let env = shop.until_state(State::Ready).await;
        assert!(shop.deployment(&env).await.to_string().contains(&sha(2)));
        let at_us = shop.clock.now_us();
        shop.fake.set(REPOSITORY, "7", Reading::Ended { reason: RetireReason::Closed, at_us });
        let (env, _) = shop.until("deleted", |env| env.state() == State::Deleted).await;
        assert!(shop.found(&env, "v1", "Namespace", &env.namespace).await.is_none(), "{at} {kill:?}");
        assert_eq!(shop.world.taps().unguarded, [] as [&str; 0]);
    }
}

fn name_of(error: &Error) -> &'static str {
    error.reason().name
}
