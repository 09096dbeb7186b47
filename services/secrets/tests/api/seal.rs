//! The engine when its key is missing, wrong or too open, and when somebody changed the database behind its back.
use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use slipway_proto::environment::v1::EnvironmentTier as Tier;
use slipway_secrets::engine;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::rig::{PAYMENTS, Rig, developer, maintainer, refused, secret};

const NAME: &str = "secrets/payments-h4vyy/staging";

async fn written() -> Rig {
    let rig = Rig::start().await;
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "first")])).await.unwrap();
    rig
}

fn cause(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().and_then(|info| info.metadata.get("cause").cloned()).unwrap_or_default()
}

#[tokio::test]
async fn without_a_usable_key_values_are_sealed_and_metadata_works() {
    let mut rig = written().await;
    let key = rig.config.key_file.clone();
    let right = fs::read(&key).unwrap();
    let mode = |mode: u32| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    let cases: [(&str, &dyn Fn()); 5] = [
        ("key_too_open", &|| mode(0o640)),
        ("key_too_open", &|| mode(0o604)),
        ("key_malformed", &|| {
            mode(0o600);
            fs::write(&key, &right[..31]).unwrap()
        }),
        ("key_wrong", &|| fs::write(&key, [7; 32]).unwrap()),
        ("key_missing", &|| fs::remove_file(&key).unwrap()),
    ];
    for (want, spoil) in cases {
        rig.stop().await;
        spoil();
        rig.go().await;
        let status = refused(rig.reveal(&maintainer(), NAME, "A").await, "SEALED");
        assert_eq!(cause(&status), want);
        refused(rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "x")])).await, "SEALED");
        assert_eq!(rig.get(&developer(), NAME).await.unwrap().keys, ["A"]);
        rig.bind(&developer(), &format!("b{want}").replace('_', "-"), Tier::Staging, &[("", "A")]).await.ok();
    }
    rig.stop().await;
    fs::write(&key, &right).unwrap();
    mode(0o400);
    rig.go().await;
    assert_eq!(rig.reveal(&maintainer(), NAME, "A").await.unwrap().value, "first");
}

#[tokio::test]
async fn a_key_that_comes_back_opens_the_running_engine() {
    let mut rig = written().await;
    rig.stop().await;
    let (key, away) = (rig.config.key_file.clone(), rig.dir.path().join("away"));
    fs::rename(&key, &away).unwrap();
    rig.go().await;
    refused(rig.reveal(&maintainer(), NAME, "A").await, "SEALED");
    assert_eq!(health(&rig).await, 2);
    fs::rename(&away, &key).unwrap();
    let opened = async {
        while health(&rig).await != 1 {
            tokio::time::sleep(Duration::from_millis(50)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(15), opened).await.expect("it looks again by itself");
    assert_eq!(rig.reveal(&maintainer(), NAME, "A").await.unwrap().value, "first");
}

/// 1 SERVING, 2 NOT_SERVING.
async fn health(rig: &Rig) -> i32 {
    let client = rig.hub.peers("gateway").as_service("secrets", Duration::from_secs(5));
    let service = slipway_proto::secrets::v1::secret_service_server::SERVICE_NAME.to_owned();
    let request = tonic_health::pb::HealthCheckRequest { service };
    tonic_health::pb::health_client::HealthClient::new(client).check(request).await.unwrap().into_inner().status
}

#[tokio::test]
async fn the_engines_own_row_is_guarded() {
    let mut rig = written().await;
    rig.meddle(&["UPDATE engine SET engine_id = '3f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b'"]).await;
    let status = refused(rig.reveal(&maintainer(), NAME, "A").await, "SEALED");
    assert_eq!(cause(&status), "engine_damaged");
}

#[tokio::test]
async fn moved_and_changed_ciphertext_does_not_open() {
    let mut rig = written().await;
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "second")])).await.unwrap();
    rig.put(&maintainer(), secret(PAYMENTS, Tier::Production, &[("A", "live")])).await.unwrap();
    let take = |column: &str, of: &str| {
        format!("(SELECT {column} FROM secret_version AS s WHERE s.path = '{of}' AND s.version = 1)")
    };
    let staging = "payments-h4vyy/staging";
    for from in ["payments-h4vyy/production", staging] {
        let columns =
            ["wrapped_key", "ciphertext", "digest", "chain"].map(|c| format!("{c} = {}", take(c, from))).join(", ");
        let sql = format!("UPDATE secret_version SET {columns} WHERE path = '{staging}' AND version = 2");
        rig.meddle(&[&sql]).await;
        refused(rig.reveal(&maintainer(), NAME, "A").await, "VALUE_DAMAGED");
        let mut patch = secret(PAYMENTS, Tier::Staging, &[("B", "x")]);
        patch.mode = slipway_proto::secrets::v1::PutMode::Patch.into();
        refused(rig.put(&developer(), patch).await, "VALUE_DAMAGED");
    }
    // Written anew, it is whole again.
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "third")])).await.unwrap();
    assert_eq!(rig.reveal(&maintainer(), NAME, "A").await.unwrap().value, "third");
}

#[tokio::test]
async fn a_database_set_back_is_noticed() {
    let mut rig = written().await;
    rig.stop().await;
    let (file, old) = (rig.database_file(), rig.dir.path().join("old.db"));
    fs::copy(&file, &old).unwrap();
    rig.go().await;
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "second")])).await.unwrap();
    rig.stop().await;
    fs::copy(&old, &file).unwrap();
    for side in ["-wal", "-shm"] {
        fs::remove_file(format!("{}{side}", file.display())).ok();
    }
    rig.go().await;
    refused(rig.reveal(&maintainer(), NAME, "A").await, "ROLLED_BACK");
    assert_eq!(rig.get(&developer(), NAME).await.unwrap().version, 1);
}

#[test]
fn a_key_file_is_made_once_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    engine::create_key_file(&path).unwrap();
    let (first, about) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
    assert_eq!((first.len(), about.permissions().mode() & 0o7777), (32, 0o600));
    assert_eq!(engine::create_key_file(&path).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), first);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
