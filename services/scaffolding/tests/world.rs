//! The real siblings against small stand-ins of catalog and gateway over the transport (SCF-61).
mod support;

use slipway_kit::{
    caller::{Caller, Signer},
    db::scratch,
    error::{NOT_FOUND, PERMISSION_DENIED},
    serve::{Hub, Service, Shutdown, accept, accept_change},
};
use slipway_proto::{
    access::v1::{
        self as access,
        delegation_service_server::{DelegationService, DelegationServiceServer},
    },
    catalog::v1::{
        self as catalog,
        entity_service_server::{EntityService, EntityServiceServer},
        location_service_server::{LocationService, LocationServiceServer},
    },
};
use slipway_scaffolding::{
    store::MIGRATIONS,
    world::{Initiator, PeerSiblings, Registration, Served, Siblings as _},
};
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};
use support::developer;
use tonic::{Request, Response, Status};

/// Where the catalog has its entity from.
const LOCATION: &str = "locations/00000000-0000-7000-8000-000000000002";

struct Gateway {
    signer: Arc<Signer>,
    known: Caller,
}

#[tonic::async_trait]
impl DelegationService for Gateway {
    async fn issue_assertion(
        &self,
        request: Request<access::IssueAssertionRequest>,
    ) -> Result<Response<access::IssueAssertionResponse>, Status> {
        let (call, request) = accept(request)?;
        if request.principal != self.known.principal {
            return Err(slipway_kit::error::Error::new(&PERMISSION_DENIED, "gone").into());
        }
        let audience: Vec<&str> = request.audience.iter().map(String::as_str).collect();
        let assertion = self.signer.assert(&self.known, &audience, "*", Some(&call.peer))?;
        Ok(Response::new(access::IssueAssertionResponse { assertion, expire_time: None }))
    }

    async fn fetch_assertion_keys(
        &self,
        _: Request<access::FetchAssertionKeysRequest>,
    ) -> Result<Response<access::FetchAssertionKeysResponse>, Status> {
        Err(absent())
    }
}

/// Registered locations: who registered, request id, target.
type Seen = Arc<Mutex<Vec<(String, String, String)>>>;

#[derive(Clone, Default)]
struct Catalog(Seen);

fn absent() -> Status {
    slipway_kit::error::Error::new(&NOT_FOUND, "there is none").into()
}

#[tonic::async_trait]
impl EntityService for Catalog {
    async fn get_entity(
        &self,
        request: Request<catalog::GetEntityRequest>,
    ) -> Result<Response<catalog::Entity>, Status> {
        let (_, request) = accept(request)?;
        let known = request.name == "component:default/payments" && !self.0.lock().expect("unpoisoned").is_empty();
        let provenance = catalog::Provenance { location: LOCATION.to_owned(), ..catalog::Provenance::default() };
        let entity = catalog::Entity {
            state: catalog::EntityState::Active.into(),
            provenance: Some(provenance),
            ..catalog::Entity::default()
        };
        if known { Ok(Response::new(entity)) } else { Err(absent()) }
    }

    async fn batch_get_entities(
        &self,
        _: Request<catalog::BatchGetEntitiesRequest>,
    ) -> Result<Response<catalog::BatchGetEntitiesResponse>, Status> {
        Err(absent())
    }

    async fn list_entities(
        &self,
        _: Request<catalog::ListEntitiesRequest>,
    ) -> Result<Response<catalog::ListEntitiesResponse>, Status> {
        Err(absent())
    }

    async fn get_service_overview(
        &self,
        _: Request<catalog::GetServiceOverviewRequest>,
    ) -> Result<Response<catalog::ServiceOverview>, Status> {
        Err(absent())
    }

    type WatchEntitiesStream =
        Pin<Box<dyn futures::Stream<Item = Result<catalog::WatchEntitiesResponse, Status>> + Send>>;

    async fn watch_entities(
        &self,
        _: Request<catalog::WatchEntitiesRequest>,
    ) -> Result<Response<Self::WatchEntitiesStream>, Status> {
        Err(absent())
    }
}

#[tonic::async_trait]
impl LocationService for Catalog {
    async fn register_location(
        &self,
        request: Request<catalog::RegisterLocationRequest>,
    ) -> Result<Response<catalog::Location>, Status> {
        let (call, request) = accept_change(request)?;
        let location = request.location.unwrap_or_default();
        self.0.lock().expect("unpoisoned").push((call.caller.principal, call.request_id, location.target.clone()));
        Ok(Response::new(catalog::Location { name: "locations/1".to_owned(), ..location }))
    }

    async fn get_location(
        &self,
        request: Request<catalog::GetLocationRequest>,
    ) -> Result<Response<catalog::Location>, Status> {
        let (_, request) = accept(request)?;
        let target = "scm://local/services/payments".to_owned();
        let location = catalog::Location { target, ..catalog::Location::default() };
        if request.name == LOCATION { Ok(Response::new(location)) } else { Err(absent()) }
    }

    async fn list_locations(
        &self,
        _: Request<catalog::ListLocationsRequest>,
    ) -> Result<Response<catalog::ListLocationsResponse>, Status> {
        Err(absent())
    }

    async fn refresh_location(
        &self,
        _: Request<catalog::RefreshLocationRequest>,
    ) -> Result<Response<catalog::RefreshLocationResponse>, Status> {
        Err(absent())
    }

    async fn delete_location(
        &self,
        _: Request<catalog::DeleteLocationRequest>,
    ) -> Result<Response<catalog::DeleteLocationResponse>, Status> {
        Err(absent())
    }
}

#[tokio::test]
async fn siblings_are_called_with_the_initiators_present_rights() {
    let (hub, signer, shutdown, seen) = (Hub::new(), Arc::new(Signer::generate()), Shutdown::new(), Seen::default());
    let ann = developer("ann", "group:default/payments");
    let stores = [scratch::sqlite(&MIGRATIONS).await, scratch::sqlite(&MIGRATIONS).await];
    let gateway = Gateway { signer: Arc::clone(&signer), known: ann.clone() };
    let gateway = Service::new("gateway", stores[0].db.clone()).add(DelegationServiceServer::new(gateway));
    hub.serve(gateway, signer.verifier(), shutdown.clone());
    let catalog = Catalog(Arc::clone(&seen));
    let catalog = Service::new("catalog", stores[1].db.clone())
        .add(EntityServiceServer::new(catalog.clone()))
        .add(LocationServiceServer::new(catalog));
    hub.serve(catalog, signer.verifier(), shutdown.clone());

    let siblings = PeerSiblings::new(hub.peers("scaffolding"), signer.verifier());
    let who = Initiator { principal: ann.principal.clone(), credential: ann.credential.clone() };
    assert_eq!(siblings.rights(&who).await.expect("known"), ann);
    let gone = Initiator { principal: "user:default/bob".to_owned(), credential: String::new() };
    assert!(siblings.rights(&gone).await.is_err());
    let (entity, here) = ("component:default/payments", "scm://local/services/payments");
    assert_eq!(siblings.serves(&who, entity, here).await.expect("answers"), Served::No);
    let registration = Registration {
        target: "scm://local/services/payments".to_owned(),
        path: "catalog-info.yaml".to_owned(),
        owner: "group:default/payments".to_owned(),
        request_id: "0f0e0d0c-0b0a-8908-8706-050403020100".to_owned(),
    };
    let registered = siblings.register(&who, &registration).await.expect("registered");
    assert_eq!(registered.location, "locations/1");
    assert_eq!(*seen.lock().expect("unpoisoned"), [(ann.principal, registration.request_id, registration.target)]);
    assert_eq!(siblings.serves(&who, entity, here).await.expect("answers"), Served::Here);
    let elsewhere = Served::Elsewhere(here.to_owned());
    assert_eq!(siblings.serves(&who, entity, "scm://local/services/other").await.expect("answers"), elsewhere);
    shutdown.begin();
}
