//! Following the journal: what is there, then what comes.
//!
//! Owns waking and polling. Refuses to pass over a gap: a position that retention has overtaken ends the stream.
use std::time::Duration;

use futures::Stream;

use super::{Stored, check, expired, read};
use crate::{db::Db, error::Result, serve::Shutdown};

/// Most events read at once.
const BATCH: usize = 256;
/// How often a reader looks without being woken, for what other processes wrote.
const POLL: Duration = Duration::from_secs(1);

/// Every event after a position, in order, without end; wakes on a commit of this process and polls each second.
///
/// Ends after an error: RESUME_TOKEN_EXPIRED if the position is no longer kept. Ends silently at shutdown.
pub fn follow(db: &Db, after: i64, shutdown: Shutdown) -> impl Stream<Item = Result<Stored>> + Send + 'static {
    let db = db.clone();
    async_stream::try_stream! {
        let mut woken = db.signals().journal();
        check(&db, after).await?;
        let mut position = after;
        while !shutdown.is_down() {
            woken.mark_unchanged();
            let events = read(&db, position, BATCH).await?;
            let more = events.len() == BATCH;
            for event in events {
                if position != 0 && event.seq != position + 1 {
                    Err(expired())?;
                }
                position = event.seq;
                yield event;
            }
            if !more {
                tokio::select! {
                    _ = woken.changed() => {}
                    () = tokio::time::sleep(POLL) => {}
                    () = shutdown.wait() => {}
                }
            }
        }
    }
}
