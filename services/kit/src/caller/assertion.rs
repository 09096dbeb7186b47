//! The caller assertion: a short EdDSA statement by which the gateway passes a verified caller on (SAFE-25).
//!
//! Owns signing and checking. Refuses every other algorithm, a life above a minute, and a statement for another service.
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::{Caller, CallerKind, Job, Role, Scope};
use crate::error::{Error, INVALID_CREDENTIALS, Result};

/// Metadata key of the assertion; the gateway strips it from what comes in.
pub const ASSERTION_HEADER: &str = "slipway-assertion";
/// Issuer of every assertion.
const ISSUER: &str = "slipway-gateway";
/// Life of an assertion in seconds.
const LIFE_S: u64 = 60;
/// Most verified assertions that are remembered.
const CACHE_MAX: u64 = 10_000;
/// Longest assertion that is looked at, in bytes.
const BYTES_MAX: usize = 16 * 1024;
/// Bytes of a key's digest that make its id.
const KEY_ID_BYTES: usize = 8;
/// Method claim of a delegation, which is not bound to one method.
const ANY_METHOD: &str = "*";

/// What a verified assertion says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assertion {
    iss: String,
    /// Services that may take it.
    pub aud: Vec<String>,
    sub: String,
    kind: CallerKind,
    credential: String,
    teams: BTreeMap<String, Role>,
    roles: std::collections::BTreeSet<Role>,
    scopes: Option<Vec<Scope>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<Job>,
    /// Method it was made for, or `*`.
    pub method: String,
    /// Service that acts for the principal, for delegations.
    pub act: Option<String>,
    iat: u64,
    exp: u64,
}

impl Assertion {
    /// The caller it speaks of.
    pub fn caller(&self) -> Caller {
        Caller {
            principal: self.sub.clone(),
            kind: self.kind,
            credential: self.credential.clone(),
            teams: self.teams.clone(),
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            job: self.job.clone(),
        }
    }

    /// Checks that `peer` may present this to `me` for `method`: the gateway for exactly that method; a service only what was
    /// addressed to it too, or a delegation made for it.
    fn presented_by(&self, peer: &str, method: &str) -> bool {
        if peer == "gateway" {
            return self.method == method;
        }
        match &self.act {
            Some(actor) => self.method == ANY_METHOD && actor == peer,
            None => self.method != ANY_METHOD && self.aud.iter().any(|service| service == peer),
        }
    }
}

/// A public key that assertions are checked with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    /// Names it in the header of an assertion.
    pub id: String,
    /// The Ed25519 key, 32 bytes.
    pub bytes: Vec<u8>,
}

impl PublicKey {
    /// The key, named after its contents.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { id: hex::encode(&Sha256::digest(&bytes)[..KEY_ID_BYTES]), bytes }
    }
}

/// Makes assertions; only the gateway holds one.
pub struct Signer(RwLock<Arc<Pair>>);

struct Pair {
    key: EncodingKey,
    public: PublicKey,
}

impl Signer {
    /// A signer with a new key that lives as long as the process.
    pub fn generate() -> Self {
        let document = Ed25519KeyPair::generate().expect("the system gives random bytes");
        let der = document.to_pkcs8v1().expect("a new key has an encoding");
        Self::from_pkcs8(der.as_ref()).expect("a new key is well formed")
    }

    /// Signs with the key of `next` from now on; assertions under the old one stay valid where that is still known.
    pub fn follow(&self, next: &Self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next.pair();
    }

    /// What the present key's assertions are checked with.
    pub fn public(&self) -> PublicKey {
        self.pair().public.clone()
    }

    fn pair(&self) -> Arc<Pair> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| Error::internal("the signing key is damaged"))?;
        let public = PublicKey::new(pair.public_key().as_ref().to_vec());
        Ok(Self(RwLock::new(Arc::new(Pair { key: EncodingKey::from_ed_der(der), public }))))
    }

    /// What services check this signer's assertions with, until it rotates.
    pub fn verifier(&self) -> Verifier {
        let verifier = Verifier::new();
        verifier.set_keys(&[self.public()]);
        verifier
    }

    /// States that `caller` calls `method` (`/package.Service/Method`, or `*` for a delegation to `act`) of the services named.
    pub fn assert(&self, caller: &Caller, audience: &[&str], method: &str, act: Option<&str>) -> Result<String> {
        let now = now_s();
        self.sign(&Assertion {
            iss: ISSUER.to_owned(),
            aud: audience.iter().map(|&service| service.to_owned()).collect(),
            sub: caller.principal.clone(),
            kind: caller.kind,
            credential: caller.credential.clone(),
            teams: caller.teams.clone(),
            roles: caller.roles.clone(),
            scopes: caller.scopes.clone(),
            job: caller.job.clone(),
            method: method.to_owned(),
            act: act.map(str::to_owned),
            iat: now,
            exp: now + LIFE_S,
        })
    }

    fn sign(&self, assertion: &Assertion) -> Result<String> {
        let pair = self.pair();
        let header = Header { kid: Some(pair.public.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, assertion, &pair.key).map_err(Error::internal)
    }
}

/// Checks assertions and remembers the checked ones until they end; cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    keys: RwLock<BTreeMap<String, DecodingKey>>,
    cache: moka::sync::Cache<[u8; 32], Arc<Assertion>>,
    wanted: watch::Sender<u64>,
    changed: watch::Sender<u64>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Verifier {
    /// One that knows no key yet and refuses everything.
    pub fn new() -> Self {
        let cache =
            moka::sync::Cache::builder().max_capacity(CACHE_MAX).time_to_live(Duration::from_secs(LIFE_S)).build();
        let (wanted, changed) = (watch::Sender::new(0), watch::Sender::new(0));
        Self(Arc::new(Inner { keys: RwLock::default(), cache, wanted, changed }))
    }

    /// From now on these keys hold and no others.
    pub fn set_keys(&self, keys: &[PublicKey]) {
        let next: BTreeMap<_, _> =
            keys.iter().map(|key| (key.id.clone(), DecodingKey::from_ed_der(&key.bytes))).collect();
        let mut known = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        let forgets = known.keys().any(|id| !next.contains_key(id));
        *known = next;
        drop(known);
        if forgets {
            // What was checked with a key that is gone is checked again.
            self.0.cache.invalidate_all();
        }
        self.0.changed.send_modify(|changes| *changes += 1);
    }

    /// Tells whoever keeps the keys that an unknown one was met; a receiver sees each time.
    pub fn wanted(&self) -> watch::Receiver<u64> {
        self.0.wanted.subscribe()
    }

    /// Waits, if the token is under a key not known yet, until the keys were looked up again, `patience` at most; whether the key is
    /// known now and was not before. False at once where nobody keeps the keys.
    pub async fn learn(&self, token: &str, patience: Duration) -> bool {
        let is_unknown = || key_id(token).is_some_and(|id| !self.keys().contains_key(&id));
        if self.0.wanted.receiver_count() == 0 || !is_unknown() {
            return false;
        }
        let mut changed = self.0.changed.subscribe();
        self.0.wanted.send_modify(|times| *times += 1);
        let looked_up = async { while is_unknown() && changed.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(patience, looked_up).await;
        !is_unknown()
    }

    fn keys(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, DecodingKey>> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The assertion in `token`, as presented by `peer` to `me` for `method`; any fault is the same UNAUTHENTICATED.
    pub fn verify(&self, token: &str, me: &str, peer: &str, method: &str) -> Result<Arc<Assertion>> {
        let refused = || Error::new(&INVALID_CREDENTIALS, "the credentials are not valid");
        if token.len() > BYTES_MAX {
            return Err(refused());
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let assertion = match self.0.cache.get(&digest) {
            Some(known) => known,
            None => {
                let fresh = Arc::new(self.decode(token).ok_or_else(refused)?);
                self.0.cache.insert(digest, fresh.clone());
                fresh
            }
        };
        let now = now_s();
        let timely =
            assertion.exp > now && assertion.exp.saturating_sub(assertion.iat) <= LIFE_S && assertion.iat <= now + 5;
        let addressed = assertion.aud.iter().any(|service| service == me) && assertion.presented_by(peer, method);
        if timely && addressed { Ok(assertion) } else { Err(refused()) }
    }

    fn decode(&self, token: &str) -> Option<Assertion> {
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        rules.leeway = 0;
        rules.validate_aud = false; // compared below with the callee's own name, on cache hits too
        let key = self.keys().get(&key_id(token)?)?.clone();
        Some(jsonwebtoken::decode::<Assertion>(token, &key, &rules).ok()?.claims)
    }
}

/// Id of the key that a token says it is under.
fn key_id(token: &str) -> Option<String> {
    if token.len() > BYTES_MAX {
        return None;
    }
    jsonwebtoken::decode_header(token).ok()?.kid
}

fn now_s() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

#[cfg(test)]
mod tests;
