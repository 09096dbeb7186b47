//! The database behind one type: wakes, reserved connections, retention.
use std::time::{Duration, Instant};

use slipway_kit::{
    args,
    db::{Db, DbConfig, Migrations, scratch},
    error::DATABASE_UNAVAILABLE,
    journal, retention, worker,
};

async fn count(db: &Db, table: &str) -> i64 {
    db.fetch_one(&format!("SELECT COUNT(*) AS n FROM {table}"), vec![]).await.expect("count").int("n").expect("n")
}

#[tokio::test]
async fn only_a_commit_wakes_and_only_those_it_concerns() {
    for scratch in scratch::each(&Migrations::none()).await {
        let (journal, work) = (scratch.db.signals().journal(), scratch.db.signals().work());
        let changed = |journal_too: bool, work_too: bool| {
            assert_eq!(
                (journal.has_changed().expect("open"), work.has_changed().expect("open")),
                (journal_too, work_too)
            );
        };
        let event = || journal::NewEvent { subject: "x.v1.Made", key: "k".to_owned(), payload_json: "{}".to_owned() };
        let mut tx = scratch.db.begin().await.expect("tx");
        journal::append(&mut tx, event()).await.expect("append");
        changed(false, false);
        tx.rollback().await.expect("rollback");
        changed(false, false);
        let mut tx = scratch.db.begin().await.expect("tx");
        worker::enqueue(&mut tx, "k", "a", 0).await.expect("enqueue");
        tx.commit().await.expect("commit");
        changed(false, true);
        let mut tx = scratch.db.begin().await.expect("tx");
        journal::append(&mut tx, event()).await.expect("append");
        tx.commit().await.expect("commit");
        changed(true, true);
    }
}

#[tokio::test]
async fn heartbeats_do_not_wait_behind_callers() {
    for scratch in scratch::each(&Migrations::none()).await {
        if matches!(scratch.config, DbConfig::Sqlite { .. }) {
            continue;
        }
        let mut held = Vec::new();
        for _ in 0..16 {
            held.push(scratch.db.begin().await.expect("one of sixteen"));
        }
        let begun = Instant::now();
        scratch.db.reserved().execute("DELETE FROM members", vec![]).await.expect("a reserved connection");
        assert!(begun.elapsed() < Duration::from_secs(2));
        let refused = scratch.db.execute("DELETE FROM members", vec![]).await.expect_err("none is free");
        assert!(refused.is(&DATABASE_UNAVAILABLE), "{refused:?}");
    }
}

#[tokio::test]
async fn a_statement_cut_off_is_unavailable_and_never_internal() {
    for scratch in scratch::each(&Migrations::none()).await {
        if matches!(scratch.config, DbConfig::Sqlite { .. }) {
            continue;
        }
        let mut tx = scratch.db.begin().await.expect("tx");
        tx.execute("SET LOCAL statement_timeout = 20", vec![]).await.expect("set");
        let cut = tx.fetch_all("SELECT CAST(pg_sleep(5) AS TEXT) AS x", vec![]).await.expect_err("too slow");
        assert!(cut.is(&DATABASE_UNAVAILABLE), "{cut:?}");
    }
}

#[tokio::test]
async fn retention_removes_what_is_past_its_time_and_nothing_else() {
    const YEAR_US: i64 = 365 * 24 * 3600 * 1_000_000;
    for scratch in scratch::each(&Migrations::none()).await {
        let db = &scratch.db;
        for (n, age_us) in [(0i64, 0i64), (1, 2 * YEAR_US)] {
            db.execute("INSERT INTO consumed VALUES ('c', $1, NOW_US() - $2)", args![format!("e{n}"), age_us])
                .await
                .expect("row");
            let sql = "INSERT INTO inbox VALUES ('s', $1, 'e', $2, 1, NOW_US() - $3)";
            db.execute(sql, args![format!("d{n}"), Vec::<u8>::new(), age_us]).await.expect("row");
            let sql =
                "INSERT INTO audit VALUES ($1, NOW_US() - $2, '', '', '', '', '', '', '', '', '', '', '', '', '')";
            db.execute(sql, args![format!("a{n}"), age_us]).await.expect("row");
        }
        let sql = "INSERT INTO inbox VALUES ('s', 'undone', 'e', $1, 1, 0)";
        db.execute(sql, args![Vec::<u8>::new()]).await.expect("row");
        assert_eq!(retention::sweep(db).await.expect("sweep"), 3, "{}", scratch.engine);
        assert_eq!((count(db, "consumed").await, count(db, "inbox").await, count(db, "audit").await), (1, 2, 1));
    }
}
