//! EnvironmentService.
//!
//! Owns its methods. Refuses more than twelve lines each.
use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::{environment::v1 as pb, resource::v1::TotalMode};
use tonic::{Request, Response, Status};

use super::Api;
use crate::{
    app::{Change, Deletion, List, NewEnvironment, WaitFor, WatchQuery},
    wire,
};

#[tonic::async_trait]
impl pb::environment_service_server::EnvironmentService for Api {
    async fn create_environment(
        &self,
        request: Request<pb::CreateEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let env = self.app.create(&call, &wanted(message)).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn get_environment(
        &self,
        request: Request<pb::GetEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept(request)?;
        let env = self.app.get(&call, &message.name).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn list_environments(
        &self,
        request: Request<pb::ListEnvironmentsRequest>,
    ) -> Result<Response<pb::ListEnvironmentsResponse>, Status> {
        let (call, message) = accept(request)?;
        let page = self.app.list(&call, &list(message)).await?;
        Ok(Response::new(pb::ListEnvironmentsResponse {
            environments: page.environments.iter().map(|env| self.render(env)).collect(),
            next_page_token: page.next,
            total_size: page.total,
            total_is_estimate: page.is_estimate,
        }))
    }

    async fn extend_environment(
        &self,
        request: Request<pb::ExtendEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let ttl_us = message.ttl.as_ref().map_or(0, wire::duration_us);
        let env = self.app.extend(&call, &message.name, ttl_us, &message.etag).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn sleep_environment(
        &self,
        request: Request<pb::SleepEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let env = self.app.sleep(&call, &message.name, &message.etag).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn wake_environment(
        &self,
        request: Request<pb::WakeEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let env = self.app.wake(&call, &message.name).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn pin_environment(
        &self,
        request: Request<pb::PinEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let pin = wire::environment::pin_from(&message);
        let env = self.app.pin(&call, &message.name, &pin, &message.etag).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn unpin_environment(
        &self,
        request: Request<pb::UnpinEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let env = self.app.unpin(&call, &message.name, &message.etag).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn retry_environment(
        &self,
        request: Request<pb::RetryEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept_change(request)?;
        let env = self.app.retry(&call, &message.name).await?;
        Ok(Response::new(self.render(&env)))
    }

    async fn delete_environment(
        &self,
        request: Request<pb::DeleteEnvironmentRequest>,
    ) -> Result<Response<pb::DeleteEnvironmentResponse>, Status> {
        let (call, message) = accept_change(request)?;
        let done = self.app.delete(&call, &message.name, &message.etag, message.validate_only).await?;
        Ok(Response::new(self.deletion(done)))
    }

    async fn confirm_delete(
        &self,
        request: Request<pb::ConfirmDeleteRequest>,
    ) -> Result<Response<pb::DeleteEnvironmentResponse>, Status> {
        let (call, message) = accept_change(request)?;
        let done = self.app.confirm(&call, &message.name, &message.confirm_name, &message.confirm_token).await?;
        Ok(Response::new(self.deletion(done)))
    }

    async fn wait_environment(
        &self,
        request: Request<pb::WaitEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        let (call, message) = accept(request)?;
        let what = match message.condition() {
            pb::WaitCondition::Deleted => WaitFor::Deleted,
            _ => WaitFor::Settled,
        };
        let timeout = message.timeout.map(|t| wire::duration_us(&t).max(0).unsigned_abs());
        let timeout = timeout.map(std::time::Duration::from_micros);
        let env = self.app.wait(&call, &message.name, what, timeout).await?;
        Ok(Response::new(self.render(&env)))
    }

    type WatchEnvironmentsStream = Pin<Box<dyn Stream<Item = Result<pb::WatchEnvironmentsResponse, Status>> + Send>>;

    async fn watch_environments(
        &self,
        request: Request<pb::WatchEnvironmentsRequest>,
    ) -> Result<Response<Self::WatchEnvironmentsStream>, Status> {
        let (call, message) = accept(request)?;
        let (filter, resume_token) = (message.filter, message.resume_token);
        let query = WatchQuery { filter, resume_token, send_initial: message.send_initial };
        let changes = self.app.watch(call, query).await?;
        Ok(Response::new(Box::pin(changes.map(|change| change.map(watched).map_err(Into::into)))))
    }

    async fn get_teardown_receipt(
        &self,
        request: Request<pb::GetTeardownReceiptRequest>,
    ) -> Result<Response<pb::TeardownReceipt>, Status> {
        let (call, message) = accept(request)?;
        let receipt = self.app.receipt(&call, &message.name).await?;
        Ok(Response::new(wire::receipt::render(&receipt)))
    }

    async fn list_teardown_receipts(
        &self,
        request: Request<pb::ListTeardownReceiptsRequest>,
    ) -> Result<Response<pb::ListTeardownReceiptsResponse>, Status> {
        let (call, message) = accept(request)?;
        let (found, next_page_token) =
            self.app.receipts(&call, &message.service, message.page_size, &message.page_token).await?;
        let teardown_receipts = found.iter().map(wire::receipt::render).collect();
        Ok(Response::new(pb::ListTeardownReceiptsResponse { teardown_receipts, next_page_token }))
    }
}

impl Api {
    fn deletion(&self, done: Deletion) -> pb::DeleteEnvironmentResponse {
        pb::DeleteEnvironmentResponse {
            environment: Some(self.render(&done.env)),
            confirm_token: done.token,
            confirm_expire_time: done.expire_us.map(wire::time),
            confirmations_missing: done.missing,
        }
    }
}

fn wanted(message: pb::CreateEnvironmentRequest) -> NewEnvironment {
    let env = message.environment.unwrap_or_default();
    NewEnvironment {
        kind: wire::environment::kind_from(env.kind()),
        tier: wire::environment::tier_from(env.tier()),
        branch: env.source.map(|s| s.branch).unwrap_or_default(),
        ttl_us: env.ttl.as_ref().map(wire::duration_us),
        idle_us: env.idle_sleep.as_ref().map(wire::duration_us),
        service: env.service,
        label: env.label,
        cluster: env.cluster,
        images: env.images,
        validate_only: message.validate_only,
    }
}

fn list(message: pb::ListEnvironmentsRequest) -> List {
    let total = match message.total() {
        TotalMode::Unspecified => None,
        TotalMode::Exact => Some(true),
        TotalMode::Estimate => Some(false),
    };
    List {
        total,
        page_size: message.page_size,
        page_token: message.page_token,
        filter: message.filter,
        order_by: message.order_by,
        show_deleted: message.show_deleted,
    }
}

fn watched(change: Change) -> pb::WatchEnvironmentsResponse {
    let (kind, environment, resume_token) = match change {
        Change::Put(env, token) => (pb::WatchKind::Put, Some(*env), token),
        Change::Delete(env, token) => (pb::WatchKind::Delete, Some(*env), token),
        Change::Synced(token) => (pb::WatchKind::Synced, None, token),
        Change::Bookmark(token) => (pb::WatchKind::Bookmark, None, token),
    };
    pb::WatchEnvironmentsResponse { kind: kind.into(), environment, resume_token }
}
