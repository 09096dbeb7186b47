//! Changes of entities as a stream that resumes at every event (CAT-93, CAT-95).
//!
//! Owns the order snapshot, SYNCED, changes. The reader pulls: a slow one holds back only itself, and finds its position expired
//! when the journal has moved on too far.

use std::{collections::HashMap, time::Duration};

use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use slipway_kit::{
    authz::Facts,
    error::{Error, INVALID_FIELD, Result},
    filter::Filter,
    journal::{self, Position, Stored},
    serve::Call,
};

use super::App;
use crate::{
    model::entity::{Cause, Entity, State},
    store, wire,
};

/// Entities read at once for a snapshot.
const PAGE: usize = 200;
/// How often a quiet stream says that it lives.
const BOOKMARK_EVERY: Duration = Duration::from_secs(30);

/// A question for a watch.
pub struct WatchAsk {
    /// Filter as written.
    pub filter: String,
    /// Token of the last event seen.
    pub resume_token: String,
    /// Whether the entities as they are come first.
    pub send_initial: bool,
}

/// One event of a watch.
pub enum Change {
    /// New or changed.
    Put(Box<Entity>, Token),
    /// Served from another place.
    Moved(Box<Entity>, Token),
    /// Left the stream; whether because it was deleted.
    Gone(Box<Entity>, bool, Token),
    /// Everything that was there has been sent.
    Synced(Token),
    /// Nothing happened.
    Bookmark(Token),
}

/// A place in a watch as clients keep it: sealed, bound to the caller and the filter, and granting nothing (SAFE-38).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token's text.
    pub fn text(self) -> String {
        self.0
    }
}

/// A place in a watch.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    position: Position,
    /// Inside a snapshot: the reference last sent.
    snapshot: Option<String>,
}

impl App {
    /// The stream of changes of the entities that match.
    pub async fn watch(
        &self,
        call: &Call,
        ask: &WatchAsk,
    ) -> Result<impl Stream<Item = Result<Change>> + Send + 'static> {
        call.check(&Facts::default())?;
        let filter = store::prepare(&ask.filter, call)?;
        let resumed = self.sealer.open::<Place>(call, &ask.filter, &ask.resume_token).map_err(|_| {
            Error::new(&INVALID_FIELD, "invalid: resume_token").violation(
                "resume_token",
                "must be a token of an answer to this caller and this filter, at most three days old",
            )
        })?;
        let place = match resumed {
            None => Place { position: journal::head(&self.db).await?, snapshot: ask.send_initial.then(String::new) },
            Some(place) => {
                journal::check_position(&self.db, &place.position).await?;
                place
            }
        };
        let related = filter.compares().iter().any(|c| c.path.starts_with("relations."));
        Ok(Watch { app: self.clone(), filter, related, call: call.clone(), bound: ask.filter.clone() }.run(place))
    }
}

struct Watch {
    app: App,
    filter: Filter,
    related: bool,
    call: Call,
    bound: String,
}

impl Watch {
    fn token(&self, place: &Place) -> Token {
        Token(self.app.sealer.seal(&self.call, &self.bound, place))
    }

    fn run(self, mut place: Place) -> impl Stream<Item = Result<Change>> + Send + 'static {
        async_stream::try_stream! {
            let mut sent: HashMap<String, i64> = HashMap::new();
            let mut sent_until = place.position.seq;
            while let Some(after) = place.snapshot.clone() {
                let page = store::snapshot_page(&self.app.db, &after, PAGE).await?;
                let more = page.len() == PAGE;
                for entity in page {
                    place.snapshot = Some(entity.identity.clone());
                    sent.insert(entity.uid.clone(), entity.version);
                    if let Some(entity) = self.matching(entity).await? {
                        yield Change::Put(Box::new(entity), self.token(&place));
                    }
                }
                if !more {
                    sent_until = journal::head(&self.app.db).await?.seq;
                    place.snapshot = None;
                    yield Change::Synced(self.token(&place));
                }
            }
            let events = journal::follow(&self.app.db, place.position.seq, self.app.shutdown.clone());
            futures::pin_mut!(events);
            loop {
                let event = match tokio::time::timeout(BOOKMARK_EVERY, events.next()).await {
                    Err(_) => {
                        yield Change::Bookmark(self.token(&place));
                        continue;
                    }
                    Ok(None) => break,
                    Ok(Some(event)) => event?,
                };
                place.position.seq = event.seq;
                if event.seq > sent_until {
                    sent.clear();
                }
                if let Some(change) = self.change(&event, &sent, &place).await? {
                    yield change;
                }
            }
        }
    }

    async fn change(&self, event: &Stored, sent: &HashMap<String, i64>, place: &Place) -> Result<Option<Change>> {
        let Some((uid, version)) = wire::event::changed(event)? else { return Ok(None) };
        if sent.get(&uid).is_some_and(|known| *known >= version) {
            return Ok(None);
        }
        let db = &self.app.db;
        let Some((cause, entity)) = store::history(db, &uid, version).await? else { return Ok(None) };
        let gone = Box::new(entity.clone());
        if let Some(entity) = self.matching(entity).await? {
            let (entity, token) = (Box::new(entity), self.token(place));
            return Ok(Some(if cause == Cause::Moved {
                Change::Moved(entity, token)
            } else {
                Change::Put(entity, token)
            }));
        }
        let before = if version > 1 { store::history(db, &uid, version - 1).await? } else { None };
        let matched = match before {
            Some((_, before)) => self.matching(before).await?.is_some(),
            None => false,
        };
        let deleted = gone.state == State::Deleted;
        Ok(matched.then(|| Change::Gone(gone, deleted, self.token(place))))
    }

    /// The entity if it lives and matches.
    async fn matching(&self, mut entity: Entity) -> Result<Option<Entity>> {
        if entity.state == State::Deleted {
            return Ok(None);
        }
        if self.related {
            entity.relations = store::relations(&self.app.db, &entity.identity).await?;
        }
        let matches = store::matches(&self.filter, &entity);
        entity.relations.clear();
        Ok(matches.then_some(entity))
    }
}
