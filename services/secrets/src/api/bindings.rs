//! `slipway.secrets.v1.SecretBindingService`.
//!
//! Owns nothing but the way in and out. Refuses values in either.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::secrets::v1::{self as pb, secret_binding_service_server::SecretBindingService};
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::{self, bindings as render};

#[tonic::async_trait]
impl SecretBindingService for Api {
    async fn create_secret_binding(
        &self,
        request: Request<pb::CreateSecretBindingRequest>,
    ) -> Result<Response<pb::SecretBinding>, Status> {
        let (call, request) = accept_change(request)?;
        let binding = self.app.create_binding(&call, &render::create(request)?).await?;
        Ok(Response::new(render::binding(&binding)))
    }

    async fn get_secret_binding(
        &self,
        request: Request<pb::GetSecretBindingRequest>,
    ) -> Result<Response<pb::SecretBinding>, Status> {
        let (call, request) = accept(request)?;
        let binding = self.app.get_binding(&call, &wire::binding_name(&request.name)?).await?;
        Ok(Response::new(render::binding(&binding)))
    }

    async fn list_secret_bindings(
        &self,
        request: Request<pb::ListSecretBindingsRequest>,
    ) -> Result<Response<pb::ListSecretBindingsResponse>, Status> {
        let (call, request) = accept(request)?;
        let listed = self.app.list_bindings(&call, &render::list(request)).await?;
        Ok(Response::new(render::listed(&listed)))
    }

    async fn update_secret_binding(
        &self,
        request: Request<pb::UpdateSecretBindingRequest>,
    ) -> Result<Response<pb::SecretBinding>, Status> {
        let (call, request) = accept_change(request)?;
        let binding = self.app.update_binding(&call, &render::update(request)?).await?;
        Ok(Response::new(render::binding(&binding)))
    }

    async fn delete_secret_binding(
        &self,
        request: Request<pb::DeleteSecretBindingRequest>,
    ) -> Result<Response<pb::SecretBinding>, Status> {
        let (call, request) = accept_change(request)?;
        let name = wire::binding_name(&request.name)?;
        let binding = self.app.delete_binding(&call, &name, &request.etag).await?;
        Ok(Response::new(render::binding(&binding)))
    }

    async fn resolve_environment_bindings(
        &self,
        request: Request<pb::ResolveEnvironmentBindingsRequest>,
    ) -> Result<Response<pb::ResolveEnvironmentBindingsResponse>, Status> {
        let (call, request) = accept(request)?;
        let bindings = self.app.resolve_bindings(&call, &render::resolve(request)?).await?;
        let secret_bindings = bindings.iter().map(render::binding).collect();
        Ok(Response::new(pb::ResolveEnvironmentBindingsResponse { secret_bindings }))
    }
}
