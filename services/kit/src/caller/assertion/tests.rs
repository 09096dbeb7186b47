//! Nobody but the holder of the key makes an assertion, and none serves another service, method, peer or time.
use super::*;

const METHOD: &str = "/slipway.environment.v1.EnvironmentService/GetEnvironment";

fn ann() -> Caller {
    let mut caller = Caller::anonymous();
    caller.principal = "user:default/ann".to_owned();
    caller.teams.insert("group:default/shop".to_owned(), Role::Developer);
    caller.scopes = Some(vec![Scope { permission: "environments.*".to_owned(), resource: String::new() }]);
    let granted = [("component:default/shop".to_owned(), ["environments.get".to_owned()].into())];
    caller.job = Some(Job { repository_id: "100".to_owned(), pull_request: Some(7), grants: granted.into() });
    caller
}

fn claims(change: impl FnOnce(&mut Assertion)) -> Assertion {
    let now = now_s();
    let caller = ann();
    let mut claims = Assertion {
        iss: ISSUER.to_owned(),
        aud: vec!["environment".to_owned()],
        sub: caller.principal,
        kind: caller.kind,
        credential: String::new(),
        teams: caller.teams,
        roles: caller.roles,
        scopes: caller.scopes,
        job: caller.job,
        method: METHOD.to_owned(),
        act: None,
        iat: now,
        exp: now + LIFE_S,
    };
    change(&mut claims);
    claims
}

#[test]
fn a_true_assertion_gives_the_caller_back_twice() {
    let signer = Signer::generate();
    let verifier = signer.verifier();
    let token = signer.assert(&ann(), &["environment"], METHOD, None).expect("signs");
    for _ in 0..2 {
        assert_eq!(verifier.verify(&token, "environment", "gateway", METHOD).expect("true").caller(), ann());
    }
}

#[test]
fn anything_else_is_the_same_refusal() {
    let signer = Signer::generate();
    let now = now_s();
    let sign = |change: fn(&mut Assertion)| signer.sign(&claims(change)).expect("signs");
    let good = sign(|_| ());
    let mut altered = good.clone().into_bytes();
    let middle = altered.len() / 2;
    altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
    let hmac = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &claims(|_| ()),
        &EncodingKey::from_secret(&signer.public().bytes),
    );
    let none = {
        let body = good.split('.').nth(1).expect("three parts");
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.")
    };
    let mut old = claims(|_| ());
    (old.iat, old.exp) = (now - 120, now - 60);
    let mut long = claims(|_| ());
    long.exp = now + 3600;
    let mut ending = claims(|_| ());
    (ending.iat, ending.exp) = (now - 60, now);
    let cases = [
        ("forged", Signer::generate().sign(&claims(|_| ())).expect("signs")),
        ("altered", String::from_utf8(altered).expect("ascii")),
        ("hmac", hmac.expect("signs")),
        ("none", none),
        ("expired", signer.sign(&old).expect("signs")),
        ("ends now", signer.sign(&ending).expect("signs")),
        ("too long a life", signer.sign(&long).expect("signs")),
        ("other audience", sign(|c| c.aud = vec!["catalog".to_owned()])),
        (
            "other method",
            sign(|c| c.method = "/slipway.environment.v1.EnvironmentService/DeleteEnvironment".to_owned()),
        ),
        ("any method", sign(|c| c.method = ANY_METHOD.to_owned())),
        ("other issuer", sign(|c| c.iss = "somebody".to_owned())),
        ("empty", String::new()),
        ("huge", "a".repeat(BYTES_MAX + 1)),
    ];
    let verifier = signer.verifier();
    assert!(verifier.verify(&good, "environment", "gateway", METHOD).is_ok());
    for (what, token) in cases {
        let error = verifier.verify(&token, "environment", "gateway", METHOD).expect_err(what);
        assert!(error.is(&INVALID_CREDENTIALS), "{what}");
        assert_eq!(error.message(), "the credentials are not valid", "{what}");
    }
}

#[test]
fn a_service_forwards_only_what_was_addressed_to_it_too() {
    let signer = Signer::generate();
    let verifier = signer.verifier();
    let both = signer.assert(&ann(), &["scaffolding", "catalog"], METHOD, None).expect("signs");
    let other = "/slipway.catalog.v1.LocationService/RegisterLocation";
    assert!(verifier.verify(&both, "catalog", "scaffolding", other).is_ok());
    assert!(verifier.verify(&both, "catalog", "metrics", other).is_err(), "metrics was not addressed");
    let delegated = signer.assert(&ann(), &["catalog"], ANY_METHOD, Some("scaffolding")).expect("signs");
    assert!(verifier.verify(&delegated, "catalog", "scaffolding", other).is_ok());
    assert!(verifier.verify(&delegated, "catalog", "environment", other).is_err(), "made for another service");
}

#[test]
fn a_renewed_key_signs_and_the_old_one_is_known_as_long_as_it_is_published() {
    let (signer, old) = (Signer::generate(), Signer::generate());
    signer.follow(&old);
    let token = |signer: &Signer| signer.assert(&ann(), &["environment"], METHOD, None).expect("signs");
    let (before, verifier) = (token(&signer), Verifier::new());
    let accepts = |token: &str| verifier.verify(token, "environment", "gateway", METHOD).is_ok();
    assert!(!accepts(&before), "no key is known yet");
    verifier.set_keys(&[old.public()]);
    assert!(accepts(&before));
    let next = Signer::generate();
    signer.follow(&next);
    let after = token(&signer);
    assert!(!accepts(&after), "the new key is not known yet");
    verifier.set_keys(&[old.public(), next.public()]);
    assert!(accepts(&before) && accepts(&after));
    verifier.set_keys(&[next.public()]);
    assert!(!accepts(&token(&old)), "the old key is forgotten");
}

#[tokio::test]
async fn an_unknown_key_is_waited_for_where_somebody_keeps_the_keys() {
    let (signer, verifier) = (Signer::generate(), Verifier::new());
    let token = signer.assert(&ann(), &["environment"], METHOD, None).expect("signs");
    let patience = std::time::Duration::from_secs(2);
    assert!(!verifier.learn(&token, patience).await, "nobody keeps the keys: no wait");
    assert!(verifier.verify(&token, "environment", "gateway", METHOD).is_err());
    let (mut wanted, keeper) = (verifier.wanted(), verifier.clone());
    let public = signer.public();
    tokio::spawn(async move {
        wanted.changed().await.expect("wanted");
        keeper.set_keys(&[public]);
        std::future::pending::<()>().await;
        drop(wanted);
    });
    assert!(verifier.learn(&token, patience).await);
    assert!(verifier.verify(&token, "environment", "gateway", METHOD).is_ok());
    assert!(!verifier.learn(&token, patience).await, "a known key is nothing new");
}

#[test]
fn a_job_reaches_its_own_pull_request_and_service_alone() {
    let job = ann().job.expect("a job");
    assert!(job.reaches("100", Some(7)) && job.may("environments.get", "component:default/shop"));
    for (repository, pull) in [("100", Some(8)), ("100", None), ("101", Some(7)), ("", Some(7))] {
        assert!(!job.reaches(repository, pull), "{repository} {pull:?}");
    }
    for (permission, service) in
        [("environments.delete", "component:default/shop"), ("environments.get", "component:default/Shop"), ("", "")]
    {
        assert!(!job.may(permission, service), "{permission} {service}");
    }
    let pushed = Job { pull_request: None, ..job };
    assert!(pushed.reaches("100", Some(7)) && pushed.reaches("100", None) && !pushed.reaches("101", None));
}
