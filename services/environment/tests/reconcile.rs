//! The loops over a world in memory: previews from hint to receipt, kills at every effect, and five thousand shuffled
//! events.
#![allow(clippy::unwrap_used)]
mod support;

use slipway_environment::{
    app::{WORK_ENVIRONMENT, WORK_PULL_REQUEST, pull_request_id},
    model::{
        condition::Aspect,
        environment::{Environment, RetireReason},
        manifest::Doc,
        preview::{Head, Reading},
        state::State,
        tier::Tier,
    },
    store::Store,
    wire::event::BindingChange,
    worker,
    world::{
        Fault, Job, Renderer, World,
        fake::{Fake, Kill},
    },
};
use slipway_kit::{
    clock::Clock,
    db::scratch::Scratch,
    worker::{enqueue, item},
};
use support::{OWNER, REPOSITORY, ann, call, head, open, shop, wanted};

const KEY: &str = "pr:local/100:7:component:default/payments";

fn hook(number: i64) -> Vec<u8> {
    format!(r#"{{"action":"whatever","number":{number},"pull_request":{{"state":"lies"}},"repository":{{"id":{REPOSITORY}}}}}"#).into_bytes()
}

async fn run(app: &slipway_environment::app::App) {
    worker(app, 4).run_due().await.unwrap();
}

/// Makes every item of work due now, as time would.
async fn wake(scratch: &Scratch, number: i64) {
    let store = Store::new(scratch.db.clone());
    let mut tx = scratch.db.begin().await.unwrap();
    for uid in store.all_living().await.unwrap_or_default() {
        enqueue(&mut tx, WORK_ENVIRONMENT, &uid, 0).await.unwrap();
    }
    enqueue(&mut tx, WORK_PULL_REQUEST, &pull_request_id("local", REPOSITORY, number), 0).await.unwrap();
    tx.commit().await.unwrap();
}

async fn living(scratch: &Scratch) -> Option<Environment> {
    Store::new(scratch.db.clone()).living(&scratch.db, KEY).await.unwrap()
}

#[tokio::test]
async fn a_webhook_makes_a_preview_and_ci_brings_its_image() {
    for scratch in support::databases().await {
        let (fake, app, _) = shop(&scratch).await;
        fake.set(REPOSITORY, "7", open(1));
        app.hint("local", "pull_request", &hook(7)).await.unwrap();
        app.hint("local", "pull_request", &hook(7)).await.unwrap();
        run(&app).await;
        let env = living(&scratch).await.unwrap();
        assert_eq!((env.state(), env.owner.as_str()), (State::Pending, OWNER), "{}", scratch.engine);
        app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        run(&app).await;
        let env = living(&scratch).await.unwrap();
        assert_eq!((env.state(), env.generation), (State::Published, 2));
        let folder = fake.state().folders.get("environments/development/payments/pr-7-payments").cloned().unwrap();
        assert_eq!(folder.commits, [(env.uid.clone(), 2)]);
        assert!(folder.files.iter().any(|(name, _)| name == "25-resourcequota-slipway-quota.yaml"));
        // A push, then a late delivery of the old one: the newest commit is shown once.
        fake.set(REPOSITORY, "7", open(2));
        app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 2)).await.unwrap();
        for _ in 0..3 {
            app.hint("local", "pull_request", &hook(7)).await.unwrap();
            run(&app).await;
        }
        let env = living(&scratch).await.unwrap();
        assert_eq!(
            (env.spec.source.head_sha.clone(), env.generation, env.state()),
            (support::sha(2), 3, State::Published)
        );
        // Closed: gone, with a receipt, and no late hint brings it back.
        fake.set(REPOSITORY, "7", Reading::Ended { reason: RetireReason::Closed, at_us: 50 });
        app.hint("local", "pull_request", &hook(7)).await.unwrap();
        run(&app).await;
        wake(&scratch, 7).await;
        run(&app).await;
        assert_eq!(living(&scratch).await, None);
        let receipt =
            app.receipt(&call(ann(), "GetTeardownReceipt"), &format!("teardownReceipts/{}", env.uid)).await.unwrap();
        assert_eq!((receipt.reason.as_str(), receipt.objects[0].kind.as_str()), ("CLOSED", "GitFile"));
        fake.set(REPOSITORY, "7", open(2));
        app.hint("local", "pull_request", &hook(7)).await.unwrap();
        run(&app).await;
        assert_eq!(living(&scratch).await, None);
        // Reopened: a new life under the same name, in another namespace.
        fake.set(REPOSITORY, "7", Reading::Open(head(2, 60)));
        app.hint("local", "pull_request", &hook(7)).await.unwrap();
        run(&app).await;
        let again = living(&scratch).await.unwrap();
        assert_eq!(again.label_id, env.label_id);
        assert!(again.uid != env.uid && again.namespace != env.namespace);
    }
}

#[tokio::test]
async fn lost_webhooks_are_healed_by_polling() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let (fake, app, _) = shop(&scratch).await;
    fake.set(REPOSITORY, "7", open(1));
    app.poll("local").await.unwrap();
    run(&app).await;
    assert!(living(&scratch).await.is_some());
    // Nothing is missing now: nothing is enqueued.
    app.poll("local").await.unwrap();
    assert!(item(&scratch.db, WORK_PULL_REQUEST, &pull_request_id("local", REPOSITORY, 7)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_kill_at_any_effect_doubles_and_leaks_nothing() {
    let mut points = 0;
    for n in 1..=6 {
        for kill in [Kill::Before, Kill::After] {
            let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
            let number = 100 + n as i64 * 2 + i64::from(kill == Kill::After);
            let (fake, app, _) = shop(&scratch).await;
            let folder = format!("environments/development/payments/pr-{number}-payments");
            let key = format!("pr:local/100:{number}:component:default/payments");
            let store = Store::new(scratch.db.clone());
            fake.state().kill_at = Some((n, kill));
            fake.set(REPOSITORY, &number.to_string(), open(1));
            app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(number, 1)).await.unwrap();
            settle(&scratch, &app, number).await;
            let env = store.living(&scratch.db, &key).await.unwrap().unwrap();
            assert_eq!(env.state(), State::Published, "{n} {kill:?}: {:?}", env.status.conditions);
            fake.set(REPOSITORY, &number.to_string(), Reading::Ended { reason: RetireReason::Merged, at_us: 9 });
            settle(&scratch, &app, number).await;
            let commits = fake.state().folders[&folder].commits.clone();
            assert_eq!(commits, [(env.uid.clone(), 1), (env.uid.clone(), -1)], "{n} {kill:?}");
            assert!(fake.state().folders[&folder].files.is_empty());
            assert_eq!(store.living(&scratch.db, &key).await.unwrap(), None);
            assert!(store.receipt(&scratch.db, &env.uid).await.unwrap().unwrap().objects.len() > 3);
            points += u32::from(fake.state().effects >= n);
        }
    }
    assert!(points >= 8, "only {points} kill points were reached");
}

/// Works until the newest state is reached, as restarts would.
async fn settle(scratch: &Scratch, app: &slipway_environment::app::App, number: i64) {
    for _ in 0..4 {
        wake(scratch, number).await;
        run(app).await;
    }
}

#[tokio::test]
async fn a_fork_waits_and_a_broken_chart_says_why() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let (fake, app, clock) = shop(&scratch).await;
    fake.set(REPOSITORY, "7", Reading::Open(Head { fork: true, ..head(1, 1) }));
    app.hint("local", "pull_request", &hook(7)).await.unwrap();
    run(&app).await;
    assert_eq!(living(&scratch).await.unwrap().state(), State::AwaitingApproval);
    assert_eq!(fake.state().folders.len(), 0);
    fake.state().fault = Some(Fault { reason: "CHART_BROKEN", message: "line 3".to_owned() });
    fake.set(REPOSITORY, "7", open(2));
    app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 2)).await.unwrap();
    run(&app).await;
    let env = living(&scratch).await.unwrap();
    assert_eq!((env.state(), env.is_settled()), (State::Failed, true));
    // The slow retry finds it mended.
    fake.state().fault = None;
    clock.advance_us(16 * 60_000_000);
    settle(&scratch, &app, 7).await;
    assert_eq!(living(&scratch).await.unwrap().state(), State::Published);
    // Its time is over: it ends although nobody asked.
    clock.advance_us(73 * 3_600_000_000);
    settle(&scratch, &app, 7).await;
    assert_eq!(living(&scratch).await, None);
}

#[tokio::test]
async fn a_new_binding_is_a_new_generation() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let (fake, app, _) = shop(&scratch).await;
    fake.set(REPOSITORY, "7", open(1));
    app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
    run(&app).await;
    let change = |secret_name: &str, is_gone| BindingChange {
        service: support::SERVICE.to_owned(),
        tier: Some(Tier::Development),
        environment_uid: String::new(),
        secret_name: secret_name.to_owned(),
        is_gone,
    };
    // What no manifest refers to is no news.
    for (change, generation) in
        [(change("db", true), 1), (change("db", false), 2), (change("db", false), 2), (change("db", true), 3)]
    {
        fake.state().secret_names = if change.is_gone { Vec::new() } else { vec!["db".to_owned()] };
        let mut tx = scratch.db.begin().await.unwrap();
        app.rebind(&mut tx, &change).await.unwrap();
        tx.commit().await.unwrap();
        run(&app).await;
        let env = living(&scratch).await.unwrap();
        assert_eq!(
            (env.generation, env.state(), &env.status.secret_names),
            (generation, State::Published, &fake.state().secret_names)
        );
    }
}

#[tokio::test]
async fn nothing_is_published_before_what_is_bound_exists() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let (fake, app, _) = shop(&scratch).await;
    fake.set(REPOSITORY, "7", open(1));
    fake.state().secret_names = vec!["db".to_owned()];
    fake.state().secrets_missing = vec!["secrets/payments-h4vyy/development has no key DSN".to_owned()];
    app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
    run(&app).await;
    let env = living(&scratch).await.unwrap();
    assert_eq!(env.state(), State::Provisioning);
    let told = env.status.conditions.get(Aspect::SecretsReady).unwrap();
    assert!(told.reason == "SECRET_MISSING" && told.message.contains("no key DSN"), "{told:?}");
    fake.state().secrets_missing.clear();
    wake(&scratch, 7).await;
    run(&app).await;
    assert_eq!(living(&scratch).await.unwrap().state(), State::Published);
}

#[tokio::test]
async fn a_service_the_catalog_does_not_know_yet_is_looked_at_again() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let (fake, app, _) = shop(&scratch).await;
    let facts = fake.state().services.remove(support::SERVICE).unwrap();
    fake.set(REPOSITORY, "7", open(1));
    app.hint("local", "pull_request", &hook(7)).await.unwrap();
    run(&app).await;
    let waiting = item(&scratch.db, WORK_PULL_REQUEST, &pull_request_id("local", REPOSITORY, 7)).await.unwrap();
    assert!(waiting.is_some_and(|item| !item.parked));
    fake.state().services.insert(support::SERVICE.to_owned(), facts);
    wake(&scratch, 7).await;
    run(&app).await;
    assert!(living(&scratch).await.is_some());
}

/// Renders, and lets another worker take the item meanwhile, as after a pause longer than the lease.
struct Thief {
    fake: Fake,
    db: slipway_kit::db::Db,
}

#[async_trait::async_trait]
impl Renderer for Thief {
    async fn render(&self, job: &Job<'_>) -> slipway_kit::error::Result<Result<Vec<Doc>, Fault>> {
        let alive = "INSERT INTO members (id, lease_until_us) VALUES ('another', NOW_US() + 600000000)";
        self.db.execute(alive, Vec::new()).await?;
        let taken = "UPDATE work SET epoch = epoch + 1, member = 'another' WHERE kind = 'environment'";
        self.db.execute(taken, Vec::new()).await?;
        self.fake.render(job).await
    }
}

#[tokio::test]
async fn a_worker_that_lost_its_claim_writes_nothing() {
    for scratch in support::databases().await {
        let (fake, app, clock) = shop(&scratch).await;
        fake.set(REPOSITORY, "7", open(1));
        app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        let thief = Thief { fake: fake.clone(), db: scratch.db.clone() };
        let world = World { renderer: std::sync::Arc::new(thief), ..fake.world() };
        let paused = support::app_over(&scratch, world, clock).await;
        run(&paused).await;
        let env = living(&scratch).await.unwrap();
        assert_eq!(env.status.conditions.get(Aspect::Rendered), None, "{}", scratch.engine);
        assert!(fake.state().folders.is_empty());
        // The other one dies; whoever comes next begins where the last saved step was.
        scratch.db.execute("DELETE FROM members WHERE id = 'another'", Vec::new()).await.unwrap();
        wake(&scratch, 7).await;
        run(&app).await;
        assert_eq!(living(&scratch).await.unwrap().state(), State::Published);
        assert_eq!(fake.state().folders["environments/development/payments/pr-7-payments"].commits, [(env.uid, 1)]);
    }
}

/// Renders, while somebody pushes and CI names the new commit.
struct Pusher {
    fake: Fake,
    app: slipway_environment::app::App,
    done: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl Renderer for Pusher {
    async fn render(&self, job: &Job<'_>) -> slipway_kit::error::Result<Result<Vec<Doc>, Fault>> {
        if !self.done.swap(true, std::sync::atomic::Ordering::SeqCst) {
            self.fake.set(REPOSITORY, "7", open(2));
            self.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 2)).await?;
        }
        self.fake.render(job).await
    }
}

#[tokio::test]
async fn a_push_during_a_look_is_never_undone_by_what_the_look_had_read() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let (fake, app, clock) = shop(&scratch).await;
    fake.set(REPOSITORY, "7", open(1));
    app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
    let pusher = Pusher { fake: fake.clone(), app: app.clone(), done: false.into() };
    let world = World { renderer: std::sync::Arc::new(pusher), ..fake.world() };
    run(&support::app_over(&scratch, world, clock).await).await;
    let env = living(&scratch).await.unwrap();
    assert_eq!((env.generation, env.spec.source.head_sha.clone(), env.state()), (2, support::sha(2), State::Published));
    let commits = fake.state().folders["environments/development/payments/pr-7-payments"].commits.clone();
    assert_eq!(commits, [(env.uid, 2)]);
}

/// A small generator, so that a failing history can be told again by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// The truth about one pull request, as the SCM knows it.
#[derive(Clone, Copy)]
struct Truth {
    sha: u64,
    is_open: bool,
    opened_us: i64,
    changed_us: i64,
}

fn set(fake: &Fake, number: u64, truth: Truth) {
    let reading = if truth.is_open {
        Reading::Open(head(truth.sha, truth.opened_us))
    } else {
        Reading::Ended { reason: RetireReason::Closed, at_us: truth.changed_us }
    };
    fake.set(REPOSITORY, &number.to_string(), reading);
}

#[tokio::test]
async fn five_thousand_shuffled_doubled_delayed_and_lost_events_converge() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let (fake, app, clock) = shop(&scratch).await;
    let mut dice = Dice(7);
    let mut truths = [Truth { sha: 0, is_open: false, opened_us: 0, changed_us: 0 }; 200];
    let mut late: Vec<u64> = Vec::new();
    for event in 1..=5000u64 {
        let number = dice.roll(200);
        let (truth, now_us) = (&mut truths[number as usize], event as i64 * 10);
        truth.changed_us = now_us;
        match (truth.is_open, dice.roll(5)) {
            (true, 0) => truth.is_open = false,
            (true, _) => truth.sha = event,
            (false, _) => (truth.is_open, truth.sha, truth.opened_us) = (true, event, now_us),
        }
        set(&fake, number + 1, *truth);
        // Lost, in time, doubled, or kept for later.
        match dice.roll(4) {
            0 => {}
            1 => late.push(number),
            times => {
                for _ in 1..times {
                    app.hint("local", "pull_request", &hook(number as i64 + 1)).await.unwrap();
                }
            }
        }
        if dice.roll(3) == 0 && !late.is_empty() {
            let number = late.swap_remove(dice.roll(late.len() as u64) as usize);
            app.hint("local", "pull_request", &hook(number as i64 + 1)).await.unwrap();
        }
        // CI names the newest commit, or one that is not it any more.
        if dice.roll(3) == 0 {
            let sha = truths[number as usize].sha.saturating_sub(dice.roll(2));
            let _ = app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(number as i64 + 1, sha)).await;
        }
        if event % 40 == 0 {
            run(&app).await;
        }
    }
    converge(&scratch, &app, &clock, &truths).await;
    check(&scratch, &fake, &truths).await;
}

/// Polling heals what was lost, and CI brings the images of the last commits.
async fn converge(scratch: &Scratch, app: &slipway_environment::app::App, clock: &Clock, truths: &[Truth]) {
    for round in 0..8 {
        clock.advance_us(10 * 60_000_000);
        app.poll("local").await.unwrap();
        // So much ends at once that the source is held; here it is right.
        support::release_all(app).await;
        for (at, truth) in truths.iter().enumerate().filter(|(_, t)| t.is_open && round > 3) {
            let _ = app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(at as i64 + 1, truth.sha)).await;
        }
        wake(scratch, 1).await;
        run(app).await;
    }
}

async fn check(scratch: &Scratch, fake: &Fake, truths: &[Truth]) {
    let store = Store::new(scratch.db.clone());
    for (at, truth) in truths.iter().enumerate() {
        let number = at + 1;
        let key = format!("pr:local/100:{number}:component:default/payments");
        let living = store.living(&scratch.db, &key).await.unwrap();
        let folder = format!("environments/development/payments/pr-{number}-payments");
        let folder = fake.state().folders.get(&folder).cloned().unwrap_or_default();
        assert_eq!(living.is_some(), truth.is_open, "pull request {number}");
        match living {
            Some(env) => {
                assert_eq!(env.spec.source.head_sha, support::sha(truth.sha), "pull request {number}");
                assert_eq!(env.state(), State::Published, "pull request {number}: {:?}", env.status.conditions);
                assert!(folder.files.iter().any(|(_, text)| text.contains(&support::sha(truth.sha))));
            }
            None => assert!(folder.files.is_empty(), "pull request {number} left files"),
        }
        // Within a life generations only grow, and each is committed once.
        for pair in folder.commits.windows(2).filter(|p| p[0].0 == p[1].0 && p[1].1 != -1) {
            assert!(pair[0].1 < pair[1].1 && pair[0].1 != -1, "pull request {number}: {:?}", folder.commits);
        }
    }
}
