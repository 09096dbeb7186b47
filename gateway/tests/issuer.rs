//! Identity providers: their keys as they come, change and go away (SAFE-12), and their tokens as credentials.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};
use slipway_gateway::{
    app::{
        access::Access,
        authentication::{Authentication, Refusal},
        jobs::Jobs,
        rates::Limits,
        tokens::{described, mint},
    },
    model::{
        credential::Credential,
        jwt::{Algorithm, IssuerRules, Parts, Refused},
        principal::Mapping,
    },
    store::{MIGRATIONS, Store},
    world::{
        directory::{Directory, Memberships, Owned, Owners},
        issuer::{Failure, Issuer, Speaks},
        key_source::KeySource,
    },
};
use slipway_kit::{
    caller::Caller,
    clock::Clock,
    db::scratch,
    error::{DEPENDENCY_UNAVAILABLE, Error, INVALID_CREDENTIALS, Result, TOKEN_EXPIRED},
    serve::Shutdown,
};

const NOW: i64 = 1_000;

struct Pair {
    kid: String,
    pair: Ed25519KeyPair,
}

impl Pair {
    fn new(kid: &str) -> Self {
        Self { kid: kid.into(), pair: Ed25519KeyPair::generate().unwrap() }
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": B64.encode(self.pair.public_key().as_ref())})
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.kid, "typ": "JWT"});
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        format!("{signed}.{}", B64.encode(self.pair.sign(signed.as_bytes()).as_ref()))
    }
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "aud": "slipway", "sub": "ann", "iat": 900, "exp": 1200})
}

/// A provider whose keys a test changes.
#[derive(Clone, Default)]
struct Provider(Arc<(Mutex<Option<Vec<u8>>>, AtomicUsize)>);

impl Provider {
    fn publish(&self, keys: &[&Pair]) {
        let keys: Vec<Value> = keys.iter().map(|k| k.jwk()).collect();
        *self.0.0.lock().unwrap() = Some(json!({ "keys": keys }).to_string().into_bytes());
    }

    fn go_away(&self) {
        *self.0.0.lock().unwrap() = None;
    }

    fn fetches(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl KeySource for Provider {
    async fn fetch(&self) -> Result<Vec<u8>> {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.0.lock().unwrap().clone().ok_or_else(|| Error::new(&DEPENDENCY_UNAVAILABLE, "away"))
    }
}

fn issuer(id: &str, name: &str, provider: &Provider, clock: &Clock) -> Issuer {
    let rules = IssuerRules {
        issuer: name.into(),
        audience: "slipway".into(),
        algorithms: vec![Algorithm::EdDsa],
        types: vec!["jwt".into()],
        clients: vec![],
        allow_other_audiences: false,
        max_life_seconds: 3600,
        max_age_seconds: None,
    };
    let mapping = Speaks::User(Mapping { claim: "sub".into(), suffix: String::new(), namespace: "default".into() });
    Issuer::new(id.into(), rules, mapping, Box::new(provider.clone()), clock.clone())
}

async fn verify(issuer: &Issuer, token: &str) -> std::result::Result<String, Failure> {
    let parts = Parts::parse(token).map_err(Failure::Refused)?;
    issuer.verify(&parts, NOW).await.map(|(verified, _)| verified.subject)
}

#[tokio::test]
async fn keys_are_fetched_once_for_many_and_anew_for_an_unknown_one() {
    let (old, new, foreign) = (Pair::new("old"), Pair::new("new"), Pair::new("foreign"));
    let (provider, clock) = (Provider::default(), Clock::manual(NOW * 1_000_000));
    provider.publish(&[&old]);
    let issuer = Arc::new(issuer("id", "https://id.example", &provider, &clock));
    let many = (0..50).map(|_| {
        let (issuer, token) = (issuer.clone(), old.token(&claims()));
        tokio::spawn(async move { verify(&issuer, &token).await.is_ok() })
    });
    for one in many.collect::<Vec<_>>() {
        assert!(one.await.unwrap());
    }
    assert_eq!(provider.fetches(), 1, "one fetch for all");
    // Rotation: the new key is found by one more fetch, after the pause.
    provider.publish(&[&old, &new]);
    assert!(verify(&issuer, &new.token(&claims())).await.is_err());
    assert_eq!(provider.fetches(), 1, "not within ten seconds of the last");
    clock.advance_us(11_000_000);
    verify(&issuer, &new.token(&claims())).await.unwrap();
    assert_eq!(provider.fetches(), 2);
    // A flood of unknown keys costs at most one fetch in ten seconds.
    clock.advance_us(11_000_000);
    for n in 0..2_000 {
        let pair = Pair { kid: format!("flood-{n}"), pair: Ed25519KeyPair::generate().unwrap() };
        assert!(matches!(verify(&issuer, &pair.token(&claims())).await, Err(Failure::Refused(Refused::UnknownKey))));
    }
    assert_eq!(provider.fetches(), 3);
    verify(&issuer, &old.token(&claims())).await.unwrap();
    assert!(verify(&issuer, &foreign.token(&claims())).await.is_err());
    // A key that was taken away is gone after the background's next look.
    provider.publish(&[&new]);
    let before = issuer.generation();
    issuer.refresh().await.unwrap();
    assert_ne!(issuer.generation(), before);
    assert!(verify(&issuer, &old.token(&claims())).await.is_err());
    verify(&issuer, &new.token(&claims())).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_away_is_trusted_for_an_hour() {
    let key = Pair::new("k");
    let (provider, clock) = (Provider::default(), Clock::manual(NOW * 1_000_000));
    let issuer = issuer("id", "https://id.example", &provider, &clock);
    assert!(matches!(verify(&issuer, &key.token(&claims())).await, Err(Failure::Away(_))), "never seen");
    provider.publish(&[&key]);
    clock.advance_us(11_000_000);
    verify(&issuer, &key.token(&claims())).await.unwrap();
    provider.go_away();
    for _ in 0..59 {
        clock.advance_us(60_000_000);
        assert!(issuer.refresh().await.is_err());
        verify(&issuer, &key.token(&claims())).await.unwrap();
    }
    clock.advance_us(61_000_000);
    assert!(matches!(verify(&issuer, &key.token(&claims())).await, Err(Failure::Away(_))), "closed after an hour");
    assert_eq!(issuer.generation(), None);
}

#[tokio::test]
async fn a_useless_key_set_does_not_replace_a_good_one() {
    let key = Pair::new("k");
    let (provider, clock) = (Provider::default(), Clock::manual(NOW * 1_000_000));
    provider.publish(&[&key]);
    let issuer = issuer("id", "https://id.example", &provider, &clock);
    issuer.refresh().await.unwrap();
    for bad in ["", "[]", "{}", "{\"keys\":[],\"keys\":[]}", "<html>"] {
        *provider.0.0.lock().unwrap() = Some(bad.as_bytes().to_vec());
        assert!(issuer.refresh().await.is_err(), "{bad}");
        verify(&issuer, &key.token(&claims())).await.unwrap();
    }
}

struct Nobody;

#[async_trait]
impl Directory for Nobody {
    async fn memberships(&self) -> Result<Memberships> {
        Ok(Memberships { revision: 1, pairs: vec![("user:default/ann".into(), "group:default/pay".into())] })
    }
}

#[async_trait]
impl Owners for Nobody {
    async fn owner(&self, _: &str) -> Result<Option<Owned>> {
        Ok(None)
    }
}

/// Two providers whose keys have one id, and what they make of tokens.
struct Door {
    authentication: Authentication,
    clock: Clock,
    key: Pair,
    other: Pair,
    provider: Provider,
    _scratch: scratch::Scratch,
}

impl Door {
    async fn open() -> Self {
        let scratch = scratch::sqlite(&MIGRATIONS).await;
        let store = Store::new(scratch.db.clone());
        let (key, other) = (Pair::new("k"), Pair::new("k"));
        let (provider, second) = (Provider::default(), Provider::default());
        provider.publish(&[&key]);
        second.publish(&[&other]);
        let clock = Clock::manual(NOW * 1_000_000);
        let issuers = vec![
            issuer("one", "https://id.example", &provider, &clock),
            issuer("two", "https://two.example", &second, &clock),
        ];
        let access = Access::new(store.clone(), Box::new(Nobody));
        let limits = Arc::new(Limits::new(Default::default()));
        let jobs = Jobs::new(store.clone(), Arc::new(Nobody));
        let authentication = Authentication::new(access, store, clock.clone(), [1; 32], issuers, jobs, limits);
        Self { authentication, clock, key, other, provider, _scratch: scratch }
    }

    async fn admit(&self, token: &str) -> std::result::Result<Caller, Refusal> {
        self.authentication.admit(Credential::Signed(token)).await.map(|admission| admission.caller.clone())
    }
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

#[tokio::test]
async fn good_tokens_are_their_users_with_their_teams() {
    let door = Door::open().await;
    let good = [
        (door.key.token(&claims()), "user:default/ann"),
        (door.key.token(&with("sub", json!("bob.b-c_1"))), "user:default/bob.b-c_1"),
        (door.other.token(&with("iss", json!("https://two.example"))), "user:default/ann"),
    ];
    for (token, principal) in &good {
        for _ in 0..2 {
            let caller = door.admit(token).await.map_err(|r| r.error).unwrap();
            assert_eq!((caller.principal.as_str(), &caller.scopes), (*principal, &None));
            assert_eq!(caller.teams.contains_key("group:default/pay"), *principal == "user:default/ann");
        }
    }
}

#[tokio::test]
async fn every_bad_token_gets_one_text() {
    let door = Door::open().await;
    let (key, token) = (&door.key, door.key.token(&claims()));
    let mut bad = vec![
        door.other.token(&claims()),
        key.token(&with("iss", json!("https://two.example"))),
        key.token(&with("iss", json!("https://three.example"))),
        "a.b.c".to_owned(),
        "..".to_owned(),
    ];
    let users = ["Ann", "user:default/ann", "a b", "../x", "", "ann\u{0}", "-ann", "ann@example.com"];
    bad.extend(users.into_iter().map(|user| key.token(&with("sub", json!(user)))));
    for (name, values) in [
        ("sub", vec![json!(1), json!(["ann"])]),
        ("aud", vec![json!("other"), json!(["slipway", "other"]), json!([])]),
        ("exp", vec![json!("1200"), json!(900), json!(99_999)]),
        ("iat", vec![json!(1_061), json!(null)]),
        ("nbf", vec![json!(1_061)]),
    ] {
        bad.extend(values.into_iter().map(|value| key.token(&with(name, value))));
    }
    for at in (0..token.len()).filter(|at| token.as_bytes()[*at] != b'.') {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        bad.push(String::from_utf8(bytes).unwrap());
    }
    assert!(bad.len() > 250);
    let mut texts = BTreeSet::new();
    for token in &bad {
        let refusal = door.admit(token).await.err().unwrap_or_else(|| panic!("{token}"));
        assert!(refusal.is_credential && refusal.error.is(&INVALID_CREDENTIALS), "{token}: {}", refusal.cause);
        texts.insert(refusal.error.to_string());
    }
    assert_eq!(texts.len(), 1);
    door.admit(&token).await.map_err(|r| r.error).unwrap();
}

#[tokio::test]
async fn what_is_remembered_ends_with_its_token_and_with_its_key() {
    let door = Door::open().await;
    let token = door.key.token(&claims());
    door.admit(&token).await.map_err(|r| r.error).unwrap();
    // Only a token good in all else is told that it is over.
    let old = door.admit(&door.key.token(&with("exp", json!(940)))).await.unwrap_err();
    assert!(old.error.is(&TOKEN_EXPIRED));
    door.clock.advance_us(260 * 1_000_000);
    assert!(door.admit(&token).await.unwrap_err().error.is(&TOKEN_EXPIRED), "also when it was remembered");
    door.clock.advance_us(-260 * 1_000_000);
    door.admit(&token).await.map_err(|r| r.error).unwrap();
    door.provider.publish(&[&Pair::new("next")]);
    let shutdown = Shutdown::new();
    tokio::spawn(door.authentication.clone().keep_keys(shutdown.clone()));
    let gone = tokio::time::timeout(Duration::from_secs(5), async {
        while door.admit(&token).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.expect("the key is gone after the background's next look");
    shutdown.begin();
}

#[tokio::test]
async fn platform_tokens_end_by_time_and_by_revocation() {
    let scratch = scratch::sqlite(&MIGRATIONS).await;
    let store = Store::new(scratch.db.clone());
    let clock = Clock::manual(NOW * 1_000_000);
    let access = Access::new(store.clone(), Box::new(Nobody));
    let limits = Arc::new(Limits::new(Default::default()));
    let jobs = Jobs::new(store.clone(), Arc::new(Nobody));
    let authentication =
        Authentication::new(access.clone(), store.clone(), clock.clone(), [1; 32], vec![], jobs, limits);
    let plain = mint();
    let token = described(&plain, "t".into(), "user:default/ann".into(), vec![], clock.now_us(), 60_000_000);
    let mut tx = store.db().begin().await.unwrap();
    store.add_token(&mut tx, &token, &plain.keyed_hash(&[1; 32])).await.unwrap();
    tx.commit().await.unwrap();
    let admit =
        || async { authentication.admit(Credential::Platform(plain.expose())).await.map(|_| ()).map_err(|r| r.error) };
    admit().await.unwrap();
    clock.advance_us(59_999_999);
    admit().await.unwrap();
    clock.advance_us(1);
    assert!(admit().await.unwrap_err().is(&TOKEN_EXPIRED));
    clock.advance_us(-60_000_000);
    admit().await.unwrap();
    let mut tx = store.db().begin().await.unwrap();
    store.revoke_token(&mut tx, plain.id(), clock.now_us()).await.unwrap();
    tx.commit().await.unwrap();
    // Another process revoked it: remembered for a second at most, and not at all once the facts were read.
    access.refresh().await.unwrap();
    assert!(admit().await.unwrap_err().is(&INVALID_CREDENTIALS));
}
