//! A few services small enough to see through, on one hub.
use std::{pin::Pin, time::Duration};

use slipway_kit::{
    caller::{Caller, Signer},
    db::{
        Migrations,
        scratch::{self, Scratch},
    },
    error::{Error, Kind, Reason},
    serve::{Client, Hub, Outgoing, Service, Shutdown, accept},
};
use slipway_proto::{
    access::v1::{
        AssertionKey, FetchAssertionKeysRequest, FetchAssertionKeysResponse, IssueAssertionRequest,
        IssueAssertionResponse, ListMembershipsRequest, ListMembershipsResponse, Ownership, ResolveOwnerRequest,
        delegation_service_server::{DelegationService, DelegationServiceServer},
        directory_service_server::{DirectoryService, DirectoryServiceServer},
    },
    journal::v1::{
        Event, WatchEventsRequest,
        journal_service_server::{JournalService, JournalServiceServer},
    },
    scaffolding::v1::{
        Action, ListActionsRequest, ListActionsResponse,
        action_service_server::{ActionService, ActionServiceServer},
    },
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use tonic_types::StatusExt as _;

static AUTHORIZATION_LOST: Reason = Reason {
    name: "AUTHORIZATION_LOST",
    kind: Kind::FailedPrecondition,
    cause: "The principal has no rights.",
    next: "Ask.",
};

/// The reason in a status; every error has one.
pub fn info(status: &Status) -> String {
    status.get_error_details().error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}")).reason.clone()
}

/// A person without teams.
pub fn user(principal: &str) -> Caller {
    Caller { principal: principal.to_owned(), ..Caller::anonymous() }
}

/// Catalog, scaffolding, metrics and gateway in one process.
pub struct House {
    pub hub: Hub,
    pub signer: std::sync::Arc<Signer>,
    pub shutdown: Shutdown,
    pub handles: Vec<JoinHandle<()>>,
    pub scratch: Scratch,
}

impl House {
    pub async fn start() -> Self {
        let scratch = scratch::sqlite(&Migrations::none()).await;
        let db = scratch.db.clone();
        let (hub, signer, shutdown) = (Hub::new(), std::sync::Arc::new(Signer::generate()), Shutdown::new());
        let services = [
            Service::new("catalog", db.clone()).add(DirectoryServiceServer::new(Directory)),
            Service::new("scaffolding", db.clone()).add(ActionServiceServer::new(Actions)),
            Service::new("metrics", db.clone()).add(JournalServiceServer::new(Journal)),
            Service::new("gateway", db).add(DelegationServiceServer::new(Delegations(signer.clone()))),
        ];
        let handles = services.into_iter().map(|s| hub.serve(s, signer.verifier(), shutdown.clone())).collect();
        Self { hub, signer, shutdown, handles, scratch }
    }

    /// The gateway's client for the scaffolding service, carrying this person's assertion.
    pub fn as_user(&self, principal: &str, request_id: &str) -> Client {
        let assertion = self.signer.assert(&user(principal), &["scaffolding"], Actions::METHOD, None).expect("signs");
        let outgoing =
            Outgoing { assertion: Some(assertion), request_id: request_id.to_owned(), ..Outgoing::default() };
        self.hub.peers("gateway").forwarding("scaffolding", outgoing, Instant::now() + Duration::from_secs(5))
    }
}

pub struct Directory;

impl Directory {
    pub const HANG: &str = "hang";
    pub const PANIC: &str = "panic";
    pub const HUGE: &str = "huge";
}

#[tonic::async_trait]
impl DirectoryService for Directory {
    async fn resolve_owner(&self, request: Request<ResolveOwnerRequest>) -> Result<Response<Ownership>, Status> {
        let (call, message) = accept(request)?;
        let mut owner = call.caller.principal;
        match message.r#ref.as_str() {
            Self::HANG => std::future::pending::<()>().await,
            Self::PANIC => panic!("as the test wants it"),
            Self::HUGE => owner = "x".repeat(4 * 1024 * 1024 + 1),
            _ => {}
        }
        Ok(Response::new(Ownership { owner, ..Ownership::default() }))
    }

    async fn list_memberships(
        &self,
        _: Request<ListMembershipsRequest>,
    ) -> Result<Response<ListMembershipsResponse>, Status> {
        Ok(Response::new(ListMembershipsResponse::default()))
    }
}

pub struct Actions;

impl Actions {
    pub const METHOD: &str = "/slipway.scaffolding.v1.ActionService/ListActions";
}

#[tonic::async_trait]
impl ActionService for Actions {
    async fn list_actions(
        &self,
        request: Request<ListActionsRequest>,
    ) -> Result<Response<ListActionsResponse>, Status> {
        let (call, _) = accept(request)?;
        let seen =
            Action { name: call.caller.principal, id: call.peer, description: call.request_id, ..Action::default() };
        Ok(Response::new(ListActionsResponse { actions: vec![seen] }))
    }
}

pub struct Journal;

#[tonic::async_trait]
impl JournalService for Journal {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        accept(request)?;
        let one = tokio_stream::once(Ok(Event { seq: 1, ..Event::default() }));
        Ok(Response::new(Box::pin(one.chain(tokio_stream::pending()))))
    }
}

pub struct Delegations(std::sync::Arc<Signer>);

#[tonic::async_trait]
impl DelegationService for Delegations {
    async fn issue_assertion(
        &self,
        request: Request<IssueAssertionRequest>,
    ) -> Result<Response<IssueAssertionResponse>, Status> {
        let (call, message) = accept(request)?;
        if message.principal.ends_with("gone") {
            return Err(Error::new(&AUTHORIZATION_LOST, "the principal has no rights any more").into());
        }
        let audience = message.audience.iter().map(String::as_str).collect::<Vec<_>>();
        let assertion = self.0.assert(&user(&message.principal), &audience, "*", Some(&call.peer))?;
        Ok(Response::new(IssueAssertionResponse { assertion, expire_time: None }))
    }

    async fn fetch_assertion_keys(
        &self,
        request: Request<FetchAssertionKeysRequest>,
    ) -> Result<Response<FetchAssertionKeysResponse>, Status> {
        accept(request)?;
        let key = self.0.public();
        let keys = vec![AssertionKey { key_id: key.id, public_key: key.bytes }];
        Ok(Response::new(FetchAssertionKeysResponse { keys }))
    }
}
