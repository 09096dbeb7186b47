//! BudgetService.
//!
//! Owns its methods. Refuses more.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::environment::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::budget as wire;

#[tonic::async_trait]
impl pb::budget_service_server::BudgetService for Api {
    async fn get_budget(&self, request: Request<pb::GetBudgetRequest>) -> Result<Response<pb::Budget>, Status> {
        let (call, message) = accept(request)?;
        let team = wire::team("name", &message.name)?;
        let budget = self.app.get_budget(&call, &team).await?;
        Ok(Response::new(wire::render(&budget)))
    }

    async fn list_budgets(
        &self,
        request: Request<pb::ListBudgetsRequest>,
    ) -> Result<Response<pb::ListBudgetsResponse>, Status> {
        let (call, message) = accept(request)?;
        let (page, next_page_token) = self.app.list_budgets(&call, message.page_size, &message.page_token).await?;
        let budgets = page.iter().map(wire::render).collect();
        Ok(Response::new(pb::ListBudgetsResponse { budgets, next_page_token }))
    }

    async fn update_budget(&self, request: Request<pb::UpdateBudgetRequest>) -> Result<Response<pb::Budget>, Status> {
        let (call, message) = accept_change(request)?;
        let (team, change) = wire::change(message)?;
        let budget = self.app.update_budget(&call, &team, &change).await?;
        Ok(Response::new(wire::render(&budget)))
    }
}
