//! The RPC of ProbeService, for the other services only.
//!
//! Refuses more than one question to one host at a time: it is the proxy's.

use std::sync::Arc;

use async_trait::async_trait;
use slipway_kit::serve::accept;
use slipway_proto::access::v1::{self as pb, probe_service_server::ProbeService};
use tonic::{Request, Response, Status};

use crate::edge::{Probed, Proxy};

/// ProbeService over the proxy, if there is one.
pub struct ProbeApi(pub Option<Arc<Proxy>>);

#[async_trait]
impl ProbeService for ProbeApi {
    async fn probe_host(&self, r: Request<pb::ProbeHostRequest>) -> Result<Response<pb::ProbeHostResponse>, Status> {
        let (_, r) = accept(r)?;
        let Some(proxy) = &self.0 else {
            return Ok(Response::new(answer(pb::ProbeOutcome::NoProxy, 0, String::new())));
        };
        Ok(Response::new(match proxy.probe(&r.host, &r.path).await {
            Probed::Answered(code, uid) => answer(pb::ProbeOutcome::Answered, code.into(), uid),
            Probed::Silent => answer(pb::ProbeOutcome::Silent, 0, String::new()),
            Probed::NotServed => answer(pb::ProbeOutcome::NotServed, 0, String::new()),
        }))
    }
}

fn answer(outcome: pb::ProbeOutcome, code: i32, uid: String) -> pb::ProbeHostResponse {
    pb::ProbeHostResponse { outcome: outcome.into(), code, uid }
}
