//! Time as a dependency: the system's clock, or one that a test moves by hand.
//!
//! Owns instants in microseconds since the Unix epoch, and waits that are spread. Refuses leases: those follow the database's clock (REL-11).
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

/// When this process first looked, by the machine's clock and by one that nobody sets.
static FIRST: LazyLock<(i64, Instant)> = LazyLock::new(|| (jiff::Timestamp::now().as_microsecond(), Instant::now()));

/// A wait, ±10 %, so that what began together does not come back at once.
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.9..=1.1))
}

/// A source of the current instant; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Option<Arc<Manual>>);

/// What a test moves.
#[derive(Debug)]
struct Manual {
    now_us: AtomicI64,
    /// What the clock would say if nobody had set it.
    passed_us: AtomicI64,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        LazyLock::force(&FIRST);
        Self(None)
    }

    /// A clock that stands at `now_us` until moved.
    pub fn manual(now_us: i64) -> Self {
        Self(Some(Arc::new(Manual { now_us: AtomicI64::new(now_us), passed_us: AtomicI64::new(now_us) })))
    }

    /// Microseconds since the Unix epoch.
    pub fn now_us(&self) -> i64 {
        match &self.0 {
            Some(at) => at.now_us.load(Ordering::SeqCst),
            None => jiff::Timestamp::now().as_microsecond(),
        }
    }

    /// The instant that it is at least: a clock that was set forward while this process runs does not count, nor the time in which the
    /// machine slept. What nobody can undo is decided on this (REL-55).
    pub fn sure_us(&self) -> i64 {
        let passed_us = match &self.0 {
            Some(at) => at.passed_us.load(Ordering::SeqCst),
            None => {
                let (first_us, first) = *FIRST;
                first_us.saturating_add(i64::try_from(first.elapsed().as_micros()).unwrap_or(i64::MAX))
            }
        };
        passed_us.min(self.now_us())
    }

    /// The current instant.
    pub fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.now_us()).unwrap_or(jiff::Timestamp::MAX)
    }

    /// Moves a manual clock on; the system's clock cannot be moved and stays.
    pub fn advance_us(&self, by_us: i64) {
        if let Some(at) = &self.0 {
            at.now_us.fetch_add(by_us, Ordering::SeqCst);
            at.passed_us.fetch_add(by_us, Ordering::SeqCst);
        }
    }

    /// Sets a manual clock forward or back, as an administrator does; no time passes.
    pub fn set_by_us(&self, by_us: i64) {
        if let Some(at) = &self.0 {
            at.now_us.fetch_add(by_us, Ordering::SeqCst);
        }
    }
}
