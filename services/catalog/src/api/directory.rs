//! `slipway.access.v1.DirectoryService`, for the other services only.

use slipway_kit::serve;
use slipway_proto::access::v1::{self as pb, directory_service_server::DirectoryService};
use tonic::{Request, Response};

use super::{Answer, Api};
use crate::wire;

#[tonic::async_trait]
impl DirectoryService for Api {
    async fn resolve_owner(&self, request: Request<pb::ResolveOwnerRequest>) -> Answer<pb::Ownership> {
        let (call, request) = serve::accept(request)?;
        let facts = self.app.resolve_owner(&call, &request.r#ref).await?;
        Ok(Response::new(wire::overview::ownership(facts)))
    }

    async fn list_memberships(
        &self,
        request: Request<pb::ListMembershipsRequest>,
    ) -> Answer<pb::ListMembershipsResponse> {
        let (call, _) = serve::accept(request)?;
        let memberships = self.app.memberships(&call).await?;
        Ok(Response::new(wire::overview::memberships(memberships)))
    }
}
