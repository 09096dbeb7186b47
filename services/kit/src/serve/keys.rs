//! The keys of assertions in a process that is not the gateway's: asked for, and asked for again when an unknown one is met.
//!
//! Owns how often. Refuses to forget the known ones while the gateway does not answer.
use std::time::Duration;

use slipway_proto::access::v1::{FetchAssertionKeysRequest, delegation_service_client::DelegationServiceClient};

use super::{Peers, Shutdown};
use crate::{
    caller::{PublicKey, Verifier},
    error::{Result, error_from},
};

/// Between two looks when nothing is missing.
const PERIOD: Duration = Duration::from_secs(30);
/// Between two looks at the least.
const PAUSE: Duration = Duration::from_millis(200);
/// Time of one look.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Keeps the verifier's keys as the gateway publishes them, until shutdown.
pub async fn follow_keys(peers: Peers, verifier: Verifier, shutdown: Shutdown) {
    let mut wanted = verifier.wanted();
    let mut failing = false;
    loop {
        match fetch(&peers).await {
            Ok(keys) => {
                verifier.set_keys(&keys);
                failing = false;
            }
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(error = %error, "the gateway's keys cannot be had; the known ones stay");
            }
            Err(_) => {}
        }
        let rest = async {
            tokio::time::sleep(PAUSE).await;
            if !failing {
                let _ = tokio::time::timeout(PERIOD, wanted.changed()).await;
            }
        };
        tokio::select! {
            () = rest => {}
            () = shutdown.wait() => return,
        }
    }
}

async fn fetch(peers: &Peers) -> Result<Vec<PublicKey>> {
    let mut gateway = DelegationServiceClient::new(peers.as_service("gateway", TIMEOUT));
    let answer = gateway.fetch_assertion_keys(FetchAssertionKeysRequest {}).await.map_err(error_from)?;
    let keys = answer.into_inner().keys;
    Ok(keys.into_iter().map(|key| PublicKey { id: key.key_id, bytes: key.public_key }).collect())
}
