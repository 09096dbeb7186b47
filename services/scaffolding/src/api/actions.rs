//! Actions.
use slipway_kit::{authz::Facts, serve::accept};
use slipway_proto::scaffolding::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::{model::action::ACTIONS, wire};

#[tonic::async_trait]
impl pb::action_service_server::ActionService for Api {
    async fn list_actions(
        &self,
        request: Request<pb::ListActionsRequest>,
    ) -> Result<Response<pb::ListActionsResponse>, Status> {
        let (call, _) = accept(request)?;
        call.check(&Facts::default())?;
        Ok(Response::new(pb::ListActionsResponse { actions: ACTIONS.iter().map(wire::action).collect() }))
    }
}
