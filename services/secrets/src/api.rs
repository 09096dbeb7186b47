//! The RPCs: accept, one verb, render.
//!
//! Owns nothing else. Refuses decisions.
use crate::app::App;

mod bindings;
mod delivery;
mod engine;
mod secrets;

/// The RPCs over the verbs.
#[derive(Clone)]
pub struct Api {
    app: App,
}

impl Api {
    /// RPCs over these verbs.
    pub fn new(app: App) -> Self {
        Self { app }
    }
}
