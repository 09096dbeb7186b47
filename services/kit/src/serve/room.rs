//! Room for calls in flight: what is too much is refused at once, before it costs anything (REL-30, REL-32, REL-34).
//!
//! Owns the ceilings per class. Refuses nothing that is CRITICAL.
use std::sync::Arc;

use rand::RngExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    authz::{Class, Rule},
    error::{Error, OVERLOADED, Result},
};

/// Unary calls in flight that somebody waits for.
const INTERACTIVE_MAX: usize = 640;
/// Unary calls in flight that nobody waits for.
const BATCH_MAX: usize = 320;
/// Streams open at once (REL-34).
const STREAMS_MAX: usize = 1_000;
/// When a refused caller may come back, in ms.
const COME_BACK_MS: std::ops::RangeInclusive<u64> = 100..=2_000;

/// The ceilings of one service.
pub(super) struct Room {
    interactive: Arc<Semaphore>,
    batch: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// The place of one call; given back when dropped.
pub(super) struct Place(#[allow(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl Default for Room {
    fn default() -> Self {
        let of = |n| Arc::new(Semaphore::new(n));
        Self { interactive: of(INTERACTIVE_MAX), batch: of(BATCH_MAX), streams: of(STREAMS_MAX) }
    }
}

impl Room {
    /// A place for a call of this method, or OVERLOADED.
    pub(super) fn enter(&self, rule: &Rule) -> Result<Place> {
        let ceiling = match (rule.unary_answer && rule.unary_request, rule.class) {
            (_, Class::Critical) => return Ok(Place(None)),
            (false, _) => &self.streams,
            (true, Class::Interactive) => &self.interactive,
            (true, Class::Batch) => &self.batch,
        };
        let full = |_| {
            let after_ms = rand::rng().random_range(COME_BACK_MS);
            Error::new(&OVERLOADED, "the service has too many calls in flight").retry_after_ms(after_ms)
        };
        ceiling.clone().try_acquire_owned().map(|permit| Place(Some(permit))).map_err(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz;

    #[test]
    fn a_full_class_is_refused_and_the_others_are_not() {
        let room = Room::default();
        let find =
            |class, unary| authz::rules().find(move |r| r.class == class && r.unary_answer == unary).expect("a method");
        let (interactive, critical) = (find(Class::Interactive, true), find(Class::Critical, true));
        let held = (0..INTERACTIVE_MAX).map(|_| room.enter(interactive).expect("room")).collect::<Vec<_>>();
        let full = room.enter(interactive).err().expect("full");
        assert!(full.is(&OVERLOADED));
        assert!(crate::error::response(full).headers().contains_key("grpc-retry-pushback-ms"));
        assert!(room.enter(critical).is_ok() && room.enter(find(Class::Batch, false)).is_ok());
        drop(held);
        assert!(room.enter(interactive).is_ok());
    }
}
