//! A secret's life as its team sees it, on every engine.
use slipway_kit::id;
use slipway_proto::{
    catalog::v1::EntityChanged,
    environment::v1::EnvironmentTier as Tier,
    resource::v1::TotalMode,
    secrets::v1::{self as pb, SecretVersionState as State},
};
use tonic::Response;

use crate::rig::{ENVIRONMENT, PAYMENTS, PAYMENTS_UID, Rig, SHOP, developer, maintainer, refused, secret, stranger};

const NAME: &str = "secrets/payments-h4vyy/staging";

async fn versions(rig: &Rig, size: i32, token: &str) -> pb::ListSecretVersionsResponse {
    let (name, page_token) = (NAME.to_owned(), token.to_owned());
    let request = pb::ListSecretVersionsRequest { name, page_size: size, page_token };
    let mut client = rig.secrets(&developer(), "ListSecretVersions");
    client.list_secret_versions(request).await.map(Response::into_inner).unwrap()
}

#[tokio::test]
async fn a_secret_is_written_read_patched_deleted_and_destroyed() {
    for rig in Rig::each().await {
        let first =
            rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("B", "two"), ("A", "one")])).await.unwrap();
        assert_eq!(
            (first.name.as_str(), first.version, first.keys.as_slice()),
            (NAME, 1, &["A".to_owned(), "B".to_owned()][..])
        );
        assert_eq!((first.owner.as_str(), first.creator.as_str()), ("group:default/payments", "user:default/dev"));

        let mut patch = secret(PAYMENTS, Tier::Staging, &[("C", "three")]);
        (patch.mode, patch.remove_keys, patch.expected_version) =
            (pb::PutMode::Patch.into(), vec!["A".to_owned()], Some(1));
        let second = rig.put(&developer(), patch).await.unwrap();
        assert_eq!((second.version, second.keys), (2, vec!["B".to_owned(), "C".to_owned()]));
        assert_eq!(rig.reveal(&maintainer(), NAME, "B").await.unwrap().value, "two");
        let mut old = crate::rig::reveal(NAME, "A");
        old.version = 1;
        let answer = rig.secrets(&maintainer(), "RevealSecret").reveal_secret(old).await.unwrap();
        assert_eq!(answer.metadata().get("cache-control").unwrap(), "no-store");
        assert_eq!(answer.into_inner().value, "one");

        let gone = rig.delete(&developer(), NAME, &second.etag).await.unwrap();
        assert!(gone.delete_time.is_some() && gone.keys.is_empty());
        refused(rig.reveal(&maintainer(), NAME, "B").await, "SECRET_DELETED");
        refused(rig.delete(&developer(), NAME, "").await, "ALREADY_DELETED");
        assert_eq!(versions(&rig, 0, "").await.versions[0].state(), State::Deleted);
        let back = pb::UndeleteSecretRequest { name: NAME.to_owned(), ..Default::default() };
        rig.secrets(&developer(), "UndeleteSecret").undelete_secret(back.clone()).await.unwrap();
        refused(rig.secrets(&developer(), "UndeleteSecret").undelete_secret(back).await, "NOT_DELETED");

        let destroyed = rig.destroy(&developer(), NAME, 1, "was in a log file").await.unwrap();
        assert_eq!((destroyed.state(), destroyed.destroy_reason.as_str()), (State::Destroyed, "was in a log file"));
        refused(rig.destroy(&developer(), NAME, 1, "was in a log file").await, "VERSION_DESTROYED");
        let page = versions(&rig, 1, "").await;
        assert_eq!((page.versions[0].version, page.versions[0].state()), (2, State::Enabled));
        let rest = versions(&rig, 1, &page.next_page_token).await;
        assert_eq!((rest.versions[0].version, rest.versions[0].state()), (1, State::Destroyed));
        assert!(rest.next_page_token.is_empty());
    }
}

#[tokio::test]
async fn a_stale_write_is_a_version_conflict() {
    for rig in Rig::each().await {
        let mut new = secret(PAYMENTS, Tier::Staging, &[("A", "x")]);
        new.expected_version = Some(0);
        assert_eq!(rig.put(&maintainer(), new.clone()).await.unwrap().version, 1);
        refused(rig.put(&maintainer(), new.clone()).await, "VERSION_CONFLICT");
        new.expected_version = Some(5);
        refused(rig.put(&maintainer(), new.clone()).await, "VERSION_CONFLICT");
        new.expected_version = Some(1);
        let ann = maintainer();
        let (a, b) = tokio::join!(rig.put(&ann, new.clone()), rig.put(&ann, new.clone()));
        let won = [&a, &b].into_iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(won, 1, "{a:?} {b:?}");
        assert_eq!(rig.get(&maintainer(), NAME).await.unwrap().version, 2);
    }
}

#[tokio::test]
async fn a_repeat_writes_once_and_another_value_is_a_reuse() {
    for rig in Rig::each().await {
        let mut request = secret(PAYMENTS, Tier::Staging, &[("PIN", "4711")]);
        request.request_id = id::uuid4();
        let first = rig.put(&developer(), request.clone()).await.unwrap();
        assert_eq!(rig.put(&developer(), request.clone()).await.unwrap(), first);
        request.values.insert("PIN".to_owned(), "4712".to_owned());
        refused(rig.put(&developer(), request).await, "REQUEST_ID_REUSED");
        assert_eq!(rig.reveal(&maintainer(), NAME, "PIN").await.unwrap().value, "4711");
        assert_eq!(versions(&rig, 0, "").await.versions.len(), 1);
    }
}

#[tokio::test]
async fn a_dry_run_leaves_nothing() {
    let rig = Rig::start().await;
    let mut request = secret(PAYMENTS, Tier::Staging, &[("A", "x")]);
    request.validate_only = true;
    assert_eq!(rig.put(&developer(), request).await.unwrap().version, 1);
    refused(rig.get(&crate::rig::admin(), NAME).await, "NOT_FOUND");
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "x")])).await.unwrap();
    let name = NAME.to_owned();
    let dry = pb::DeleteSecretRequest { name, validate_only: true, ..Default::default() };
    rig.secrets(&developer(), "DeleteSecret").delete_secret(dry).await.unwrap();
    assert!(rig.get(&developer(), NAME).await.unwrap().delete_time.is_none());
}

#[tokio::test]
async fn lists_show_what_one_may_see_filtered_ordered_and_paged() {
    for rig in Rig::each().await {
        for tier in [Tier::Development, Tier::Staging, Tier::Production] {
            rig.put(&maintainer(), secret(PAYMENTS, tier, &[("A", "x")])).await.unwrap();
        }
        let mut one = secret(PAYMENTS, Tier::Development, &[("A", "x")]);
        one.secret.as_mut().unwrap().environment_uid = ENVIRONMENT.to_owned();
        let one = rig.put(&maintainer(), one).await.unwrap();
        assert_eq!(one.name, format!("secrets/payments-h4vyy/development/env/{ENVIRONMENT}"));
        rig.put(&stranger(), secret(SHOP, Tier::Staging, &[("A", "x")])).await.unwrap();

        let ask = pb::ListSecretsRequest { page_size: 3, total: TotalMode::Exact.into(), ..Default::default() };
        let page = rig.list(&developer(), ask.clone()).await.unwrap();
        assert_eq!((page.secrets.len(), page.total_size), (3, Some(4)));
        let rest = pb::ListSecretsRequest { page_token: page.next_page_token.clone(), ..ask.clone() };
        assert_eq!(rig.list(&developer(), rest.clone()).await.unwrap().secrets.len(), 1);
        refused(rig.list(&stranger(), rest).await, "PAGE_TOKEN_INVALID");

        let filter = "tier = DEVELOPMENT AND service = \"component:default/payments\"".to_owned();
        let filtered = pb::ListSecretsRequest { filter, order_by: "create_time desc".to_owned(), ..Default::default() };
        let found = rig.list(&developer(), filtered).await.unwrap().secrets;
        assert_eq!(found.iter().map(|s| s.environment_uid.as_str()).collect::<Vec<_>>(), [ENVIRONMENT, ""]);
        let bad = pb::ListSecretsRequest { filter: "value = \"x\"".to_owned(), ..Default::default() };
        refused(rig.list(&developer(), bad).await, "FILTER_INVALID");
        let bad = pb::ListSecretsRequest { order_by: "value".to_owned(), ..Default::default() };
        refused(rig.list(&developer(), bad).await, "ORDER_INVALID");
        assert_eq!(rig.list(&stranger(), pb::ListSecretsRequest::default()).await.unwrap().secrets.len(), 1);
    }
}

#[tokio::test]
async fn ownership_follows_the_catalog() {
    let rig = Rig::start().await;
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "x")])).await.unwrap();
    // A decision asks the catalog itself.
    rig.catalog.say(PAYMENTS, PAYMENTS_UID, "group:default/shop");
    refused(rig.get(&developer(), NAME).await, "PERMISSION_DENIED");
    assert_eq!(rig.get(&stranger(), NAME).await.unwrap().owner, "group:default/shop");

    // A list goes by what the catalog's events told.
    let told = EntityChanged {
        r#ref: PAYMENTS.to_owned(),
        uid: PAYMENTS_UID.to_owned(),
        owner: "group:default/payments".to_owned(),
        state: "ACTIVE".to_owned(),
        ..Default::default()
    };
    let mut tx = rig.catalog_db.begin().await.unwrap();
    slipway_kit::journal::append(&mut tx, slipway_kit::journal::event(PAYMENTS_UID, &told)).await.unwrap();
    tx.commit().await.unwrap();
    let seen = async {
        while rig.list(&developer(), pb::ListSecretsRequest::default()).await.unwrap().secrets.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), seen).await.expect("the event arrives");

    // Another entity of the same name inherits nothing; a forgotten one is nobody's.
    rig.catalog.say(PAYMENTS, ENVIRONMENT, "group:default/shop");
    refused(rig.get(&stranger(), NAME).await, "PERMISSION_DENIED");
    rig.catalog.forget(PAYMENTS);
    refused(rig.get(&developer(), NAME).await, "PERMISSION_DENIED");
    assert!(rig.get(&crate::rig::admin(), NAME).await.unwrap().owner.is_empty());
}
