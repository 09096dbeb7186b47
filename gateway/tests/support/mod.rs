//! A platform of one fake service behind a real gateway on real sockets.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroU32,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::Stream;
use slipway_gateway::{Gateway, app::rates::Rates, config::Config};
use slipway_kit::{
    caller::{Caller, Signer},
    clock::Clock,
    db::{DbConfig, scratch::Scratch},
    error::{Error, NOT_FOUND},
    serve::{Context, Hub, Service, Shutdown, accept},
};
use slipway_proto::{
    access::v1::{self as access, directory_service_server as directory},
    catalog::v1::{self as catalog, entity_service_server as entities, location_service_server as locations},
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::Channel};

/// What the fake catalog knows and saw.
#[derive(Default)]
pub struct Seen {
    pub members: Mutex<Vec<(&'static str, &'static str)>>,
    /// Canonical references of components and the groups that own them; empty for nobody's.
    pub owners: Mutex<BTreeMap<String, String>>,
    pub callers: Mutex<Vec<Caller>>,
    pub metadata: Mutex<Vec<http::HeaderMap>>,
    pub calls: AtomicUsize,
    pub directory_down: std::sync::atomic::AtomicBool,
}

#[derive(Clone)]
pub struct Fake(pub Arc<Seen>);

type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl directory::DirectoryService for Fake {
    async fn resolve_owner(
        &self,
        r: Request<access::ResolveOwnerRequest>,
    ) -> Result<Response<access::Ownership>, Status> {
        if self.0.directory_down.load(Ordering::SeqCst) {
            return Err(Status::unavailable("down"));
        }
        let asked = r.into_inner().r#ref;
        let canonical = if asked.contains(':') { asked } else { format!("component:default/{asked}") };
        let owner = self.0.owners.lock().unwrap().get(&canonical).cloned();
        let owner = owner.ok_or_else(|| Error::new(&slipway_kit::error::SERVICE_UNKNOWN, "unknown"))?;
        Ok(Response::new(access::Ownership { r#ref: canonical, owner, ..Default::default() }))
    }

    async fn list_memberships(
        &self,
        _: Request<access::ListMembershipsRequest>,
    ) -> Result<Response<access::ListMembershipsResponse>, Status> {
        if self.0.directory_down.load(Ordering::SeqCst) {
            return Err(Status::unavailable("down"));
        }
        let members = self.0.members.lock().unwrap();
        let one = |(user, group): &(&str, &str)| access::Membership { user: (*user).into(), group: (*group).into() };
        let memberships = members.iter().map(one).collect();
        Ok(Response::new(access::ListMembershipsResponse { memberships, revision: 1, groups: vec![] }))
    }
}

#[tonic::async_trait]
impl entities::EntityService for Fake {
    type WatchEntitiesStream = Stream_<catalog::WatchEntitiesResponse>;

    async fn get_entity(&self, r: Request<catalog::GetEntityRequest>) -> Result<Response<catalog::Entity>, Status> {
        self.0.metadata.lock().unwrap().push(r.metadata().clone().into_headers());
        let (call, r) = accept(r)?;
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        self.0.callers.lock().unwrap().push(call.caller.clone());
        if r.name.ends_with("/missing") {
            return Err(Error::new(&NOT_FOUND, "there is no such entity").resource("Entity", r.name).into());
        }
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let create_time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        Ok(Response::new(catalog::Entity { name: r.name, version: 7, labels, create_time, ..Default::default() }))
    }

    async fn batch_get_entities(
        &self,
        r: Request<catalog::BatchGetEntitiesRequest>,
    ) -> Result<Response<catalog::BatchGetEntitiesResponse>, Status> {
        let (_, r) = accept(r)?;
        let one = |name: String| catalog::BatchGetEntitiesResult { r#ref: name, ..Default::default() };
        Ok(Response::new(catalog::BatchGetEntitiesResponse { results: r.names.into_iter().map(one).collect() }))
    }

    async fn list_entities(
        &self,
        r: Request<catalog::ListEntitiesRequest>,
    ) -> Result<Response<catalog::ListEntitiesResponse>, Status> {
        let (_, r) = accept(r)?;
        let said = format!("{}|{}|{}|{}", r.page_size, r.filter, r.order_by, r.total);
        Ok(Response::new(catalog::ListEntitiesResponse {
            entities: vec![catalog::Entity { name: said, ..Default::default() }],
            total_size: Some(1),
            ..Default::default()
        }))
    }

    async fn get_service_overview(
        &self,
        _: Request<catalog::GetServiceOverviewRequest>,
    ) -> Result<Response<catalog::ServiceOverview>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn watch_entities(
        &self,
        r: Request<catalog::WatchEntitiesRequest>,
    ) -> Result<Response<Self::WatchEntitiesStream>, Status> {
        let _ = accept(r)?;
        let stream = async_stream::stream! {
            for n in 0.. {
                yield Ok(catalog::WatchEntitiesResponse { resume_token: n.to_string(), ..Default::default() });
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        Ok(Response::new(Box::pin(stream)))
    }
}

#[tonic::async_trait]
impl locations::LocationService for Fake {
    async fn register_location(
        &self,
        r: Request<catalog::RegisterLocationRequest>,
    ) -> Result<Response<catalog::Location>, Status> {
        let (_, r) = slipway_kit::serve::accept_change(r)?;
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(r.location.unwrap_or_default()))
    }

    async fn get_location(
        &self,
        _: Request<catalog::GetLocationRequest>,
    ) -> Result<Response<catalog::Location>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_locations(
        &self,
        _: Request<catalog::ListLocationsRequest>,
    ) -> Result<Response<catalog::ListLocationsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn refresh_location(
        &self,
        _: Request<catalog::RefreshLocationRequest>,
    ) -> Result<Response<catalog::RefreshLocationResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_location(
        &self,
        _: Request<catalog::DeleteLocationRequest>,
    ) -> Result<Response<catalog::DeleteLocationResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A running platform.
pub struct Platform {
    pub address: SocketAddr,
    pub token: String,
    pub seen: Arc<Seen>,
    pub hub: Hub,
    pub signer_key: tempfile::TempDir,
    pub catalog: Scratch,
    pub shutdown: Shutdown,
    pub service_db: slipway_kit::db::Db,
}

type Change = Box<dyn FnOnce(&mut Config)>;

/// How a test wants its platform.
#[derive(Default)]
pub struct Wish {
    pub rates: Option<Rates>,
    pub change: Option<Change>,
    pub tls: Option<slipway_gateway::config::Tls>,
}

pub const SECRET: [u8; 40] = [b's'; 40];

pub fn config(folder: &std::path::Path) -> Config {
    std::fs::write(folder.join("hook"), SECRET).unwrap();
    let n = |n| NonZeroU32::new(n).unwrap();
    let many = n(100_000);
    Config {
        database: DbConfig::Sqlite { path: folder.join("gateway.db") },
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        token_key_file: folder.join("token.key"),
        issuers: BTreeMap::new(),
        issuer_hosts: vec![],
        webhooks: BTreeMap::from([(
            "local".to_owned(),
            slipway_gateway::config::Webhook { secret_files: vec![folder.join("hook")] },
        )]),
        limits: Rates {
            reads_per_second: many,
            read_burst: many,
            writes_per_second: many,
            write_burst: many,
            failures_per_minute: many,
        },
        proxy: None,
    }
}

impl Platform {
    pub async fn start() -> Self {
        Self::with(Wish::default()).await
    }

    pub async fn with(wish: Wish) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        if let Some(rates) = wish.rates {
            config.limits = rates;
        }
        if let Some(change) = wish.change {
            change(&mut config);
        }
        let signer = Signer::generate();
        let (hub, shutdown, verifier) = (Hub::new(), Shutdown::new(), signer.verifier());
        let seen = Arc::new(Seen::default());
        let fake = Fake(seen.clone());
        let catalog = slipway_kit::db::scratch::sqlite(&slipway_gateway::store::MIGRATIONS).await;
        let service = Service::new("catalog", catalog.db.clone())
            .add(directory::DirectoryServiceServer::new(fake.clone()))
            .add(entities::EntityServiceServer::new(fake.clone()))
            .add(locations::LocationServiceServer::new(fake));
        hub.serve(service, verifier.clone(), shutdown.clone());
        let context = Context { clock: Clock::system(), peers: hub.peers("gateway"), verifier: verifier.clone() };
        let first_token = slipway_gateway::first_token(&config).await.unwrap();
        let gateway = slipway_gateway::build(config, context, signer, shutdown.clone()).await.unwrap();
        let Gateway { service, edge, .. } = gateway;
        let service_db = service.db().clone();
        hub.serve(service, verifier, shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let down = shutdown.clone();
        tokio::spawn(async move { slipway_gateway::serve(edge, listener, wish.tls.as_ref(), down).await.unwrap() });
        let token = first_token.unwrap_or_default();
        Self { address, token, seen, hub, signer_key: folder, catalog, shutdown, service_db }
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request with the first token.
    pub fn signed<T>(&self, message: T) -> Request<T> {
        bearer(&self.token, message)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

pub fn bearer<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// The ErrorInfo reason of a status.
pub fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}
