//! `slipway.secrets.v1.EngineService`.
//!
//! Owns nothing but the way in and out. Refuses key material in either.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::secrets::v1::{self as pb, engine_service_server::EngineService};
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::engine as render;

#[tonic::async_trait]
impl EngineService for Api {
    async fn get_engine(&self, request: Request<pb::GetEngineRequest>) -> Result<Response<pb::Engine>, Status> {
        let (call, _) = accept(request)?;
        let status = self.app.get_engine(&call)?;
        Ok(Response::new(render::engine(&status)))
    }

    async fn accept_rollback(
        &self,
        request: Request<pb::AcceptRollbackRequest>,
    ) -> Result<Response<pb::Engine>, Status> {
        let (call, request) = accept_change(request)?;
        let status = self.app.accept_rollback(&call, &request.reason).await?;
        Ok(Response::new(render::engine(&status)))
    }
}
