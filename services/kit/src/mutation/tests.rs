//! One effect per request id, whatever repeats, races or fails.
use super::*;
use crate::{
    audit::Change,
    caller::Caller,
    db::{Migrations, scratch},
    journal,
};

const METHOD: &str = "/slipway.environment.v1.EnvironmentService/CreateEnvironment";

fn call() -> Call {
    Call::for_test(Caller::service("ann"), METHOD)
}

async fn count(db: &Db, table: &str) -> i64 {
    db.fetch_one(&format!("SELECT COUNT(*) AS n FROM {table}"), vec![]).await.expect("count").int("n").expect("n")
}

/// What an app verb does: one row, one event, one audit record.
async fn change(db: &Db, call: &Call, answer: &str) -> Result<(String, bool)> {
    let mut m = match Mutation::begin::<String>(db, call).await? {
        Begun::Replay(answer) => return Ok((answer, true)),
        Begun::Fresh(m) => m,
    };
    m.tx().execute("INSERT INTO effect (answer) VALUES ($1)", args![answer]).await?;
    journal::append(
        m.tx(),
        journal::NewEvent { subject: "x.v1.Made", key: "k".to_owned(), payload_json: "{}".to_owned() },
    )
    .await?;
    m.commit(&answer, Change { resource: "environments/a", uid: "u", fields: &["spec", "ttl"] }).await?;
    Ok((answer.to_owned(), false))
}

async fn each() -> Vec<scratch::Scratch> {
    let all = scratch::each(&Migrations::none()).await;
    for scratch in &all {
        scratch.db.execute("CREATE TABLE effect (answer TEXT NOT NULL)", vec![]).await.expect("table");
    }
    all
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_has_no_effect() {
    for scratch in each().await {
        let (db, mut call) = (&scratch.db, call());
        call.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
        assert_eq!(change(db, &call, "first").await.expect("new"), ("first".to_owned(), false));
        assert_eq!(change(db, &call, "second").await.expect("repeat"), ("first".to_owned(), true));
        assert_eq!((count(db, "effect").await, count(db, "journal").await, count(db, "audit").await), (1, 1, 1));
        let audit = db.fetch_one("SELECT * FROM audit", vec![]).await.expect("record");
        assert_eq!(audit.text("principal").expect("p"), "service:ann");
        assert_eq!(audit.text("fields").expect("f"), "spec,ttl");
        assert_eq!(audit.text("trace_id").expect("t"), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(journal::read(db, 0, 9).await.expect("events")[0].traceparent, call.traceparent);
        // Another caller, or another method, with the same id is another request.
        let mut other = call.clone();
        other.caller = Caller::service("bob");
        assert!(!change(db, &other, "other").await.expect("new").1, "{}", scratch.engine);
    }
}

#[tokio::test]
async fn another_body_is_refused_and_a_secret_is_not_replayed() {
    for scratch in each().await {
        let (db, call) = (&scratch.db, call());
        change(db, &call, "first").await.expect("new");
        let mut reused = call;
        reused.body_hash = "other".to_owned();
        assert!(change(db, &reused, "x").await.expect_err("reuse").is(&REQUEST_ID_REUSED), "{}", scratch.engine);
        let secret = self::call();
        let Begun::Fresh(m) = Mutation::begin::<String>(db, &secret).await.expect("new") else { panic!("is new") };
        m.commit_secret(Change { resource: "tokens/a", uid: "", fields: &[] }).await.expect("commit");
        assert!(change(db, &secret, "x").await.expect_err("secret").is(&RESPONSE_NOT_REPLAYABLE));
        let large = self::call();
        change(db, &large, &"x".repeat(ANSWER_BYTES_MAX)).await.expect("new");
        assert!(change(db, &large, "x").await.expect_err("large").is(&RESPONSE_NOT_REPLAYABLE));
    }
}

#[tokio::test]
async fn dropped_without_commit_nothing_happened() {
    for scratch in each().await {
        let (db, call) = (&scratch.db, call());
        let Begun::Fresh(mut m) = Mutation::begin::<String>(db, &call).await.expect("new") else { panic!("is new") };
        m.tx().execute("INSERT INTO effect (answer) VALUES ('x')", vec![]).await.expect("row");
        drop(m);
        assert!(!change(db, &call, "again").await.expect("new").1, "{}", scratch.engine);
        assert_eq!((count(db, "effect").await, count(db, "audit").await), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_twins_at_once_one_has_the_effect_and_all_have_its_answer() {
    const IDS: usize = 12;
    const TWINS: usize = 8;
    for scratch in each().await {
        let mut tasks = tokio::task::JoinSet::new();
        for id in 0..IDS {
            let call = call();
            for twin in 0..TWINS {
                let (db, call) = (scratch.db.clone(), call.clone());
                tasks.spawn(async move { (id, change(&db, &call, &format!("{id} by {twin}")).await) });
            }
        }
        let mut answers = std::collections::BTreeMap::<usize, std::collections::BTreeSet<String>>::new();
        while let Some(done) = tasks.join_next().await {
            let (id, outcome) = done.expect("task");
            answers.entry(id).or_default().insert(outcome.expect("an answer").0);
        }
        assert!(answers.len() == IDS && answers.values().all(|a| a.len() == 1), "{answers:?} on {}", scratch.engine);
        assert_eq!((count(&scratch.db, "effect").await, count(&scratch.db, "audit").await), (IDS as i64, IDS as i64));
    }
}

#[tokio::test]
async fn a_twin_waits_no_longer_than_its_deadline() {
    for scratch in each().await {
        let (db, call) = (&scratch.db, call());
        let Begun::Fresh(held) = Mutation::begin::<String>(db, &call).await.expect("new") else { panic!("is new") };
        let mut hurried = call.clone();
        hurried.deadline = Instant::now() + Duration::from_millis(300);
        assert!(change(db, &hurried, "x").await.expect_err("waits").is(&OPERATION_IN_PROGRESS), "{}", scratch.engine);
        held.commit(&"held", Change::default()).await.expect("commit");
        assert_eq!(change(db, &call, "x").await.expect("replay"), ("held".to_owned(), true));
    }
}

#[tokio::test]
async fn an_expired_answer_counts_as_new_and_is_purged() {
    for scratch in each().await {
        let (db, call) = (&scratch.db, call());
        change(db, &call, "first").await.expect("new");
        change(db, &self::call(), "kept").await.expect("new");
        db.execute("UPDATE idempotency SET expires_us = 1 WHERE request_id = $1", args![&call.request_id])
            .await
            .expect("age");
        assert!(!change(db, &call, "second").await.expect("new").1, "{}", scratch.engine);
        db.execute("UPDATE idempotency SET expires_us = 1 WHERE request_id = $1", args![&call.request_id])
            .await
            .expect("age");
        assert_eq!(purge(db).await.expect("purge"), 1);
        assert_eq!(count(db, "idempotency").await, 1);
    }
}

#[tokio::test]
async fn without_its_audit_record_a_change_does_not_happen() {
    for scratch in each().await {
        let (db, call) = (&scratch.db, call());
        db.execute("ALTER TABLE audit RENAME TO audit_gone", vec![]).await.expect("break");
        assert!(
            change(db, &call, "x").await.expect_err("no audit").is(&crate::error::AUDIT_UNAVAILABLE),
            "{}",
            scratch.engine
        );
        assert_eq!((count(db, "effect").await, count(db, "journal").await, count(db, "idempotency").await), (0, 0, 0));
    }
}
