//! JournalService: the journal as other services pull it.
//!
//! Owns the wire form of an event. Refuses callers that the contract does not list (INTERNAL).
use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use slipway_proto::journal::v1::{
    Event, WatchEventsRequest,
    journal_service_server::{JournalService, JournalServiceServer},
};
use tonic::{Request, Response, Status};

use super::{Stored, check, follow};
use crate::{
    authz::Facts,
    db::Db,
    serve::{self, Shutdown},
};

/// The journal of one database as a gRPC service.
pub struct JournalApi {
    db: Db,
}

/// The service to add to a server. The layers around it end its streams, by deadline and at shutdown.
pub fn service(db: Db) -> JournalServiceServer<JournalApi> {
    JournalServiceServer::new(JournalApi { db })
}

#[tonic::async_trait]
impl JournalService for JournalApi {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let (call, request) = serve::accept(request)?;
        call.check(&Facts::default())?;
        check(&self.db, request.after).await?;
        let events = follow(&self.db, request.after, Shutdown::new());
        Ok(Response::new(Box::pin(events.map(|event| event.map(Event::from).map_err(Status::from)))))
    }
}

impl From<Stored> for Event {
    fn from(stored: Stored) -> Self {
        let nanos = i32::try_from(stored.created_us.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
        Self {
            seq: stored.seq,
            event_id: stored.event_id,
            subject: stored.subject,
            key: stored.key,
            payload_json: stored.payload_json,
            create_time: Some(prost_types::Timestamp { seconds: stored.created_us.div_euclid(1_000_000), nanos }),
            traceparent: stored.traceparent,
        }
    }
}

impl From<Event> for Stored {
    fn from(event: Event) -> Self {
        let time = event.create_time.unwrap_or_default();
        Self {
            seq: event.seq,
            event_id: event.event_id,
            subject: event.subject,
            key: event.key,
            payload_json: event.payload_json,
            created_us: time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000,
            traceparent: event.traceparent,
        }
    }
}
