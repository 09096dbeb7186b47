//! `slipway.catalog.v1.LocationService`.

use slipway_kit::{page, serve};
use slipway_proto::{
    catalog::v1::{self as pb, location_service_server::LocationService},
    resource::v1::TotalMode,
};
use tonic::{Request, Response};

use super::{Answer, Api};
use crate::wire::{self, location::uid};

#[tonic::async_trait]
impl LocationService for Api {
    async fn register_location(&self, request: Request<pb::RegisterLocationRequest>) -> Answer<pb::Location> {
        let (call, request) = serve::accept_change(request)?;
        let new = wire::location::new(request.location)?;
        let location = self.app.register_location(&call, new, request.validate_only).await?;
        Ok(Response::new(wire::location::location(location)))
    }

    async fn get_location(&self, request: Request<pb::GetLocationRequest>) -> Answer<pb::Location> {
        let (call, request) = serve::accept(request)?;
        let location = self.app.get_location(&call, uid(&request.name)).await?;
        Ok(Response::new(wire::location::location(location)))
    }

    async fn list_locations(&self, request: Request<pb::ListLocationsRequest>) -> Answer<pb::ListLocationsResponse> {
        let (call, request) = serve::accept(request)?;
        let after = self.app.sealer.open(&call, "", &request.page_token)?;
        let count = request.total() != TotalMode::Unspecified;
        let page = self.app.list_locations(&call, after, page::size(request.page_size), count).await?;
        Ok(Response::new(pb::ListLocationsResponse {
            next_page_token: page.next.map(|next| self.app.sealer.seal(&call, "", &next)).unwrap_or_default(),
            locations: page.locations.into_iter().map(wire::location::location).collect(),
            total_size: page.total,
            total_is_estimate: false,
        }))
    }

    async fn refresh_location(
        &self,
        request: Request<pb::RefreshLocationRequest>,
    ) -> Answer<pb::RefreshLocationResponse> {
        let (call, request) = serve::accept_change(request)?;
        let (uid, sequence) = (uid(&request.name), request.sequence);
        let refreshed = self.app.refresh_location(&call, uid, sequence, request.allow_mass_removal).await?;
        Ok(Response::new(wire::location::refreshed(refreshed)))
    }

    async fn delete_location(&self, request: Request<pb::DeleteLocationRequest>) -> Answer<pb::DeleteLocationResponse> {
        let (call, request) = serve::accept_change(request)?;
        let removed = self.app.delete_location(&call, uid(&request.name), &request.etag).await?;
        Ok(Response::new(pb::DeleteLocationResponse { removed }))
    }
}
