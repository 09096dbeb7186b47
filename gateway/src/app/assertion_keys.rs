//! The keys of assertions: this process's own, renewed each day, and those of the other replicas (SAFE-25).
//!
//! Owns when a key is published and renewed. Refuses to sign with a key that is not published yet.

use std::{sync::Arc, time::Duration};

use slipway_kit::{
    caller::{PublicKey, Signer, Verifier},
    clock::Clock,
    error::Result,
    serve::Shutdown,
};

use crate::store::Store;

/// Age at which a key is renewed, in microseconds.
const RENEW_US: i64 = 24 * 3600 * 1_000_000;
/// Time a key is known, in microseconds: its own day, and an hour in which what it signed ends.
const KNOWN_US: i64 = 25 * 3600 * 1_000_000;
/// Between two looks for keys of other replicas.
const PERIOD: Duration = Duration::from_secs(5);
/// Between two looks at the least.
const PAUSE: Duration = Duration::from_millis(100);

/// The keys; cheap to clone.
#[derive(Clone)]
pub struct AssertionKeys {
    store: Store,
    clock: Clock,
    signer: Arc<Signer>,
    verifier: Verifier,
}

impl AssertionKeys {
    /// Publishes the signer's key and learns the others.
    ///
    /// # Errors
    /// As the database.
    pub async fn begin(store: Store, clock: Clock, signer: Arc<Signer>, verifier: Verifier) -> Result<Self> {
        let this = Self { store, clock, signer, verifier };
        this.publish(&this.signer.public()).await?;
        this.learn().await?;
        Ok(this)
    }

    /// Every key that may be met now.
    ///
    /// # Errors
    /// As the database.
    pub async fn all(&self) -> Result<Vec<PublicKey>> {
        self.store.keys(self.clock.now_us()).await
    }

    /// Renews and learns until shutdown.
    pub async fn keep(self, shutdown: Shutdown) {
        let mut wanted = self.verifier.wanted();
        let mut signed_since = self.clock.now_us();
        loop {
            let rest = async {
                tokio::time::sleep(PAUSE).await;
                let _ = tokio::time::timeout(PERIOD, wanted.changed()).await;
            };
            tokio::select! {
                () = rest => {}
                () = shutdown.wait() => return,
            }
            let done = async {
                if self.clock.now_us() - signed_since >= RENEW_US {
                    self.renew().await?;
                    signed_since = self.clock.now_us();
                }
                self.learn().await
            };
            if let Err(error) = done.await {
                tracing::warn!(error = %error, "the keys of assertions could not be kept");
            }
        }
    }

    async fn renew(&self) -> Result<()> {
        let next = Signer::generate();
        self.publish(&next.public()).await?;
        self.signer.follow(&next);
        Ok(())
    }

    async fn publish(&self, key: &PublicKey) -> Result<()> {
        let now_us = self.clock.now_us();
        self.store.publish_key(key, now_us, now_us + KNOWN_US).await
    }

    async fn learn(&self) -> Result<()> {
        self.verifier.set_keys(&self.all().await?);
        Ok(())
    }
}
