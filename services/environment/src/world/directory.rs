//! The catalog's directory as a client.
//!
//! Owns the call and its translation. Refuses to remember answers: an owner may change.
use std::time::Duration;

use async_trait::async_trait;
use slipway_kit::{
    error::{Result, error_from},
    serve::Peers,
};
use slipway_proto::access::v1::{ResolveOwnerRequest, directory_service_client::DirectoryServiceClient};

use super::{Directory, ServiceFacts};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The catalog behind the peers of this process.
pub struct CatalogDirectory(pub Peers);

#[async_trait]
impl Directory for CatalogDirectory {
    async fn service(&self, reference: &str) -> Result<ServiceFacts> {
        let mut client = DirectoryServiceClient::new(self.0.as_service("catalog", TIMEOUT));
        let request = ResolveOwnerRequest { r#ref: reference.to_owned() };
        let found = client.resolve_owner(request).await.map_err(error_from)?.into_inner();
        Ok(ServiceFacts {
            reference: found.r#ref,
            uid: found.uid,
            owner: found.owner,
            tier: found.service_tier,
            scm: found.scm,
            repository: found.repository,
            folder: found.repository_path,
        })
    }

    async fn login(&self, user: &str) -> Result<String> {
        let mut client = DirectoryServiceClient::new(self.0.as_service("catalog", TIMEOUT));
        let request = ResolveOwnerRequest { r#ref: user.to_owned() };
        Ok(client.resolve_owner(request).await.map_err(error_from)?.into_inner().login)
    }
}
