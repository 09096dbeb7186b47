//! The caller assertion: a short EdDSA statement by which the gateway passes a verified caller on (SAFE-25).
//!
//! Owns signing and checking. Refuses every other algorithm, a life above a minute, and a statement for another service.
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

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
    teams: std::collections::BTreeMap<String, Role>,
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

/// Makes assertions; only the gateway holds one.
pub struct Signer {
    key: EncodingKey,
    public: Vec<u8>,
}

impl Signer {
    /// A signer with a new key that lives as long as the process.
    pub fn generate() -> Self {
        let document = Ed25519KeyPair::generate().expect("the system gives random bytes");
        let der = document.to_pkcs8v1().expect("a new key has an encoding");
        Self::from_pkcs8(der.as_ref()).expect("a new key is well formed")
    }

    /// The signer whose key is in the file; a missing file is created with mode 0600, a readable one refused.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        if !path.exists() {
            let pair = Ed25519KeyPair::generate().map_err(|_| Error::internal("no random bytes"))?;
            let der = pair.to_pkcs8v1().map_err(|_| Error::internal("the key has no encoding"))?;
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            match made {
                Ok(mut file) => file.write_all(der.as_ref()).and_then(|()| file.sync_all()).map_err(Error::internal)?,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::internal(error)),
            }
        }
        let mode = fs::metadata(path).map_err(Error::internal)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Error::internal(format!("{} must not be readable by others", path.display())));
        }
        Self::from_pkcs8(&fs::read(path).map_err(Error::internal)?)
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| Error::internal("the signing key is damaged"))?;
        Ok(Self { key: EncodingKey::from_ed_der(der), public: pair.public_key().as_ref().to_vec() })
    }

    /// What services check this signer's assertions with.
    pub fn verifier(&self) -> Verifier {
        let cache =
            moka::sync::Cache::builder().max_capacity(CACHE_MAX).time_to_live(Duration::from_secs(LIFE_S)).build();
        Verifier(Arc::new(Inner { key: DecodingKey::from_ed_der(&self.public), cache }))
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
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), assertion, &self.key).map_err(Error::internal)
    }
}

/// Checks assertions and remembers the checked ones until they end; cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    key: DecodingKey,
    cache: moka::sync::Cache<[u8; 32], Arc<Assertion>>,
}

impl Verifier {
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
        Some(jsonwebtoken::decode::<Assertion>(token, &self.0.key, &rules).ok()?.claims)
    }
}

fn now_s() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

#[cfg(test)]
mod tests;
