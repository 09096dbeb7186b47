//! The catalog as it answers who owns a service and where its source is. Refuses to remember: a decision needs the present owner.
use std::time::Duration;

use slipway_kit::{
    error::{Result, SERVICE_UNKNOWN},
    serve::{Peers, error_from},
};
use slipway_proto::access::v1::{ResolveOwnerRequest, directory_service_client::DirectoryServiceClient};

use crate::store::services::Service;

/// Longest wait for the catalog.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The catalog's directory.
#[derive(Clone)]
pub struct Directory {
    peers: Peers,
}

impl Directory {
    /// A directory behind the peers.
    pub fn new(peers: Peers) -> Self {
        Self { peers }
    }

    /// What the catalog knows of a service; `None` if it knows none of that name.
    pub async fn resolve(&self, service: &str) -> Result<Option<Service>> {
        let mut client = DirectoryServiceClient::new(self.peers.as_service("catalog", TIMEOUT));
        let asked = client.resolve_owner(ResolveOwnerRequest { r#ref: service.to_owned() }).await.map_err(error_from);
        let found = match asked {
            Ok(answer) => answer.into_inner(),
            Err(error) if error.is(&SERVICE_UNKNOWN) => return Ok(None),
            Err(error) => return Err(error),
        };
        let repository =
            if found.repository.is_empty() { String::new() } else { format!("{}/{}", found.scm, found.repository) };
        Ok(Some(Service {
            service: found.r#ref,
            owner: found.owner,
            repository,
            repository_path: found.repository_path,
            known: true,
        }))
    }
}
