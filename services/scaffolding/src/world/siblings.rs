//! Catalog and gateway through the contract.
use std::time::Duration;

use async_trait::async_trait;
use slipway_kit::{
    caller::{Caller, Verifier},
    error::{ALREADY_EXISTS, Error, Kind, Result},
    serve::{Call, Peers, error_from},
};
use slipway_proto::{
    access::v1::{IssueAssertionRequest, delegation_service_client::DelegationServiceClient},
    catalog::v1::{
        EntityState, GetEntityRequest, GetLocationRequest, Location, LocationType, RegisterLocationRequest, Severity,
        entity_service_client::EntityServiceClient, location_service_client::LocationServiceClient,
    },
};

use super::{Initiator, Registered, Registration, Served, Siblings};

/// Time of one call to a sibling.
const TIMEOUT: Duration = Duration::from_secs(6);
const ME: &str = "scaffolding";

/// Siblings of this process.
pub struct PeerSiblings {
    peers: Peers,
    verifier: Verifier,
}

impl PeerSiblings {
    /// The siblings as the process reaches them.
    #[must_use]
    pub fn new(peers: Peers, verifier: Verifier) -> Self {
        Self { peers, verifier }
    }
}

/// Found, not found (or not visible, which is the same), or an error.
fn found<T>(answer: std::result::Result<tonic::Response<T>, tonic::Status>) -> Result<Option<T>> {
    match answer.map_err(error_from) {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Siblings for PeerSiblings {
    async fn knows_group(&self, call: &Call, group: &str) -> Result<bool> {
        let mut catalog = EntityServiceClient::new(self.peers.on_behalf("catalog", call));
        let request = GetEntityRequest { name: group.to_owned(), ..GetEntityRequest::default() };
        match found(catalog.get_entity(request).await) {
            Ok(entity) => Ok(entity.is_some_and(|e| e.state() != EntityState::Deleted)),
            Err(error) if error.kind() == Kind::InvalidArgument => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn rights(&self, who: &Initiator) -> Result<Caller> {
        let mut gateway = DelegationServiceClient::new(self.peers.as_service("gateway", TIMEOUT));
        let request = IssueAssertionRequest {
            principal: who.principal.clone(),
            credential: who.credential.clone(),
            audience: vec![ME.to_owned()],
        };
        let issued = gateway.issue_assertion(request).await.map_err(error_from)?.into_inner();
        let assertion = self
            .verifier
            .verify(&issued.assertion, ME, ME, "*")
            .map_err(|e| Error::internal(format!("delegation: {e}")))?;
        Ok(assertion.caller())
    }

    async fn register(&self, who: &Initiator, registration: &Registration) -> Result<Registered> {
        let client = self.peers.delegated("catalog", &who.principal, &who.credential, TIMEOUT).await?;
        let location = Location {
            r#type: LocationType::Git.into(),
            target: registration.target.clone(),
            path: registration.path.clone(),
            owner: registration.owner.clone(),
            ..Location::default()
        };
        let request = RegisterLocationRequest {
            location: Some(location),
            request_id: registration.request_id.clone(),
            validate_only: false,
        };
        let location = match LocationServiceClient::new(client).register_location(request).await.map_err(error_from) {
            Ok(answer) => answer.into_inner(),
            Err(error) if error.is(&ALREADY_EXISTS) || error.kind() == Kind::AlreadyExists => {
                return Ok(Registered::default());
            }
            Err(error) => return Err(error),
        };
        let findings = location.documents.iter().flat_map(|d| d.findings.iter().map(move |f| (d, f)));
        let errors = findings.filter(|(_, f)| f.severity() == Severity::Error);
        let problems = errors.map(|(d, f)| format!("{}: {} {}", d.path, f.code, f.message)).take(10).collect();
        Ok(Registered { location: location.name, problems })
    }

    async fn serves(&self, who: &Initiator, entity_ref: &str, target: &str) -> Result<Served> {
        let client = self.peers.delegated("catalog", &who.principal, &who.credential, TIMEOUT).await?;
        let request = GetEntityRequest { name: entity_ref.to_owned(), ..GetEntityRequest::default() };
        let entity = found(EntityServiceClient::new(client.clone()).get_entity(request).await)?;
        let Some(entity) = entity.filter(|e| e.state() == EntityState::Active) else { return Ok(Served::No) };
        let request = GetLocationRequest { name: entity.provenance.unwrap_or_default().location };
        let location = found(LocationServiceClient::new(client).get_location(request).await)?;
        Ok(match location {
            None => Served::No,
            Some(location) if location.target == target => Served::Here,
            Some(location) => Served::Elsewhere(location.target),
        })
    }
}
