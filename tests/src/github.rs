//! GitHub's token service as a job sees it: an issuer with keys, and an address that gives the job a token for an audience.
//!
//! Owns the shape of GitHub's claims. Refuses nothing: what it says is the test's choice, good or bad.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self as sig, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::{Value, json};

use crate::http::{Answer, serve};

/// What a runner shows to be given tokens.
pub const REQUEST_TOKEN: &str = "runner-request-token";

/// A running token service; cheap to clone.
#[derive(Clone)]
pub struct Github {
    /// Where it is.
    pub address: SocketAddr,
    says: Arc<Mutex<Says>>,
}

/// What the next tokens say.
#[derive(Clone, Debug, Default)]
struct Says {
    header: Value,
    claims: Value,
    given: Vec<String>,
}

impl Github {
    /// Starts one with a new key.
    pub fn start() -> Result<Self> {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).ok().context("no RSA key")?;
        let says = Arc::new(Mutex::new(Says::default()));
        let told = says.clone();
        let address = serve(move |request| {
            let host = request.header("host").unwrap_or_default().to_owned();
            match request.target.split('?').next().unwrap_or_default() {
                "/.well-known/openid-configuration" => {
                    let (issuer, keys) = (format!("http://{host}"), format!("http://{host}/.well-known/jwks"));
                    Answer::json(200, &json!({"issuer": issuer, "jwks_uri": keys}))
                }
                "/.well-known/jwks" => Answer::json(200, &json!({"keys": [jwk(&pair)]})),
                "/token" if request.header("authorization") == Some(&format!("bearer {REQUEST_TOKEN}")) => {
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    let token = token(&pair, &told, &host, &request.query("audience").unwrap_or_default());
                    told.given.push(token.clone());
                    Answer::json(200, &json!({"count": 1, "value": token}))
                }
                _ => Answer::json(401, &json!({})),
            }
        })?;
        Ok(Self { address, says })
    }

    /// `iss` of its tokens.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a runner finds as `ACTIONS_ID_TOKEN_REQUEST_URL`.
    pub fn request_url(&self) -> String {
        format!("http://{}/token?api-version=2.0", self.address)
    }

    /// What the tokens say from now on: these claims beside the times, issuer and audience, which they may replace; and members of
    /// the header in place of the usual ones.
    pub fn say(&self, claims: Value, header: Value) {
        let mut says = self.says.lock().unwrap_or_else(PoisonError::into_inner);
        (says.claims, says.header) = (claims, header);
    }

    /// Every token that was given out.
    pub fn given(&self) -> Vec<String> {
        self.says.lock().unwrap_or_else(PoisonError::into_inner).given.clone()
    }
}

/// The claims of a job of a pull request; without times, issuer and audience.
pub fn pull_request_claims(repository: &str, repository_id: &str, owner_id: &str, number: i64) -> Value {
    let (owner, _) = repository.split_once('/').unwrap_or((repository, ""));
    let at = format!("{repository}/.github/workflows/ci.yaml@refs/pull/{number}/merge");
    json!({
        "jti": "3f2b8c1e", "sub": format!("repo:{repository}:pull_request"),
        "repository": repository, "repository_id": repository_id, "repository_owner": owner,
        "repository_owner_id": owner_id, "repository_visibility": "private", "event_name": "pull_request",
        "ref": format!("refs/pull/{number}/merge"), "ref_type": "branch", "ref_protected": "false",
        "head_ref": "feature", "base_ref": "main", "sha": "0".repeat(40), "actor": "ann", "actor_id": "1",
        "run_id": "9", "run_number": "1", "run_attempt": "1", "runner_environment": "github-hosted",
        "workflow": "ci", "workflow_ref": at, "job_workflow_ref": at,
    })
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn jwk(pair: &rsa::KeyPair) -> Value {
    let public = pair.public_key();
    let n = B64.encode(public.modulus().big_endian_without_leading_zero());
    let e = B64.encode(public.exponent().big_endian_without_leading_zero());
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k", "n": n, "e": e})
}

fn token(pair: &rsa::KeyPair, says: &Says, host: &str, audience: &str) -> String {
    let now = now();
    let mut header = json!({"alg": "RS256", "kid": "k", "typ": "JWT", "x5t": "k"});
    let mut claims =
        json!({"iss": format!("http://{host}"), "aud": audience, "iat": now, "nbf": now - 300, "exp": now + 300});
    for (all, some) in [(&mut header, &says.header), (&mut claims, &says.claims)] {
        for (name, value) in some.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
    }
    let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let mut signature = vec![0; pair.public_modulus_len()];
    let done = pair.sign(&sig::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
    done.map(|()| format!("{signed}.{}", B64.encode(signature))).unwrap_or_default()
}
