//! The generated Rust clients with a credential, and what a test wants to know of an error.
//!
//! Owns one channel per token; refuses to retry: that is the story's affair.

use std::net::SocketAddr;

use anyhow::Result;
use slipway_proto::access::v1::role_binding_service_client::RoleBindingServiceClient;
use slipway_proto::access::v1::token_service_client::TokenServiceClient;
use slipway_proto::catalog::v1::entity_service_client::EntityServiceClient;
use slipway_proto::catalog::v1::location_service_client::LocationServiceClient;
use slipway_proto::environment::v1::budget_service_client::BudgetServiceClient;
use slipway_proto::environment::v1::cluster_service_client::ClusterServiceClient;
use slipway_proto::environment::v1::environment_service_client::EnvironmentServiceClient;
use slipway_proto::environment::v1::preview_service_client::PreviewServiceClient;
use slipway_proto::environment::v1::scm_connection_service_client::ScmConnectionServiceClient;
use slipway_proto::metrics::v1::dora_service_client::DoraServiceClient;
use slipway_proto::metrics::v1::fact_service_client::FactServiceClient;
use slipway_proto::metrics::v1::pipeline_service_client::PipelineServiceClient;
use slipway_proto::scaffolding::v1::run_service_client::RunServiceClient;
use slipway_proto::secrets::v1::secret_binding_service_client::SecretBindingServiceClient;
use slipway_proto::secrets::v1::secret_service_client::SecretServiceClient;
pub use slipway_standalone::example::{Bearer, Wire};
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic_types::StatusExt as _;

/// Every client over one channel.
#[derive(Clone)]
pub struct Calls(Wire, String);

macro_rules! clients {
    ($($name:ident: $client:ident;)+) => {
        impl Calls {$(
            #[doc = concat!("A `", stringify!($client), "`.")]
            pub fn $name(&self) -> $client<Wire> {
                $client::new(self.0.clone())
            }
        )+}
    };
}

clients! {
    tokens: TokenServiceClient;
    role_bindings: RoleBindingServiceClient;
    entities: EntityServiceClient;
    locations: LocationServiceClient;
    environments: EnvironmentServiceClient;
    previews: PreviewServiceClient;
    scm_connections: ScmConnectionServiceClient;
    clusters: ClusterServiceClient;
    budgets: BudgetServiceClient;
    dora: DoraServiceClient;
    facts: FactServiceClient;
    pipelines: PipelineServiceClient;
    runs: RunServiceClient;
    secrets: SecretServiceClient;
    bindings: SecretBindingServiceClient;
}

impl Calls {
    /// Connects at the first call.
    pub fn new(address: SocketAddr, token: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
        Ok(Self(InterceptedService::new(channel, Bearer::new(token)?), token.to_owned()))
    }

    /// The token itself, for what is no gRPC call.
    pub fn token(&self) -> &str {
        &self.1
    }
}

/// Reason of an error's ErrorInfo; empty if it has none.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Fields that an error's BadRequest names.
pub fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request();
    bad.map(|bad| bad.field_violations.into_iter().map(|v| v.field).collect()).unwrap_or_default()
}
