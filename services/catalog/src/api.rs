//! The RPCs of the catalog: accept, one verb of the app, render.

mod directory;
mod entities;
mod locations;

use crate::app::App;

/// Serves the catalog's gRPC services; cheap to clone.
#[derive(Clone)]
pub struct Api {
    app: App,
}

impl Api {
    /// The API over the app's verbs.
    pub fn new(app: App) -> Self {
        Self { app }
    }
}

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;
