//! Sleep, wake, pin and retry as people ask for them, and the mistakes they make.
#![allow(clippy::unwrap_used, missing_docs)]
mod support;

use slipway_environment::{
    app::{App, NewPin},
    model::environment::{Power, Target},
    store::Store,
};
use slipway_kit::db::scratch::Scratch;
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
