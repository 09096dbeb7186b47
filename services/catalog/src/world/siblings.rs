//! The services an overview asks, each within its own small budget (CAT-118).

use std::time::Duration;

use slipway_kit::{
    error::{DEPENDENCY_UNAVAILABLE, Error, Result},
    serve::{Call, Peers, error_from},
};
use slipway_proto::{environment::v1 as environment, metrics::v1 as metrics};

/// Longest wait for one part of an overview.
const BUDGET: Duration = Duration::from_millis(300);
/// Most environments and pipeline runs shown.
const SHOWN_MAX: i32 = 20;

/// An environment as an overview shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentSummary {
    /// Resource name.
    pub name: String,
    /// State in the environment service's words.
    pub state: String,
    /// Tier in its words.
    pub tier: String,
    /// URL, if any.
    pub url: String,
}

/// A pipeline run as an overview shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineSummary {
    /// Resource name.
    pub name: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Outcome in the metrics service's words.
    pub outcome: String,
    /// Commit.
    pub commit: String,
    /// Page of the run.
    pub url: String,
    /// When it began, in µs; 0 if it did not.
    pub started_us: i64,
}

/// The sibling services; cheap to clone.
#[derive(Clone)]
pub struct Siblings(Peers);

impl Siblings {
    /// The siblings reached through `peers`.
    pub fn new(peers: Peers) -> Self {
        Self(peers)
    }

    /// Environments of a service, for whoever made `call`.
    pub async fn environments(&self, call: &Call, service: &str) -> Result<Vec<EnvironmentSummary>> {
        let client = self.0.on_behalf("environment", call);
        let mut client = environment::environment_service_client::EnvironmentServiceClient::new(client);
        let request = environment::ListEnvironmentsRequest {
            page_size: SHOWN_MAX,
            filter: format!("service = \"{service}\""),
            ..Default::default()
        };
        let answer = within(client.list_environments(request)).await?;
        let summary = |e: environment::Environment| EnvironmentSummary {
            state: word(e.state().as_str_name(), "ENVIRONMENT_STATE_"),
            tier: word(e.tier().as_str_name(), "ENVIRONMENT_TIER_"),
            name: e.name,
            url: e.url,
        };
        Ok(answer.environments.into_iter().map(summary).collect())
    }

    /// The latest pipeline runs of a service, for whoever made `call`.
    pub async fn pipelines(&self, call: &Call, service: &str) -> Result<Vec<PipelineSummary>> {
        let client = self.0.on_behalf("metrics", call);
        let mut client = metrics::pipeline_service_client::PipelineServiceClient::new(client);
        let request = metrics::ListPipelineRunsRequest {
            page_size: SHOWN_MAX,
            filter: format!("service = \"{service}\""),
            ..Default::default()
        };
        let answer = within(client.list_pipeline_runs(request)).await?;
        let summary = |run: metrics::PipelineRun| PipelineSummary {
            outcome: word(run.status().as_str_name(), "PIPELINE_STATUS_"),
            started_us: run.start_time.map_or(0, |t| t.seconds * 1_000_000 + i64::from(t.nanos) / 1_000),
            name: run.name,
            pipeline: run.title,
            commit: run.sha,
            url: run.url,
        };
        Ok(answer.pipeline_runs.into_iter().map(summary).collect())
    }
}

async fn within<T>(call: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>) -> Result<T> {
    match tokio::time::timeout(BUDGET, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner).map_err(error_from),
        Err(_) => Err(Error::new(&DEPENDENCY_UNAVAILABLE, "the service did not answer in time")),
    }
}

fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}
