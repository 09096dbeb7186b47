//! Webhook deliveries, stored before they are acknowledged and then worked on (SAFE-29).
//!
//! Owns deduplication by source and delivery id, and the work kind `inbox`. Refuses deliveries that the gateway has not verified: it
//! is the only caller the contract allows; and bodies that no reader of the event could make anything of, so that their sender learns it.
use async_trait::async_trait;
use futures::future::BoxFuture;
use slipway_proto::journal::v1::{
    ReceiveWebhookRequest, ReceiveWebhookResponse,
    webhook_service_server::{WebhookService, WebhookServiceServer},
};
use tonic::{Request, Response, Status};

use crate::{
    args,
    authz::Facts,
    db::Db,
    error::{Error, Result, Violations},
    scm, serve,
    worker::{self, Claim, Handler, Next},
};

/// Kind of work that a stored delivery is.
pub const KIND: &str = "inbox";
/// Largest body that is stored (SAFE-29).
const BODY_BYTES_MAX: usize = 25 * 1024 * 1024;
/// Room for the other fields of a delivery's message, in bytes.
const FIELDS_BYTES_MAX: usize = 4 * 1024;

/// A stored delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Endpoint it came to; the SCM connection's id for SCM webhooks.
    pub source: String,
    /// Provider's delivery id.
    pub delivery_id: String,
    /// Provider's event name.
    pub event: String,
    /// Raw body, as signed.
    pub body: Vec<u8>,
}

/// Stores a delivery and makes it work; answers false if it was known already.
pub async fn store(db: &Db, delivery: &Delivery) -> Result<bool> {
    let mut wrong = Violations::new();
    wrong.check(!delivery.source.contains('/'), "source", "must be a name without `/`");
    wrong.check(delivery.body.len() <= BODY_BYTES_MAX, "body", format!("must have at most {BODY_BYTES_MAX} bytes"));
    wrong.finish()?;
    let mut tx = db.begin().await?;
    let Delivery { source, delivery_id, event, body } = delivery;
    let fresh = tx
        .execute(
            "INSERT INTO inbox (source, delivery_id, event, body, received_us, done_us) \
             VALUES ($1, $2, $3, $4, NOW_US(), 0) ON CONFLICT DO NOTHING",
            args![source, delivery_id, event, body],
        )
        .await?;
    if fresh == 0 {
        return Ok(false);
    }
    worker::enqueue(&mut tx, KIND, &format!("{source}/{delivery_id}"), 0).await?;
    tx.commit().await?;
    Ok(true)
}

/// The handler of [`KIND`]: calls `f` with each delivery, at least once, and parks one that fails five times.
pub fn handler<F>(db: Db, f: F) -> impl Handler
where
    F: Fn(Delivery) -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
{
    Inbox { db, f }
}

struct Inbox<F> {
    db: Db,
    f: F,
}

#[async_trait]
impl<F> Handler for Inbox<F>
where
    F: Fn(Delivery) -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
{
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        let Some((source, delivery_id)) = claim.id.split_once('/') else {
            return Err(Error::internal(format!("inbox item {}", claim.id)));
        };
        let sql = "SELECT event, body FROM inbox WHERE source = $1 AND delivery_id = $2 AND done_us = 0";
        let Some(row) = self.db.fetch_optional(sql, args![source, delivery_id]).await? else { return Ok(Next::Done) };
        let (source, delivery_id) = (source.to_owned(), delivery_id.to_owned());
        let delivery = Delivery {
            source: source.clone(),
            delivery_id: delivery_id.clone(),
            event: row.text("event")?,
            body: row.bytes("body")?,
        };
        (self.f)(delivery).await?;
        let mut tx = self.db.begin().await?;
        claim.guard(&mut tx).await?;
        // The row stays for deduplication, its body does not.
        let sql = "UPDATE inbox SET done_us = NOW_US(), body = $3 WHERE source = $1 AND delivery_id = $2";
        tx.execute(sql, args![source, delivery_id, Vec::<u8>::new()]).await?;
        tx.commit().await?;
        Ok(Next::Done)
    }

    fn parks(&self) -> bool {
        true
    }
}

/// The inbox of one database as a gRPC service.
pub struct WebhookApi {
    db: Db,
}

/// The service to add to a server.
pub fn service(db: Db) -> WebhookServiceServer<WebhookApi> {
    WebhookServiceServer::new(WebhookApi { db }).max_decoding_message_size(BODY_BYTES_MAX + FIELDS_BYTES_MAX)
}

#[tonic::async_trait]
impl WebhookService for WebhookApi {
    async fn receive_webhook(
        &self,
        request: Request<ReceiveWebhookRequest>,
    ) -> std::result::Result<Response<ReceiveWebhookResponse>, Status> {
        let (call, request) = serve::accept(request)?;
        call.check(&Facts::default())?;
        let ReceiveWebhookRequest { source, delivery_id, event, body } = request;
        scm::check_shape(&event, &body)?;
        let fresh = store(&self.db, &Delivery { source, delivery_id, event, body }).await?;
        Ok(Response::new(ReceiveWebhookResponse { duplicate: !fresh }))
    }
}
