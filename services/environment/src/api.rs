//! The RPCs: accept, call the verb, render.
//!
//! Owns nothing but this order. Refuses decisions and SQL.
mod budgets;
mod clusters;
mod diagnoses;
mod environments;
mod holds;
mod orphans;
mod policies;
mod previews;
mod routes;
mod scm_connections;

use std::sync::Arc;

use crate::app::App;

/// The servers of this service.
#[derive(Clone)]
pub struct Api {
    app: Arc<App>,
}

impl Api {
    /// Servers over the verbs.
    pub fn new(app: App) -> Self {
        Self { app: Arc::new(app) }
    }

    fn render(&self, env: &crate::model::environment::Environment) -> crate::wire::environment::Rendered {
        crate::wire::environment::render(env, self.app.platform())
    }
}
