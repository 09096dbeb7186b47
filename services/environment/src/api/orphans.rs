//! OrphanService.
//!
//! Owns its three methods. Refuses more: orphans are found, never made.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::environment::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::orphan as wire;

#[tonic::async_trait]
impl pb::orphan_service_server::OrphanService for Api {
    async fn list_orphans(
        &self,
        request: Request<pb::ListOrphansRequest>,
    ) -> Result<Response<pb::ListOrphansResponse>, Status> {
        let (call, message) = accept(request)?;
        let (found, next_page_token) = self.app.list_orphans(&call, &wire::wanted(message)).await?;
        let orphans = found.iter().map(wire::render).collect();
        Ok(Response::new(pb::ListOrphansResponse { orphans, next_page_token }))
    }

    async fn get_orphan(&self, request: Request<pb::GetOrphanRequest>) -> Result<Response<pb::Orphan>, Status> {
        let (call, message) = accept(request)?;
        Ok(Response::new(wire::render(&self.app.get_orphan(&call, &message.name).await?)))
    }

    async fn confirm_orphan_deletion(
        &self,
        request: Request<pb::ConfirmOrphanDeletionRequest>,
    ) -> Result<Response<pb::Orphan>, Status> {
        let (call, message) = accept_change(request)?;
        let name = message.name.clone();
        let orphan = self.app.confirm_orphan(&call, &name, &wire::confirmation(message)).await?;
        Ok(Response::new(wire::render(&orphan)))
    }
}
