//! Unique values through every RPC, also failing ones; then everything that could have kept one is searched.
use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use slipway_kit::id;
use slipway_proto::{environment::v1::EnvironmentTier as Tier, secrets::v1 as pb};

use crate::{
    cage::{Cage, log},
    rig::{PAYMENTS, Rig, SHOP, admin, developer, maintainer, reveal, secret, stranger},
};

const NAME: &str = "secrets/payments-h4vyy/staging";
const CANARIES: usize = 64;
fn put(cage: &mut Cage, service: &str, tier: Tier) -> pb::PutSecretRequest {
    let (a, b) = (cage.next(), cage.next());
    secret(service, tier, &[("A", &a), ("B", &b)])
}

async fn write_all(rig: &Rig, cage: &mut Cage) {
    for tier in [Tier::Development, Tier::Staging, Tier::Production] {
        for _ in 0..3 {
            let request = put(cage, PAYMENTS, tier);
            assert!(!format!("{request:?}").contains("canary"), "a request prints its values");
            cage.keep(&rig.put(&maintainer(), request).await);
        }
    }
    let mut patch = put(cage, PAYMENTS, Tier::Staging);
    patch.mode = pb::PutMode::Patch.into();
    cage.keep(&rig.put(&developer(), patch).await);
    let mut twice = put(cage, PAYMENTS, Tier::Staging);
    twice.request_id = id::uuid4();
    cage.keep(&rig.put(&developer(), twice.clone()).await);
    cage.keep(&rig.put(&developer(), twice.clone()).await);
    twice.values.insert("A".to_owned(), cage.next());
    let reused = rig.put(&developer(), twice).await;
    assert!(reused.is_err());
    cage.keep(&reused);
    let mut dry = put(cage, PAYMENTS, Tier::Staging);
    dry.validate_only = true;
    cage.keep(&rig.put(&developer(), dry).await);
}

async fn fail_all(rig: &Rig, cage: &mut Cage) {
    let mut stale = put(cage, PAYMENTS, Tier::Staging);
    stale.expected_version = Some(1);
    let mut bad_id = put(cage, PAYMENTS, Tier::Staging);
    bad_id.request_id = "x".to_owned();
    let mut bad_key = put(cage, PAYMENTS, Tier::Staging);
    bad_key.values.insert(cage.next(), cage.next());
    let mut many = put(cage, PAYMENTS, Tier::Staging);
    many.values.extend((0..300).map(|n| (format!("K{n}"), "x".to_owned())));
    let mut large = put(cage, PAYMENTS, Tier::Staging);
    large.values.insert("L".to_owned(), cage.next().repeat(12_000));
    let mut huge = put(cage, PAYMENTS, Tier::Staging);
    huge.values.insert("L".to_owned(), cage.next().repeat(120_000));
    let no_tier = put(cage, PAYMENTS, Tier::Unspecified);
    let unknown = put(cage, "component:default/nothing", Tier::Staging);
    for request in [stale, bad_id, bad_key, many, large, huge, no_tier, unknown] {
        let answer = rig.put(&developer(), request).await;
        assert!(answer.is_err());
        cage.keep(&answer);
    }
    for (who, service, tier) in [
        (stranger(), PAYMENTS, Tier::Staging),
        (developer(), SHOP, Tier::Staging),
        (developer(), PAYMENTS, Tier::Production),
    ] {
        let answer = rig.put(&who, put(cage, service, tier)).await;
        assert!(answer.is_err());
        cage.keep(&answer);
    }
}

async fn read_all(rig: &Rig, cage: &mut Cage) {
    for who in [developer(), maintainer(), stranger(), admin()] {
        cage.keep(&rig.get(&who, NAME).await);
        cage.keep(&rig.list(&who, pb::ListSecretsRequest::default()).await);
        cage.keep(&rig.reveal(&who, NAME, "A").await);
        let mut glass = reveal(NAME, "B");
        glass.ticket = "OPS-7".to_owned();
        cage.keep(&rig.secrets(&who, "RevealSecret").reveal_secret(glass).await.map(|r| r.metadata().clone()));
        let bound = rig.bind(&who, "payments-db", Tier::Staging, &[("", "A")]).await;
        cage.keep(&bound);
        let name = NAME.to_owned();
        let ask = pb::ListSecretVersionsRequest { name, ..Default::default() };
        cage.keep(&rig.secrets(&who, "ListSecretVersions").list_secret_versions(ask).await.map(|r| r.into_inner()));
    }
    cage.keep(&rig.reveal(&maintainer(), NAME, "missing").await);
    cage.keep(&rig.destroy(&developer(), NAME, 1, "was in a log file").await);
    cage.keep(&rig.delete(&developer(), NAME, "").await);
}

#[tokio::test]
async fn no_value_is_found_anywhere() {
    let (log, mut cage) = (log(), Cage::default());
    let mut rig = Rig::start().await;
    write_all(&rig, &mut cage).await;
    fail_all(&rig, &mut cage).await;
    read_all(&rig, &mut cage).await;
    rig.stop().await;
    fs::write(&rig.config.key_file, [7; 32]).unwrap();
    rig.go().await;
    while cage.canaries.len() < CANARIES {
        let request = put(&mut cage, PAYMENTS, Tier::Staging);
        let sealed = rig.put(&developer(), request).await;
        assert!(sealed.is_err());
        cage.keep(&sealed);
    }
    rig.stop().await;

    assert!(cage.found_in(&cage.told).is_empty(), "answers: {:?}", cage.found_in(&cage.told));
    let logged = log.0.lock().unwrap().clone();
    assert!(logged.len() > 10_000, "the log was captured at trace level");
    assert!(cage.found_in(&logged).is_empty(), "log: {:?}", cage.found_in(&logged));
    for entry in fs::read_dir(rig.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        assert!(cage.found_in(&bytes).is_empty(), "{}: {:?}", path.display(), cage.found_in(&bytes));
    }
    // The search finds what is there.
    let planted = format!("x{}", STANDARD_NO_PAD.encode(format!("ab{}", cage.canaries[3])));
    assert!(!cage.found_in(planted.as_bytes()).is_empty());
}
