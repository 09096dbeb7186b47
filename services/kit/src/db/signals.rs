//! What wakes when a transaction of this process commits: readers of the journal, and workers.
//!
//! Owns process-local nudges only. Refuses to be the truth: whoever waits also polls, because another process may have written.
use std::sync::Arc;

use tokio::sync::watch;

/// Nudges of one database within this process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Signals(Arc<Channels>);

#[derive(Debug)]
struct Channels {
    journal: watch::Sender<u64>,
    work: watch::Sender<u64>,
}

impl Signals {
    pub(super) fn new() -> Self {
        Self(Arc::new(Channels { journal: watch::Sender::new(0), work: watch::Sender::new(0) }))
    }

    pub(super) fn wake(&self, (journal, work): (bool, bool)) {
        if journal {
            self.0.journal.send_modify(|n| *n = n.wrapping_add(1));
        }
        if work {
            self.0.work.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    /// Changes whenever a commit added events to the journal.
    pub fn journal(&self) -> watch::Receiver<u64> {
        self.0.journal.subscribe()
    }

    /// Changes whenever a commit made work due.
    pub fn work(&self) -> watch::Receiver<u64> {
        self.0.work.subscribe()
    }
}
