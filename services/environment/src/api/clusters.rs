//! ClusterService.
//!
//! Owns its methods. Refuses more.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::environment::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::cluster as wire;

#[tonic::async_trait]
impl pb::cluster_service_server::ClusterService for Api {
    async fn create_cluster(
        &self,
        request: Request<pb::CreateClusterRequest>,
    ) -> Result<Response<pb::Cluster>, Status> {
        let (call, r) = accept_change(request)?;
        let spec = wire::spec(&r.cluster.unwrap_or_default());
        let cluster = self.app.create_cluster(&call, &r.cluster_id, &spec, r.validate_only).await?;
        Ok(Response::new(wire::registered(&cluster)))
    }

    async fn get_cluster(&self, request: Request<pb::GetClusterRequest>) -> Result<Response<pb::Cluster>, Status> {
        let (call, r) = accept(request)?;
        let cluster = self.app.get_cluster(&call, wire::id(&r.name)).await?;
        Ok(Response::new(wire::render(&cluster)))
    }

    async fn list_clusters(
        &self,
        request: Request<pb::ListClustersRequest>,
    ) -> Result<Response<pb::ListClustersResponse>, Status> {
        let (call, r) = accept(request)?;
        let (page, next_page_token) = self.app.cluster_page(&call, r.page_size, &r.page_token).await?;
        Ok(Response::new(pb::ListClustersResponse {
            clusters: page.iter().map(wire::render).collect(),
            next_page_token,
        }))
    }

    async fn update_cluster(
        &self,
        request: Request<pb::UpdateClusterRequest>,
    ) -> Result<Response<pb::Cluster>, Status> {
        let (call, r) = accept_change(request)?;
        let asked = r.cluster.unwrap_or_default();
        let change = wire::change(&asked, &r.update_mask.unwrap_or_default().paths)?;
        let cluster =
            self.app.update_cluster(&call, wire::id(&asked.name), &asked.etag, r.validate_only, change).await?;
        Ok(Response::new(wire::registered(&cluster)))
    }

    async fn delete_cluster(&self, request: Request<pb::DeleteClusterRequest>) -> Result<Response<()>, Status> {
        let (call, r) = accept_change(request)?;
        self.app.delete_cluster(&call, wire::id(&r.name), &r.etag).await?;
        Ok(Response::new(()))
    }

    async fn check_cluster(&self, request: Request<pb::CheckClusterRequest>) -> Result<Response<pb::Cluster>, Status> {
        let (call, r) = accept_change(request)?;
        let cluster = self.app.check_cluster(&call, wire::id(&r.name)).await?;
        Ok(Response::new(wire::registered(&cluster)))
    }
}
