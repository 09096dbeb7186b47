//! The store by itself, on every engine.
use slipway_kit::{
    args,
    db::{Db, scratch},
};
use slipway_secrets::{
    model::{
        name::{Path, Tier},
        service::Facts,
    },
    store::{MIGRATIONS, engine, reveals, services},
};

use crate::rig::{PAYMENTS, PAYMENTS_UID, SHOP_UID};

fn facts(uid: &str, owner: &str) -> Facts {
    let (reference, owner) = (PAYMENTS.to_owned(), owner.to_owned());
    Facts { reference, uid: uid.to_owned(), owner, service_tier: String::new() }
}

async fn ensure(db: &Db, facts: &Facts) -> String {
    let mut tx = db.begin().await.unwrap();
    let service = services::ensure(&mut tx, facts).await.unwrap();
    tx.commit().await.unwrap();
    service.segment
}

#[tokio::test]
async fn a_segment_is_one_services_own() {
    for made in scratch::each(&MIGRATIONS).await {
        let db = &made.db;
        assert_eq!(ensure(db, &facts(PAYMENTS_UID, "group:default/a")).await, "payments-h4vyy");
        assert_eq!(ensure(db, &facts(PAYMENTS_UID, "group:default/b")).await, "payments-h4vyy");
        assert_eq!(services::of_uid(db, PAYMENTS_UID).await.unwrap().unwrap().facts.owner, "group:default/b");
        // Somebody else's uid with the same five characters takes eight.
        let twin = "3f2b8c1f-5a4d-4e6f-9b7a-0c1d2e3f4a5b";
        let segment = ensure(db, &facts(twin, "group:default/c")).await;
        assert!(segment.starts_with("payments-h4vyy") && segment.len() == "payments-h4vyy".len() + 3, "{segment}");
        assert_eq!(services::all(db).await.unwrap().len(), 2);
        services::keep(db, &facts(SHOP_UID, "group:default/x")).await.unwrap();
        assert_eq!(services::all(db).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_database_has_one_engine() {
    for made in scratch::each(&MIGRATIONS).await {
        let key = tempfile::tempdir().unwrap();
        let file = key.path().join("k");
        slipway_secrets::engine::create_key_file(&file).unwrap();
        let master = slipway_secrets::engine::Master::read(&file).unwrap();
        for id in ["one", "two"] {
            engine::found(&made.db, &master.identity(id), 1).await.unwrap();
        }
        let (identity, writes) = engine::identity(&made.db).await.unwrap().unwrap();
        assert_eq!((identity.engine_id.as_str(), writes), ("one", 0));
        let mut tx = made.db.begin().await.unwrap();
        assert_eq!(engine::count_write(&mut tx).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert!(master.ring(&identity).is_ok());
    }
}

#[tokio::test]
async fn reveals_are_forgotten_after_an_hour() {
    for made in scratch::each(&MIGRATIONS).await {
        let mut tx = made.db.begin().await.unwrap();
        let (none, now_us) = reveals::recent(&mut tx, "user:default/ann").await.unwrap();
        assert!(none.is_empty());
        for ago_us in [3_600_000_001, 3_599_000_000, 0] {
            reveals::add(&mut tx, "user:default/ann", now_us - ago_us).await.unwrap();
        }
        let (two, _) = reveals::recent(&mut tx, "user:default/ann").await.unwrap();
        assert_eq!(two.len(), 2);
        assert!(reveals::recent(&mut tx, "user:default/bob").await.unwrap().0.is_empty());
        tx.commit().await.unwrap();
        let kept = made.db.fetch_one("SELECT COUNT(*) AS n FROM reveal", args![]).await.unwrap().int("n").unwrap();
        assert_eq!(kept, 2);
    }
}

#[tokio::test]
async fn keys_of_nothing_are_none() {
    for made in scratch::each(&MIGRATIONS).await {
        let path = Path::new("payments-h4vyy", Tier::Staging, "").unwrap();
        let keys =
            slipway_secrets::store::bindings::keys(&made.db, [(path.clone(), 0), (path, 3)].into()).await.unwrap();
        assert!(keys.is_empty());
    }
}
