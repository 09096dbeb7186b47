//! Bindings as teams declare them and as the environment service asks for them.
use std::time::Duration;

use slipway_proto::{
    environment::v1::EnvironmentTier as Tier,
    secrets::v1::{self as pb, SecretBindingState as State, secret_binding_service_client::SecretBindingServiceClient},
};
use tonic::{Response, Status};

use crate::rig::{
    ENVIRONMENT, PAYMENTS, PAYMENTS_UID, Rig, admin, binding, developer, fields, maintainer, refused, secret, stranger,
};

const NAME: &str = "secretBindings/payments-h4vyy/staging/payments-db";

async fn resolve(rig: &Rig, me: &'static str, tier: Tier, fork: bool) -> Result<Vec<pb::SecretBinding>, Status> {
    let client = rig.hub.peers(me).as_service("secrets", Duration::from_secs(10));
    let request = pb::ResolveEnvironmentBindingsRequest {
        service_uid: PAYMENTS_UID.to_owned(),
        tier: tier.into(),
        environment_uid: ENVIRONMENT.to_owned(),
        fork,
    };
    let answer = SecretBindingServiceClient::new(client).resolve_environment_bindings(request).await;
    answer.map(|answer| answer.into_inner().secret_bindings)
}

#[tokio::test]
async fn a_binding_is_made_becomes_ready_changes_and_goes() {
    for rig in Rig::each().await {
        let made =
            rig.bind(&developer(), "payments-db", Tier::Staging, &[("", "URL"), ("", "PASSWORD")]).await.unwrap();
        assert_eq!((made.name.as_str(), made.secret_name.as_str(), made.generation), (NAME, "payments-db", 1));
        assert_eq!((made.state(), made.missing.len()), (State::NotReady, 2));
        rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("URL", "u"), ("PASSWORD", "p")])).await.unwrap();
        let ready = rig.get_binding(&developer(), NAME).await.unwrap();
        assert_eq!((ready.state(), ready.items[0].secret.as_str()), (State::Ready, "secrets/payments-h4vyy/staging"));
        let used = rig.get(&developer(), "secrets/payments-h4vyy/staging").await.unwrap();
        assert_eq!(used.consumers, [NAME]);

        let mut wish = pb::SecretBinding { name: NAME.to_owned(), etag: made.etag.clone(), ..Default::default() };
        wish.items = vec![pb::SecretBindingItem {
            key: "URL".to_owned(),
            r#as: "DATABASE_URL".to_owned(),
            ..Default::default()
        }];
        let update = pb::UpdateSecretBindingRequest { secret_binding: Some(wish), ..Default::default() };
        let changed = rig.bindings(&developer(), "UpdateSecretBinding").update_secret_binding(update.clone()).await;
        let changed = changed.unwrap().into_inner();
        assert_eq!((changed.generation, changed.items[0].r#as.as_str()), (2, "DATABASE_URL"));
        refused(rig.bindings(&developer(), "UpdateSecretBinding").update_secret_binding(update).await, "ETAG_MISMATCH");

        let list = pb::ListSecretBindingsRequest { filter: "tier = STAGING".to_owned(), ..Default::default() };
        let mut client = rig.bindings(&developer(), "ListSecretBindings");
        assert_eq!(client.list_secret_bindings(list.clone()).await.unwrap().into_inner().secret_bindings, [changed]);
        let mut client = rig.bindings(&stranger(), "ListSecretBindings");
        assert!(client.list_secret_bindings(list).await.unwrap().into_inner().secret_bindings.is_empty());

        let name = NAME.to_owned();
        let delete = pb::DeleteSecretBindingRequest { name, ..Default::default() };
        rig.bindings(&developer(), "DeleteSecretBinding").delete_secret_binding(delete).await.unwrap();
        refused(rig.get_binding(&developer(), NAME).await, "NOT_FOUND");
    }
}

#[tokio::test]
async fn tiers_are_not_crossed() {
    let rig = Rig::start().await;
    for (tier, above) in
        [(Tier::Development, "staging"), (Tier::Development, "production"), (Tier::Staging, "production")]
    {
        let source = format!("secrets/payments-h4vyy/{above}");
        // Not even a maintainer, whose right to both is not in question.
        refused(rig.bind(&maintainer(), "payments-db", tier, &[(&source, "A")]).await, "TIER_CROSSING");
    }
    refused(rig.bind(&developer(), "payments-db", Tier::Production, &[("", "A")]).await, "PERMISSION_DENIED");
    rig.bind(&maintainer(), "payments-db", Tier::Production, &[("", "A")]).await.unwrap();
}

#[tokio::test]
async fn mistakes_are_told() {
    let rig = Rig::start().await;
    rig.bind(&developer(), "payments-db", Tier::Staging, &[("", "A")]).await.unwrap();
    refused(rig.bind(&developer(), "payments-db", Tier::Staging, &[("", "B")]).await, "ALREADY_EXISTS");
    refused(rig.bind(&stranger(), "payments-db", Tier::Staging, &[("", "B")]).await, "PERMISSION_DENIED");
    refused(rig.bind(&admin(), "other", Tier::Staging, &[("", "B")]).await, "PERMISSION_DENIED");
    refused(rig.get_binding(&stranger(), NAME).await, "PERMISSION_DENIED");
    let status = refused(rig.bind(&developer(), "sys", Tier::Staging, &[("", "B")]).await, "INVALID_FIELD");
    assert_eq!(fields(&status), ["secret_binding_id"]);
    let status = refused(rig.bind(&developer(), "Up/er", Tier::Staging, &[("", "1")]).await, "INVALID_FIELD");
    assert_eq!(fields(&status), ["secret_binding_id", "secret_binding.items[0].key"]);
    let two = [("secrets/shop-aaaaa/staging", "A"), ("", "B"), ("", "B")];
    let status = refused(rig.bind(&developer(), "two", Tier::Staging, &two).await, "INVALID_FIELD");
    assert_eq!(fields(&status), ["secret_binding.items[0].secret", "secret_binding.items[2].as"]);
    let mut missing = binding("three", Tier::Unspecified, &[("", "A")]);
    missing.secret_binding.as_mut().unwrap().service.clear();
    let answer = rig.bindings(&developer(), "CreateSecretBinding").create_secret_binding(missing).await;
    assert_eq!(fields(&refused(answer, "INVALID_FIELD")), ["secret_binding.service", "secret_binding.tier"]);
    let mut update = pb::UpdateSecretBindingRequest {
        secret_binding: binding("x", Tier::Staging, &[("", "A")]).secret_binding,
        update_mask: Some(prost_types::FieldMask { paths: vec!["tier".to_owned()] }),
        ..Default::default()
    };
    update.secret_binding.as_mut().unwrap().name = NAME.to_owned();
    let answer = rig.bindings(&developer(), "UpdateSecretBinding").update_secret_binding(update).await;
    assert_eq!(fields(&refused(answer, "INVALID_FIELD")), ["update_mask"]);
}

#[tokio::test]
async fn an_environment_gets_the_names_that_hold_for_it() {
    for rig in Rig::each().await {
        assert!(resolve(&rig, "environment", Tier::Staging, false).await.unwrap().is_empty());
        rig.bind(&developer(), "payments-db", Tier::Staging, &[("", "A")]).await.unwrap();
        rig.bind(&maintainer(), "live", Tier::Production, &[("", "A")]).await.unwrap();
        for (id, uid) in [("mine", ENVIRONMENT), ("other", "6f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b")] {
            let mut request = binding(id, Tier::Staging, &[("", "A")]);
            request.secret_binding.as_mut().unwrap().environment_uid = uid.to_owned();
            let made = rig.bindings(&developer(), "CreateSecretBinding").create_secret_binding(request).await;
            made.map(Response::into_inner).unwrap();
        }
        let holding = resolve(&rig, "environment", Tier::Staging, false).await.unwrap();
        assert_eq!(holding.iter().map(|b| b.secret_name.as_str()).collect::<Vec<_>>(), ["mine", "payments-db"]);
        refused(resolve(&rig, "environment", Tier::Staging, true).await, "FORK_NO_SECRETS");
        assert!(resolve(&rig, "environment", Tier::Development, true).await.unwrap().is_empty());
        refused(resolve(&rig, "gateway", Tier::Staging, false).await, "PERMISSION_DENIED");
    }
}
