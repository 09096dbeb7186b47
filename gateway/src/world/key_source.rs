//! Where an issuer's key set comes from.
//!
//! Refuses to follow anything a token says: the address stands in the configuration, or in the issuer's own discovery document.

use async_trait::async_trait;
use serde_json::Value;
use slipway_kit::{
    error::{DEPENDENCY_UNAVAILABLE, Error, Result},
    fetch::Fetcher,
};

use crate::model::{jwt::jwk::MAX_SET_BYTES, strict_json};

const DISCOVERY_DEPTH: usize = 16;

/// Fetches the present key set document of one issuer.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The document.
    ///
    /// # Errors
    /// UNAVAILABLE when the provider does not give it.
    async fn fetch(&self) -> Result<Vec<u8>>;
}

/// A key set over HTTPS, by a configured address or by discovery (SAFE-12).
pub struct Remote {
    fetcher: Fetcher,
    issuer: String,
    address: Option<String>,
}

impl Remote {
    /// The key set of `issuer`, at `address` or where its discovery document says.
    #[must_use]
    pub fn new(fetcher: Fetcher, issuer: String, address: Option<String>) -> Self {
        Self { fetcher, issuer, address }
    }

    async fn discover(&self) -> Result<String> {
        let away = || Error::new(&DEPENDENCY_UNAVAILABLE, "the identity provider's discovery document is unusable");
        let address = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let bytes = self.fetcher.get(&address).await?;
        let document = strict_json::object(&bytes, DISCOVERY_DEPTH).map_err(|_| away())?;
        if document.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(away());
        }
        document.get("jwks_uri").and_then(Value::as_str).map(str::to_owned).ok_or_else(away)
    }
}

#[async_trait]
impl KeySource for Remote {
    async fn fetch(&self) -> Result<Vec<u8>> {
        let address = match &self.address {
            Some(address) => address.clone(),
            None => self.discover().await?,
        };
        let bytes = self.fetcher.get(&address).await?;
        if bytes.len() > MAX_SET_BYTES {
            return Err(Error::new(&DEPENDENCY_UNAVAILABLE, "the identity provider's key set is too large"));
        }
        Ok(bytes.to_vec())
    }
}
