//! HoldService.
//!
//! Owns its three methods. Refuses more: holds are placed by nobody's call.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::environment::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::hold as wire;

#[tonic::async_trait]
impl pb::hold_service_server::HoldService for Api {
    async fn list_holds(
        &self,
        request: Request<pb::ListHoldsRequest>,
    ) -> Result<Response<pb::ListHoldsResponse>, Status> {
        let (call, message) = accept(request)?;
        let (found, next_page_token) = self.app.list_holds(&call, &wire::wanted(message)).await?;
        let holds = found.iter().map(|hold| wire::render(hold, &[])).collect();
        Ok(Response::new(pb::ListHoldsResponse { holds, next_page_token }))
    }

    async fn get_hold(&self, request: Request<pb::GetHoldRequest>) -> Result<Response<pb::Hold>, Status> {
        let (call, message) = accept(request)?;
        let shown = self.app.get_hold(&call, &message.name).await?;
        Ok(Response::new(wire::render(&shown.hold, &shown.waiting)))
    }

    async fn release_hold(&self, request: Request<pb::ReleaseHoldRequest>) -> Result<Response<pb::Hold>, Status> {
        let (call, message) = accept_change(request)?;
        let pb::ReleaseHoldRequest { name, reason, etag, validate_only, .. } = message;
        let shown = self.app.release_hold(&call, &name, &reason, &etag, validate_only).await?;
        Ok(Response::new(wire::render(&shown.hold, &shown.waiting)))
    }
}
