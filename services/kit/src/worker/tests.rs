//! Claims, back-off, parking, drain, and what a killed or paused worker can still do: nothing.
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    db::{DbConfig, Migrations, scratch},
    error::{CONFLICT, NOT_FOUND},
    serve::Shutdown,
};

const KIND: &str = "thing";

/// A handler made from a function.
struct Does<F>(F, bool);

#[async_trait]
impl<F> Handler for Does<F>
where
    F: for<'a> Fn(&'a Claim) -> futures::future::BoxFuture<'a, Result<Next>> + Send + Sync + 'static,
{
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        (self.0)(claim).await
    }
    fn parks(&self) -> bool {
        self.1
    }
}

fn does<F>(f: F) -> Does<F>
where
    F: for<'a> Fn(&'a Claim) -> futures::future::BoxFuture<'a, Result<Next>> + Send + Sync + 'static,
{
    Does(f, false)
}

async fn put(db: &Db, id: &str, delay_ms: i64) {
    let mut tx = db.begin().await.expect("tx");
    enqueue(&mut tx, KIND, id, delay_ms).await.expect("enqueue");
    tx.commit().await.expect("commit");
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn writes(db: &Db) -> Vec<String> {
    let rows = db.fetch_all("SELECT who FROM written ORDER BY who", vec![]).await.expect("rows");
    rows.iter().map(|row| row.text("who").expect("who")).collect()
}

/// Writes under the guard, as every handler does.
async fn write(db: &Db, claim: &Claim, who: &str) -> Result<()> {
    let mut tx = db.begin().await?;
    claim.guard(&mut tx).await?;
    tx.execute("INSERT INTO written (who) VALUES ($1)", args![who]).await?;
    tx.commit().await
}

async fn table(db: &Db) {
    db.execute("CREATE TABLE written (who TEXT NOT NULL)", vec![]).await.expect("table");
}

#[tokio::test]
async fn an_item_is_handled_once_per_wish_and_then_forgotten() {
    for scratch in scratch::each(&Migrations::none()).await {
        let db = scratch.db.clone();
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        let worker = Worker::new(&db).handle(
            KIND,
            2,
            does(move |_| {
                let seen = Arc::clone(&seen);
                Box::pin(async move {
                    seen.fetch_add(1, Ordering::SeqCst);
                    Ok(Next::Done)
                })
            }),
        );
        for id in ["a", "b", "c", "a"] {
            put(&db, id, 0).await;
        }
        put(&db, "later", 60_000).await;
        assert_eq!(worker.run_due().await.expect("run"), 3, "{}", scratch.engine);
        assert!(item(&db, KIND, "a").await.expect("read").is_none());
        assert!(item(&db, KIND, "later").await.expect("read").is_some_and(|i| i.next_us > 0));
        put(&db, "later", 0).await;
        assert_eq!(worker.run_due().await.expect("run"), 1, "the sooner wish wins");
        assert_eq!(count.load(Ordering::SeqCst), 4);
    }
}

#[tokio::test]
async fn a_wish_during_the_work_is_kept_and_epochs_only_rise() {
    for scratch in scratch::each(&Migrations::none()).await {
        let db = scratch.db.clone();
        let epochs = Arc::new(Mutex::new(Vec::new()));
        let (inner, seen) = (db.clone(), Arc::clone(&epochs));
        let worker = Worker::new(&db).handle(
            KIND,
            1,
            does(move |claim| {
                let (db, seen) = (inner.clone(), Arc::clone(&seen));
                Box::pin(async move {
                    let first = {
                        let mut seen = seen.lock().expect("lock");
                        seen.push(claim.epoch);
                        seen.len() == 1
                    };
                    if first {
                        put(&db, &claim.id, 0).await;
                    }
                    Ok(Next::Done)
                })
            }),
        );
        put(&db, "a", 0).await;
        assert_eq!(worker.run_due().await.expect("run"), 2, "{}", scratch.engine);
        put(&db, "a", 0).await;
        assert_eq!(worker.run_due().await.expect("run"), 1);
        let epochs = epochs.lock().expect("lock").clone();
        assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    }
}

#[tokio::test]
async fn errors_back_off_and_a_parking_handler_parks_after_five_tries() {
    for scratch in scratch::each(&Migrations::none()).await {
        let db = scratch.db.clone();
        let mut handler = does(|_| Box::pin(async { Err(Error::new(&NOT_FOUND, "gone")) }));
        handler.1 = true;
        let (zero, none) = (Duration::ZERO, Duration::ZERO);
        let worker = Worker::new(&db).handle(KIND, 1, handler).backoff(zero, none);
        put(&db, "a", 0).await;
        assert_eq!(worker.run_due().await.expect("run"), 5, "{}", scratch.engine);
        let parked = parked(&db, KIND).await.expect("parked");
        assert!(parked.len() == 1 && parked[0].attempts == 5 && parked[0].last_error.contains("gone"));
        // Help starts it anew.
        put(&db, "a", 0).await;
        let item = item(&db, KIND, "a").await.expect("read").expect("item");
        assert!(!item.parked && item.attempts == 0);
    }
    let waits: Vec<_> = (1..30).map(|n| run::jitter((Duration::from_secs(1), Duration::from_secs(300)), n)).collect();
    assert!(waits.iter().all(|w| *w <= Duration::from_secs(300)) && waits[0] <= Duration::from_secs(1));
}

#[tokio::test]
async fn a_panic_is_an_error_and_another_look_comes_in_time() {
    for scratch in scratch::each(&Migrations::none()).await {
        let db = scratch.db.clone();
        let worker = Worker::new(&db)
            .handle(
                KIND,
                1,
                does(|claim| {
                    assert!(claim.id != "bad", "a defect");
                    Box::pin(async { Ok(Next::After(Duration::from_secs(60))) })
                }),
            )
            .backoff(Duration::from_secs(600), Duration::from_secs(600));
        put(&db, "bad", 0).await;
        put(&db, "good", 0).await;
        worker.run_due().await.expect("run");
        let bad = item(&db, KIND, "bad").await.expect("read").expect("item");
        assert!(bad.attempts >= 1 && bad.last_error.contains("INTERNAL"), "{bad:?} on {}", scratch.engine);
        assert_eq!(item(&db, KIND, "good").await.expect("read").expect("item").attempts, 0);
    }
}

#[tokio::test]
async fn a_nudge_wakes_and_a_drain_gives_back_at_once() {
    for scratch in scratch::each(&Migrations::none()).await {
        let db = scratch.db.clone();
        let begun = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&begun);
        let worker = Worker::new(&db)
            .handle(
                KIND,
                4,
                does(move |claim| {
                    seen.fetch_add(1, Ordering::SeqCst);
                    Box::pin(async move {
                        if claim.id == "slow" {
                            std::future::pending::<()>().await;
                        }
                        Ok(Next::Done)
                    })
                }),
            )
            .drain(Duration::from_millis(200));
        let shutdown = Shutdown::new();
        let running = tokio::spawn(worker.run(shutdown.clone()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        put(&db, "quick", 0).await;
        put(&db, "slow", 0).await;
        until("both begun", async || begun.load(Ordering::SeqCst) == 2).await;
        until("quick done", async || item(&db, KIND, "quick").await.expect("read").is_none()).await;
        shutdown.begin();
        running.await.expect("the worker ends");
        let slow = item(&db, KIND, "slow").await.expect("read").expect("still wanted");
        assert_eq!(slow.attempts, 0, "an item given back was not tried; {}", scratch.engine);
        let other = Worker::new(&db).handle(KIND, 1, does(|_| Box::pin(async { Ok(Next::Done) })));
        assert_eq!(other.run_due().await.expect("run"), 1, "free at once");
    }
}

/// A worker in a runtime of its own, with connections of its own, as another process would have.
fn elsewhere<F, Fut>(config: &DbConfig, lease: Duration, handle: F) -> (tokio::runtime::Runtime, Shutdown)
where
    F: Fn(Db, Claim) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Next>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let (config, shutdown) = (config.clone(), Shutdown::new());
    let down = shutdown.clone();
    runtime.spawn(async move {
        let db = Db::open(&config).await.expect("open");
        let inner = db.clone();
        let handler = does(move |claim: &Claim| Box::pin(handle.clone()(inner.clone(), claim.clone())));
        Worker::new(&db).handle(KIND, 1, handler).lease(lease).run(down).await;
    });
    (runtime, shutdown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_worker_had_is_taken_over_after_its_lease() {
    for scratch in scratch::each(&Migrations::none()).await {
        let (db, lease) = (scratch.db.clone(), Duration::from_millis(1500));
        table(&db).await;
        let begun = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&begun);
        let (killed, _) = elsewhere(&scratch.config, lease, move |_, _| {
            seen.fetch_add(1, Ordering::SeqCst);
            std::future::pending()
        });
        put(&db, "a", 0).await;
        until("begun", async || begun.load(Ordering::SeqCst) == 1).await;
        let inner = db.clone();
        let heir = Worker::new(&db).handle(
            KIND,
            1,
            does(move |claim| {
                let db = inner.clone();
                Box::pin(async move { write(&db, claim, "heir").await.map(|()| Next::Done) })
            }),
        );
        assert_eq!(heir.run_due().await.expect("run"), 0, "held while its member beats");
        // Killed: nothing of it runs on, and nothing is given back.
        killed.shutdown_background();
        let taken = Instant::now();
        until("taken over", async || heir.run_due().await.expect("run") == 1).await;
        assert!(taken.elapsed() < lease + Duration::from_secs(5), "{}", scratch.engine);
        assert_eq!(writes(&db).await, ["heir"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_worker_writes_nothing_when_it_wakes() {
    for scratch in scratch::each(&Migrations::none()).await {
        let (db, lease) = (scratch.db.clone(), Duration::from_millis(600));
        table(&db).await;
        let (wake, sleeping) = std::sync::mpsc::channel::<()>();
        let sleeping = Arc::new(Mutex::new(sleeping));
        let outcome = Arc::new(Mutex::new(None));
        let told = Arc::clone(&outcome);
        // Its one thread sleeps in the handler: no heartbeat, no timer, nothing, like a stopped process.
        let (paused, down) = elsewhere(&scratch.config, lease, move |db, claim| {
            let (sleeping, told) = (Arc::clone(&sleeping), Arc::clone(&told));
            async move {
                if told.lock().expect("lock").is_some() {
                    return Ok(Next::Done);
                }
                *told.lock().expect("lock") = Some("asleep".to_owned());
                sleeping.lock().expect("lock").recv().expect("woken");
                let may_start = claim.may_start(Duration::ZERO);
                let written = write(&db, &claim, "stale").await;
                let text = format!(
                    "{:?} {:?}",
                    may_start.map_err(|e| e.reason().name),
                    written.as_ref().map_err(|e| e.reason().name)
                );
                *told.lock().expect("lock") = Some(text);
                written.map(|()| Next::Done)
            }
        });
        put(&db, "a", 0).await;
        until("asleep", async || outcome.lock().expect("lock").is_some()).await;
        let inner = db.clone();
        let heir = Worker::new(&db).handle(
            KIND,
            1,
            does(move |claim| {
                let db = inner.clone();
                Box::pin(async move { write(&db, claim, "heir").await.map(|()| Next::After(Duration::from_secs(600))) })
            }),
        );
        until("taken over", async || heir.run_due().await.expect("run") == 1).await;
        wake.send(()).expect("wake");
        let stale = r#"Err("STALE_EPOCH") Err("STALE_EPOCH")"#;
        // Either the guard refuses it, or the local guard drops it before it gets there.
        tokio::time::sleep(lease).await;
        let told = outcome.lock().expect("lock").clone().expect("told");
        assert!(told == stale || told == "asleep", "{told} on {}", scratch.engine);
        assert_eq!(writes(&db).await, ["heir"], "{}", scratch.engine);
        let kept = item(&db, KIND, "a").await.expect("read").expect("the heir's wish stands");
        assert!(kept.attempts == 0 && kept.last_error.is_empty());
        down.begin();
        paused.shutdown_background();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_workers_do_each_item_once() {
    const ITEMS: usize = 60;
    for scratch in scratch::each(&Migrations::none()).await {
        let db = scratch.db.clone();
        table(&db).await;
        for n in 0..ITEMS {
            put(&db, &format!("{n:03}"), 0).await;
        }
        let shutdown = Shutdown::new();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let inner = db.clone();
                let worker = Worker::new(&db).handle(
                    KIND,
                    3,
                    does(move |claim| {
                        let db = inner.clone();
                        Box::pin(async move {
                            // A contended row is nobody's defect.
                            match write(&db, claim, &claim.id).await {
                                Err(error) if error.is(&CONFLICT) => Ok(Next::After(Duration::ZERO)),
                                other => other.map(|()| Next::Done),
                            }
                        })
                    }),
                );
                tokio::spawn(worker.run(shutdown.clone()))
            })
            .collect();
        until("all done", async || writes(&db).await.len() >= ITEMS).await;
        until("queue empty", async || db.fetch_all("SELECT id FROM work", vec![]).await.expect("rows").is_empty())
            .await;
        shutdown.begin();
        for task in tasks {
            task.await.expect("worker");
        }
        let want: Vec<String> = (0..ITEMS).map(|n| format!("{n:03}")).collect();
        assert_eq!(writes(&db).await, want, "{}", scratch.engine);
    }
}

#[tokio::test]
async fn a_lapsed_member_holds_nothing_and_never_revives() {
    for scratch in scratch::each(&Migrations::none()).await {
        let db = &scratch.db;
        table(db).await;
        put(db, "a", 0).await;
        let old = member::Member::join(db, Duration::from_secs(60)).await.expect("join");
        let first = queue::claim(db, &old, KIND, 4).await.expect("claim").remove(0);
        assert!(queue::claim(db, &old, KIND, 4).await.expect("claim").is_empty(), "held by a living member");
        write(db, &first, "first").await.expect("the guard holds");
        first.may_start(Duration::from_secs(50)).expect("time enough");
        assert!(first.may_start(Duration::from_secs(59)).is_err(), "too long for the lease");
        // Its lease lapses; before anybody else takes the item the guard fails already.
        db.execute("UPDATE members SET lease_until_us = NOW_US() WHERE id = $1", args![&old.id]).await.expect("lapse");
        assert!(write(db, &first, "lapsed").await.expect_err("lapsed").is(&STALE_EPOCH), "{}", scratch.engine);
        assert!(!old.beat(db).await.expect("beat"), "a lapsed member never revives");
        let new = member::Member::join(db, Duration::from_secs(60)).await.expect("join");
        let second = queue::claim(db, &new, KIND, 4).await.expect("claim").remove(0);
        assert!(second.epoch > first.epoch && second.attempts == 2);
        // The old one puts nothing back, and a member that came to life again would still have an old epoch.
        queue::finish(db, &first, queue::Finish::Done).await.expect("no effect");
        db.execute("UPDATE members SET lease_until_us = NOW_US() + 60000000", vec![]).await.expect("revive by force");
        assert!(write(db, &first, "old epoch").await.expect_err("stale").is(&STALE_EPOCH));
        write(db, &second, "second").await.expect("the guard holds");
        queue::finish(db, &second, queue::Finish::Done).await.expect("done");
        assert!(write(db, &second, "after").await.expect_err("gone").is(&STALE_EPOCH));
        assert_eq!(writes(db).await, ["first", "second"], "{}", scratch.engine);
        assert!(item(db, KIND, "a").await.expect("read").is_none());
    }
}
