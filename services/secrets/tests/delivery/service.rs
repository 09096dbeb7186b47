//! The service's deliveries: what stands afterwards, what is refused before anything is written, and kills at every change.
use std::{sync::Arc, time::Duration};

use slipway_kit::{
    args,
    db::Db,
    id,
    serve::{Hub, error_from},
};
use slipway_proto::{
    environment::v1::EnvironmentTier as Tier,
    secrets::v1::{self as pb, delivery_place, delivery_service_client::DeliveryServiceClient},
};
use slipway_secrets::{
    model::delivery::{Access, LABEL_ENVIRONMENT},
    world::cluster::fake::{Fake, Kill},
};
use tonic::{Response, Status};

use crate::{
    bench::{Bench, all, free_name},
    rig::{PAYMENTS, PAYMENTS_UID, Rig, binding, developer, reason, refused, secret},
};

/// An environment with its namespace.
pub struct Environment {
    pub uid: String,
    pub namespace: String,
    pub namespace_uid: String,
    pub access: Access,
}

impl Environment {
    pub async fn on(bench: &dyn Bench) -> Self {
        let namespace = free_name();
        let namespace_uid = bench.make_namespace(&namespace).await;
        Self { uid: id::uuid4(), namespace, namespace_uid, access: bench.access() }
    }

    fn place(&self) -> pb::DeliveryPlace {
        pb::DeliveryPlace {
            cluster: "main".to_owned(),
            namespace: self.namespace.clone(),
            namespace_uid: self.namespace_uid.clone(),
            access: Some(match &self.access {
                Access::KubeconfigFile(name) => delivery_place::Access::KubeconfigFile(name.clone()),
                Access::InCluster => delivery_place::Access::InCluster(true),
            }),
        }
    }

    pub fn request(&self) -> pb::DeliverEnvironmentSecretsRequest {
        pb::DeliverEnvironmentSecretsRequest {
            service_uid: PAYMENTS_UID.to_owned(),
            tier: Tier::Development.into(),
            environment_uid: self.uid.clone(),
            fork: false,
            place: Some(self.place()),
            labels: [(LABEL_ENVIRONMENT.to_owned(), self.uid.clone())].into(),
            pull_secret_files: Vec::new(),
        }
    }
}

fn client(hub: &Hub, me: &'static str) -> DeliveryServiceClient<slipway_kit::serve::Client> {
    DeliveryServiceClient::new(hub.peers(me).as_service("secrets", Duration::from_secs(20)))
}

pub async fn ask(rig: &Rig, request: pb::DeliverEnvironmentSecretsRequest) -> Result<Vec<pb::DeliveredSecret>, Status> {
    let answer = client(&rig.hub, "environment").deliver_environment_secrets(request).await;
    answer.map(|answer| answer.into_inner().secrets)
}

pub async fn deliver(rig: &Rig, env: &Environment) -> Result<Vec<pb::DeliveredSecret>, Status> {
    ask(rig, env.request()).await
}

async fn withdraw(rig: &Rig, env: &Environment) -> Result<Vec<String>, Status> {
    let place = Some(env.place());
    let request = pb::WithdrawEnvironmentSecretsRequest { environment_uid: env.uid.clone(), place };
    let answer = client(&rig.hub, "environment").withdraw_environment_secrets(request).await;
    answer.map(|answer| answer.into_inner().removed)
}

async fn value(bench: &dyn Bench, env: &Environment, name: &str, key: &str) -> Option<String> {
    let data = bench.data(&env.namespace, name).await?;
    data.get(key).map(|bytes| String::from_utf8(bytes.clone()).unwrap())
}

/// The service over a cluster in memory, with one binding that can be delivered.
async fn bound(mut rig: Rig) -> (Rig, Fake, Environment) {
    let fake = Fake::default();
    rig.stop().await;
    rig.clusters = Arc::new(fake.clone());
    rig.go().await;
    rig.put(&developer(), secret(PAYMENTS, Tier::Development, &[("URL", "v1"), ("OLD", "x")])).await.unwrap();
    rig.bind(&developer(), "db", Tier::Development, &[("", "URL")]).await.unwrap();
    let env = Environment::on(&fake).await;
    (rig, fake, env)
}

#[tokio::test]
async fn logins_of_registries_become_pull_secrets_and_are_never_told() {
    let (rig, fake, env) = bound(Rig::start().await).await;
    let login = r#"{"auths": {"registry.test": {"auth": "Y2FuYXJ5LTdmM2E="}}}"#;
    fake.state().logins.insert("registry.json".to_owned(), login.to_owned());
    let with = |files: &[&str]| pb::DeliverEnvironmentSecretsRequest {
        pull_secret_files: files.iter().map(|file| (*file).to_owned()).collect(),
        ..env.request()
    };
    for _ in 0..2 {
        let request = with(&["registry.json"]);
        let answer = client(&rig.hub, "environment").deliver_environment_secrets(request).await.unwrap().into_inner();
        assert_eq!(answer.secrets.len(), 1);
        let names: Vec<_> = answer.pull_secrets.iter().map(|s| (s.name.as_str(), s.versions.len())).collect();
        assert_eq!(names, [("slipway-pull-registry", 0)]);
        assert!(!format!("{answer:?}").contains("Y2FuYXJ5"));
    }
    let held = fake.state().secrets.get(&(env.namespace.clone(), "slipway-pull-registry".to_owned())).cloned().unwrap();
    assert_eq!(held.data.get(".dockerconfigjson").map(Vec::as_slice), Some(login.as_bytes()));
    let missing = ask(&rig, with(&["none.json"])).await.unwrap_err();
    assert!(missing.message().contains("none.json"), "{missing:?}");
    let wrong = ask(&rig, with(&["../up.json"])).await.unwrap_err();
    assert_eq!(wrong.code(), tonic::Code::InvalidArgument);
    // No longer named: it goes, the bound Secret stays.
    assert_eq!(deliver(&rig, &env).await.unwrap().len(), 1);
    assert!(!fake.state().secrets.contains_key(&(env.namespace.clone(), "slipway-pull-registry".to_owned())));
}

#[tokio::test]
async fn secrets_are_delivered_renewed_pruned_and_withdrawn() {
    for bench in all().await {
        let mut rig = Rig::start().await;
        rig.stop().await;
        rig.clusters = bench.clusters();
        rig.go().await;
        let env = Environment::on(&*bench).await;
        assert_eq!(deliver(&rig, &env).await.unwrap(), []);
        rig.put(&developer(), secret(PAYMENTS, Tier::Development, &[("URL", "v1"), ("OLD", "x")])).await.unwrap();
        rig.bind(&developer(), "db", Tier::Development, &[("", "URL"), ("", "OLD")]).await.unwrap();
        rig.bind(&developer(), "other", Tier::Development, &[("", "URL")]).await.unwrap();
        let first = deliver(&rig, &env).await.unwrap();
        assert_eq!(
            first.iter().map(|s| (s.name.as_str(), s.generation)).collect::<Vec<_>>(),
            [("db", 1), ("other", 1)]
        );
        let path = "secrets/payments-h4vyy/development".to_owned();
        assert_eq!(first[0].versions, [pb::DeliveredVersion { secret: path, version: 1 }]);
        assert_eq!(value(&*bench, &env, "db", "URL").await.as_deref(), Some("v1"));

        // Again is the same; a Secret that somebody deleted comes back.
        assert_eq!(deliver(&rig, &env).await.unwrap(), first);
        bench.delete_secret(&env.namespace, "db").await;
        let again = deliver(&rig, &env).await.unwrap();
        assert_ne!(again[0].uid, first[0].uid);
        assert_eq!(again[1], first[1]);

        // A new version and fewer keys.
        rig.put(&developer(), secret(PAYMENTS, Tier::Development, &[("URL", "v2")])).await.unwrap();
        refused(deliver(&rig, &env).await, "BINDING_NOT_READY");
        assert_eq!(value(&*bench, &env, "db", "URL").await.as_deref(), Some("v1"));
        let mut wish =
            pb::SecretBinding { name: "secretBindings/payments-h4vyy/development/db".to_owned(), ..Default::default() };
        wish.items = vec![pb::SecretBindingItem { key: "URL".to_owned(), ..Default::default() }];
        let update = pb::UpdateSecretBindingRequest { secret_binding: Some(wish), ..Default::default() };
        rig.bindings(&developer(), "UpdateSecretBinding").update_secret_binding(update).await.unwrap();
        let now = deliver(&rig, &env).await.unwrap();
        assert_eq!((now[0].generation, now[0].versions[0].version, &now[0].uid), (2, 2, &again[0].uid));
        assert_eq!(value(&*bench, &env, "db", "URL").await.as_deref(), Some("v2"));
        assert_eq!(value(&*bench, &env, "db", "OLD").await, None);

        // A binding that is gone takes its Secret with it, and nothing else.
        bench.put_foreign(&env.namespace, "pull", &[(LABEL_ENVIRONMENT, &env.uid)], &[("k", "theirs")]).await;
        let name = "secretBindings/payments-h4vyy/development/other".to_owned();
        let delete = pb::DeleteSecretBindingRequest { name, ..Default::default() };
        rig.bindings(&developer(), "DeleteSecretBinding").delete_secret_binding(delete).await.unwrap();
        assert_eq!(deliver(&rig, &env).await.unwrap().len(), 1);
        assert_eq!(bench.data(&env.namespace, "other").await, None);
        assert_eq!(withdraw(&rig, &env).await.unwrap(), ["db"]);
        assert_eq!(withdraw(&rig, &env).await.unwrap(), Vec::<String>::new());
        assert_eq!(value(&*bench, &env, "pull", "k").await.as_deref(), Some("theirs"));
        bench.drop_namespace(&env.namespace).await;
        rig.stop().await;
    }
}

#[tokio::test]
async fn another_ones_secret_is_never_overwritten() {
    for bench in all().await {
        let mut rig = Rig::start().await;
        rig.stop().await;
        rig.clusters = bench.clusters();
        rig.go().await;
        rig.put(&developer(), secret(PAYMENTS, Tier::Development, &[("URL", "v1")])).await.unwrap();
        rig.bind(&developer(), "a", Tier::Development, &[("", "URL")]).await.unwrap();
        rig.bind(&developer(), "z", Tier::Development, &[("", "URL")]).await.unwrap();
        let env = Environment::on(&*bench).await;
        // By nobody, of another environment, and of this one but not by us.
        for labels in [vec![], vec![(LABEL_ENVIRONMENT, "other")], vec![(LABEL_ENVIRONMENT, env.uid.as_str())]] {
            bench.put_foreign(&env.namespace, "z", &labels, &[("k", "theirs")]).await;
            let status = refused(deliver(&rig, &env).await, "SECRET_TAKEN");
            assert!(status.message().contains(" z "), "{status:?}");
            assert_eq!(value(&*bench, &env, "z", "k").await.as_deref(), Some("theirs"));
            assert_eq!(bench.data(&env.namespace, "a").await, None, "nothing is written before all names are clear");
            bench.delete_secret(&env.namespace, "z").await;
        }
        assert_eq!(deliver(&rig, &env).await.unwrap().len(), 2);
        bench.drop_namespace(&env.namespace).await;
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_namespace_is_known_by_its_uid() {
    for bench in all().await {
        let mut rig = Rig::start().await;
        rig.stop().await;
        rig.clusters = bench.clusters();
        rig.go().await;
        rig.put(&developer(), secret(PAYMENTS, Tier::Development, &[("URL", "v1")])).await.unwrap();
        rig.bind(&developer(), "db", Tier::Development, &[("", "URL")]).await.unwrap();
        let mut env = Environment::on(&*bench).await;
        let right = std::mem::replace(&mut env.namespace_uid, id::uuid4());
        refused(deliver(&rig, &env).await, "NAMESPACE_CHANGED");
        assert_eq!(withdraw(&rig, &env).await.unwrap(), Vec::<String>::new());
        assert_eq!(bench.data(&env.namespace, "db").await, None);
        env.namespace_uid = right;
        deliver(&rig, &env).await.unwrap();
        bench.drop_namespace(&env.namespace).await;
        // While it ends, or when it is gone.
        refused(deliver(&rig, &env).await, "NAMESPACE_CHANGED");
        rig.stop().await;
    }
}

#[tokio::test]
async fn nothing_is_written_for_forks_missing_keys_sealed_engines_and_lost_clusters() {
    for rig in Rig::each().await {
        let (mut rig, fake, env) = bound(rig).await;
        let changes = || fake.state().changes;
        let fork = pb::DeliverEnvironmentSecretsRequest { fork: true, ..env.request() };
        refused(ask(&rig, fork).await, "FORK_NO_SECRETS");
        rig.bind(&developer(), "late", Tier::Development, &[("", "NONE"), ("", "NOT")]).await.unwrap();
        let status = refused(deliver(&rig, &env).await, "BINDING_NOT_READY");
        for key in ["NONE", "NOT"] {
            assert!(status.message().contains(&format!("secrets/payments-h4vyy/development has no key {key}")));
        }
        let with_keys = [("URL", "v1"), ("NONE", "a"), ("NOT", "b")];
        rig.put(&developer(), secret(PAYMENTS, Tier::Development, &with_keys)).await.unwrap();
        fake.state().is_down = true;
        let status = refused(deliver(&rig, &env).await, "DELIVERY_UNREACHABLE");
        assert_eq!(status.code(), tonic::Code::Unavailable);
        fake.state().is_down = false;
        let mut lost = env.request();
        lost.place.as_mut().unwrap().access = Some(delivery_place::Access::KubeconfigFile("none".to_owned()));
        refused(ask(&rig, lost).await, "CREDENTIAL_UNUSABLE");

        let key = std::fs::read(&rig.config.key_file).unwrap();
        rig.stop().await;
        std::fs::write(&rig.config.key_file, [7; 32]).unwrap();
        rig.go().await;
        let status = refused(deliver(&rig, &env).await, "SEALED");
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(changes(), 0, "nothing was written");
        rig.stop().await;
        std::fs::write(&rig.config.key_file, key).unwrap();
        rig.go().await;
        assert_eq!(deliver(&rig, &env).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn mistakes_of_the_caller_are_told() {
    let (rig, _, env) = bound(Rig::start().await).await;
    let answer = client(&rig.hub, "gateway").deliver_environment_secrets(env.request()).await;
    refused(answer.map(Response::into_inner), "PERMISSION_DENIED");
    let mut foreign = env.request();
    foreign.labels = [(LABEL_ENVIRONMENT.to_owned(), id::uuid4())].into();
    assert_eq!(crate::rig::fields(&refused(ask(&rig, foreign).await, "INVALID_FIELD")), ["labels"]);
    for name in ["../kubeconfig", "/etc/passwd", "a/b", ".hidden", ""] {
        let mut bad = env.request();
        bad.place.as_mut().unwrap().access = Some(delivery_place::Access::KubeconfigFile(name.to_owned()));
        assert_eq!(reason(&ask(&rig, bad).await.unwrap_err()), "INVALID_FIELD", "{name}");
    }
    let mut nowhere = env.request();
    nowhere.place.as_mut().unwrap().access = None;
    assert_eq!(reason(&ask(&rig, nowhere).await.unwrap_err()), "INVALID_FIELD");
}

#[tokio::test]
async fn killed_at_every_change_it_converges() {
    for rig in Rig::each().await {
        let (rig, fake, _) = bound(rig).await;
        let mut second = binding("second", Tier::Development, &[("", "OLD")]);
        second.secret_binding.as_mut().unwrap().items[0].r#as = "RENAMED".to_owned();
        rig.bindings(&developer(), "CreateSecretBinding").create_secret_binding(second).await.unwrap();
        let mut points = 0;
        for kill in [Kill::Before, Kill::After] {
            for at in 1.. {
                let env = Environment::on(&fake).await;
                // One that is to be pruned stands already.
                let stale = rig.bind(&developer(), "stale", Tier::Development, &[("", "URL")]).await.unwrap();
                deliver(&rig, &env).await.unwrap();
                fake.delete_secret(&env.namespace, "second").await;
                let delete = pb::DeleteSecretBindingRequest { name: stale.name, ..Default::default() };
                rig.bindings(&developer(), "DeleteSecretBinding").delete_secret_binding(delete).await.unwrap();
                let next = fake.state().changes + at;
                fake.state().kill_at = Some((next, kill));
                let first = deliver(&rig, &env).await;
                let was_killed = fake.state().changes >= next;
                fake.state().kill_at = None;
                if was_killed {
                    assert_eq!(reason(&first.unwrap_err()), "DELIVERY_UNREACHABLE");
                    points += 1;
                }
                assert_eq!(deliver(&rig, &env).await.unwrap().len(), 2);
                let names: Vec<_> = fake
                    .state()
                    .secrets
                    .keys()
                    .filter(|(ns, _)| *ns == env.namespace)
                    .map(|(_, n)| n.clone())
                    .collect();
                assert_eq!(names, ["db", "second"]);
                assert_eq!(value(&fake, &env, "db", "URL").await.as_deref(), Some("v1"));
                assert_eq!(value(&fake, &env, "second", "RENAMED").await.as_deref(), Some("x"));
                if !was_killed {
                    break;
                }
            }
        }
        assert_eq!(points, 8, "claim, two writes and a prune, before and after");
    }
}

#[tokio::test]
async fn a_delivery_is_on_record_by_names_and_consumers_hear_of_new_versions() {
    for rig in Rig::each().await {
        let (mut rig, _, env) = bound(rig).await;
        deliver(&rig, &env).await.unwrap();
        withdraw(&rig, &env).await.unwrap();
        rig.bind(&developer(), "pinned", Tier::Development, &[("", "URL")]).await.unwrap();
        rig.put(&developer(), secret(PAYMENTS, Tier::Development, &[("URL", "v2")])).await.unwrap();
        rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("URL", "s1")])).await.unwrap();
        rig.stop().await;
        let db = Db::open(&rig.config.database).await.unwrap();
        let sql = "SELECT method, resource, resource_uid, fields FROM audit WHERE method LIKE '%EnvironmentSecrets' \
                   AND resource <> '' ORDER BY id";
        let rows = db.fetch_all(sql, args![]).await.unwrap();
        let told = |row: &slipway_kit::db::Row| {
            (row.text("resource").unwrap(), row.text("resource_uid").unwrap(), row.text("fields").unwrap())
        };
        let place = format!("clusters/main/namespaces/{}", env.namespace);
        let wants = ["db", ""].map(|fields| (place.clone(), env.uid.clone(), fields.to_owned()));
        assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), wants);
        let sql = "SELECT payload FROM journal WHERE subject = 'slipway.secrets.v1.SecretBindingChanged' ORDER BY seq";
        let rows = db.fetch_all(sql, args![]).await.unwrap();
        let changes: Vec<String> = rows
            .iter()
            .map(|row| {
                let message: serde_json::Value = serde_json::from_str(&row.text("payload").unwrap()).unwrap();
                format!("{} {}", message["secretBinding"]["secretName"], message["change"]).replace('"', "")
            })
            .collect();
        let wants = ["db CHANGE_CREATED", "pinned CHANGE_CREATED", "db CHANGE_REFRESHED", "pinned CHANGE_REFRESHED"];
        assert_eq!(changes, wants);
        db.close().await;
    }
}

#[test]
fn the_environment_service_can_tell_the_reasons_apart() {
    let status = Status::from(slipway_kit::error::Error::new(&slipway_secrets::error::SECRET_TAKEN, "x"));
    assert!(error_from(status).is(&slipway_secrets::error::SECRET_TAKEN));
}
