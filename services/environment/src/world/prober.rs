//! The gateway as what tries an address.
//!
//! Owns the call and its translation. Refuses to judge the answer: the model does.
use std::time::Duration;

use async_trait::async_trait;
use slipway_kit::{
    error::{Result, error_from},
    serve::Peers,
};
use slipway_proto::access::v1::{ProbeHostRequest, ProbeOutcome, probe_service_client::ProbeServiceClient};

use super::{Probed, Prober};

/// Time for an answer; the gateway waits less for its own.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The gateway behind the peers of this process.
pub struct GatewayProber(pub Peers);

#[async_trait]
impl Prober for GatewayProber {
    async fn probe(&self, host: &str, path: &str) -> Result<Probed> {
        let mut client = ProbeServiceClient::new(self.0.as_service("gateway", TIMEOUT));
        let request = ProbeHostRequest { host: host.to_owned(), path: path.to_owned() };
        let answer = client.probe_host(request).await.map_err(error_from)?.into_inner();
        Ok(match answer.outcome() {
            ProbeOutcome::Answered => Probed::Answered(u16::try_from(answer.code).unwrap_or(0), answer.uid),
            ProbeOutcome::Silent => Probed::Silent("Nothing answers at the address yet.".to_owned()),
            ProbeOutcome::NotServed => Probed::NotTried("No Service is to answer at the address.".to_owned()),
            ProbeOutcome::NoProxy | ProbeOutcome::Unspecified => {
                Probed::NotTried("The gateway has no preview proxy.".to_owned())
            }
        })
    }
}
