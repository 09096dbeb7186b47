//! `slipway.secrets.v1.DeliveryService`, for the environment service alone.
//!
//! Owns nothing but the way in and out. Refuses values in either.
use slipway_kit::serve::accept;
use slipway_proto::secrets::v1::{self as pb, delivery_service_server::DeliveryService};
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::delivery as render;

#[tonic::async_trait]
impl DeliveryService for Api {
    async fn deliver_environment_secrets(
        &self,
        request: Request<pb::DeliverEnvironmentSecretsRequest>,
    ) -> Result<Response<pb::DeliverEnvironmentSecretsResponse>, Status> {
        let (call, request) = accept(request)?;
        let delivered = self.app.deliver(&call, &render::deliver(request)?).await?;
        Ok(Response::new(render::delivered(delivered)))
    }

    async fn withdraw_environment_secrets(
        &self,
        request: Request<pb::WithdrawEnvironmentSecretsRequest>,
    ) -> Result<Response<pb::WithdrawEnvironmentSecretsResponse>, Status> {
        let (call, request) = accept(request)?;
        let removed = self.app.withdraw(&call, &render::withdraw(request)?).await?;
        Ok(Response::new(pb::WithdrawEnvironmentSecretsResponse { removed }))
    }
}
