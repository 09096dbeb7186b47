//! A secrets service beside a catalog that says what the test wants, and callers of every kind.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use slipway_kit::{
    caller::{Caller, CallerKind, Role, Signer},
    clock::Clock,
    db::{Db, DbConfig, scratch},
    error::{Error, SERVICE_UNKNOWN},
    serve::{Client, Context, Hub, Outgoing, Service, Shutdown, accept},
};
use slipway_proto::{
    access::v1::{self as access, directory_service_server as directory},
    environment::v1::EnvironmentTier as Tier,
    secrets::v1::{
        self as pb, engine_service_client::EngineServiceClient,
        secret_binding_service_client::SecretBindingServiceClient, secret_service_client::SecretServiceClient,
    },
};
use slipway_secrets::{
    Config, engine,
    store::MIGRATIONS,
    world::cluster::{Clusters, fake::Fake},
};
use tokio::{task::JoinHandle, time::Instant};
use tonic::{Request, Response, Status};
use tonic_types::StatusExt as _;

pub const PAYMENTS: &str = "component:default/payments";
pub const PAYMENTS_UID: &str = "3f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b";
pub const SHOP: &str = "component:default/shop";
pub const SHOP_UID: &str = "4f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b";
pub const ENVIRONMENT: &str = "5f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b";
const SECRETS: &str = "/slipway.secrets.v1.SecretService/";
const ENGINE: &str = "/slipway.secrets.v1.EngineService/";
const BINDINGS: &str = "/slipway.secrets.v1.SecretBindingService/";

/// What the catalog says: owner and uid by reference.
#[derive(Clone, Default)]
pub struct Catalog(Arc<Mutex<BTreeMap<String, (String, String)>>>);

impl Catalog {
    pub fn say(&self, reference: &str, uid: &str, owner: &str) {
        self.0.lock().unwrap().insert(reference.to_owned(), (uid.to_owned(), owner.to_owned()));
    }

    pub fn forget(&self, reference: &str) {
        self.0.lock().unwrap().remove(reference);
    }
}

#[tonic::async_trait]
impl directory::DirectoryService for Catalog {
    async fn resolve_owner(
        &self,
        request: Request<access::ResolveOwnerRequest>,
    ) -> Result<Response<access::Ownership>, Status> {
        let (call, request) = accept(request)?;
        call.check(&slipway_kit::authz::Facts::default())?;
        let known = self.0.lock().unwrap().get(&request.r#ref).cloned();
        let (uid, owner) = known.ok_or_else(|| Error::new(&SERVICE_UNKNOWN, "the catalog knows no such entity"))?;
        let tier = "critical".to_owned();
        Ok(Response::new(access::Ownership {
            r#ref: request.r#ref,
            uid,
            owner,
            service_tier: tier,
            ..Default::default()
        }))
    }

    async fn list_memberships(
        &self,
        _: Request<access::ListMembershipsRequest>,
    ) -> Result<Response<access::ListMembershipsResponse>, Status> {
        Ok(Response::new(access::ListMembershipsResponse::default()))
    }
}

pub struct Rig {
    pub hub: Hub,
    pub catalog: Catalog,
    pub catalog_db: Db,
    catalog_down: Shutdown,
    catalog_running: Option<JoinHandle<()>>,
    pub config: Config,
    pub clusters: Arc<dyn Clusters>,
    pub dir: tempfile::TempDir,
    signer: Signer,
    shutdown: Shutdown,
    running: Option<JoinHandle<()>>,
    _keep: Vec<scratch::Keep>,
}

impl Rig {
    /// One on SQLite.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = DbConfig::Sqlite { path: dir.path().join("secrets.db") };
        Self::on(dir, database, Vec::new()).await
    }

    /// One on every engine at hand.
    pub async fn each() -> Vec<Self> {
        let mut all = Vec::new();
        for made in scratch::each(&MIGRATIONS).await {
            let scratch::Scratch { db, config, keep, .. } = made;
            db.close().await;
            drop(db);
            all.push(Self::on(tempfile::tempdir().unwrap(), config, vec![keep]).await);
        }
        all
    }

    async fn on(dir: tempfile::TempDir, database: DbConfig, mut keep: Vec<scratch::Keep>) -> Self {
        let key_file = dir.path().join("master.key");
        engine::create_key_file(&key_file).unwrap();
        let config =
            Config { database, key_file, witness_file: Some(dir.path().join("witness")), credentials_root: None };
        let beside = scratch::sqlite(&MIGRATIONS).await;
        keep.push(beside.keep);
        let mut rig = Self {
            hub: Hub::new(),
            catalog: Catalog::default(),
            catalog_db: beside.db,
            catalog_down: Shutdown::new(),
            catalog_running: None,
            config,
            clusters: Arc::new(Fake::default()),
            dir,
            signer: Signer::generate(),
            shutdown: Shutdown::new(),
            running: None,
            _keep: keep,
        };
        rig.catalog.say(PAYMENTS, PAYMENTS_UID, "group:default/payments");
        rig.catalog.say(SHOP, SHOP_UID, "group:default/shop");
        let catalog = Service::new("catalog", rig.catalog_db.clone())
            .add(directory::DirectoryServiceServer::new(rig.catalog.clone()));
        rig.catalog_running = Some(rig.hub.serve(catalog, rig.signer.verifier(), rig.catalog_down.clone()));
        rig.go().await;
        rig
    }

    /// Starts the service.
    pub async fn go(&mut self) {
        let (clock, verifier) = (Clock::system(), self.signer.verifier());
        let context = Context { clock, peers: self.hub.peers("secrets"), verifier: verifier.clone() };
        let service = slipway_secrets::build_with(self.config.clone(), context, self.clusters.clone()).await.unwrap();
        self.shutdown = Shutdown::new();
        self.running = Some(self.hub.serve(service, verifier, self.shutdown.clone()));
    }

    /// Stops it, so that its database is free.
    pub async fn stop(&mut self) {
        self.shutdown.begin();
        self.running.take().unwrap().await.unwrap();
    }

    /// Takes the catalog away.
    pub async fn lose_catalog(&mut self) {
        self.catalog_down.begin();
        self.catalog_running.take().unwrap().await.unwrap();
    }

    /// Stops it with everything in the SQLite file itself, so that the file alone is a backup.
    pub async fn settle(&mut self) {
        self.stop().await;
        let db = Db::open(&self.config.database).await.unwrap();
        let log = PathBuf::from(format!("{}-wal", self.database_file().display()));
        // Connections of the stopped service may still be closing.
        while std::fs::metadata(&log).is_ok_and(|about| about.len() > 0) {
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)", Vec::new()).await.unwrap();
            tokio::task::yield_now().await;
        }
        db.close().await;
    }

    /// Runs statements on the database while the service is stopped.
    pub async fn meddle(&mut self, statements: &[&str]) {
        self.stop().await;
        let db = Db::open(&self.config.database).await.unwrap();
        for sql in statements {
            db.execute(sql, Vec::new()).await.unwrap();
        }
        db.close().await;
        drop(db);
        self.go().await;
    }

    pub fn database_file(&self) -> PathBuf {
        match &self.config.database {
            DbConfig::Sqlite { path } => path.clone(),
            DbConfig::Postgres(_) => panic!("no file"),
        }
    }

    fn client(&self, who: &Caller, service: &str, method: &str) -> Client {
        let assertion = self.signer.assert(who, &["secrets"], &format!("{service}{method}"), None).unwrap();
        let outgoing = Outgoing { assertion: Some(assertion), ..Outgoing::default() };
        self.hub.peers("gateway").forwarding("secrets", outgoing, Instant::now() + Duration::from_secs(30))
    }

    pub fn secrets(&self, who: &Caller, method: &str) -> SecretServiceClient<Client> {
        SecretServiceClient::new(self.client(who, SECRETS, method))
    }

    pub fn engine(&self, who: &Caller, method: &str) -> EngineServiceClient<Client> {
        EngineServiceClient::new(self.client(who, ENGINE, method))
    }

    pub async fn get_engine(&self, who: &Caller) -> Result<pb::Engine, Status> {
        self.engine(who, "GetEngine").get_engine(pb::GetEngineRequest {}).await.map(Response::into_inner)
    }

    pub async fn accept_rollback(&self, who: &Caller, reason: &str) -> Result<pb::Engine, Status> {
        let request = pb::AcceptRollbackRequest { reason: reason.to_owned(), ..Default::default() };
        self.engine(who, "AcceptRollback").accept_rollback(request).await.map(Response::into_inner)
    }

    pub fn bindings(&self, who: &Caller, method: &str) -> SecretBindingServiceClient<Client> {
        SecretBindingServiceClient::new(self.client(who, BINDINGS, method))
    }

    pub async fn put(&self, who: &Caller, request: pb::PutSecretRequest) -> Result<pb::Secret, Status> {
        self.secrets(who, "PutSecret").put_secret(request).await.map(Response::into_inner)
    }

    pub async fn get(&self, who: &Caller, name: &str) -> Result<pb::Secret, Status> {
        let request = pb::GetSecretRequest { name: name.to_owned() };
        self.secrets(who, "GetSecret").get_secret(request).await.map(Response::into_inner)
    }

    pub async fn list(&self, who: &Caller, request: pb::ListSecretsRequest) -> Result<pb::ListSecretsResponse, Status> {
        self.secrets(who, "ListSecrets").list_secrets(request).await.map(Response::into_inner)
    }

    pub async fn reveal(&self, who: &Caller, name: &str, key: &str) -> Result<pb::RevealSecretResponse, Status> {
        self.secrets(who, "RevealSecret").reveal_secret(reveal(name, key)).await.map(Response::into_inner)
    }

    pub async fn delete(&self, who: &Caller, name: &str, etag: &str) -> Result<pb::Secret, Status> {
        let request = pb::DeleteSecretRequest { name: name.to_owned(), etag: etag.to_owned(), ..Default::default() };
        self.secrets(who, "DeleteSecret").delete_secret(request).await.map(Response::into_inner)
    }

    pub async fn destroy(
        &self,
        who: &Caller,
        name: &str,
        version: i64,
        reason: &str,
    ) -> Result<pb::SecretVersion, Status> {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        let request = pb::DestroySecretVersionRequest { name, version, reason, ..Default::default() };
        self.secrets(who, "DestroySecretVersion").destroy_secret_version(request).await.map(Response::into_inner)
    }

    pub async fn bind(
        &self,
        who: &Caller,
        id: &str,
        tier: Tier,
        items: &[(&str, &str)],
    ) -> Result<pb::SecretBinding, Status> {
        let request = binding(id, tier, items);
        self.bindings(who, "CreateSecretBinding").create_secret_binding(request).await.map(Response::into_inner)
    }

    pub async fn get_binding(&self, who: &Caller, name: &str) -> Result<pb::SecretBinding, Status> {
        let request = pb::GetSecretBindingRequest { name: name.to_owned() };
        self.bindings(who, "GetSecretBinding").get_secret_binding(request).await.map(Response::into_inner)
    }
}

pub fn reveal(name: &str, key: &str) -> pb::RevealSecretRequest {
    let reason = "looking into incident 7".to_owned();
    pb::RevealSecretRequest { name: name.to_owned(), key: key.to_owned(), reason, ..Default::default() }
}

pub fn secret(service: &str, tier: Tier, values: &[(&str, &str)]) -> pb::PutSecretRequest {
    pb::PutSecretRequest {
        secret: Some(pb::Secret { service: service.to_owned(), tier: tier.into(), ..Default::default() }),
        values: values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Default::default()
    }
}

pub fn binding(id: &str, tier: Tier, items: &[(&str, &str)]) -> pb::CreateSecretBindingRequest {
    let item = |(secret, key): &(&str, &str)| pb::SecretBindingItem {
        secret: (*secret).to_owned(),
        key: (*key).to_owned(),
        ..Default::default()
    };
    pb::CreateSecretBindingRequest {
        secret_binding_id: id.to_owned(),
        secret_binding: Some(pb::SecretBinding {
            service: PAYMENTS.to_owned(),
            tier: tier.into(),
            items: items.iter().map(item).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A person with these team roles.
pub fn person(name: &str, teams: &[(&str, Role)]) -> Caller {
    Caller {
        principal: format!("user:default/{name}"),
        kind: CallerKind::Token,
        credential: "tokens/ab12cd34".to_owned(),
        teams: teams.iter().map(|(team, role)| (format!("group:default/{team}"), *role)).collect(),
        roles: BTreeSet::new(),
        scopes: None,
        job: None,
    }
}

pub fn developer() -> Caller {
    person("dev", &[("payments", Role::Developer)])
}

pub fn maintainer() -> Caller {
    person("ann", &[("payments", Role::Maintainer)])
}

pub fn stranger() -> Caller {
    person("eve", &[("shop", Role::Maintainer)])
}

pub fn admin() -> Caller {
    Caller { roles: BTreeSet::from([Role::PlatformAdmin]), ..person("root", &[]) }
}

/// The reason of an error.
pub fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// Fields that the error names, in order.
pub fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().iter().flat_map(|b| &b.field_violations).map(|v| v.field.clone()).collect()
}

/// Fails unless the call was refused for this reason.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, want: &str) -> Status {
    let status = answer.expect_err(want);
    assert_eq!(reason(&status), want, "{status:?}");
    status
}
