//! PreviewService.
//!
//! Owns its three methods. Refuses more.
use slipway_kit::serve::accept_change;
use slipway_proto::environment::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::app::{NewApproval, WantedPreview};

#[tonic::async_trait]
impl pb::preview_service_server::PreviewService for Api {
    async fn ensure_preview(
        &self,
        request: Request<pb::EnsurePreviewRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let wanted = WantedPreview {
            service: message.service,
            pull_request: message.pull_request,
            head_sha: message.head_sha,
            images: message.images,
            idle_us: message.idle_sleep.as_ref().map(crate::wire::duration_us),
            validate_only: message.validate_only,
        };
        let env = self.app.ensure_preview(&call, &wanted).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn approve_preview(
        &self,
        request: Request<pb::ApprovePreviewRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let new = NewApproval {
            name: message.name,
            head_sha: message.head_sha,
            images: message.images,
            etag: message.etag,
            validate_only: message.validate_only,
        };
        let env = self.app.approve_preview(&call, &new).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn delete_preview(
        &self,
        request: Request<pb::DeletePreviewRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let env = self.app.delete_preview(&call, &message.service, message.pull_request, &message.etag).await?;
        Ok(Response::new(self.render(&env)))
    }
}
