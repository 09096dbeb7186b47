//! RouteService.
//!
//! Owns its two methods. Refuses more.
use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use slipway_kit::serve::accept;
use slipway_proto::environment::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire;

#[tonic::async_trait]
impl pb::route_service_server::RouteService for Api {
    type WatchRoutesStream = Pin<Box<dyn Stream<Item = Result<pb::WatchRoutesResponse, Status>> + Send>>;

    async fn watch_routes(
        &self,
        request: Request<pb::WatchRoutesRequest>,
    ) -> Result<Response<Self::WatchRoutesStream>, Status> {
        accept(request)?;
        let changes = self.app.watch_routes();
        Ok(Response::new(Box::pin(changes.map(|change| Ok(wire::route::change(change))))))
    }

    async fn touch_routes(
        &self,
        request: Request<pb::TouchRoutesRequest>,
    ) -> Result<Response<pb::TouchRoutesResponse>, Status> {
        let (_, message) = accept(request)?;
        self.app.touch_routes(&wire::route::touches(message)).await?;
        Ok(Response::new(pb::TouchRoutesResponse {}))
    }
}
