//! Who asks: a token, an installation's token, or the App by its key.
//!
//! Owns the App's key pair and the tokens it was given. Refuses assertions that GitHub would refuse.
use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{APP_ID, Asked, INSTALLATION_ID, LOGIN, State, TOKEN, reply::Made};

/// Longest life of an assertion, with a minute for clocks that differ.
const ASSERTION_SECONDS_MAX: i64 = 660;

pub(crate) struct Key {
    pem: String,
    public: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Token,
    Installation,
    App,
}

impl Key {
    pub fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        Self { pem, public: pair.public_key().as_ref().to_vec() }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn accepts(&self, jwt: &str) -> bool {
        let key = jsonwebtoken::DecodingKey::from_rsa_der(&self.public);
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
        rules.required_spec_claims = ["exp", "iss"].map(str::to_owned).into();
        rules.set_issuer(&[APP_ID.to_string()]);
        let Ok(claims) = jsonwebtoken::decode::<Value>(jwt, &key, &rules) else { return false };
        let time = |name: &str| claims.claims[name].as_i64().unwrap_or(0);
        time("iat") > 0 && time("exp") - time("iat") <= ASSERTION_SECONDS_MAX
    }
}

pub(crate) fn who(state: &State, asked: &Asked) -> Option<Who> {
    let header = asked.header("authorization");
    let of = |token: &str| match () {
        () if token == TOKEN && state.model().tokens.contains(token) => Some(Who::Token),
        () if state.model().tokens.contains(token) => Some(Who::Installation),
        () => None,
    };
    if let Some(basic) = header.strip_prefix("Basic ") {
        let pair = String::from_utf8(STANDARD.decode(basic).ok()?).ok()?;
        return of(pair.strip_prefix("x-access-token:")?);
    }
    let token = header.strip_prefix("Bearer ")?;
    of(token).or_else(|| state.key.accepts(token).then_some(Who::App))
}

pub(crate) fn handle(state: &State, asked: &Asked, who: &Who) -> Made {
    if *who != Who::App {
        return Made::Forbidden("");
    }
    if asked.parts.get(2) != Some(&INSTALLATION_ID.to_string()) {
        return Made::Missing;
    }
    let permissions: Value = {
        let model = state.model();
        let granted = model.permissions.iter().filter(|(_, right)| *right != "none");
        granted
            .map(|(name, right)| (name.clone(), Value::from(right.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    if asked.parts.len() == 3 {
        return Made::Json(
            200,
            json!({ "id": INSTALLATION_ID, "app_id": APP_ID, "permissions": permissions, "suspended_at": null }),
        );
    }
    let token = format!("ghs_canary{}", state.next());
    let mut model = state.model();
    let ends = jiff::Timestamp::now().as_second() + model.token_seconds;
    model.tokens.insert(token.clone());
    let expires_at = jiff::Timestamp::from_second(ends).unwrap().to_string();
    Made::Json(201, json!({ "token": token, "expires_at": expires_at, "permissions": permissions }))
}

pub(crate) fn user(_: &State) -> Made {
    Made::Json(200, json!({ "login": LOGIN, "id": 1 }))
}
