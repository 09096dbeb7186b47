//! The RPCs: accept, app verb, render.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::metrics::v1 as pb;
use tonic::{Request, Response, Status};

use crate::{
    app::{App, deployments::Asked},
    wire,
};

/// The RPCs of the metrics service.
#[derive(Clone)]
pub struct Api {
    app: App,
}

impl Api {
    /// RPCs over the verbs.
    pub fn new(app: App) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl pb::fact_service_server::FactService for Api {
    async fn ingest_events(
        &self,
        request: Request<pb::IngestEventsRequest>,
    ) -> Result<Response<pb::IngestEventsResponse>, Status> {
        let (call, m) = accept_change(request)?;
        let events = m.events.into_iter().map(|e| wire::fact::event(e, &self.app.default_connection)).collect();
        let outcomes = self.app.ingest(&call, events).await?;
        let results = outcomes.into_iter().map(wire::fact::result).collect();
        Ok(Response::new(pb::IngestEventsResponse { results }))
    }

    async fn list_deployments(
        &self,
        request: Request<pb::ListDeploymentsRequest>,
    ) -> Result<Response<pb::ListDeploymentsResponse>, Status> {
        let (call, m) = accept(request)?;
        let total = wire::total(m.total);
        let asked = Asked { size: m.page_size, token: m.page_token, filter: m.filter, order: m.order_by, total };
        let page = self.app.list_deployments(&call, &m.service, &asked).await?;
        let (total_size, total_is_estimate) = wire::totals(page.total, m.total);
        let deployments = page.rows.into_iter().map(wire::fact::recorded).collect();
        Ok(Response::new(pb::ListDeploymentsResponse {
            deployments,
            next_page_token: page.next,
            total_size,
            total_is_estimate,
        }))
    }

    async fn list_parked_facts(
        &self,
        request: Request<pb::ListParkedFactsRequest>,
    ) -> Result<Response<pb::ListParkedFactsResponse>, Status> {
        let (call, m) = accept(request)?;
        let page = self.app.list_parked(&call, m.page_size, &m.page_token).await?;
        let group = |g: crate::store::ledger::Parked| pb::ParkedFacts {
            repository: g.repository,
            environment: g.environment,
            count: g.count,
        };
        let groups = page.rows.into_iter().map(group).collect();
        Ok(Response::new(pb::ListParkedFactsResponse { groups, next_page_token: page.next }))
    }
}

#[tonic::async_trait]
impl pb::pipeline_service_server::PipelineService for Api {
    async fn list_pipeline_runs(
        &self,
        request: Request<pb::ListPipelineRunsRequest>,
    ) -> Result<Response<pb::ListPipelineRunsResponse>, Status> {
        let (call, m) = accept(request)?;
        let total = wire::total(m.total);
        let asked = Asked { size: m.page_size, token: m.page_token, filter: m.filter, order: m.order_by, total };
        let page = self.app.list_runs(&call, &asked).await?;
        let (total_size, total_is_estimate) = wire::totals(page.total, m.total);
        let pipeline_runs = page.rows.into_iter().map(|run| wire::pipeline::shown(run, false)).collect();
        Ok(Response::new(pb::ListPipelineRunsResponse {
            pipeline_runs,
            next_page_token: page.next,
            total_size,
            total_is_estimate,
        }))
    }

    async fn get_pipeline_run(
        &self,
        request: Request<pb::GetPipelineRunRequest>,
    ) -> Result<Response<pb::PipelineRun>, Status> {
        let (_, m) = accept(request)?;
        let run = self.app.run(&m.name).await?;
        Ok(Response::new(wire::pipeline::shown(run, true)))
    }

    async fn get_pipeline_stats(
        &self,
        request: Request<pb::GetPipelineStatsRequest>,
    ) -> Result<Response<pb::PipelineStats>, Status> {
        let (_, m) = accept(request)?;
        let q = wire::measure::question(&m.service, m.window.as_ref(), None, &self.app.time_zone)?;
        let (basis, stats) = self.app.pipeline_stats(&q.service, &q.window).await?;
        let rests_on = wire::measure::basis(&basis, &q.window, None, "");
        Ok(Response::new(wire::pipeline::stats(basis.service, rests_on, stats)))
    }
}

#[tonic::async_trait]
impl pb::dora_service_server::DoraService for Api {
    async fn get_delivery_performance(
        &self,
        request: Request<pb::GetDeliveryPerformanceRequest>,
    ) -> Result<Response<pb::DeliveryPerformance>, Status> {
        let (_, m) = accept(request)?;
        let q = wire::measure::question(&m.service, m.window.as_ref(), m.rules.as_ref(), &self.app.time_zone)?;
        let (basis, report, edition) = self.app.delivery(&q, &m.edition, wire::measure::unit(m.bucket())).await?;
        Ok(Response::new(wire::dora::performance(&q, &basis, &report, edition)))
    }

    async fn explain_metric(
        &self,
        request: Request<pb::ExplainMetricRequest>,
    ) -> Result<Response<pb::ExplainMetricResponse>, Status> {
        let (call, m) = accept(request)?;
        let q = wire::measure::question(&m.service, m.window.as_ref(), m.rules.as_ref(), &self.app.time_zone)?;
        let explained = self.app.explain(&call, &q, wire::dora::metric(m.metric()), m.page_size, &m.page_token).await?;
        Ok(Response::new(wire::dora::explained(&q, explained)))
    }

    async fn correct_attribution(
        &self,
        request: Request<pb::CorrectAttributionRequest>,
    ) -> Result<Response<pb::Correction>, Status> {
        let (call, m) = accept_change(request)?;
        let sent = m.correction.unwrap_or_default();
        let target = wire::correction::target(&sent)?;
        let correction = self.app.correct(&call, &sent.service, sent.reason, target, m.validate_only).await?;
        Ok(Response::new(wire::correction::correction(correction)))
    }
}
