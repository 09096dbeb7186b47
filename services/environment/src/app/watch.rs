//! Watching environments: a snapshot, then every change in order (ENV-130, REL-34).
//!
//! Owns positions, the filter over changes, and which environments a stream has shown. Refuses to tell of rows the caller may not
//! see.
use std::{collections::BTreeSet, time::Duration};

use futures::{Stream, StreamExt as _};
use slipway_kit::{
    authz::Visible,
    error::{Error, PAGE_TOKEN_INVALID, RESUME_TOKEN_EXPIRED, Result},
    filter::{self, Filter},
    journal::{self, Position, Stored},
    page::OrderBy,
    serve::Call,
};

use super::App;
use crate::{
    model::environment::Environment,
    store::{FILTER, ListQuery},
    wire::{self, environment::Rendered},
};

/// Environments read at once for the snapshot.
const BATCH: usize = 200;
/// How often a silent stream gets a newer token.
const BOOKMARK_EVERY: Duration = Duration::from_secs(20);

/// What is watched.
#[derive(Clone, Debug, Default)]
pub struct WatchQuery {
    /// Filter as in lists, without create_time.
    pub filter: String,
    /// Where to resume; empty to begin now.
    pub resume_token: String,
    /// Whether the present ones come first.
    pub send_initial: bool,
}

/// One message of a watch, with the token to resume after it.
#[derive(Clone, Debug)]
pub enum Change {
    /// The environment is so.
    Put(Box<Rendered>, String),
    /// It is gone, or no longer matches.
    Delete(Box<Rendered>, String),
    /// The snapshot is complete.
    Synced(String),
    /// Nothing happened.
    Bookmark(String),
}

struct Watcher {
    app: App,
    call: Call,
    visible: Visible,
    filter: Filter,
    bound: String,
    store_id: String,
    shown: BTreeSet<String>,
}

impl App {
    /// The stream of changes.
    ///
    /// # Errors
    /// FILTER_INVALID; RESUME_TOKEN_EXPIRED for a position that is no longer kept or of another store.
    pub async fn watch(
        &self,
        call: Call,
        query: WatchQuery,
    ) -> Result<impl Stream<Item = Result<Change>> + Send + 'static + use<>> {
        let filter = filter::parse(&query.filter)?;
        let names: Vec<&str> = FILTER.iter().map(|f| f.name).filter(|name| *name != "create_time").collect();
        filter.check(&names)?;
        let bound = format!("watch\n{}", query.filter);
        let resumed = self.resume(&call, &bound, &query.resume_token).await?;
        let head = journal::head(&self.store.db).await?;
        let mut watcher = Watcher {
            app: self.clone(),
            visible: call.visible(),
            call,
            filter,
            bound,
            store_id: head.store_id.clone(),
            shown: BTreeSet::new(),
        };
        Ok(async_stream::try_stream! {
            let start = resumed.clone().unwrap_or(head);
            if resumed.is_none() {
                if query.send_initial {
                    let mut cursor = None;
                    loop {
                        let (page, next) = watcher.page(cursor.take()).await?;
                        for env in page {
                            watcher.shown.insert(env.uid.clone());
                            let shown = wire::environment::render(&env, &watcher.app.platform);
                            yield Change::Put(Box::new(shown), watcher.token(start.seq));
                        }
                        if next.is_none() { break }
                        cursor = next;
                    }
                }
                yield Change::Synced(watcher.token(start.seq));
            }
            let mut seq = start.seq;
            let mut events = Box::pin(journal::follow(&watcher.app.store.db, seq, watcher.app.drain.clone()));
            loop {
                match tokio::time::timeout(BOOKMARK_EVERY, events.next()).await {
                    Ok(Some(event)) => {
                        let event = event?;
                        seq = event.seq;
                        if let Some(change) = watcher.change(&event)? {
                            yield change;
                        }
                    }
                    Ok(None) => break,
                    Err(_) => yield Change::Bookmark(watcher.token(seq)),
                }
            }
        })
    }

    async fn resume(&self, call: &Call, bound: &str, token: &str) -> Result<Option<Position>> {
        let expired = |error: Error| {
            let is_token = error.is(&PAGE_TOKEN_INVALID);
            if is_token {
                Error::new(&RESUME_TOKEN_EXPIRED, "the resume token is not of this watch, or too old")
            } else {
                error
            }
        };
        let position: Option<Position> = self.sealer.open(call, bound, token).map_err(expired)?;
        if let Some(position) = &position {
            journal::check_position(&self.store.db, position).await?;
        }
        Ok(position)
    }
}

impl Watcher {
    fn token(&self, seq: i64) -> String {
        self.app.sealer.seal(&self.call, &self.bound, &Position { store_id: self.store_id.clone(), seq })
    }

    async fn page(
        &self,
        cursor: Option<slipway_kit::page::Cursor>,
    ) -> Result<(Vec<Environment>, Option<slipway_kit::page::Cursor>)> {
        let order = OrderBy::parse("", &[], "", "uid")?;
        let query = ListQuery {
            visible: self.visible.clone(),
            filter: &self.filter,
            order: &order,
            cursor: cursor.as_ref(),
            limit: BATCH,
            show_deleted: false,
        };
        let mut rows = self.app.store.list(&query).await?;
        let more = rows.len() > BATCH;
        rows.truncate(BATCH);
        let next = rows.last().filter(|_| more).map(|(_, cursor)| cursor.clone());
        Ok((rows.into_iter().map(|(env, _)| env).collect(), next))
    }

    /// What an event means to this watch; the environment as it was then is in the event, so that order and content are exact.
    fn change(&mut self, event: &Stored) -> Result<Option<Change>> {
        let Some(seen) = wire::event::seen(event)? else { return Ok(None) };
        if !self.visible.sees(Some(seen.owner.as_str()).filter(|o| !o.is_empty())) {
            return Ok(None);
        }
        let get = |name: &str| seen.field(name);
        let matches = self.filter.matches(&get);
        let token = self.token(event.seq);
        if seen.is_over || !matches {
            // A resumed stream does not know what it showed before; one that never matched is not told.
            let known = self.shown.remove(&seen.uid) || (seen.is_over && matches);
            return Ok(known.then_some(Change::Delete(seen.message, token)));
        }
        self.shown.insert(seen.uid.clone());
        Ok(Some(Change::Put(seen.message, token)))
    }
}
