//! A session's caller with present rights, under the credential the session began with.
//!
//! Refuses a session whose token is revoked or over, or whose identity provider is no longer one of ours.

use std::sync::{Arc, atomic::AtomicI64};

use sha2::{Digest as _, Sha256};
use slipway_kit::caller::CallerKind;

use super::{Admission, Authentication, Proof, Refusal, caller, expired, refused, unavailable};
use crate::{app::assertions::Assertions, error::Result, world::issuer::Speaks};

impl Admission {
    /// When its credential ends, in microseconds.
    #[must_use]
    pub fn expires_us(&self) -> i64 {
        self.expires_us
    }
}

impl Authentication {
    /// Who a principal is now that signed in with a credential, while that holds.
    ///
    /// # Errors
    /// [`Refusal`] when the credential has ended since, or the facts are away.
    pub async fn resume(&self, principal: &str, credential: &str) -> Result<Arc<Admission>, Refusal> {
        let digest: [u8; 32] = Sha256::digest(format!("session\n{principal}\n{credential}").as_bytes()).into();
        let known = self.0.access.known().await.map_err(unavailable)?;
        if let Some(admission) = self.0.cache.get(&digest)
            && self.holds(&admission, &known)
        {
            self.note_later(&admission);
            return Ok(admission);
        }
        let rights = || known.rights(principal).map_err(unavailable);
        let (caller, expires_us, proof) = match credential.split_once('/') {
            Some(("tokens", id)) => {
                let token = self.0.store.token(self.0.store.db(), id).await.map_err(unavailable)?;
                let Some(token) = token.filter(|t| t.owner == principal && t.revoked_us == 0) else {
                    return Err(refused("revoked token"));
                };
                if !token.is_live(self.0.clock.now_us()) {
                    return Err(Refusal { error: expired(), ..refused("expired token") });
                }
                let proof = Proof::Token { noted_us: AtomicI64::new(token.last_use_us), id: id.to_owned() };
                let scopes = Some(token.scopes.clone());
                (caller(principal, CallerKind::Token, credential, scopes, rights()?), token.expires_us, proof)
            }
            Some(("issuers", id)) => {
                let is_users = |issuer: &&crate::world::issuer::Issuer| matches!(issuer.speaks, Speaks::User(_));
                if !self.0.issuers.iter().filter(is_users).any(|issuer| issuer.id == id) {
                    return Err(refused("unknown issuer"));
                }
                // The session itself ends when the token it began with does.
                (caller(principal, CallerKind::User, credential, None, rights()?), i64::MAX, Proof::Session)
            }
            _ => return Err(refused("no credential of a person")),
        };
        let admission = Arc::new(Admission {
            buckets: self.0.limits.of(principal),
            caller,
            generation: known.generation,
            expires_us,
            proof,
            assertions: Assertions::default(),
        });
        self.0.cache.insert(digest, admission.clone());
        Ok(admission)
    }
}
