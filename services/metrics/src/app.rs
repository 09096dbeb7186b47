//! The verbs of the metrics service: authorise, open a transaction, ask the model, keep, append the event.
use std::sync::Arc;

use slipway_kit::{
    clock::Clock,
    db::Db,
    error::{Error, INVALID_FIELD, Result, SERVICE_UNKNOWN},
    page::Sealer,
};

use crate::{
    model::service_ref,
    store::{self, services},
    world::{commits::Commits, directory::Directory},
};

pub mod corrections;
pub mod deployments;
pub mod history;
pub mod ingest;
pub mod performance;
pub mod pipelines;
pub mod record;

/// What the verbs work with.
pub struct Parts {
    /// The database.
    pub db: Db,
    /// Current time.
    pub clock: Clock,
    /// Seals page tokens.
    pub sealer: Sealer,
    /// The catalog.
    pub directory: Directory,
    /// The source providers.
    pub commits: Commits,
    /// Connection of repositories that name none.
    pub default_connection: String,
    /// Zone of windows that name none.
    pub time_zone: String,
}

/// The verbs; cheap to clone.
#[derive(Clone)]
pub struct App {
    parts: Arc<Parts>,
    histories: Arc<history::Cache>,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl App {
    /// The verbs over their parts.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts), histories: Arc::default() }
    }

    /// Canonical reference of a service that is known here or to the catalog; SERVICE_UNKNOWN otherwise.
    pub async fn service(&self, text: &str) -> Result<String> {
        let service = service_ref::canonical(text).ok_or_else(|| {
            Error::new(&INVALID_FIELD, "invalid: service")
                .violation("service", "must be a reference, as component:default/payments")
        })?;
        if services::get(&self.db, &service).await?.is_some_and(|s| s.known)
            || store::deployments::has_facts(&self.db, &service).await?
            || self.directory.resolve(&service).await?.is_some()
        {
            return Ok(service);
        }
        Err(Error::new(&SERVICE_UNKNOWN, format!("the catalog knows no {service}")).resource("service", service))
    }
}
