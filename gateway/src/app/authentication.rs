//! From the credential of a call to a caller with present rights, cached as long as nothing it rests on has changed.
//!
//! Refuses to tell causes: every failure has one text (SAFE-7); the cause goes to the log. Nothing is looked up for a token
//! before its form holds, and nothing cached outlives the facts' generation.

mod resume;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use slipway_kit::{
    caller::{Caller, CallerKind, Scope},
    clock::Clock,
    error::{Error, INVALID_CREDENTIALS, TOKEN_EXPIRED},
    serve::Shutdown,
};
use tokio::time::Instant;

use super::{
    access::{AGE_MAX, Access, Known},
    assertions::Assertions,
    jobs::{Jobs, Unknown},
    rates::{Buckets, Limits},
};
use crate::{
    error::Result,
    model::{
        credential::Credential,
        jwt::{Parts, Refused, Verified, claims::LEEWAY_SECONDS},
        token::PlainToken,
        trust,
    },
    store::Store,
    world::issuer::{Failure, Issuer, REFRESH, Speaks},
};

/// Most verified credentials that are remembered.
const CACHE_MAX: u64 = 10_000;
/// Longest time a credential is remembered.
const CACHE_LIFE: Duration = Duration::from_secs(300);
/// How exactly the last use of a token is noted.
const USE_GRAIN_US: i64 = 60_000_000;

/// Cause of a refusal when no credential was sent at all.
pub const NO_CREDENTIAL: &str = "no credential";

/// A credential that held, and what it may do under one generation of facts.
pub struct Admission {
    /// The caller with present rights.
    pub caller: Caller,
    generation: u64,
    expires_us: i64,
    proof: Proof,
    /// Assertions signed for this credential.
    pub assertions: Assertions,
    /// How often its principal may call.
    pub buckets: Arc<Buckets>,
}

/// What the credential rests on, beyond the facts.
enum Proof {
    Token {
        id: String,
        noted_us: AtomicI64,
    },
    Issuer {
        at: usize,
        keys: u64,
    },
    /// Trust entries and the owners of their services, asked for at this moment; no generation tells of an owner.
    Job {
        at: usize,
        keys: u64,
        read: Instant,
    },
    /// A session, which says itself when it ends.
    Session,
}

impl Admission {
    /// The generation of facts under which it was made.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Why nobody was admitted.
#[derive(Debug)]
pub struct Refusal {
    /// What the caller is told.
    pub error: Error,
    /// Whether the credential was at fault, which counts against its sender (SAFE-22).
    pub is_credential: bool,
    /// The word for audit and metrics.
    pub cause: &'static str,
    /// The id the token claims to have, if it is well-formed.
    pub token_id: Option<String>,
}

/// Checks credentials; cheap to clone.
#[derive(Clone)]
pub struct Authentication(Arc<Inner>);

struct Inner {
    access: Access,
    store: Store,
    clock: Clock,
    key: [u8; 32],
    issuers: Vec<Issuer>,
    jobs: Jobs,
    limits: Arc<Limits>,
    cache: moka::sync::Cache<[u8; 32], Arc<Admission>>,
}

impl Authentication {
    /// Checks tokens hashed under `key` and those of `issuers`; `jobs` knows whom CI tokens speak for.
    #[must_use]
    pub fn new(
        access: Access,
        store: Store,
        clock: Clock,
        key: [u8; 32],
        issuers: Vec<Issuer>,
        jobs: Jobs,
        limits: Arc<Limits>,
    ) -> Self {
        let cache = moka::sync::Cache::builder().max_capacity(CACHE_MAX).time_to_live(CACHE_LIFE).build();
        Self(Arc::new(Inner { access, store, clock, key, issuers, jobs, limits, cache }))
    }

    /// Who presents this credential.
    ///
    /// # Errors
    /// [`Refusal`], whose error is the same for every fault of a credential.
    pub async fn admit(&self, credential: Credential<'_>) -> Result<Arc<Admission>, Refusal> {
        let text = match credential {
            Credential::None => return Err(refused(NO_CREDENTIAL)),
            Credential::Platform(text) | Credential::Signed(text) => text,
        };
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let known = self.0.access.known().await.map_err(unavailable)?;
        if let Some(admission) = self.0.cache.get(&digest)
            && self.holds(&admission, &known)
        {
            self.note_later(&admission);
            return Ok(admission);
        }
        let admission = match credential {
            Credential::Platform(text) => self.platform(text, &known).await?,
            _ => self.signed(text, &known).await?,
        };
        let admission = Arc::new(admission);
        self.0.cache.insert(digest, admission.clone());
        Ok(admission)
    }

    /// Whether a credential is the platform's own, by its form and the issuer it names; nothing is verified.
    #[must_use]
    pub fn is_ours(&self, credential: Credential<'_>) -> bool {
        match credential {
            Credential::None => false,
            Credential::Platform(_) => true,
            Credential::Signed(text) => {
                Parts::parse(text).is_ok_and(|parts| self.0.issuers.iter().any(|i| i.rules.issuer == parts.issuer()))
            }
        }
    }

    /// The caller of an admission with the rights of now, for a stream that goes on.
    ///
    /// # Errors
    /// [`Refusal`] when the credential has ended since, or the facts are away.
    pub async fn again(&self, admission: &Admission) -> Result<Caller, Refusal> {
        let (caller, now_us) = (&admission.caller, self.0.clock.now_us());
        if now_us >= admission.expires_us {
            return Err(Refusal { error: expired(), ..refused("expired") });
        }
        match self.present(&caller.principal, &caller.credential).await.map_err(unavailable)? {
            Some(present) => Ok(present),
            None => Err(refused("revoked")),
        }
    }

    /// The rights a principal has now, under the limits of the credential it began with (SAFE-26).
    ///
    /// # Errors
    /// UNAVAILABLE as the facts; `None` when the principal or its credential is gone.
    pub async fn present(&self, principal: &str, credential: &str) -> Result<Option<Caller>> {
        if trust::of_credential(credential).is_some() {
            return self.0.jobs.present(principal, credential).await;
        }
        let known = self.0.access.known().await?;
        let rights = known.rights(principal)?;
        if rights.is_empty() {
            return Ok(None);
        }
        let (kind, scopes) = match credential.strip_prefix("tokens/") {
            None => (CallerKind::User, None),
            Some(id) => match self.0.store.token(self.0.store.db(), id).await? {
                Some(t) if t.owner == principal && t.is_live(self.0.clock.now_us()) => {
                    (CallerKind::Token, Some(t.scopes))
                }
                _ => return Ok(None),
            },
        };
        Ok(Some(caller(principal, kind, credential, scopes, rights)))
    }

    /// Reads the issuers' keys anew each minute until shutdown, each a little off the others' beat.
    pub async fn keep_keys(self, shutdown: Shutdown) {
        loop {
            for issuer in &self.0.issuers {
                if let Err(error) = issuer.refresh().await {
                    tracing::warn!(issuer = issuer.id, %error, "the key set could not be read");
                }
            }
            let jitter = Duration::from_millis(rand::random_range(0..12_000));
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(REFRESH + jitter) => {}
            }
        }
    }

    /// Whether an admission may still be used.
    #[must_use]
    pub fn holds(&self, admission: &Admission, known: &Known) -> bool {
        let keys_hold = match &admission.proof {
            Proof::Token { .. } | Proof::Session => true,
            Proof::Issuer { at, keys } => self.0.issuers[*at].generation() == Some(*keys),
            Proof::Job { at, keys, read } => {
                read.elapsed() < AGE_MAX && self.0.issuers[*at].generation() == Some(*keys)
            }
        };
        keys_hold && admission.generation == known.generation && self.0.clock.now_us() < admission.expires_us
    }

    async fn platform(&self, text: &str, known: &Known) -> Result<Admission, Refusal> {
        let Ok(token) = PlainToken::parse(text) else { return Err(refused("malformed token")) };
        let bad = |cause| Refusal { token_id: Some(token.id().to_owned()), ..refused(cause) };
        let stored = self.0.store.credential(token.id()).await.map_err(unavailable)?;
        // A token of an unknown id is compared too, with what no token hashes to, so that time tells nothing.
        let hash = stored.as_ref().map_or(&[0; 32][..], |(_, hash)| hash);
        let matches = token.matches(&self.0.key, hash);
        let Some((row, _)) = stored.filter(|_| matches) else { return Err(bad("unknown token")) };
        if row.revoked_us != 0 {
            return Err(bad("revoked token"));
        }
        let now_us = self.0.clock.now_us();
        if !row.is_live(now_us) {
            return Err(Refusal { error: expired(), ..bad("expired token") });
        }
        let rights = known.rights(&row.owner).map_err(unavailable)?;
        let mut noted_us = row.last_use_us;
        if noted_us == 0 {
            // Durable before anything is done with it: an unused first token is made anew at the next start.
            self.0.store.note_use(&row.id, now_us).await.map_err(unavailable)?;
            noted_us = now_us;
        }
        Ok(Admission {
            caller: caller(&row.owner, CallerKind::Token, &row.name(), Some(row.scopes.clone()), rights),
            generation: known.generation,
            expires_us: row.expires_us,
            proof: Proof::Token { noted_us: AtomicI64::new(noted_us), id: row.id.clone() },
            buckets: self.0.limits.of(&row.owner),
            assertions: Assertions::default(),
        })
    }

    async fn signed(&self, text: &str, known: &Known) -> Result<Admission, Refusal> {
        let parts = Parts::parse(text).map_err(|refused| refusal(&refused))?;
        let named = |(_, issuer): &(usize, &Issuer)| issuer.rules.issuer == parts.issuer();
        let Some((at, issuer)) = self.0.issuers.iter().enumerate().find(named) else {
            return Err(refused("unknown issuer"));
        };
        let now_us = self.0.clock.now_us();
        let (verified, keys) = match issuer.verify(&parts, now_us.div_euclid(1_000_000)).await {
            Ok(verified) => verified,
            Err(Failure::Refused(why)) => return Err(refusal(&why)),
            Err(Failure::Away(error)) => return Err(unavailable(error)),
        };
        let (caller, proof) = match &issuer.speaks {
            Speaks::User(mapping) => {
                let principal = mapping.principal(&verified.claims).ok_or_else(|| refused("no user"))?;
                let rights = known.rights(&principal).map_err(unavailable)?;
                let credential = format!("issuers/{}", issuer.id);
                (caller(&principal, CallerKind::User, &credential, None, rights), Proof::Issuer { at, keys })
            }
            Speaks::Job => {
                let read = Instant::now();
                (self.job(issuer, &verified).await?, Proof::Job { at, keys, read })
            }
        };
        let over_seconds = issuer.rules.max_age_seconds.map_or(i64::MAX, |most| verified.issued_seconds + most);
        let expires_seconds = (verified.expires_seconds + LEEWAY_SECONDS).min(over_seconds.saturating_add(1));
        Ok(Admission {
            buckets: self.0.limits.of(&caller.principal),
            caller,
            generation: known.generation,
            expires_us: expires_seconds.saturating_mul(1_000_000),
            proof,
            assertions: Assertions::default(),
        })
    }

    async fn job(&self, issuer: &Issuer, verified: &Verified) -> Result<Caller, Refusal> {
        match self.0.jobs.caller(&issuer.id, verified).await {
            Ok(caller) => Ok(caller),
            Err(Unknown::Refused(cause)) => Err(refused(cause)),
            Err(Unknown::Away(error)) => Err(unavailable(error)),
        }
    }

    /// Notes the use of a token once a minute, behind the call.
    fn note_later(&self, admission: &Admission) {
        let Proof::Token { id, noted_us } = &admission.proof else { return };
        let (now, noted) = (self.0.clock.now_us(), noted_us.load(Ordering::Relaxed));
        let due = now - noted >= USE_GRAIN_US;
        if due && noted_us.compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (store, id) = (self.0.store.clone(), id.clone());
            tokio::spawn(async move {
                if let Err(error) = store.note_use(&id, now).await {
                    tracing::warn!(%error, "the use of a token could not be noted");
                }
            });
        }
    }
}

fn caller(
    principal: &str,
    kind: CallerKind,
    credential: &str,
    scopes: Option<Vec<Scope>>,
    rights: crate::model::rights::Rights,
) -> Caller {
    let (principal, credential) = (principal.to_owned(), credential.to_owned());
    Caller { principal, kind, credential, teams: rights.teams, roles: rights.roles, scopes, job: None }
}

/// The one answer to every faulty credential.
#[must_use]
pub fn refused(cause: &'static str) -> Refusal {
    let error = Error::new(&INVALID_CREDENTIALS, "the credentials are not valid");
    Refusal { error, is_credential: true, cause, token_id: None }
}

fn expired() -> Error {
    Error::new(&TOKEN_EXPIRED, "the token's time is over")
}

fn refusal(why: &Refused) -> Refusal {
    match why {
        Refused::Invalid(cause) => refused(cause),
        Refused::UnknownKey => refused("unknown key"),
        Refused::Expired => Refusal { error: expired(), ..refused("expired") },
    }
}

fn unavailable(error: Error) -> Refusal {
    Refusal { error, is_credential: false, cause: "unavailable", token_id: None }
}
