//! One identity provider: its rules, its keys as last seen, and when they are fetched anew (SAFE-12).
//!
//! Refuses tokens once the keys are older than an hour, and more than one fetch per ten seconds for keys nobody knows.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use slipway_kit::{
    clock::Clock,
    error::{DEPENDENCY_UNAVAILABLE, Error},
};

use super::key_source::KeySource;
use crate::{
    error::Result,
    model::{
        jwt::{self, IssuerRules, KeySet, Parts, Refused, Verified},
        principal::Mapping,
    },
};

/// How often the set is read anew in the background, at the most.
pub const REFRESH: Duration = Duration::from_secs(54);
/// Oldest set that still verifies while the provider is away.
const STALE_MAX_US: i64 = 3_600_000_000;
/// Shortest time between two fetches on behalf of tokens.
const DEMAND_PAUSE_US: i64 = 10_000_000;
/// Most unknown key ids that are remembered as unknown.
const UNKNOWN_MAX: u64 = 1_024;
/// Longest time of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Whom the tokens of an issuer speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// A user, named by a claim.
    User(Mapping),
    /// A CI job, known by trust entries.
    Job,
}

/// A configured issuer.
pub struct Issuer {
    /// Id in the configuration, shown as `issuers/<id>`.
    pub id: String,
    /// What its tokens must look like.
    pub rules: IssuerRules,
    /// Whom its tokens speak for.
    pub speaks: Speaks,
    source: Box<dyn KeySource>,
    clock: Clock,
    keys: RwLock<Option<Keys>>,
    /// Held while fetching; remembers when the last fetch began.
    fetching: tokio::sync::Mutex<Option<i64>>,
    unknown: moka::sync::Cache<String, i64>,
}

#[derive(Clone)]
struct Keys {
    set: Arc<KeySet>,
    document: Arc<Vec<u8>>,
    generation: u64,
    fetched_us: i64,
}

/// Why a signed token got nobody in.
#[derive(Debug)]
pub enum Failure {
    /// The token's own fault.
    Refused(Refused),
    /// The provider's keys are not to be had.
    Away(Error),
}

impl Issuer {
    /// An issuer whose keys were not fetched yet.
    #[must_use]
    pub fn new(id: String, rules: IssuerRules, speaks: Speaks, source: Box<dyn KeySource>, clock: Clock) -> Self {
        let unknown = moka::sync::Cache::new(UNKNOWN_MAX);
        let (keys, fetching) = (RwLock::default(), tokio::sync::Mutex::default());
        Self { id, rules, speaks, source, clock, keys, fetching, unknown }
    }

    /// Number of the present keys; raised when they change, `None` when there are none that may be used.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.present().map(|keys| keys.generation)
    }

    /// Verifies a token; fetches the keys if there are none, or once if its key is unknown.
    ///
    /// # Errors
    /// [`Failure`], whose cause is not for the caller.
    pub async fn verify(&self, parts: &Parts, now_seconds: i64) -> Result<(Verified, u64), Failure> {
        let keys = match self.present() {
            Some(keys) => keys,
            None => self.demand(None).await.map_err(Failure::Away)?,
        };
        match jwt::verify(parts, &self.rules, &keys.set, now_seconds) {
            Ok(verified) => Ok((verified, keys.generation)),
            Err(Refused::UnknownKey) => self.verify_with_new_keys(parts, &keys, now_seconds).await,
            Err(refused) => Err(Failure::Refused(refused)),
        }
    }

    async fn verify_with_new_keys(
        &self,
        parts: &Parts,
        old: &Keys,
        now_seconds: i64,
    ) -> Result<(Verified, u64), Failure> {
        let unknown = Failure::Refused(Refused::UnknownKey);
        let kid = parts.kid().unwrap_or_default().to_owned();
        if self.unknown.get(&kid).is_some_and(|at_us| self.is_within(at_us, DEMAND_PAUSE_US)) {
            return Err(unknown);
        }
        // The old set still stands when the provider is away: the token's key is then simply unknown.
        let Ok(keys) = self.demand(Some(old.generation)).await else { return Err(unknown) };
        match jwt::verify(parts, &self.rules, &keys.set, now_seconds) {
            Ok(verified) => Ok((verified, keys.generation)),
            Err(refused) => {
                if refused == Refused::UnknownKey {
                    self.unknown.insert(kid, self.clock.now_us());
                }
                Err(Failure::Refused(refused))
            }
        }
    }

    /// Reads the keys anew, as the background does.
    ///
    /// # Errors
    /// UNAVAILABLE when the provider is away; the last set goes on being used for an hour.
    pub async fn refresh(&self) -> Result<()> {
        let mut last = self.fetching.lock().await;
        *last = Some(self.clock.now_us());
        self.fetch().await.map(|_| ())
    }

    /// The keys, newer than `than` if anybody fetched since or a fetch is due now; one fetch at a time.
    async fn demand(&self, than: Option<u64>) -> Result<Keys> {
        let mut last = self.fetching.lock().await;
        if let Some(keys) = self.present().filter(|keys| Some(keys.generation) != than) {
            return Ok(keys);
        }
        if last.is_some_and(|at_us| self.is_within(at_us, DEMAND_PAUSE_US)) {
            return self.present().ok_or_else(away);
        }
        *last = Some(self.clock.now_us());
        self.fetch().await
    }

    async fn fetch(&self) -> Result<Keys> {
        let fetched_us = self.clock.now_us();
        let answer = tokio::time::timeout(FETCH_TIMEOUT, self.source.fetch()).await;
        let document = Arc::new(answer.map_err(|_| away())?.map_err(|e| away().source(e))?);
        let set = Arc::new(KeySet::parse(&document).map_err(|_| away())?);
        let mut keys = self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let generation = match keys.as_ref() {
            Some(old) if old.document == document => old.generation,
            Some(old) => old.generation + 1,
            None => 1,
        };
        let new = Keys { set, document, generation, fetched_us };
        *keys = Some(new.clone());
        Ok(new)
    }

    fn present(&self) -> Option<Keys> {
        let keys = self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        keys.clone().filter(|keys| self.is_within(keys.fetched_us, STALE_MAX_US))
    }

    /// Whether a moment is less than `span_us` ago; one that lies ahead is not, so that a clock set back closes rather than opens.
    fn is_within(&self, at_us: i64, span_us: i64) -> bool {
        (0..span_us).contains(&(self.clock.now_us() - at_us))
    }
}

fn away() -> Error {
    Error::new(&DEPENDENCY_UNAVAILABLE, "the identity provider's keys are not to be had")
}
