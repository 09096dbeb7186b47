//! The token matrix: each class of bad token against each algorithm, with the good token beside it (SAFE-89).
#![allow(clippy::unwrap_used)]

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{self as sig, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_000;
const ALL: [(Algorithm, &str); 5] = [
    (Algorithm::Rs256, "RS256"),
    (Algorithm::Ps256, "PS256"),
    (Algorithm::Es256, "ES256"),
    (Algorithm::Es384, "ES384"),
    (Algorithm::EdDsa, "EdDSA"),
];

enum Signer {
    Rsa(rsa::KeyPair),
    Ec(sig::EcdsaKeyPair),
    Ed(sig::Ed25519KeyPair),
}

struct Party {
    algorithm: Algorithm,
    name: &'static str,
    signer: Signer,
}

impl Party {
    fn new(algorithm: Algorithm, name: &'static str) -> Self {
        let signer = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => Signer::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap()),
            Algorithm::Es256 => Signer::Ec(sig::EcdsaKeyPair::generate(&sig::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            Algorithm::Es384 => Signer::Ec(sig::EcdsaKeyPair::generate(&sig::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            Algorithm::EdDsa => Signer::Ed(sig::Ed25519KeyPair::generate().unwrap()),
        };
        Self { algorithm, name, signer }
    }

    fn jwk(&self) -> Value {
        match &self.signer {
            Signer::Rsa(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero().to_vec();
                let e = public.exponent().big_endian_without_leading_zero().to_vec();
                json!({"kty": "RSA", "kid": "k", "n": B64.encode(n), "e": B64.encode(e)})
            }
            Signer::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "kid": "k", "crv": crv, "x": B64.encode(x), "y": B64.encode(y)})
            }
            Signer::Ed(pair) => {
                json!({"kty": "OKP", "kid": "k", "crv": "Ed25519", "x": B64.encode(pair.public_key().as_ref())})
            }
        }
    }

    fn sign(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Rsa(pair) => {
                let scheme: &'static dyn sig::RsaEncoding =
                    if self.algorithm == Algorithm::Ps256 { &sig::RSA_PSS_SHA256 } else { &sig::RSA_PKCS1_SHA256 };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(scheme, &random, signed, &mut out).unwrap();
                out
            }
            Signer::Ec(pair) => pair.sign(&random, signed).unwrap().as_ref().to_vec(),
            Signer::Ed(pair) => pair.sign(signed).as_ref().to_vec(),
        }
    }

    fn raw(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature = B64.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn header(&self) -> Value {
        json!({"alg": self.name, "kid": "k", "typ": "JWT"})
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        self.raw(&header.to_string(), &claims.to_string())
    }

    fn keys(&self) -> KeySet {
        KeySet::parse(json!({"keys": [self.jwk()]}).to_string().as_bytes()).unwrap()
    }
}

fn parties() -> Vec<Party> {
    ALL.into_iter().map(|(algorithm, name)| Party::new(algorithm, name)).collect()
}

fn rules() -> IssuerRules {
    IssuerRules {
        issuer: "https://id.example".into(),
        audience: "slipway".into(),
        algorithms: ALL.map(|(a, _)| a).to_vec(),
        types: vec!["jwt".into(), "at+jwt".into()],
        clients: vec![],
        allow_other_audiences: false,
        max_life_seconds: 3600,
        max_age_seconds: None,
    }
}

fn good() -> Value {
    json!({"iss": "https://id.example", "aud": "slipway", "sub": "ann", "iat": 900, "exp": 1200})
}

/// `value` with `name` set, or removed for null.
fn with(mut value: Value, name: &str, to: Value) -> Value {
    let map = value.as_object_mut().unwrap();
    if to.is_null() {
        map.remove(name)
    } else {
        map.insert(name.into(), to)
    };
    value
}

fn check(token: &str, rules: &IssuerRules, keys: &KeySet) -> Result<Verified, Refused> {
    verify(&Parts::parse(token)?, rules, keys, NOW)
}

fn invalid(result: &Result<Verified, Refused>) -> bool {
    matches!(result, Err(Refused::Invalid(_)))
}

#[test]
fn good_tokens_of_every_algorithm_pass() {
    for party in parties() {
        let keys = party.keys();
        let variants = [
            good(),
            with(good(), "aud", json!(["slipway"])),
            with(good(), "nbf", json!(1060)),
            with(good(), "iat", json!(1060)),
            with(good(), "exp", json!(941)),
            with(good(), "extra", json!({"deep": [1, 2]})),
        ];
        for claims in variants {
            let result = check(&party.token(&party.header(), &claims), &rules(), &keys);
            assert_eq!(result.map(|v| v.subject), Ok("ann".into()), "{} {claims}", party.name);
        }
        for header in [
            with(party.header(), "typ", Value::Null),
            with(party.header(), "typ", json!("application/at+JWT")),
            with(party.header(), "kid", Value::Null),
            with(party.header(), "jku", json!("https://evil.example/keys")),
        ] {
            assert!(check(&party.token(&header, &good()), &rules(), &keys).is_ok(), "{} {header}", party.name);
        }
    }
}

#[test]
fn bad_claims_are_refused_under_every_algorithm() {
    let bad = [
        ("iss", vec![json!("https://id.example/"), json!("HTTPS://id.example"), json!(["https://id.example"])]),
        (
            "aud",
            vec![Value::Null, json!("other"), json!([]), json!(["slipway", "other"]), json!(["slipway", 1]), json!({})],
        ),
        ("sub", vec![Value::Null, json!(""), json!(7), json!(["ann"])]),
        (
            "exp",
            vec![
                Value::Null,
                json!("1200"),
                json!(1200.5),
                json!(-1),
                json!(9_007_199_254_740_993_i64),
                json!(1e3),
                json!(true),
                json!(900),
                json!(4501),
            ],
        ),
        ("iat", vec![Value::Null, json!("900"), json!(1061), json!(-5), json!(900.0)]),
        ("nbf", vec![json!("900"), json!(1061), json!(1.5), json!([])]),
        ("events", vec![json!({})]),
        ("typ", vec![json!("Refresh"), json!("Offline"), json!("Logout")]),
    ];
    for party in parties() {
        let keys = party.keys();
        for (name, values) in &bad {
            for value in values {
                let result = check(&party.token(&party.header(), &with(good(), name, value.clone())), &rules(), &keys);
                assert!(invalid(&result), "{} {name}={value}: {result:?}", party.name);
            }
        }
    }
}

#[test]
fn bad_headers_are_refused_under_every_algorithm() {
    let bad = [
        (
            "alg",
            vec![
                Value::Null,
                json!("none"),
                json!("None"),
                json!("nOnE"),
                json!("HS256"),
                json!("HS512"),
                json!("ES512"),
                json!(""),
                json!(1),
            ],
        ),
        (
            "typ",
            vec![
                json!("logout+jwt"),
                json!("secevent+jwt"),
                json!("refresh+jwt"),
                json!("dpop+jwt"),
                json!(1),
                json!(""),
            ],
        ),
        ("kid", vec![json!(""), json!("a".repeat(257)), json!("k\u{e9}"), json!("k\n"), json!(1)]),
        ("crit", vec![json!(["b64"]), json!([])]),
        ("b64", vec![json!(false), json!(true)]),
        ("zip", vec![json!("DEF")]),
        ("enc", vec![json!("A256GCM")]),
        ("cty", vec![json!("JWT")]),
    ];
    for party in parties() {
        let keys = party.keys();
        for (name, values) in &bad {
            for value in values {
                let result = check(&party.token(&with(party.header(), name, value.clone()), &good()), &rules(), &keys);
                assert!(invalid(&result), "{} {name}={value}: {result:?}", party.name);
            }
        }
        let unknown = check(&party.token(&with(party.header(), "kid", json!("other")), &good()), &rules(), &keys);
        assert_eq!(unknown, Err(Refused::UnknownKey));
    }
}

#[test]
fn no_algorithm_passes_for_another_and_no_key_for_another() {
    let (all, strangers) = (parties(), parties());
    for (party, stranger) in all.iter().zip(&strangers) {
        let keys = party.keys();
        assert!(invalid(&check(&stranger.token(&stranger.header(), &good()), &rules(), &keys)), "{}", party.name);
        for other in all.iter().filter(|o| o.name != party.name) {
            let header = with(party.header(), "alg", json!(other.name));
            assert!(
                invalid(&check(&party.token(&header, &good()), &rules(), &keys)),
                "{} as {}",
                party.name,
                other.name
            );
            let narrow = IssuerRules { algorithms: vec![other.algorithm], ..rules() };
            assert!(invalid(&check(&party.token(&party.header(), &good()), &narrow, &keys)));
        }
    }
}

#[test]
fn every_cut_and_changed_form_is_refused() {
    for party in parties() {
        let keys = party.keys();
        let token = party.token(&party.header(), &good());
        let [h, c, s] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        let zero = B64.encode(vec![0; B64.decode(s).unwrap().len()]);
        let forms = [
            format!("{h}.{c}."),
            format!("{h}.{c}"),
            format!("{h}.{c}.{s}."),
            format!("{h}.{c}.{s}.{s}.{s}"),
            format!("{h}.{c}.{s}="),
            format!(" {token}"),
            format!("{h}.{c}\n.{s}"),
            format!("{h}.{c}.{zero}"),
            format!("{h}.{c}.{}", &s[..s.len() - 4]),
            format!("{h}.{c}.{s}AAAA"),
            format!("{c}.{h}.{s}"),
            party.raw("[]", &good().to_string()),
            party.raw(&party.header().to_string(), "[]"),
            party.raw(&party.header().to_string(), &good().to_string().replace("{\"iss\"", "{\"sub\":\"eve\",\"iss\"")),
            party.raw(&party.header().to_string().replace('{', "{\"alg\":\"none\","), &good().to_string()),
            party.raw(&party.header().to_string(), &format!("{} ,", good())),
            party.token(&party.header(), &with(good(), "pad", json!("x".repeat(16 * 1024)))),
        ];
        for form in forms {
            assert!(invalid(&check(&form, &rules(), &keys)), "{} {form}", party.name);
        }
        for at in [0, h.len() + 3, h.len() + c.len() + 5] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(check(&String::from_utf8(bytes).unwrap(), &rules(), &keys).is_err());
        }
    }
}

#[test]
fn no_changed_character_passes() {
    let mut tried = 0;
    for party in parties() {
        let (keys, token) = (party.keys(), party.token(&party.header(), &good()));
        assert!(check(&token, &rules(), &keys).is_ok());
        for at in 0..token.len() {
            for other in [b'A', b'-', b'.', b'='] {
                let mut bytes = token.clone().into_bytes();
                if bytes[at] != other {
                    bytes[at] = other;
                    let result = check(&String::from_utf8(bytes).unwrap(), &rules(), &keys);
                    assert!(matches!(result, Err(Refused::Invalid(_) | Refused::UnknownKey)), "{} {at}", party.name);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 2_000, "{tried}");
}

#[test]
fn expiry_is_told_only_after_the_signature_held() {
    let (party, stranger) = (Party::new(Algorithm::EdDsa, "EdDSA"), Party::new(Algorithm::EdDsa, "EdDSA"));
    let old = with(good(), "exp", json!(940));
    assert_eq!(check(&party.token(&party.header(), &old), &rules(), &party.keys()), Err(Refused::Expired));
    assert!(invalid(&check(&stranger.token(&stranger.header(), &old), &rules(), &party.keys())));
    let other = with(old, "aud", json!("other"));
    assert!(invalid(&check(&party.token(&party.header(), &other), &rules(), &party.keys())));
}

#[test]
fn keys_that_may_not_verify_are_left_out() {
    for party in parties() {
        let token = party.token(&party.header(), &good());
        let usable = [("use", json!("sig")), ("key_ops", json!(["verify"])), ("alg", json!(party.name))];
        let unusable = [
            ("use", json!("enc")),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!("verify")),
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("d", json!("AQAB")),
            ("kty", json!("oct")),
            ("e", json!("AQ")),
        ];
        let answer = |name: &str, value: &Value| {
            let set = json!({"keys": [with(party.jwk(), name, value.clone())]});
            check(&token, &rules(), &KeySet::parse(set.to_string().as_bytes()).unwrap())
        };
        for (name, value) in &usable {
            assert!(answer(name, value).is_ok(), "{} {name}", party.name);
        }
        for (name, value) in &unusable {
            let ignored = *name == "e" && !matches!(party.signer, Signer::Rsa(_));
            assert_eq!(answer(name, value).is_ok(), ignored, "{} {name}={value}", party.name);
        }
        let twice = json!({"keys": [party.jwk(), party.jwk()]});
        assert!(invalid(&check(&token, &rules(), &KeySet::parse(twice.to_string().as_bytes()).unwrap())));
    }
}

#[test]
fn key_sets_have_limits() {
    let key = Party::new(Algorithm::EdDsa, "EdDSA").jwk();
    let set = |n: usize| json!({"keys": vec![key.clone(); n]}).to_string();
    assert!(KeySet::parse(set(jwk::MAX_KEYS).as_bytes()).is_ok());
    assert!(KeySet::parse(set(jwk::MAX_KEYS + 1).as_bytes()).is_err());
    assert!(KeySet::parse(" ".repeat(jwk::MAX_SET_BYTES + 1).as_bytes()).is_err());
    assert!(KeySet::parse(br#"{"keys":[],"keys":[]}"#).is_err());
    assert!(KeySet::parse(b"[]").is_err());
}

#[test]
fn short_rsa_keys_are_left_out() {
    let short = json!({"keys": [{"kty": "RSA", "kid": "k", "n": B64.encode([0xff; 255]), "e": "AQAB"}]});
    let keys = KeySet::parse(short.to_string().as_bytes()).unwrap();
    assert!(keys.find(Some("k"), Algorithm::Rs256).is_err());
}

#[test]
fn clients_and_further_audiences_follow_the_issuer() {
    let party = Party::new(Algorithm::EdDsa, "EdDSA");
    let (keys, header) = (party.keys(), party.header());
    let bound = IssuerRules { clients: vec!["cli".into()], ..rules() };
    for (azp, pass) in [(json!("cli"), true), (json!("other"), false), (Value::Null, false), (json!(1), false)] {
        assert_eq!(check(&party.token(&header, &with(good(), "azp", azp)), &bound, &keys).is_ok(), pass);
    }
    let open = IssuerRules { allow_other_audiences: true, ..rules() };
    let many = with(good(), "aud", json!(["slipway", "other"]));
    assert!(check(&party.token(&header, &many), &open, &keys).is_ok());
    let none_ours = with(good(), "aud", json!(["other"]));
    assert!(invalid(&check(&party.token(&header, &none_ours), &open, &keys)));
}
