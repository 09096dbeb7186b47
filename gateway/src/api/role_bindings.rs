//! RPCs of RoleBindingService.
//!
//! Refuses nothing by itself.

use async_trait::async_trait;
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::access::v1::{self as pb, role_binding_service_server::RoleBindingService};
use tonic::{Request, Response, Status};

use crate::{
    app::{doubts::Doubts, lists::Asked, role_bindings::RoleBindings},
    model::rights::Grant,
    wire,
};

/// RoleBindingService over its verbs.
pub struct RoleBindingApi(pub RoleBindings, pub Doubts);

#[async_trait]
impl RoleBindingService for RoleBindingApi {
    async fn create_role_binding(
        &self,
        r: Request<pb::CreateRoleBindingRequest>,
    ) -> Result<Response<pb::RoleBinding>, Status> {
        let (call, r) = accept_change(r)?;
        let asked = r.role_binding.unwrap_or_default();
        let role = wire::bound_role(&asked)?;
        let grant = Grant { subject: asked.subject, role, team: asked.team };
        let binding = self.0.create(&call, grant, r.validate_only).await?;
        let warnings = self.1.about(&[&binding.subject, &binding.team]).await;
        Ok(Response::new(pb::RoleBinding { warnings, ..wire::role_binding(&binding) }))
    }

    async fn list_role_bindings(
        &self,
        r: Request<pb::ListRoleBindingsRequest>,
    ) -> Result<Response<pb::ListRoleBindingsResponse>, Status> {
        let (call, r) = accept(r)?;
        let total = wire::total(r.total());
        let asked = Asked { size: r.page_size, token: r.page_token, filter: r.filter, order_by: r.order_by, total };
        let answer = self.0.list(&call, &asked).await?;
        Ok(Response::new(pb::ListRoleBindingsResponse {
            role_bindings: answer.items.iter().map(wire::role_binding).collect(),
            next_page_token: answer.next,
            total_size: answer.total,
            total_is_estimate: answer.more_than_total,
        }))
    }

    async fn delete_role_binding(&self, r: Request<pb::DeleteRoleBindingRequest>) -> Result<Response<()>, Status> {
        let (call, r) = accept_change(r)?;
        let uid = r.name.strip_prefix("roleBindings/").unwrap_or_default();
        self.0.delete(&call, uid, &r.etag).await?;
        Ok(Response::new(()))
    }
}
