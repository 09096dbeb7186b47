//! How often a principal may call, and how often a sender may fail to say who it is (REL-33, SAFE-22).
//!
//! Refuses to lock anybody out: a correct credential is looked at before failures are counted, so it always passes.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, clock::Clock as _, clock::DefaultClock, state::InMemoryState, state::NotKeyed};
use serde::Deserialize;
use slipway_kit::error::{Error, RATE_LIMITED, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most principals, and most failing senders, that are remembered.
const KEPT_MAX: u64 = 20_000;
/// How long a bucket nobody used is kept; longer than any of them takes to fill.
const IDLE: Duration = Duration::from_secs(300);

/// Most open streams of one principal (REL-34).
pub const STREAMS_MAX: usize = 50;
/// When a caller whose streams are all taken may look again.
const STREAM_WAIT_MS: u64 = 1_000;

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;

/// Rates of the gateway; each is a positive number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Reads of one principal per second.
    pub reads_per_second: NonZeroU32,
    /// Reads of one principal at once.
    pub read_burst: NonZeroU32,
    /// Writes of one principal per second.
    pub writes_per_second: NonZeroU32,
    /// Writes of one principal at once.
    pub write_burst: NonZeroU32,
    /// Failed credentials per minute, of one address and for one token.
    pub failures_per_minute: NonZeroU32,
}

impl Default for Rates {
    fn default() -> Self {
        let n = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            reads_per_second: n(50),
            read_burst: n(100),
            writes_per_second: n(10),
            write_burst: n(20),
            failures_per_minute: n(20),
        }
    }
}

/// The buckets of one principal, and its streams.
pub struct Buckets {
    reads: Bucket,
    writes: Bucket,
    streams: Arc<Semaphore>,
}

/// The place of one stream, given back when dropped.
pub struct Stream {
    _place: OwnedSemaphorePermit,
}

impl Buckets {
    /// Takes one call out of the bucket.
    ///
    /// # Errors
    /// RATE_LIMITED with the time to wait.
    pub fn take(&self, writes: bool) -> Result<()> {
        take(if writes { &self.writes } else { &self.reads }, "the caller's rate is used up")
    }

    /// Takes a place among the principal's streams.
    ///
    /// # Errors
    /// RATE_LIMITED when all are taken.
    pub fn stream(&self) -> Result<Stream> {
        let place = self.streams.clone().try_acquire_owned();
        place.map(|_place| Stream { _place }).map_err(|_| {
            let text = format!("the caller has {STREAMS_MAX} streams open");
            Error::new(&RATE_LIMITED, text).quota("streams", "close one first").retry_after_ms(STREAM_WAIT_MS)
        })
    }
}

/// Buckets of every principal and of every failing sender.
pub struct Limits {
    rates: Rates,
    principals: moka::sync::Cache<String, Arc<Buckets>>,
    addresses: moka::sync::Cache<IpAddr, Arc<Bucket>>,
    tokens: moka::sync::Cache<String, Arc<Bucket>>,
}

impl Limits {
    /// Full buckets of these rates.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { rates, principals: kept(), addresses: kept(), tokens: kept() }
    }

    /// The buckets of a principal.
    #[must_use]
    pub fn of(&self, principal: &str) -> Arc<Buckets> {
        let r = &self.rates;
        self.principals.get_with_by_ref(principal, || {
            let quota = |rate, burst| Quota::per_second(rate).allow_burst(burst);
            Arc::new(Buckets {
                reads: RateLimiter::direct(quota(r.reads_per_second, r.read_burst)),
                writes: RateLimiter::direct(quota(r.writes_per_second, r.write_burst)),
                streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            })
        })
    }

    /// Counts a failed credential against its sender and against the token it claimed to be.
    ///
    /// # Errors
    /// RATE_LIMITED with the time to wait, when either failed too often.
    pub fn failed(&self, address: Option<IpAddr>, token_id: Option<&str>) -> Result<()> {
        let full = || Arc::new(RateLimiter::direct(Quota::per_minute(self.rates.failures_per_minute)));
        let text = "too many failed credentials";
        let by_address = address.map(|a| take(&self.addresses.get_with(a.to_canonical(), full), text));
        let by_token = token_id.map(|id| take(&self.tokens.get_with_by_ref(id, full), text));
        by_address.unwrap_or(Ok(())).and(by_token.unwrap_or(Ok(())))
    }
}

fn kept<K: std::hash::Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static>() -> moka::sync::Cache<K, V>
{
    moka::sync::Cache::builder().max_capacity(KEPT_MAX).time_to_idle(IDLE).build()
}

fn take(bucket: &Bucket, text: &str) -> Result<()> {
    bucket.check().map_err(|until| {
        let wait = until.wait_time_from(DefaultClock::default().now());
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Error::new(&RATE_LIMITED, text).retry_after_ms(wait_ms)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn limits() -> Limits {
        let n = |n| NonZeroU32::new(n).unwrap();
        Limits::new(Rates { read_burst: n(3), write_burst: n(2), failures_per_minute: n(4), ..Rates::default() })
    }

    #[test]
    fn reads_and_writes_of_each_principal_have_their_own_bucket() {
        let limits = limits();
        let ann = limits.of("user:default/ann");
        assert!((0..3).all(|_| ann.take(false).is_ok()));
        assert!(ann.take(false).unwrap_err().is(&RATE_LIMITED));
        assert!((0..2).all(|_| ann.take(true).is_ok()));
        assert!(ann.take(true).is_err());
        assert!(limits.of("user:default/ann").take(true).is_err(), "the same bucket");
        assert!(limits.of("user:default/bob").take(true).is_ok());
    }

    #[test]
    fn streams_are_counted_while_they_are_open() {
        let ann = limits().of("user:default/ann");
        let mut open: Vec<_> = (0..STREAMS_MAX).map(|_| ann.stream().unwrap()).collect();
        assert!(ann.stream().err().unwrap().is(&RATE_LIMITED));
        open.pop();
        assert!(ann.stream().is_ok());
    }

    #[test]
    fn failures_count_per_address_and_per_token() {
        let limits = limits();
        let a = |n| Some(IpAddr::from([192, 0, 2, n]));
        assert!((0..4).all(|_| limits.failed(a(1), None).is_ok()));
        assert!(limits.failed(a(1), None).is_err());
        assert!(limits.failed(a(2), None).is_ok());
        assert!((3..7).all(|n| limits.failed(a(n), Some("ab12cd34")).is_ok()));
        assert!(limits.failed(a(8), Some("ab12cd34")).is_err(), "one token from many addresses");
        assert!(limits.failed(a(8), Some("zz12cd34")).is_ok());
    }
}
