//! `slipway.secrets.v1.SecretService`.
//!
//! Owns the headers of an answer with a value. Refuses to let it be cached.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::secrets::v1::{self as pb, secret_service_server::SecretService};
use tonic::{Request, Response, Status, metadata::MetadataValue};

use super::Api;
use crate::wire::{self, secrets as render};

#[tonic::async_trait]
impl SecretService for Api {
    async fn put_secret(&self, request: Request<pb::PutSecretRequest>) -> Result<Response<pb::Secret>, Status> {
        let (call, request) = accept_change(request)?;
        let secret = self.app.put(&call, render::put(request)?).await?;
        Ok(Response::new(render::secret(&secret)))
    }

    async fn get_secret(&self, request: Request<pb::GetSecretRequest>) -> Result<Response<pb::Secret>, Status> {
        let (call, request) = accept(request)?;
        let secret = self.app.get(&call, &wire::path(&request.name)?).await?;
        Ok(Response::new(render::secret(&secret)))
    }

    async fn list_secrets(
        &self,
        request: Request<pb::ListSecretsRequest>,
    ) -> Result<Response<pb::ListSecretsResponse>, Status> {
        let (call, request) = accept(request)?;
        let listed = self.app.list(&call, &render::list(request)).await?;
        Ok(Response::new(render::listed(&listed)))
    }

    async fn list_secret_versions(
        &self,
        request: Request<pb::ListSecretVersionsRequest>,
    ) -> Result<Response<pb::ListSecretVersionsResponse>, Status> {
        let (call, request) = accept(request)?;
        let path = wire::path(&request.name)?;
        let listed = self.app.versions(&call, &path, request.page_size, &request.page_token).await?;
        Ok(Response::new(render::versions(&listed)))
    }

    async fn delete_secret(&self, request: Request<pb::DeleteSecretRequest>) -> Result<Response<pb::Secret>, Status> {
        let (call, request) = accept_change(request)?;
        let path = wire::path(&request.name)?;
        let secret = self.app.delete(&call, &path, &request.etag, request.validate_only).await?;
        Ok(Response::new(render::secret(&secret)))
    }

    async fn undelete_secret(
        &self,
        request: Request<pb::UndeleteSecretRequest>,
    ) -> Result<Response<pb::Secret>, Status> {
        let (call, request) = accept_change(request)?;
        let secret = self.app.undelete(&call, &wire::path(&request.name)?, &request.etag).await?;
        Ok(Response::new(render::secret(&secret)))
    }

    async fn destroy_secret_version(
        &self,
        request: Request<pb::DestroySecretVersionRequest>,
    ) -> Result<Response<pb::SecretVersion>, Status> {
        let (call, request) = accept_change(request)?;
        let version = self.app.destroy(&call, &render::destroy(request)?).await?;
        Ok(Response::new(render::version(&version)))
    }

    async fn reveal_secret(
        &self,
        request: Request<pb::RevealSecretRequest>,
    ) -> Result<Response<pb::RevealSecretResponse>, Status> {
        let (call, request) = accept(request)?;
        let revealed = self.app.reveal(&call, &render::reveal(request)?).await?;
        let mut response = Response::new(render::revealed(&revealed));
        response.metadata_mut().insert("cache-control", MetadataValue::from_static("no-store"));
        Ok(response)
    }
}
