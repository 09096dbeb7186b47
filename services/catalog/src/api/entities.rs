//! `slipway.catalog.v1.EntityService`.

use futures::{StreamExt as _, stream::BoxStream};
use slipway_kit::serve;
use slipway_proto::catalog::v1::{self as pb, entity_service_server::EntityService};
use tonic::{Request, Response, Status};

use super::{Answer, Api};
use crate::wire;

#[tonic::async_trait]
impl EntityService for Api {
    type WatchEntitiesStream = BoxStream<'static, Result<pb::WatchEntitiesResponse, Status>>;

    async fn get_entity(&self, request: Request<pb::GetEntityRequest>) -> Answer<pb::Entity> {
        let (call, request) = serve::accept(request)?;
        let raw = request.view() == pb::EntityView::Raw;
        let entity = self.app.get_entity(&call, &request.name, raw).await?;
        Ok(Response::new(wire::entity::entity(entity)))
    }

    async fn batch_get_entities(
        &self,
        request: Request<pb::BatchGetEntitiesRequest>,
    ) -> Answer<pb::BatchGetEntitiesResponse> {
        let (call, request) = serve::accept(request)?;
        let results = self.app.batch_get_entities(&call, &request.names).await?;
        Ok(Response::new(wire::entity::batch(results)))
    }

    async fn list_entities(&self, request: Request<pb::ListEntitiesRequest>) -> Answer<pb::ListEntitiesResponse> {
        let (call, request) = serve::accept(request)?;
        let listed = self.app.list_entities(&call, &wire::entity::list_ask(request)).await?;
        Ok(Response::new(wire::entity::listed(listed)))
    }

    async fn get_service_overview(
        &self,
        request: Request<pb::GetServiceOverviewRequest>,
    ) -> Answer<pb::ServiceOverview> {
        let (call, request) = serve::accept(request)?;
        let overview = self.app.overview(&call, &request.name).await?;
        Ok(Response::new(wire::overview::overview(overview)))
    }

    async fn watch_entities(&self, request: Request<pb::WatchEntitiesRequest>) -> Answer<Self::WatchEntitiesStream> {
        let (call, request) = serve::accept(request)?;
        let changes = self.app.watch(&call, &wire::entity::watch_ask(request)).await?;
        Ok(Response::new(changes.map(|c| Ok(wire::entity::change(c?))).boxed()))
    }
}
