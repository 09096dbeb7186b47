//! The engine when its key is missing, wrong or too open, and when somebody changed the database behind its back.
use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use slipway_kit::{args, db::Db};
use slipway_proto::{environment::v1::EnvironmentTier as Tier, secrets::v1::EngineState as State};
use slipway_secrets::engine;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::rig::{PAYMENTS, Rig, admin, developer, maintainer, refused, secret};

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
    tokio::time::timeout(Duration::from_secs(60), opened).await.expect("it looks again by itself");
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
    rig.settle().await;
    let (file, old) = (rig.database_file(), rig.dir.path().join("old.db"));
    fs::copy(&file, &old).unwrap();
    rig.go().await;
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "second")])).await.unwrap();
    rig.settle().await;
    fs::copy(&old, &file).unwrap();
    rig.go().await;
    refused(rig.reveal(&maintainer(), NAME, "A").await, "ROLLED_BACK");
    assert_eq!(rig.get(&developer(), NAME).await.unwrap().version, 1);

    let engine = rig.get_engine(&admin()).await.unwrap();
    assert_eq!((engine.state(), engine.known_writes, engine.witnessed_writes), (State::RolledBack, 1, 2));
    refused(rig.accept_rollback(&maintainer(), "restored the backup of 2 am").await, "PERMISSION_DENIED");
    refused(rig.accept_rollback(&admin(), "short").await, "INVALID_FIELD");
    let engine = rig.accept_rollback(&admin(), "restored the backup of 2 am").await.unwrap();
    assert_eq!(engine.state(), State::Open);
    refused(rig.accept_rollback(&admin(), "restored the backup of 2 am").await, "NOT_ROLLED_BACK");
    assert_eq!(rig.reveal(&maintainer(), NAME, "A").await.unwrap().value, "first");
    rig.stop().await;
    rig.go().await;
    assert_eq!(rig.get_engine(&admin()).await.unwrap().state(), State::Open);
}

#[tokio::test]
async fn a_broken_chain_is_reported_at_start() {
    let mut rig = written().await;
    rig.put(&developer(), secret(PAYMENTS, Tier::Staging, &[("A", "second")])).await.unwrap();
    refused(rig.get_engine(&maintainer()).await, "PERMISSION_DENIED");
    let cases = [
        ("UPDATE secret_version SET digest = chain WHERE version = 1", "a version was changed"),
        ("UPDATE secret SET version = 3", "the newest version is missing or not known"),
        ("DELETE FROM secret_version WHERE version = 1", "a version is missing"),
    ];
    let mut before = String::new();
    for (meddling, want) in cases {
        let restore = format!("UPDATE secret_version SET digest = x'{before}' WHERE version = 1");
        let undo = if before.is_empty() { "UPDATE secret SET version = 2".to_owned() } else { restore };
        rig.meddle(&[&undo, "UPDATE secret SET version = 2"]).await;
        if before.is_empty() {
            before = digest(&mut rig).await;
        }
        rig.meddle(&[meddling]).await;
        let found = async {
            loop {
                let engine = rig.get_engine(&admin()).await.unwrap();
                if let [finding] = &engine.findings[..] {
                    return finding.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        let finding = tokio::time::timeout(Duration::from_secs(60), found).await.expect("it is found at start");
        assert_eq!((finding.secret.as_str(), finding.what.as_str()), (NAME, want));
    }
}

async fn digest(rig: &mut Rig) -> String {
    bytes(rig, "digest").await.pop().map(hex::encode).unwrap()
}

/// A column of version 1, read while the service is stopped.
async fn bytes(rig: &mut Rig, column: &str) -> Vec<Vec<u8>> {
    rig.stop().await;
    let db = Db::open(&rig.config.database).await.unwrap();
    let rows =
        db.fetch_all(&format!("SELECT {column} AS b FROM secret_version WHERE version = 1"), args![]).await.unwrap();
    db.close().await;
    drop(db);
    rig.go().await;
    rows.iter().map(|row| row.bytes("b").unwrap()).collect()
}

#[tokio::test]
async fn a_destroyed_version_leaves_no_ciphertext_in_the_file() {
    let mut rig = written().await;
    let ciphertext = bytes(&mut rig, "ciphertext").await.pop().unwrap();
    rig.settle().await;
    let holds = |rig: &Rig| {
        let file = fs::read(rig.database_file()).unwrap();
        file.windows(ciphertext.len()).any(|window| window == ciphertext)
    };
    assert!(holds(&rig));
    rig.go().await;
    rig.destroy(&developer(), NAME, 1, "was in a log file").await.unwrap();
    rig.settle().await;
    assert!(!holds(&rig));
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
