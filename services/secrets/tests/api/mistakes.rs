//! Mistakes of users of SecretService, each with the error that the contract promises.
use slipway_kit::caller::Role;
use slipway_proto::{environment::v1::EnvironmentTier as Tier, secrets::v1 as pb};

use crate::rig::{PAYMENTS, Rig, admin, developer, fields, maintainer, person, refused, secret, stranger};

const NAME: &str = "secrets/payments-h4vyy/staging";

#[tokio::test]
async fn who_may_not_gets_the_same_answer_as_for_what_does_not_exist() {
    let rig = Rig::start().await;
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "x")])).await.unwrap();
    let foreign = refused(rig.get(&stranger(), NAME).await, "PERMISSION_DENIED");
    let absent = refused(rig.get(&stranger(), "secrets/nothing-aaaaa/staging").await, "PERMISSION_DENIED");
    assert_eq!((foreign.message(), foreign.details()), (absent.message(), absent.details()));
    let viewer = person("vic", &[("payments", Role::Viewer)]);
    refused(rig.get(&viewer, NAME).await, "PERMISSION_DENIED");
    // With the right on the service, a secret that is missing is missing.
    refused(rig.get(&developer(), "secrets/payments-h4vyy/production").await, "NOT_FOUND");
    refused(rig.get(&admin(), "secrets/nothing-aaaaa/staging").await, "NOT_FOUND");
    refused(rig.put(&stranger(), secret(PAYMENTS, Tier::Staging, &[("A", "y")])).await, "PERMISSION_DENIED");
    refused(rig.put(&admin(), secret(PAYMENTS, Tier::Staging, &[("A", "y")])).await, "PERMISSION_DENIED");
    refused(rig.delete(&stranger(), NAME, "").await, "PERMISSION_DENIED");
}

#[tokio::test]
async fn production_is_for_maintainers() {
    let rig = Rig::start().await;
    refused(rig.put(&developer(), secret(PAYMENTS, Tier::Production, &[("A", "x")])).await, "PERMISSION_DENIED");
    let made = rig.put(&maintainer(), secret(PAYMENTS, Tier::Production, &[("A", "x")])).await.unwrap();
    // Metadata is for the whole team.
    assert_eq!(rig.get(&developer(), &made.name).await.unwrap().keys, ["A"]);
    refused(rig.delete(&developer(), &made.name, "").await, "PERMISSION_DENIED");
    refused(rig.destroy(&developer(), &made.name, 1, "was in a log file").await, "PERMISSION_DENIED");
}

#[tokio::test]
async fn broken_requests_name_every_field() {
    let rig = Rig::start().await;
    let unknown = secret("component:default/nothing", Tier::Staging, &[("A", "x")]);
    // A service that does not exist reads like one of another team.
    let absent = refused(rig.put(&developer(), unknown).await, "PERMISSION_DENIED");
    let foreign =
        refused(rig.put(&stranger(), secret(PAYMENTS, Tier::Staging, &[("A", "x")])).await, "PERMISSION_DENIED");
    assert_eq!((absent.message(), absent.details()), (foreign.message(), foreign.details()));
    let mut bad = pb::PutSecretRequest { secret: Some(pb::Secret::default()), ..Default::default() };
    bad.request_id = "not a uuid".to_owned();
    let status = refused(rig.put(&developer(), bad).await, "INVALID_FIELD");
    assert_eq!(fields(&status), ["secret.service", "secret.tier", "request_id"]);

    let keys = secret(PAYMENTS, Tier::Staging, &[("a b", "x"), ("../up", "y")]);
    let status = refused(rig.put(&developer(), keys).await, "INVALID_FIELD");
    assert!(!format!("{status:?}").contains("../up"));
    let mut empty = secret(PAYMENTS, Tier::Staging, &[]);
    empty.remove_keys = vec!["A".to_owned()];
    let status = refused(rig.put(&developer(), empty).await, "INVALID_FIELD");
    assert_eq!(fields(&status), ["values", "remove_keys"]);
    let large = secret(PAYMENTS, Tier::Staging, &[("A", &"x".repeat(512 * 1024))]);
    refused(rig.put(&developer(), large).await, "INVALID_FIELD");

    for name in
        ["secrets/../staging", "secrets/payments-h4vyy/env", "payments", "secrets/payments-h4vyy/staging/env/.."]
    {
        let status = refused(rig.get(&developer(), name).await, "INVALID_FIELD");
        assert_eq!(fields(&status), ["name"], "{name}");
    }
    let status = refused(rig.destroy(&developer(), NAME, 0, "short").await, "INVALID_FIELD");
    assert_eq!(fields(&status), ["version", "reason"]);
}

#[tokio::test]
async fn all_that_is_wrong_with_a_list_is_told_at_once() {
    let rig = Rig::start().await;
    let bad = pb::ListSecretsRequest {
        filter: "value = \"x\"".to_owned(),
        order_by: "value".to_owned(),
        page_token: "made up".to_owned(),
        ..Default::default()
    };
    let status = refused(rig.list(&developer(), bad).await, "INVALID_FIELD");
    assert_eq!(fields(&status), ["filter", "order_by", "page_token"]);
}

#[tokio::test]
async fn patches_stale_etags_and_missing_versions() {
    let rig = Rig::start().await;
    let mut patch = secret(PAYMENTS, Tier::Staging, &[("A", "x")]);
    patch.mode = pb::PutMode::Patch.into();
    refused(rig.put(&developer(), patch.clone()).await, "NOT_FOUND");
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "x")])).await.unwrap();
    let mut all_gone = secret(PAYMENTS, Tier::Staging, &[]);
    (all_gone.mode, all_gone.remove_keys) = (pb::PutMode::Patch.into(), vec!["A".to_owned()]);
    refused(rig.put(&developer(), all_gone).await, "INVALID_FIELD");
    refused(rig.delete(&developer(), NAME, "99").await, "ETAG_MISMATCH");
    refused(rig.destroy(&developer(), NAME, 7, "was in a log file").await, "NOT_FOUND");
    rig.destroy(&developer(), NAME, 1, "was in a log file").await.unwrap();
    assert!(rig.get(&developer(), NAME).await.unwrap().keys.is_empty());
    refused(rig.put(&developer(), patch).await, "VERSION_DESTROYED");
}

#[tokio::test]
async fn without_the_catalog_nothing_is_decided() {
    let mut rig = Rig::start().await;
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "x")])).await.unwrap();
    rig.lose_catalog().await;
    refused(rig.get(&developer(), NAME).await, "DEPENDENCY_UNAVAILABLE");
    refused(rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "y")])).await, "DEPENDENCY_UNAVAILABLE");
}
