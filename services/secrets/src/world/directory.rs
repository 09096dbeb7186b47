//! The catalog's word on who owns a service.
//!
//! Owns the call and its limit of time. Refuses to remember answers: ownership is asked for at each decision (SAFE-31).
use std::time::Duration;

use slipway_kit::{
    error::{Error, Kind, NOT_FOUND, Result, SERVICE_UNKNOWN, Violations},
    serve::{Call, Peers, error_from},
};
use slipway_proto::access::v1 as pb;

use crate::model::service::Facts;

/// Longest wait for the catalog.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the catalog.
#[derive(Clone)]
pub struct Directory {
    peers: Peers,
}

impl Directory {
    /// An adapter over the siblings of this service.
    pub fn new(peers: Peers) -> Self {
        Self { peers }
    }

    /// Facts of an entity; `None` if the catalog knows none of that reference.
    pub async fn resolve(&self, call: &Call, reference: &str) -> Result<Option<Facts>> {
        let left = call.deadline.saturating_duration_since(tokio::time::Instant::now());
        let client = self.peers.as_service("catalog", TIMEOUT.min(left));
        let request = pb::ResolveOwnerRequest { r#ref: reference.to_owned() };
        let answer = pb::directory_service_client::DirectoryServiceClient::new(client).resolve_owner(request).await;
        match answer.map(tonic::Response::into_inner).map_err(error_from) {
            Ok(told) => Ok(Some(Facts {
                reference: told.r#ref,
                uid: told.uid,
                owner: told.owner,
                service_tier: told.service_tier,
            })),
            Err(error) if error.is(&SERVICE_UNKNOWN) || error.is(&NOT_FOUND) => Ok(None),
            Err(error) if error.kind() == Kind::InvalidArgument => Err(malformed(&error)),
            Err(error) => Err(error),
        }
    }
}

fn malformed(error: &Error) -> Error {
    let mut violations = Violations::new();
    let rule = error.violations().first().map_or("must be an entity reference", |(_, rule)| rule.as_str());
    violations.add("service", rule);
    violations.finish().err().unwrap_or_else(|| Error::internal("a violation was added"))
}
