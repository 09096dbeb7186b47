//! RPCs of TrustEntryService.
//!
//! Refuses nothing by itself.

use async_trait::async_trait;
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::access::v1::{self as pb, trust_entry_service_server::TrustEntryService};
use tonic::{Request, Response, Status};

use crate::{
    app::{lists::Asked, trust_entries::TrustEntries},
    wire,
};

/// TrustEntryService over its verbs.
pub struct TrustEntryApi(pub TrustEntries);

#[async_trait]
impl TrustEntryService for TrustEntryApi {
    async fn create_trust_entry(
        &self,
        r: Request<pb::CreateTrustEntryRequest>,
    ) -> Result<Response<pb::TrustEntry>, Status> {
        let (call, r) = accept_change(r)?;
        let entry = self.0.create(&call, wire::new_trust_entry(r)).await?;
        Ok(Response::new(wire::trust_entry(&entry)))
    }

    async fn get_trust_entry(&self, r: Request<pb::GetTrustEntryRequest>) -> Result<Response<pb::TrustEntry>, Status> {
        let (call, r) = accept(r)?;
        let entry = self.0.get(&call, r.name.strip_prefix("trustEntries/").unwrap_or_default()).await?;
        Ok(Response::new(wire::trust_entry(&entry)))
    }

    async fn list_trust_entries(
        &self,
        r: Request<pb::ListTrustEntriesRequest>,
    ) -> Result<Response<pb::ListTrustEntriesResponse>, Status> {
        let (call, r) = accept(r)?;
        let total = wire::total(r.total());
        let asked = Asked { size: r.page_size, token: r.page_token, filter: r.filter, order_by: r.order_by, total };
        let answer = self.0.list(&call, &r.service, &asked).await?;
        Ok(Response::new(pb::ListTrustEntriesResponse {
            trust_entries: answer.items.iter().map(wire::trust_entry).collect(),
            next_page_token: answer.next,
            total_size: answer.total,
            total_is_estimate: answer.more_than_total,
        }))
    }

    async fn update_trust_entry(
        &self,
        r: Request<pb::UpdateTrustEntryRequest>,
    ) -> Result<Response<pb::TrustEntry>, Status> {
        let (call, r) = accept_change(r)?;
        let entry = self.0.update(&call, &wire::trust_change(r)?).await?;
        Ok(Response::new(wire::trust_entry(&entry)))
    }

    async fn delete_trust_entry(&self, r: Request<pb::DeleteTrustEntryRequest>) -> Result<Response<()>, Status> {
        let (call, r) = accept_change(r)?;
        let id = r.name.strip_prefix("trustEntries/").unwrap_or_default();
        self.0.delete(&call, id, &r.etag).await?;
        Ok(Response::new(()))
    }
}
