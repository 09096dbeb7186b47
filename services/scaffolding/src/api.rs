//! One method per RPC: accept, verb, render.
mod actions;
mod runs;
mod templates;

use crate::app::App;

/// The service's RPCs.
#[derive(Clone)]
pub struct Api {
    app: App,
}

impl Api {
    /// The RPCs over the verbs.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app }
    }
}
