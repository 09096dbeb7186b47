//! Runs.
use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _};
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::scaffolding::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire;

#[tonic::async_trait]
impl pb::run_service_server::RunService for Api {
    async fn create_run(&self, request: Request<pb::CreateRunRequest>) -> Result<Response<pb::Run>, Status> {
        let (call, request) = accept_change(request)?;
        Ok(Response::new(wire::run_message(self.app.create_run(&call, wire::new_run(request)).await?)))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::Run>, Status> {
        let (call, request) = accept(request)?;
        Ok(Response::new(wire::run_message(self.app.get_run(&call, &request.name).await?)))
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<Response<pb::ListRunsResponse>, Status> {
        let (call, r) = accept(request)?;
        let total = r.total();
        let page =
            self.app.list_runs(&call, &wire::list(r.filter, r.order_by, r.page_size, r.page_token, total)).await?;
        let short = |run| pb::Run { steps: Vec::new(), ..wire::run_message(run) };
        Ok(Response::new(pb::ListRunsResponse {
            runs: page.items.into_iter().map(short).collect(),
            next_page_token: page.next,
            total_size: page.total,
            total_is_estimate: page.is_estimate,
        }))
    }

    async fn wait_run(&self, request: Request<pb::WaitRunRequest>) -> Result<Response<pb::Run>, Status> {
        let (call, request) = accept(request)?;
        let timeout = request.timeout.map(|t| Duration::try_from(t).unwrap_or_default());
        Ok(Response::new(wire::run_message(self.app.wait_run(&call, &request.name, timeout).await?)))
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Result<Response<pb::Run>, Status> {
        let (call, request) = accept_change(request)?;
        Ok(Response::new(wire::run_message(self.app.cancel_run(&call, &request.name, &request.etag).await?)))
    }

    type StreamRunEventsStream = Pin<Box<dyn Stream<Item = Result<pb::RunEvent, Status>> + Send>>;

    async fn stream_run_events(
        &self,
        request: Request<pb::StreamRunEventsRequest>,
    ) -> Result<Response<Self::StreamRunEventsStream>, Status> {
        let (call, request) = accept(request)?;
        self.app.get_run(&call, &request.name).await?;
        let events = self.app.run_events(call, request.name, request.after);
        Ok(Response::new(Box::pin(events.map(|e| e.map(wire::run_event).map_err(Into::into)))))
    }

    async fn dry_run(&self, request: Request<pb::DryRunRequest>) -> Result<Response<pb::DryRunResponse>, Status> {
        let (call, request) = accept(request)?;
        let include_content = request.include_content;
        let rehearsal = self.app.dry_run(&call, wire::dry_run(request)?).await?;
        Ok(Response::new(wire::rehearsal(rehearsal, include_content)))
    }
}
