//! Time as a dependency: the system's clock, or one that a test moves by hand.
//!
//! Owns instants in microseconds since the Unix epoch. Refuses leases: those follow the database's clock (REL-11).
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// A source of the current instant; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `now_us` until moved.
    pub fn manual(now_us: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now_us))))
    }

    /// Microseconds since the Unix epoch.
    pub fn now_us(&self) -> i64 {
        match &self.0 {
            Some(at) => at.load(Ordering::SeqCst),
            None => jiff::Timestamp::now().as_microsecond(),
        }
    }

    /// The current instant.
    pub fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.now_us()).unwrap_or(jiff::Timestamp::MAX)
    }

    /// Moves a manual clock on; the system's clock cannot be moved and stays.
    pub fn advance_us(&self, by_us: i64) {
        if let Some(at) = &self.0 {
            at.fetch_add(by_us, Ordering::SeqCst);
        }
    }
}
