//! A metrics service with a catalog that knows what a test tells it.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use prost_types::Timestamp;
use slipway_kit::{
    caller::{Caller, CallerKind, Role, Scope, Signer},
    clock::Clock,
    db::{Db, scratch},
    error::{Error, SERVICE_UNKNOWN},
    journal,
    scm::{Scm, ScmConfig},
    serve::{Client, Context, Hub, Outgoing, Service, Shutdown, accept},
};
use slipway_metrics::{Config, store};
use slipway_proto::{
    access::v1::{
        ListMembershipsRequest, ListMembershipsResponse, Ownership, ResolveOwnerRequest,
        directory_service_server::{DirectoryService, DirectoryServiceServer},
    },
    catalog::v1::EntityChanged,
    metrics::v1::{
        self as pb, dora_service_client::DoraServiceClient, fact_service_client::FactServiceClient,
        pipeline_service_client::PipelineServiceClient,
    },
};
use tonic::{Request, Response, Status};

pub const FACTS: &str = "/slipway.metrics.v1.FactService";
pub const DORA: &str = "/slipway.metrics.v1.DoraService";
pub const PIPELINES: &str = "/slipway.metrics.v1.PipelineService";

type Known = Arc<Mutex<BTreeMap<String, Ownership>>>;

#[derive(Clone)]
struct Directory(Known);

#[tonic::async_trait]
impl DirectoryService for Directory {
    async fn resolve_owner(&self, request: Request<ResolveOwnerRequest>) -> Result<Response<Ownership>, Status> {
        let (_, m) = accept(request)?;
        let found = self.0.lock().unwrap().get(&m.r#ref).cloned();
        Ok(Response::new(found.ok_or_else(|| Error::new(&SERVICE_UNKNOWN, "no such entity"))?))
    }

    async fn list_memberships(
        &self,
        _: Request<ListMembershipsRequest>,
    ) -> Result<Response<ListMembershipsResponse>, Status> {
        Ok(Response::new(ListMembershipsResponse::default()))
    }
}

pub struct Platform {
    pub engine: &'static str,
    pub db: Db,
    pub clock: Clock,
    hub: Hub,
    signer: Signer,
    known: Known,
    catalog: scratch::Scratch,
    siblings: BTreeMap<&'static str, scratch::Scratch>,
    scm_root: tempfile::TempDir,
    shutdown: Shutdown,
    _own: scratch::Scratch,
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// One platform per engine; the catalog knows `checkout` and `billing` of team shop, and `search` of team find.
pub async fn all() -> Vec<Platform> {
    let mut all = Vec::new();
    for own in scratch::each(&store::MIGRATIONS).await {
        all.push(start(own).await);
    }
    all
}

async fn start(own: scratch::Scratch) -> Platform {
    let (hub, signer, shutdown, known) = (Hub::new(), Signer::generate(), Shutdown::new(), Known::default());
    let clock = Clock::manual(us("2026-04-15T00:00:00Z"));
    let catalog = scratch::sqlite(&store::MIGRATIONS).await;
    let directory =
        Service::new("catalog", catalog.db.clone()).add(DirectoryServiceServer::new(Directory(known.clone())));
    drop(hub.serve(directory, signer.verifier(), shutdown.clone()));
    let mut siblings = BTreeMap::new();
    for name in ["environment", "scaffolding"] {
        let own = scratch::sqlite(&store::MIGRATIONS).await;
        drop(hub.serve(Service::new(name, own.db.clone()), signer.verifier(), shutdown.clone()));
        siblings.insert(name, own);
    }
    let scm_root = tempfile::tempdir().unwrap();
    let mut config = Config::new(own.config.clone());
    config.scm.insert("local".to_owned(), ScmConfig::local(scm_root.path()));
    let context = Context { clock: clock.clone(), peers: hub.peers("metrics"), verifier: signer.verifier() };
    let service = slipway_metrics::build(config, context).await.unwrap();
    let db = service.db().clone();
    drop(hub.serve(service, signer.verifier(), shutdown.clone()));
    let platform = Platform {
        engine: own.engine,
        db,
        clock,
        hub,
        signer,
        known,
        catalog,
        siblings,
        scm_root,
        shutdown,
        _own: own,
    };
    platform.tell("checkout", "shop", "shop/checkout").await;
    platform.tell("billing", "shop", "shop/billing").await;
    platform.tell("search", "find", "find/search").await;
    platform
}

impl Platform {
    /// The catalog learns of a service.
    pub async fn tell(&self, name: &str, team: &str, repository: &str) {
        let reference = format!("component:default/{name}");
        let ownership = Ownership {
            r#ref: reference.clone(),
            uid: name.to_owned(),
            owner: format!("group:default/{team}"),
            scm: "local".to_owned(),
            repository: repository.to_owned(),
            ..Ownership::default()
        };
        self.known.lock().unwrap().insert(reference.clone(), ownership);
        let changed = EntityChanged {
            r#ref: reference,
            uid: name.to_owned(),
            kind: "component".to_owned(),
            ..EntityChanged::default()
        };
        let mut tx = self.catalog.db.begin().await.unwrap();
        journal::append(&mut tx, journal::event(name, &changed)).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Another service tells of something.
    pub async fn publish(&self, service: &'static str, event: journal::NewEvent) {
        let mut tx = self.siblings[service].db.begin().await.unwrap();
        journal::append(&mut tx, event).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The source provider that the service reads commits from.
    pub async fn scm(&self) -> Scm {
        Scm::open("local", &ScmConfig::local(self.scm_root.path())).await.unwrap()
    }

    fn client(&self, caller: &Caller, method: &str) -> Client {
        let assertion = self.signer.assert(caller, &["metrics", "catalog"], method, None).unwrap();
        let outgoing = Outgoing { assertion: Some(assertion), ..Outgoing::default() };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        self.hub.peers("gateway").forwarding("metrics", outgoing, deadline)
    }

    pub fn facts(&self, caller: &Caller, rpc: &str) -> FactServiceClient<Client> {
        FactServiceClient::new(self.client(caller, &format!("{FACTS}/{rpc}")))
    }

    pub fn dora(&self, caller: &Caller, rpc: &str) -> DoraServiceClient<Client> {
        DoraServiceClient::new(self.client(caller, &format!("{DORA}/{rpc}")))
    }

    pub fn pipelines(&self, caller: &Caller, rpc: &str) -> PipelineServiceClient<Client> {
        PipelineServiceClient::new(self.client(caller, &format!("{PIPELINES}/{rpc}")))
    }

    pub async fn ingest(&self, caller: &Caller, events: Vec<pb::FactEvent>) -> Vec<pb::EventResult> {
        let request = pb::IngestEventsRequest { events, request_id: String::new() };
        self.facts(caller, "IngestEvents").ingest_events(request).await.unwrap().into_inner().results
    }

    /// Ingests what must all be accepted.
    pub async fn accept(&self, caller: &Caller, events: Vec<pb::FactEvent>) {
        for events in events.chunks(1_000) {
            for result in self.ingest(caller, events.to_vec()).await {
                assert_eq!(result.error, None, "{}: {}", self.engine, result.idempotency_key);
            }
        }
    }

    /// Waits until something is so; the loops of the service are quick.
    pub async fn until<F: AsyncFn() -> bool>(&self, what: &str, holds: F) {
        for _ in 0..1_000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{}: never came true: {what}", self.engine);
    }
}

fn caller(principal: &str, teams: &[(&str, Role)], roles: &[Role]) -> Caller {
    Caller {
        principal: principal.to_owned(),
        kind: CallerKind::User,
        credential: "tokens/test".to_owned(),
        teams: teams.iter().map(|(team, role)| (format!("group:default/{team}"), *role)).collect(),
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
        scopes: None,
        job: None,
    }
}

/// A developer of team shop.
pub fn ann() -> Caller {
    caller("user:default/ann", &[("shop", Role::Developer)], &[])
}

/// A developer of team find.
pub fn bob() -> Caller {
    caller("user:default/bob", &[("find", Role::Developer)], &[])
}

/// Somebody in no team.
pub fn guest() -> Caller {
    caller("user:default/guest", &[], &[])
}

/// The administrator.
pub fn admin() -> Caller {
    caller("user:default/admin", &[], &[Role::PlatformAdmin])
}

/// A token of automation for team shop.
pub fn robot() -> Caller {
    let scope = Scope { permission: "facts.ingest".to_owned(), resource: "group:default/shop".to_owned() };
    Caller { scopes: Some(vec![scope]), kind: CallerKind::Token, ..caller("token:shop-ci", &[], &[Role::Automation]) }
}

/// Microseconds of an RFC 3339 instant.
pub fn us(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap_or_else(|_| panic!("{text}")).as_microsecond()
}

/// `2026-MM-DDTHH:MM` in UTC, or a whole RFC 3339 instant.
pub fn at(text: &str) -> Option<Timestamp> {
    let full = if text.ends_with('Z') { text.to_owned() } else { format!("2026-{text}:00Z") };
    Some(Timestamp { seconds: us(&full) / 1_000_000, nanos: 0 })
}

/// Reason in the error details of an answer.
pub fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Fields named in the error details of an answer.
pub fn fields(status: &Status) -> Vec<String> {
    use tonic_types::StatusExt as _;
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    bad.into_iter().map(|v| v.field).collect()
}

pub fn event(key: &str, fact: pb::fact_event::Fact) -> pb::FactEvent {
    pb::FactEvent { idempotency_key: key.to_owned(), occur_time: None, sequence: 0, fact: Some(fact) }
}

pub fn change(repository: &str, sha: &str, parents: &[&str], committed: &str) -> pb::FactEvent {
    let change = pb::Change {
        repository: repository.to_owned(),
        sha: sha.to_owned(),
        parents: parents.iter().map(|p| (*p).to_owned()).collect(),
        commit_time: at(committed),
        ..pb::Change::default()
    };
    event(&format!("change-{repository}-{sha}"), pb::fact_event::Fact::Change(change))
}

pub fn deployment(
    service: &str,
    environment: &str,
    id: &str,
    finished: &str,
    parts: &[(&str, &str)],
) -> pb::Deployment {
    let part = |(repository, sha): &(&str, &str)| pb::DeploymentPart {
        repository: (*repository).to_owned(),
        sha: (*sha).to_owned(),
        ..pb::DeploymentPart::default()
    };
    pb::Deployment {
        service: service.to_owned(),
        environment: environment.to_owned(),
        external_id: id.to_owned(),
        status: pb::DeploymentStatus::Succeeded.into(),
        parts: parts.iter().map(part).collect(),
        finish_time: at(finished),
        ..pb::Deployment::default()
    }
}

pub fn deployed(deployment: pb::Deployment) -> pb::FactEvent {
    let key = format!("deployment-{}-{}-{}", deployment.service, deployment.environment, deployment.external_id);
    event(&key, pb::fact_event::Fact::Deployment(deployment))
}

pub fn incident(services: &[&str], id: &str, started: &str, resolved: Option<&str>) -> pb::Incident {
    pb::Incident {
        external_id: id.to_owned(),
        services: services.iter().map(|s| (*s).to_owned()).collect(),
        start_time: at(started),
        resolve_time: resolved.and_then(at),
        ..pb::Incident::default()
    }
}

pub fn broken(incident: pb::Incident) -> pb::FactEvent {
    event(&format!("incident-{}", incident.external_id), pb::fact_event::Fact::Incident(incident))
}

pub fn instants(from: &str, to: &str) -> pb::Window {
    pb::Window { from_time: at(from), to_time: at(to), ..pb::Window::default() }
}

pub fn dates(from: &str, to: &str, zone: &str) -> pb::Window {
    pb::Window {
        from_date: from.to_owned(),
        to_date: to.to_owned(),
        time_zone: zone.to_owned(),
        ..pb::Window::default()
    }
}

impl Platform {
    pub async fn performance(&self, service: &str, window: pb::Window) -> pb::DeliveryPerformance {
        let request = pb::GetDeliveryPerformanceRequest {
            service: service.to_owned(),
            window: Some(window),
            ..Default::default()
        };
        self.measure(request).await
    }

    pub async fn measure(&self, request: pb::GetDeliveryPerformanceRequest) -> pb::DeliveryPerformance {
        let mut client = self.dora(&guest(), "GetDeliveryPerformance");
        client.get_delivery_performance(request).await.unwrap().into_inner()
    }

    pub async fn explain(&self, service: &str, metric: pb::Metric, window: pb::Window) -> pb::ExplainMetricResponse {
        let request = pb::ExplainMetricRequest {
            service: service.to_owned(),
            metric: metric.into(),
            window: Some(window),
            page_size: 1_000,
            ..Default::default()
        };
        self.dora(&guest(), "ExplainMetric").explain_metric(request).await.unwrap().into_inner()
    }
}
