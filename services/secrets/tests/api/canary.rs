//! Unique values through every RPC, also failing ones; then everything that could have kept one is searched.
use std::{
    collections::HashMap,
    fs, io,
    sync::{Arc, Mutex, OnceLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use slipway_kit::id;
use slipway_proto::{environment::v1::EnvironmentTier as Tier, secrets::v1 as pb};
use tonic::Status;

use crate::rig::{PAYMENTS, Rig, SHOP, admin, developer, maintainer, reveal, secret, stranger};

const NAME: &str = "secrets/payments-h4vyy/staging";
const CANARIES: usize = 64;
/// Bytes of a canary's form by which it is found.
const HEAD: usize = 20;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything this process logs, down to trace.
fn log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("the only subscriber of this process");
        log
    })
    .clone()
}

/// Hands out canaries and keeps what was answered.
#[derive(Default)]
struct Cage {
    canaries: Vec<String>,
    told: Vec<u8>,
}

impl Cage {
    fn next(&mut self) -> String {
        let canary = format!("canary~{}~{}/+&", self.canaries.len(), id::uuid4());
        self.canaries.push(canary.clone());
        canary
    }

    /// Keeps every form of an answer that anything could log.
    fn keep<T: std::fmt::Debug>(&mut self, answer: &Result<T, Status>) {
        self.told.extend(format!("{answer:?}").bytes());
        if let Err(status) = answer {
            self.told.extend(status.details());
            self.told.extend(format!("{status} {:?}", status.metadata()).bytes());
        }
    }

    /// Canaries in the place, each with the form it was found in; one pass over the place.
    fn found_in(&self, place: &[u8]) -> Vec<(&str, &'static str)> {
        let mut wanted = HashMap::new();
        for canary in &self.canaries {
            // Its unique middle, so that neither escapes nor alignment hide it.
            let middle = canary.split('~').nth(2).unwrap().split('/').next().unwrap().as_bytes();
            let mut want = |form, text: &[u8]| wanted.insert(text[..HEAD].to_vec(), (canary.as_str(), form));
            want("raw", middle);
            want("hex", hex::encode(middle).as_bytes());
            want("HEX", hex::encode_upper(middle).as_bytes());
            for shift in 0..3 {
                want("base64", STANDARD_NO_PAD.encode(&middle[shift..shift + 30]).as_bytes());
            }
        }
        place.windows(HEAD).filter_map(|window| wanted.get(window).copied()).collect()
    }
}

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
