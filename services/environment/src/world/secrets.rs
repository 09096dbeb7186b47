//! Bindings of the secrets service as a client.
//!
//! Owns the calls and their translation to names. Refuses values: none are asked for, none are answered.
use std::time::Duration;

use async_trait::async_trait;
use slipway_kit::{
    error::{Result, error_from},
    serve::Peers,
};
use slipway_proto::secrets::v1::{
    self as pb, ResolveEnvironmentBindingsRequest, SecretBindingState, delivery_place::Access,
    delivery_service_client::DeliveryServiceClient, secret_binding_service_client::SecretBindingServiceClient,
};

use super::{Bindings, Bound, Place, cluster::Credential};
use crate::{
    model::{
        delivery::{Delivered, DeliveredSecret},
        environment::Environment,
        guardrails,
    },
    wire,
};

/// Time for an answer from the database.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time for an answer that needs a cluster.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The secrets service behind the peers of this process.
pub struct SecretBindings(pub Peers);

impl SecretBindings {
    fn delivery(&self) -> DeliveryServiceClient<slipway_kit::serve::Client> {
        DeliveryServiceClient::new(self.0.as_service("secrets", DELIVERY_TIMEOUT))
    }
}

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

    async fn deliver(&self, env: &Environment, place: &Place, pull_secrets: &[String]) -> Result<Delivered> {
        let request = pb::DeliverEnvironmentSecretsRequest {
            service_uid: env.service_uid.clone(),
            tier: wire::environment::tier_to(env.tier).into(),
            environment_uid: env.uid.clone(),
            fork: env.spec.source.fork,
            place: Some(place_to(env, place)),
            labels: guardrails::labels(env).into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            pull_secret_files: pull_secrets.to_vec(),
        };
        let answer = self.delivery().deliver_environment_secrets(request).await.map_err(error_from)?.into_inner();
        let all = |secrets: Vec<pb::DeliveredSecret>| secrets.into_iter().map(delivered).collect();
        Ok(Delivered { secrets: all(answer.secrets), pull: all(answer.pull_secrets) })
    }

    async fn withdraw(&self, env: &Environment, place: &Place) -> Result<Vec<String>> {
        let place = Some(place_to(env, place));
        let request = pb::WithdrawEnvironmentSecretsRequest { environment_uid: env.uid.clone(), place };
        let answer = self.delivery().withdraw_environment_secrets(request).await.map_err(error_from)?;
        Ok(answer.into_inner().removed)
    }
}

fn place_to(env: &Environment, place: &Place) -> pb::DeliveryPlace {
    pb::DeliveryPlace {
        cluster: env.cluster.clone(),
        namespace: env.namespace.clone(),
        namespace_uid: place.namespace_uid.clone(),
        access: Some(match &place.credential {
            Credential::KubeconfigFile(name) => Access::KubeconfigFile(name.clone()),
            Credential::InCluster => Access::InCluster(true),
        }),
    }
}

fn delivered(secret: pb::DeliveredSecret) -> DeliveredSecret {
    DeliveredSecret {
        name: secret.name,
        uid: secret.uid,
        generation: secret.generation,
        versions: secret.versions.into_iter().map(|v| (v.secret, v.version)).collect(),
    }
}
