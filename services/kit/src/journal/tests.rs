//! Numbers without gaps, following without misses, and positions that are too old.
use futures::StreamExt as _;

use super::*;
use crate::{
    db::{Migrations, scratch},
    error::{INVALID_FIELD, RESUME_TOKEN_EXPIRED},
    serve::Shutdown,
};

fn new(key: &str, n: usize) -> NewEvent {
    NewEvent { subject: "x.v1.Made", key: key.to_owned(), payload_json: format!("{{\"n\":{n}}}") }
}

async fn add(db: &Db, key: &str, n: usize) {
    let mut tx = db.begin().await.expect("tx");
    append(&mut tx, new(key, n)).await.expect("append");
    tx.commit().await.expect("commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_come_in_commit_order_without_gaps_whatever_rolls_back() {
    for scratch in scratch::each(&Migrations::none()).await {
        let db = &scratch.db;
        let shutdown = Shutdown::new();
        // A reader that follows from the start sees each number once, in order, while eight writers commit and roll back.
        let reader =
            tokio::spawn(follow(db, 0, shutdown.clone()).take(120).map(|e| e.expect("event").seq).collect::<Vec<_>>());
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..8usize {
            let db = db.clone();
            tasks.spawn(async move {
                for n in 0..20usize {
                    let mut tx = db.begin().await.expect("tx");
                    append(&mut tx, new("k", n)).await.expect("append");
                    if (n + writer) % 4 == 3 {
                        drop(tx);
                    } else {
                        tx.commit().await.expect("commit");
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("writer");
        }
        assert_eq!(reader.await.expect("reader"), (1..=120).collect::<Vec<i64>>(), "{}", scratch.engine);
        assert_eq!(head(db).await.expect("head").seq, 120);
    }
}

#[tokio::test]
async fn a_follower_wakes_on_commit_and_ends_at_shutdown() {
    for scratch in scratch::each(&Migrations::none()).await {
        let (db, shutdown) = (&scratch.db, Shutdown::new());
        add(db, "a", 1).await;
        let mut events = Box::pin(follow(db, 1, shutdown.clone()));
        let next = tokio::spawn(async move { (events.next().await, events) });
        tokio::task::yield_now().await;
        add(db, "b", 2).await;
        let (event, mut events) = next.await.expect("follower");
        assert_eq!(event.expect("one").expect("event").key, "b", "{}", scratch.engine);
        shutdown.begin();
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn what_retention_removed_is_said_and_not_passed_over() {
    for scratch in scratch::each(&Migrations::none()).await {
        let db = &scratch.db;
        for n in 1..=10 {
            add(db, "a", n).await;
        }
        assert_eq!(trim(db, 1).await.expect("trim"), 0, "never fewer than a hundred thousand");
        assert_eq!(trim_to(db, 4).await.expect("trim"), 6, "{}", scratch.engine);
        for (after, ok) in [(0, true), (5, false), (6, true), (10, true), (11, false)] {
            let checked = check(db, after).await;
            assert_eq!(checked.is_ok(), ok, "after {after}");
            assert!(checked.is_ok() || checked.is_err_and(|e| e.is(&RESUME_TOKEN_EXPIRED)));
        }
        let first = Box::pin(follow(db, 3, Shutdown::new())).next().await.expect("an answer");
        assert!(first.expect_err("too old").is(&RESUME_TOKEN_EXPIRED));
        let oldest = Box::pin(follow(db, 0, Shutdown::new())).next().await.expect("one").expect("event");
        assert_eq!(oldest.seq, 7);
        let here = head(db).await.expect("head");
        assert!(check_position(db, &here).await.is_ok());
        assert!(check_position(db, &Position { store_id: "other".to_owned(), ..here.clone() }).await.is_err());
        assert!(check_position(db, &Position { seq: 0, ..here }).await.is_err(), "0 of a list is not the oldest kept");
    }
}

#[test]
fn a_message_survives_its_event() {
    use slipway_proto::journal::v1::{Event, WatchEventsRequest};
    let message = Event { seq: 7, event_id: "ü".to_owned(), ..Event::default() };
    let event = event("k", &message);
    assert_eq!((event.subject, event.payload_json.contains("eventId")), ("slipway.journal.v1.Event", true));
    let mut stored = Stored {
        seq: 1,
        event_id: String::new(),
        subject: event.subject.to_owned(),
        key: event.key,
        payload_json: event.payload_json,
        created_us: 0,
        traceparent: String::new(),
    };
    assert_eq!(stored.decode::<Event>().expect("decodes"), message);
    assert!(stored.decode::<WatchEventsRequest>().is_err());
    stored.payload_json = r#"{"seq":"7","fieldOfTomorrow":1}"#.to_owned();
    assert_eq!(stored.decode::<Event>().expect("newer producer").seq, 7);
}

#[tokio::test]
async fn a_payload_beyond_the_limit_is_a_defect() {
    let scratch = scratch::sqlite(&Migrations::none()).await;
    let mut tx = scratch.db.begin().await.expect("tx");
    let event = NewEvent { payload_json: "x".repeat(PAYLOAD_BYTES_MAX + 1), ..new("k", 1) };
    assert!(!append(&mut tx, event).await.expect_err("too large").is(&INVALID_FIELD));
}

#[tokio::test]
async fn several_events_of_one_transaction_keep_their_order() {
    for scratch in scratch::each(&Migrations::none()).await {
        add(&scratch.db, "a", 0).await;
        let mut tx = scratch.db.begin().await.expect("tx");
        for n in 1..4 {
            append(&mut tx, new("b", n)).await.expect("append");
        }
        tx.commit().await.expect("commit");
        let told = read(&scratch.db, 1, 9).await.expect("events");
        let told: Vec<_> = told.iter().map(|e| (e.seq, e.payload_json.as_str())).collect();
        assert_eq!(told, [(2, "{\"n\":1}"), (3, "{\"n\":2}"), (4, "{\"n\":3}")], "{}", scratch.engine);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_numbers_taken_in_any_order_do_not_deadlock() {
    for scratch in scratch::each(&Migrations::none()).await {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..4usize {
            let db = scratch.db.clone();
            tasks.spawn(async move {
                for n in 0..15 {
                    let mut tx = db.begin().await.expect("tx");
                    if writer % 2 == 0 {
                        append(&mut tx, new("k", n)).await.expect("append");
                    }
                    crate::worker::enqueue(&mut tx, "k", "same", 0).await.expect("enqueue");
                    append(&mut tx, new("k", n)).await.expect("append");
                    tx.commit().await.expect("no deadlock");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("writer");
        }
        assert_eq!(head(&scratch.db).await.expect("head").seq, 90, "{}", scratch.engine);
    }
}
