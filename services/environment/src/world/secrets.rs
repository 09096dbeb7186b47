//! Bindings of the secrets service as a client.
//!
//! Owns the call and its translation to names. Refuses values: none are asked for.
use std::time::Duration;

use async_trait::async_trait;
use slipway_kit::{
    error::{Result, error_from},
    serve::Peers,
};
use slipway_proto::secrets::v1::{
    ResolveEnvironmentBindingsRequest, SecretBindingState, secret_binding_service_client::SecretBindingServiceClient,
};

use super::{Bindings, Bound};
use crate::{model::environment::Environment, wire};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The secrets service behind the peers of this process.
pub struct SecretBindings(pub Peers);

#[async_trait]
impl Bindings for SecretBindings {
    async fn bound(&self, env: &Environment) -> Result<Bound> {
        let mut client = SecretBindingServiceClient::new(self.0.as_service("secrets", TIMEOUT));
        let request = ResolveEnvironmentBindingsRequest {
            service_uid: env.service_uid.clone(),
            tier: wire::environment::tier_to(env.tier).into(),
            environment_uid: env.uid.clone(),
            fork: env.spec.source.fork,
        };
        let found = client.resolve_environment_bindings(request).await.map_err(error_from)?.into_inner();
        let mut bound = Bound::default();
        for binding in found.secret_bindings {
            if binding.state() == SecretBindingState::NotReady {
                bound.missing.extend(binding.missing);
            }
            bound.names.push(binding.secret_name);
        }
        bound.names.sort();
        bound.names.dedup();
        Ok(bound)
    }
}
