//! DiagnosisService.
//!
//! Owns its methods. Refuses more than twelve lines each.
use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use slipway_kit::serve::accept;
use slipway_proto::environment::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::diagnosis;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl pb::diagnosis_service_server::DiagnosisService for Api {
    async fn get_environment_diagnosis(
        &self,
        request: Request<pb::GetEnvironmentDiagnosisRequest>,
    ) -> Result<Response<pb::EnvironmentDiagnosis>, Status> {
        let (call, message) = accept(request)?;
        let found = self.app.diagnose(&call, &message.name).await?;
        Ok(Response::new(diagnosis::render(&found)))
    }

    type StreamEnvironmentEventsStream = Answers<pb::StreamEnvironmentEventsResponse>;

    async fn stream_environment_events(
        &self,
        request: Request<pb::StreamEnvironmentEventsRequest>,
    ) -> Result<Response<Self::StreamEnvironmentEventsStream>, Status> {
        let (call, message) = accept(request)?;
        let happenings = self.app.happenings(&call, &message.name).await?;
        Ok(Response::new(Box::pin(happenings.map(|h| h.map(diagnosis::happening).map_err(Into::into)))))
    }

    type StreamWorkloadLogsStream = Answers<pb::StreamWorkloadLogsResponse>;

    async fn stream_workload_logs(
        &self,
        request: Request<pb::StreamWorkloadLogsRequest>,
    ) -> Result<Response<Self::StreamWorkloadLogsStream>, Status> {
        let (call, mut message) = accept(request)?;
        let name = std::mem::take(&mut message.name);
        let lines = self.app.logs(&call, &name, &diagnosis::wanted_logs(message)).await?;
        Ok(Response::new(Box::pin(lines.map(|line| line.map(diagnosis::line).map_err(Into::into)))))
    }
}
