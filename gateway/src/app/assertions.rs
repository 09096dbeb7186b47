//! Signed assertions kept beside a credential, so that a signature is not made for every call.
//!
//! Refuses to keep one for more than a third of its life.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use slipway_kit::error::Result;
use tokio::time::Instant;

/// How long an assertion is used again.
const LIFE: Duration = Duration::from_secs(20);

/// Assertions of one credential, by method.
#[derive(Default)]
pub struct Assertions(Mutex<HashMap<&'static str, (Instant, String)>>);

impl Assertions {
    /// The assertion for a method, made by `make` when none is kept.
    ///
    /// # Errors
    /// As `make`.
    pub fn get(&self, method: &'static str, make: impl FnOnce() -> Result<String>) -> Result<String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, assertion)) = kept.get(method)
            && at.elapsed() < LIFE
        {
            return Ok(assertion.clone());
        }
        let assertion = make()?;
        kept.insert(method, (Instant::now(), assertion.clone()));
        Ok(assertion)
    }
}
