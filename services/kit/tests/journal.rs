//! Events from one service to another over the in-process transport: once in effect, in order per key, whatever ends in between.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use slipway_kit::{
    args,
    caller::Signer,
    db::{Db, Migrations, Tx, scratch},
    error::{Error, INVALID_FIELD, Result},
    inbox, journal,
    serve::{Hub, Service, Shutdown, error_from},
    worker::Worker,
};
use slipway_proto::journal::v1::{
    ReceiveWebhookRequest, WatchEventsRequest, journal_service_client::JournalServiceClient,
    webhook_service_client::WebhookServiceClient,
};

async fn add(db: &Db, key: &str, n: usize) {
    let mut tx = db.begin().await.expect("tx");
    let event = journal::NewEvent { subject: "x.v1.Made", key: key.to_owned(), payload_json: n.to_string() };
    journal::append(&mut tx, event).await.expect("append");
    tx.commit().await.expect("commit");
}

async fn seen(db: &Db) -> Vec<String> {
    let rows = db.fetch_all("SELECT what FROM seen ORDER BY at", vec![]).await.expect("rows");
    rows.iter().map(|row| row.text("what").expect("what")).collect()
}

async fn note(tx: &mut Tx, event: &journal::Stored) -> Result<()> {
    let sql = "INSERT INTO seen (at, what) VALUES ((SELECT COUNT(*) FROM seen), $1)";
    tx.execute(sql, args![format!("{} {}", event.key, event.payload_json)]).await.map(drop)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn table(db: &Db) {
    db.execute("CREATE TABLE seen (at BIGINT NOT NULL, what TEXT NOT NULL)", vec![]).await.expect("table");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_has_every_event_once_though_both_sides_restart() {
    for (producer, consumer) in
        scratch::each(&Migrations::none()).await.into_iter().zip(scratch::each(&Migrations::none()).await)
    {
        table(&consumer.db).await;
        let (hub, signer) = (Hub::new(), Signer::generate());
        for round in 0..3usize {
            let shutdown = Shutdown::new();
            let service = Service::new("environment", producer.db.clone());
            let served = hub.serve(service, signer.verifier(), shutdown.clone());
            let consuming = tokio::spawn(journal::consume(
                hub.peers("catalog"),
                consumer.db.clone(),
                "environment",
                "catalog",
                shutdown.clone(),
                |tx, event| note(tx, event).boxed(),
            ));
            for n in 0..10 {
                add(&producer.db, "k", round * 10 + n).await;
            }
            until("applied", async || seen(&consumer.db).await.len() >= round * 10 + 3).await;
            shutdown.begin();
            served.await.expect("served");
            consuming.await.expect("consumed");
        }
        let shutdown = Shutdown::new();
        let served = hub.serve(Service::new("environment", producer.db.clone()), signer.verifier(), shutdown.clone());
        let consuming = tokio::spawn(journal::consume(
            hub.peers("catalog"),
            consumer.db.clone(),
            "environment",
            "catalog",
            shutdown.clone(),
            |tx, event| note(tx, event).boxed(),
        ));
        until("all applied", async || seen(&consumer.db).await.len() >= 30).await;
        let want: Vec<String> = (0..30).map(|n| format!("k {n}")).collect();
        assert_eq!(seen(&consumer.db).await, want, "{}", producer.engine);
        shutdown.begin();
        served.await.expect("served");
        consuming.await.expect("consumed");
    }
}

#[tokio::test]
async fn a_bad_event_is_parked_and_holds_back_its_own_key_only() {
    for (producer, consumer) in
        scratch::each(&Migrations::none()).await.into_iter().zip(scratch::each(&Migrations::none()).await)
    {
        table(&consumer.db).await;
        for (n, key) in ["a", "bad", "a", "bad", "b"].into_iter().enumerate() {
            add(&producer.db, key, n).await;
        }
        let broken = Arc::new(AtomicBool::new(true));
        let breaks = Arc::clone(&broken);
        let applier = journal::Applier::new(consumer.db.clone(), "catalog", "environment", move |tx, event| {
            let fails = breaks.load(Ordering::SeqCst) && event.key == "bad";
            async move {
                note(tx, event).await?;
                if fails { Err(Error::new(&INVALID_FIELD, "cannot be read")) } else { Ok(()) }
            }
            .boxed()
        });
        let events = journal::read(&producer.db, 0, 10).await.expect("events");
        for event in &events {
            applier.apply(event).await.expect("the database answers");
        }
        assert_eq!(seen(&consumer.db).await, ["a 0", "a 2", "b 4"], "{}", consumer.engine);
        assert_eq!(applier.position().await.expect("position"), 5);
        // Again is without effect.
        assert_eq!(applier.apply(&events[0]).await.expect("again"), journal::Applied::Before);
        let parked = journal::parked(&consumer.db, "catalog/environment").await.expect("parked");
        assert_eq!(parked.iter().map(|p| (p.event.seq, p.attempts)).collect::<Vec<_>>(), [(2, 5), (4, 0)]);
        assert!(parked[0].last_error.contains("cannot be read"));
        assert_eq!(applier.replay().await.expect("replay"), 0, "still broken, still in order");
        broken.store(false, Ordering::SeqCst);
        assert_eq!(applier.replay().await.expect("replay"), 2);
        assert_eq!(seen(&consumer.db).await, ["a 0", "a 2", "b 4", "bad 1", "bad 3"]);
        assert!(journal::parked(&consumer.db, "catalog/environment").await.expect("parked").is_empty());
    }
}

#[tokio::test]
async fn a_position_of_another_store_is_refused_on_the_wire() {
    let scratch = scratch::sqlite(&Migrations::none()).await;
    let (hub, signer, shutdown) = (Hub::new(), Signer::generate(), Shutdown::new());
    let served = hub.serve(Service::new("environment", scratch.db.clone()), signer.verifier(), shutdown.clone());
    let client = hub.peers("catalog").as_service("environment", Duration::from_secs(5));
    let mut client = JournalServiceClient::new(client);
    let refused = client.watch_events(WatchEventsRequest { after: 7 }).await.expect_err("too new");
    assert_eq!(error_from(refused).reason().name, "RESUME_TOKEN_EXPIRED");
    shutdown.begin();
    served.await.expect("served");
}

#[tokio::test]
async fn a_webhook_is_stored_once_and_worked_on_until_it_goes_well() {
    for scratch in scratch::each(&Migrations::none()).await {
        table(&scratch.db).await;
        let (hub, signer, shutdown) = (Hub::new(), Signer::generate(), Shutdown::new());
        let served = hub.serve(Service::new("environment", scratch.db.clone()), signer.verifier(), shutdown.clone());
        let gateway = hub.peers("gateway");
        let request = ReceiveWebhookRequest {
            source: "local".to_owned(),
            delivery_id: "d/1".to_owned(),
            event: "pull_request".to_owned(),
            body: br#"{"number": 1, "repository": {"id": 1}}"#.to_vec(),
        };
        for duplicate in [false, true] {
            let client = gateway.as_service("environment", Duration::from_secs(5));
            let answer = WebhookServiceClient::new(client).receive_webhook(request.clone()).await.expect("stored");
            assert_eq!(answer.into_inner().duplicate, duplicate, "{}", scratch.engine);
        }
        let other = hub.peers("catalog").as_service("environment", Duration::from_secs(5));
        assert!(WebhookServiceClient::new(other).receive_webhook(request).await.is_err(), "only the gateway");
        let (db, failed) = (scratch.db.clone(), Arc::new(AtomicBool::new(false)));
        let handler = inbox::handler(scratch.db.clone(), move |delivery| {
            let (db, failed) = (db.clone(), Arc::clone(&failed));
            Box::pin(async move {
                if !failed.swap(true, Ordering::SeqCst) {
                    return Err(Error::new(&INVALID_FIELD, "the first time fails"));
                }
                let what = format!("{} {} {}", delivery.delivery_id, delivery.event, delivery.body.len());
                db.execute("INSERT INTO seen VALUES (0, $1)", args![what]).await.map(drop)
            })
        });
        let worker = Worker::new(&scratch.db).handle(inbox::KIND, 1, handler).backoff(Duration::ZERO, Duration::ZERO);
        assert_eq!(worker.run_due().await.expect("run"), 2);
        assert_eq!(seen(&scratch.db).await, ["d/1 pull_request 38"]);
        shutdown.begin();
        served.await.expect("served");
    }
}
