//! ScmConnectionService.
//!
//! Owns its six methods. Refuses more.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::environment::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::scm_connection as wire;

#[tonic::async_trait]
impl pb::scm_connection_service_server::ScmConnectionService for Api {
    async fn create_scm_connection(
        &self,
        request: Request<pb::CreateScmConnectionRequest>,
    ) -> Result<Response<pb::ScmConnection>, Status> {
        let (call, message) = accept_change(request)?;
        let new = wire::wanted(&message.scm_connection_id, message.scm_connection.unwrap_or_default());
        let made = self.app.create_scm(&call, new, message.validate_only).await?;
        Ok(Response::new(wire::render(&made)))
    }

    async fn get_scm_connection(
        &self,
        request: Request<pb::GetScmConnectionRequest>,
    ) -> Result<Response<pb::ScmConnection>, Status> {
        let (call, message) = accept(request)?;
        Ok(Response::new(wire::render(&self.app.scm(&call, id(&message.name)).await?)))
    }

    async fn list_scm_connections(
        &self,
        request: Request<pb::ListScmConnectionsRequest>,
    ) -> Result<Response<pb::ListScmConnectionsResponse>, Status> {
        let (call, message) = accept(request)?;
        let (found, next_page_token) = self.app.scms(&call, message.page_size, &message.page_token).await?;
        let scm_connections = found.iter().map(wire::render).collect();
        Ok(Response::new(pb::ListScmConnectionsResponse { scm_connections, next_page_token }))
    }

    async fn update_scm_connection(
        &self,
        request: Request<pb::UpdateScmConnectionRequest>,
    ) -> Result<Response<pb::ScmConnection>, Status> {
        let (call, message) = accept_change(request)?;
        let asked = message.scm_connection.unwrap_or_default();
        let (id, etag) = (id(&asked.name).to_owned(), asked.etag.clone());
        let changed = self.app.update_scm(&call, wire::wanted(&id, asked), &etag, message.validate_only).await?;
        Ok(Response::new(wire::render(&changed)))
    }

    async fn delete_scm_connection(
        &self,
        request: Request<pb::DeleteScmConnectionRequest>,
    ) -> Result<Response<()>, Status> {
        let (call, message) = accept_change(request)?;
        self.app.delete_scm(&call, id(&message.name), &message.etag).await?;
        Ok(Response::new(()))
    }

    async fn test_connection(
        &self,
        request: Request<pb::TestConnectionRequest>,
    ) -> Result<Response<pb::TestConnectionResponse>, Status> {
        let (call, message) = accept(request)?;
        Ok(Response::new(wire::checks(self.app.test_scm(&call, id(&message.name)).await?)))
    }
}

fn id(name: &str) -> &str {
    name.strip_prefix("scmConnections/").unwrap_or_default()
}
