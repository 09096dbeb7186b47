//! Templates and revisions.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::{resource::v1::TotalMode, scaffolding::v1 as pb};
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire;

#[tonic::async_trait]
impl pb::template_service_server::TemplateService for Api {
    async fn get_template(&self, request: Request<pb::GetTemplateRequest>) -> Result<Response<pb::Template>, Status> {
        let (call, request) = accept(request)?;
        Ok(Response::new(wire::template(self.app.get_template(&call, &request.name).await?)))
    }

    async fn list_templates(
        &self,
        request: Request<pb::ListTemplatesRequest>,
    ) -> Result<Response<pb::ListTemplatesResponse>, Status> {
        let (call, r) = accept(request)?;
        let total = r.total();
        let list = wire::list(r.filter, r.order_by, r.page_size, r.page_token, total);
        let page = self.app.list_templates(&call, &list).await?;
        Ok(Response::new(pb::ListTemplatesResponse {
            templates: page.items.into_iter().map(wire::template).collect(),
            next_page_token: page.next,
            total_size: page.total,
            total_is_estimate: page.is_estimate,
        }))
    }

    async fn publish_revision(
        &self,
        request: Request<pb::PublishRevisionRequest>,
    ) -> Result<Response<pb::Revision>, Status> {
        let (call, request) = accept_change(request)?;
        let publication = wire::publication(request)?;
        Ok(Response::new(wire::revision(self.app.publish(&call, publication).await?)))
    }

    async fn get_revision(&self, request: Request<pb::GetRevisionRequest>) -> Result<Response<pb::Revision>, Status> {
        let (call, request) = accept(request)?;
        Ok(Response::new(wire::revision(self.app.get_revision(&call, &request.name).await?)))
    }

    async fn list_revisions(
        &self,
        request: Request<pb::ListRevisionsRequest>,
    ) -> Result<Response<pb::ListRevisionsResponse>, Status> {
        let (call, r) = accept(request)?;
        let list = wire::list(String::new(), String::new(), r.page_size, r.page_token, TotalMode::Unspecified);
        let page = self.app.list_revisions(&call, &r.parent, &list).await?;
        let revisions = page.items.into_iter().map(wire::revision).collect();
        Ok(Response::new(pb::ListRevisionsResponse { revisions, next_page_token: page.next }))
    }
}
