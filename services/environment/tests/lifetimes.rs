//! Sleep, wake, pin and retry as people ask for them, and the mistakes they make.
#![allow(clippy::unwrap_used, missing_docs)]
mod support;

use slipway_environment::{
    app::{App, NewEnvironment, NewPin, WantedPreview},
    model::{
        condition::Aspect,
        config,
        environment::{Environment, Kind, Power, RetireReason, Target},
        preview::{Head, Reading},
        tier::Tier,
    },
    store::Store,
    world::fake::Fake,
};
use slipway_kit::{clock::Clock, db::scratch::Scratch};
use support::{REPOSITORY, ann, call, open, shop, stranger, wanted};

const NAME: &str = "environments/pr-7-payments";

async fn preview(scratch: &Scratch) -> (App, slipway_kit::clock::Clock) {
    let (fake, app, clock) = shop(scratch).await;
    fake.set(REPOSITORY, "7", open(1));
    app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
    (app, clock)
}

/// Makes the preview one that is applied to a cluster, as it would be with a registered one.
async fn applied(scratch: &Scratch) {
    let store = Store::new(scratch.db.clone());
    let mut tx = scratch.db.begin().await.unwrap();
    let mut env = store.by_label(&mut tx, "pr-7-payments").await.unwrap().unwrap();
    let read = env.version;
    (env.target, env.version) = (Target::Apply, read + 1);
    store.update(&mut tx, &env, read).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn it_sleeps_and_wakes_and_both_can_be_said_twice() {
    for scratch in support::databases().await {
        let (app, clock) = preview(&scratch).await;
        let refused = app.sleep(&call(ann(), "SleepEnvironment"), NAME, "").await.unwrap_err();
        assert_eq!(refused.reason().name, "CLUSTER_NOT_OBSERVED");
        applied(&scratch).await;
        for _ in 0..2 {
            let env = app.sleep(&call(ann(), "SleepEnvironment"), NAME, "").await.unwrap();
            assert_eq!((env.power, env.generation), (Power::Asleep, 1));
        }
        clock.advance_us(60_000_000);
        let env = app.wake(&call(ann(), "WakeEnvironment"), NAME).await.unwrap();
        assert_eq!((env.power, env.used_us), (Power::Awake, app_now(&clock)));
        let refused = app.sleep(&call(stranger(), "SleepEnvironment"), NAME, "").await.unwrap_err();
        assert_eq!(refused.reason().name, "PERMISSION_DENIED");
        let refused = app.sleep(&call(ann(), "SleepEnvironment"), NAME, "stale-1").await.unwrap_err();
        assert_eq!(refused.reason().name, "ETAG_MISMATCH");
    }
}

#[tokio::test]
async fn a_pin_has_a_reason_and_an_end() {
    for scratch in support::databases().await {
        let (app, clock) = preview(&scratch).await;
        let now_us = app_now(&clock);
        let day_us = 86_400_000_000;
        let wrong = NewPin { reason: " ".to_owned(), until_us: now_us + 15 * day_us };
        let refused = app.pin(&call(ann(), "PinEnvironment"), NAME, &wrong, "").await.unwrap_err();
        let fields: Vec<&str> = refused.violations().iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["reason", "expire_time"]);
        let pin = NewPin { reason: "demo on Friday".to_owned(), until_us: now_us + 3 * day_us };
        let env = app.pin(&call(ann(), "PinEnvironment"), NAME, &pin, "").await.unwrap();
        let kept = env.pin.unwrap();
        assert_eq!((kept.reason.as_str(), kept.actor.as_str()), ("demo on Friday", "user:default/ann"));
        let env = app.unpin(&call(ann(), "UnpinEnvironment"), NAME, "").await.unwrap();
        assert_eq!(env.pin, None);
        let refused = app.retry(&call(ann(), "RetryEnvironment"), NAME).await.unwrap_err();
        assert_eq!(refused.reason().name, "NOTHING_TO_RETRY");
    }
}

fn app_now(clock: &slipway_kit::clock::Clock) -> i64 {
    clock.now_us()
}

const HOUR_US: i64 = 3_600_000_000;
const FIVE_MINUTES: i64 = 300_000_000;

/// A look at everything, by a service that has just started.
async fn look(scratch: &Scratch, fake: &Fake, clock: &Clock) -> Environment {
    let app = support::app_over(scratch, fake.world(), clock.clone()).await;
    app.wake_all().await.unwrap();
    slipway_environment::worker(&app, 1).run_due().await.unwrap();
    Store::new(scratch.db.clone()).by_label(&scratch.db, "pr-7-payments").await.unwrap().unwrap()
}

/// The warnings that were told, in order.
async fn warnings(scratch: &Scratch) -> Vec<String> {
    let stored = slipway_kit::journal::read(&scratch.db, 0, 1000).await.unwrap();
    let told = stored.iter().filter(|event| event.subject.ends_with(".EnvironmentExpiring"));
    told.map(|event| {
        let payload: serde_json::Value = serde_json::from_str(&event.payload_json).unwrap();
        assert_eq!(payload["environment"], NAME);
        payload["warning"].as_str().unwrap().to_owned()
    })
    .collect()
}

fn expiring(env: &Environment) -> Option<&str> {
    env.status.conditions.get(Aspect::Expiring).map(|c| c.reason.as_str())
}

#[tokio::test]
async fn its_end_is_warned_of_a_day_and_an_hour_ahead_once_each() {
    for scratch in support::databases().await {
        let (fake, app, clock) = shop(&scratch).await;
        fake.set(REPOSITORY, "7", open(1));
        app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        assert_eq!(expiring(&look(&scratch, &fake, &clock).await), None);
        clock.advance_us(48 * HOUR_US - FIVE_MINUTES);
        assert_eq!(expiring(&look(&scratch, &fake, &clock).await), None);
        clock.advance_us(FIVE_MINUTES);
        for _ in 0..3 {
            assert_eq!(expiring(&look(&scratch, &fake, &clock).await), Some("EXPIRES_WITHIN_A_DAY"));
            clock.advance_us(HOUR_US);
        }
        clock.advance_us(20 * HOUR_US);
        for _ in 0..2 {
            assert_eq!(expiring(&look(&scratch, &fake, &clock).await), Some("EXPIRES_WITHIN_AN_HOUR"));
            clock.advance_us(FIVE_MINUTES);
        }
        assert_eq!(warnings(&scratch).await, ["WARNING_DAY", "WARNING_HOUR"]);
        // Who extends it hears of the new end when that is near; who pins it as well.
        app.extend(&call(ann(), "ExtendEnvironment"), NAME, 30 * HOUR_US, "").await.unwrap();
        assert_eq!(expiring(&look(&scratch, &fake, &clock).await), None);
        clock.advance_us(10 * HOUR_US);
        look(&scratch, &fake, &clock).await;
        let pin = NewPin { reason: "demo".to_owned(), until_us: app_now(&clock) + 48 * HOUR_US };
        app.pin(&call(ann(), "PinEnvironment"), NAME, &pin, "").await.unwrap();
        assert_eq!(expiring(&look(&scratch, &fake, &clock).await), None);
        clock.advance_us(47 * HOUR_US + FIVE_MINUTES);
        assert_eq!(expiring(&look(&scratch, &fake, &clock).await), Some("EXPIRES_WITHIN_AN_HOUR"));
        assert_eq!(warnings(&scratch).await, ["WARNING_DAY", "WARNING_HOUR", "WARNING_DAY", "WARNING_HOUR"]);
        assert_eq!(look(&scratch, &fake, &clock).await.retire, None);
        clock.advance_us(HOUR_US);
        let env = look(&scratch, &fake, &clock).await;
        assert_eq!(env.retire.map(|retire| retire.reason), Some(RetireReason::Expired));
    }
}

#[tokio::test]
async fn a_clock_that_is_set_deletes_nothing_early() {
    for scratch in support::databases().await {
        let (fake, app, clock) = shop(&scratch).await;
        fake.set(REPOSITORY, "7", open(1));
        app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        clock.advance_us(71 * HOUR_US + FIVE_MINUTES);
        look(&scratch, &fake, &clock).await;
        // An hour forward: its time is over by the clock, and not in truth.
        clock.set_by_us(HOUR_US);
        assert_eq!(look(&scratch, &fake, &clock).await.retire, None);
        // Set right again, and an hour too far back.
        clock.set_by_us(-HOUR_US);
        assert_eq!(look(&scratch, &fake, &clock).await.retire, None);
        clock.set_by_us(-HOUR_US);
        assert_eq!(look(&scratch, &fake, &clock).await.retire, None);
        assert_eq!(warnings(&scratch).await, ["WARNING_HOUR"]);
        clock.set_by_us(HOUR_US);
        clock.advance_us(HOUR_US);
        let env = look(&scratch, &fake, &clock).await;
        assert_eq!(env.retire.map(|retire| retire.reason), Some(RetireReason::Expired), "and it is not kept for ever");
    }
}

#[tokio::test]
async fn idle_time_is_the_callers_or_the_repositorys_or_the_tiers() {
    for scratch in support::databases().await {
        let (fake, app, _) = shop(&scratch).await;
        let file = |text: &str| Reading::Open(Head { config: config::parse(text), ..support::head(1, 1) });
        let plain = "apiVersion: slipway.dev/v1\nkind: Environments\n";
        fake.set(REPOSITORY, "7", file(plain));
        let ensure = |idle_us| WantedPreview { idle_us, ..wanted(7, 1) };
        let asked = |idle_us| {
            let app = app.clone();
            async move { app.ensure_preview(&call(ann(), "EnsurePreview"), &ensure(idle_us)).await }
        };
        let env = asked(None).await.unwrap();
        assert_eq!((env.idle_us(), env.generation), (Some(2 * HOUR_US), 1));
        for (idle_us, rule) in
            [(0, "never"), (FIVE_MINUTES - 1, "5 minutes to 7 days"), (8 * 24 * HOUR_US, "to 7 days")]
        {
            let refused = asked(Some(idle_us)).await.unwrap_err();
            assert_eq!(refused.reason().name, "INVALID_FIELD");
            let (field, text) = &refused.violations()[0];
            assert!(field == "idle_sleep" && text.contains(rule), "{field}: {text}");
        }
        // A changed time alone brings nothing out.
        let env = asked(Some(HOUR_US)).await.unwrap();
        assert_eq!((env.idle_us(), env.generation), (Some(HOUR_US), 1));
        assert_eq!(asked(None).await.unwrap().idle_us(), Some(HOUR_US), "what was asked for stays");
        fake.set(
            REPOSITORY,
            "8",
            file(&format!("{plain}lifecycle: {{idleSleep: {{preview: 30m, staging: never}}}}\n")),
        );
        let wanted = WantedPreview { pull_request: 8, ..ensure(None) };
        let env = app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted).await.unwrap();
        assert_eq!(env.idle_us(), Some(HOUR_US / 2));
        let new = NewEnvironment {
            service: support::SERVICE.to_owned(),
            kind: Some(Kind::Personal),
            idle_us: Some(0),
            ..NewEnvironment::default()
        };
        fake.set(REPOSITORY, "main", file(plain));
        let refused = app.create(&call(ann(), "CreateEnvironment"), &new).await.unwrap_err();
        assert_eq!(refused.violations()[0].0, "environment.idle_sleep");
        let mine = NewEnvironment { idle_us: None, ..new.clone() };
        let env = app.create(&call(ann(), "CreateEnvironment"), &mine).await.unwrap();
        assert_eq!(env.idle_us(), Some(8 * HOUR_US));
        let staging = NewEnvironment { kind: Some(Kind::LongLived), tier: Some(Tier::Staging), ..new };
        let env = app.create(&call(ann(), "CreateEnvironment"), &staging).await.unwrap();
        assert_eq!((env.idle_us(), env.spec.idle_us), (None, Some(0)));
    }
}
