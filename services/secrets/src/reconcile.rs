//! What the service does without being asked: follows ownership in the catalog, and looks for the key while it is sealed.
//!
//! Owns two loops. Refuses outside effects: it has none.
use std::time::Duration;

use slipway_kit::{
    db::Db,
    journal,
    serve::{Peers, Shutdown},
};

use crate::{app::App, store::services, wire::event};

/// How often a sealed engine looks for its key.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Keeps the stored owners, which lists are filtered by, as the catalog's events tell them.
pub async fn follow_owners(peers: Peers, db: Db, shutdown: Shutdown) {
    journal::consume(peers, db, "catalog", "owners", shutdown, |tx, stored| {
        Box::pin(async move {
            match event::ownership(stored)? {
                Some(facts) => services::keep(tx, &facts).await,
                None => Ok(()),
            }
        })
    })
    .await;
}

/// Checks the chains once the engine is open, and looks for the key until it is.
pub async fn keep_unsealed(app: App, shutdown: Shutdown) {
    let mut verified = false;
    while !shutdown.is_down() {
        if app.engine_status().seal.is_some()
            && let Err(error) = app.unseal().await
        {
            tracing::warn!(%error, "the engine's state cannot be read");
        }
        if !verified && app.engine_status().seal.is_none() {
            verified = app.verify().await.is_ok();
        }
        tokio::select! { () = tokio::time::sleep(LOOK_EVERY) => {}, () = shutdown.wait() => return }
    }
}
