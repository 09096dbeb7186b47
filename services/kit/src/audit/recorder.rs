//! The buffer for records of calls that change nothing: reads and denials.
//!
//! Owns a bounded queue and its flushing in batches. Refuses further calls when it is full, rather than let them go unrecorded.
use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc};

use super::{Record, write_many};
use crate::{
    clock::Clock,
    db::Db,
    error::{AUDIT_UNAVAILABLE, Error, Result},
    serve::Shutdown,
};

/// Most records waiting (SAFE-73).
const WAITING_MAX: usize = 10_000;
/// Most records written at once.
const BATCH: usize = 500;
/// How long a record waits for others.
const LINGER: Duration = Duration::from_millis(100);
/// Wait after a failed write, and how often the last one is repeated at shutdown.
const RETRY: (Duration, u32) = (Duration::from_secs(1), 5);

/// Takes records of reads and denials; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<(i64, Record)>,
    receiver: Arc<Mutex<mpsc::Receiver<(i64, Record)>>>,
    db: Db,
}

impl Recorder {
    /// A recorder into `db`; nothing is written until [`Recorder::run`] runs.
    pub fn new(db: &Db) -> Self {
        Self::with_room(db, WAITING_MAX)
    }

    fn with_room(db: &Db, room: usize) -> Self {
        let (sender, receiver) = mpsc::channel(room);
        Self { sender, receiver: Arc::new(Mutex::new(receiver)), db: db.reserved() }
    }

    /// Takes a record; AUDIT_UNAVAILABLE when the buffer is full, and then the call is refused.
    pub fn record(&self, record: Record) -> Result<()> {
        self.sender.try_send((Clock::system().now_us(), record)).map_err(|_| {
            Error::new(&AUDIT_UNAVAILABLE, "the audit buffer is full, so nothing was done").retry_after_ms(1_000)
        })
    }

    /// Writes records in batches until shutdown, then the rest.
    pub async fn run(self, shutdown: Shutdown) {
        let mut receiver = self.receiver.lock().await;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let open = tokio::select! {
                n = receiver.recv_many(&mut batch, BATCH) => n > 0,
                () = shutdown.wait() => false,
            };
            if !open {
                break;
            }
            tokio::select! { () = tokio::time::sleep(LINGER) => {}, () = shutdown.wait() => {} }
            while batch.len() < BATCH
                && let Ok(record) = receiver.try_recv()
            {
                batch.push(record);
            }
            self.flush(&mut batch, &shutdown).await;
        }
        while let Ok(record) = receiver.try_recv() {
            batch.push(record);
        }
        self.flush(&mut batch, &shutdown).await;
    }

    /// Writes the batch; repeats for ever while running, a few times at shutdown.
    async fn flush(&self, batch: &mut Vec<(i64, Record)>, shutdown: &Shutdown) {
        let mut last = 0;
        while !batch.is_empty() {
            match write_many(&self.db, batch).await {
                Ok(()) => batch.clear(),
                Err(error) => {
                    tracing::error!(?error, waiting = batch.len(), "audit records cannot be written; trying again");
                    last += u32::from(shutdown.is_down());
                    if last > RETRY.1 {
                        return;
                    }
                    tokio::time::sleep(RETRY.0).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{caller::Caller, db::scratch, serve::Call};

    #[tokio::test]
    async fn a_full_buffer_refuses_instead_of_forgetting() {
        let scratch = scratch::sqlite(&crate::db::Migrations::none()).await;
        let recorder = Recorder::with_room(&scratch.db, 2);
        let record = || Record::allowed(&Call::for_test(Caller::system(), "/x.v1.S/M"));
        assert!(recorder.record(record()).is_ok() && recorder.record(record()).is_ok());
        assert!(recorder.record(record()).expect_err("no room").is(&AUDIT_UNAVAILABLE));
        let shutdown = Shutdown::new();
        let run = tokio::spawn(recorder.clone().run(shutdown.clone()));
        shutdown.begin();
        run.await.expect("the recorder ends");
        let n =
            scratch.db.fetch_one("SELECT COUNT(*) AS n FROM audit", vec![]).await.expect("count").int("n").expect("n");
        assert_eq!(n, 2);
    }
}
