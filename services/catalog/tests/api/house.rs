//! A running catalog with a repository behind it, and callers of every sort.

use std::{collections::BTreeMap, time::Duration};

use slipway_catalog::{Config, build};
use slipway_kit::{
    caller::{Caller, CallerKind, Role, Signer},
    clock::Clock,
    db::{DbConfig, scratch},
    files::FilePath,
    git::{Author, FileChange},
    scm::{NewRepository, PushTo, Scm, ScmConfig},
    serve::{Client, Context, Hub, Outgoing, Shutdown},
};
use slipway_proto::{
    access::v1::directory_service_client::DirectoryServiceClient,
    catalog::v1::{
        self as pb, entity_service_client::EntityServiceClient, location_service_client::LocationServiceClient,
    },
    journal::v1::{ReceiveWebhookRequest, webhook_service_client::WebhookServiceClient},
};
use tokio::{task::JoinHandle, time::Instant};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A running catalog.
pub struct House {
    pub hub: Hub,
    pub signer: Signer,
    shutdown: Shutdown,
    served: JoinHandle<()>,
    pub scm: Scm,
    pub files: tempfile::TempDir,
    _repositories: tempfile::TempDir,
    _keep: scratch::Keep,
    pub engine: &'static str,
}

/// One house per engine at hand.
pub async fn each() -> Vec<House> {
    let mut all = Vec::new();
    for found in scratch::each(&slipway_catalog::store::MIGRATIONS).await {
        found.db.close().await;
        drop(found.db);
        all.push(House::open(found.config, found.keep, found.engine).await);
    }
    all
}

impl House {
    async fn open(database: DbConfig, keep: scratch::Keep, engine: &'static str) -> Self {
        let (repositories, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let scm_config = ScmConfig::local(repositories.path());
        let scm = Scm::open("local", &scm_config).await.unwrap();
        let config = Config {
            database,
            scm: BTreeMap::from([("local".to_owned(), scm_config)]),
            file_root: Some(files.path().to_owned()),
            ..Config::default()
        };
        let (hub, signer, shutdown) = (Hub::new(), Signer::generate(), Shutdown::new());
        let context = Context { clock: Clock::system(), peers: hub.peers("catalog"), verifier: signer.verifier() };
        let service = build(config, context).await.unwrap();
        let served = hub.serve(service, signer.verifier(), shutdown.clone());
        Self { hub, signer, shutdown, served, scm, files, _repositories: repositories, _keep: keep, engine }
    }

    pub async fn close(self) {
        self.shutdown.begin();
        tokio::time::timeout(Duration::from_secs(20), self.served).await.expect("drains").unwrap();
    }

    fn client(&self, caller: &Caller, method: &str) -> Client {
        let assertion = self.signer.assert(caller, &["catalog", "environment", "metrics"], method, None).unwrap();
        let outgoing = Outgoing { assertion: Some(assertion), ..Outgoing::default() };
        self.hub.peers("gateway").forwarding("catalog", outgoing, Instant::now() + Duration::from_secs(60))
    }

    pub fn entities(&self, caller: &Caller, rpc: &str) -> EntityServiceClient<Client> {
        EntityServiceClient::new(self.client(caller, &format!("/slipway.catalog.v1.EntityService/{rpc}")))
            .max_decoding_message_size(16 << 20)
    }

    pub fn locations(&self, caller: &Caller, rpc: &str) -> LocationServiceClient<Client> {
        LocationServiceClient::new(self.client(caller, &format!("/slipway.catalog.v1.LocationService/{rpc}")))
    }

    pub fn directory(&self, me: &'static str) -> DirectoryServiceClient<Client> {
        DirectoryServiceClient::new(self.hub.peers(me).as_service("catalog", Duration::from_secs(20)))
    }

    pub async fn push_delivery(&self, id: &str, repository: &str) {
        let client = self.hub.peers("gateway").as_service("catalog", Duration::from_secs(20));
        let body = serde_json::json!({"ref": "refs/heads/main", "repository": {"full_name": repository}})
            .to_string()
            .into_bytes();
        let request =
            ReceiveWebhookRequest { source: "local".into(), delivery_id: id.into(), event: "push".into(), body };
        WebhookServiceClient::new(client).receive_webhook(request).await.unwrap();
    }

    /// A repository with these files.
    pub async fn repository(&self, name: &str, files: &[(&str, &str)]) {
        let new = NewRepository {
            name: name.into(),
            description: String::new(),
            default_branch: "main".into(),
            marker: name.into(),
            files: changes(files),
            message: "first".into(),
            author: author(),
        };
        self.scm.create_repository(&new).await.unwrap();
    }

    /// Another commit on `main`; empty content removes the file.
    pub async fn push(&self, name: &str, files: &[(&str, &str)]) {
        let push = PushTo {
            branch: "main".into(),
            files: changes(files),
            message: "next".into(),
            force: false,
            author: author(),
        };
        self.scm.push_to(name, &push).await.unwrap();
    }

    pub fn git(&self, repository: &str, owner: &str) -> pb::Location {
        pb::Location {
            r#type: pb::LocationType::Git.into(),
            target: format!("scm://local/{repository}"),
            owner: owner.into(),
            ..Default::default()
        }
    }

    pub async fn register(&self, caller: &Caller, location: pb::Location) -> Result<pb::Location, Status> {
        let request = pb::RegisterLocationRequest { location: Some(location), ..Default::default() };
        self.locations(caller, "RegisterLocation").register_location(request).await.map(tonic::Response::into_inner)
    }

    pub async fn refresh(
        &self,
        caller: &Caller,
        request: pb::RefreshLocationRequest,
    ) -> Result<pb::RefreshLocationResponse, Status> {
        self.locations(caller, "RefreshLocation").refresh_location(request).await.map(tonic::Response::into_inner)
    }

    pub async fn delete(&self, caller: &Caller, request: pb::DeleteLocationRequest) -> Result<i64, Status> {
        self.locations(caller, "DeleteLocation").delete_location(request).await.map(|r| r.into_inner().removed)
    }

    pub async fn get(&self, caller: &Caller, name: &str) -> Result<pb::Entity, Status> {
        let request = pb::GetEntityRequest { name: name.into(), ..Default::default() };
        self.entities(caller, "GetEntity").get_entity(request).await.map(tonic::Response::into_inner)
    }

    pub async fn list(
        &self,
        caller: &Caller,
        request: pb::ListEntitiesRequest,
    ) -> Result<pb::ListEntitiesResponse, Status> {
        self.entities(caller, "ListEntities").list_entities(request).await.map(tonic::Response::into_inner)
    }

    /// References that a filter finds, in order.
    pub async fn refs(&self, filter: &str, order_by: &str) -> Vec<String> {
        let request = pb::ListEntitiesRequest {
            filter: filter.into(),
            order_by: order_by.into(),
            page_size: 1000,
            ..Default::default()
        };
        let answer = self.list(&ann(), request).await.unwrap_or_else(|s| panic!("{}: {filter}: {s:?}", self.engine));
        answer.entities.into_iter().map(|e| e.r#ref).collect()
    }

    /// The organisation of the tests: team-a with ann, team-b with bob.
    pub async fn organization(&self) {
        let mut text = String::new();
        for (team, user) in [("team-a", "ann"), ("team-b", "bob")] {
            text.push_str(&format!(
                "apiVersion: backstage.io/v1alpha1\nkind: Group\nmetadata: {{name: {team}, title: The {team}}}\nspec: {{type: team, children: [], parent: platform}}\n---\n\
                 apiVersion: backstage.io/v1alpha1\nkind: User\nmetadata: {{name: {user}}}\nspec: {{memberOf: [{team}]}}\n---\n"
            ));
        }
        std::fs::write(self.files.path().join("org.yaml"), text).unwrap();
        let location = pb::Location {
            r#type: pb::LocationType::File.into(),
            target: "org.yaml".into(),
            owner: "platform".into(),
            organization: true,
            ..Default::default()
        };
        let registered = self.register(&admin(), location).await.unwrap();
        assert_eq!((registered.entity_count, registered.documents.len()), (4, 0));
    }
}

fn changes(files: &[(&str, &str)]) -> Vec<FileChange> {
    let change = |(path, text): &(&str, &str)| {
        let path = FilePath::parse(path).unwrap();
        if text.is_empty() {
            return FileChange::Remove { path };
        }
        FileChange::Write { path, bytes: text.as_bytes().to_vec(), executable: false }
    };
    files.iter().map(change).collect()
}

fn author() -> Author {
    Author { name: "Ann".into(), email: "ann@example.com".into(), time_seconds: 1_700_000_000 }
}

fn user(name: &str, team: Option<&str>, roles: &[Role]) -> Caller {
    Caller {
        principal: format!("user:default/{name}"),
        kind: CallerKind::User,
        credential: format!("tokens/{name}"),
        teams: team.map(|t| (format!("group:default/{t}"), Role::Developer)).into_iter().collect(),
        roles: roles.iter().copied().collect(),
        scopes: None,
        job: None,
    }
}

pub fn ann() -> Caller {
    user("ann", Some("team-a"), &[])
}

pub fn bob() -> Caller {
    user("bob", Some("team-b"), &[])
}

pub fn admin() -> Caller {
    user("admin", None, &[Role::PlatformAdmin])
}

/// A component of a team.
pub fn component(name: &str, owner: &str, more: &str) -> String {
    format!(
        "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\n{more}spec: {{type: service, lifecycle: production, owner: {owner}}}\n"
    )
}

/// The reason of an error.
pub fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|i| i.reason.clone()).unwrap_or_default()
}

/// Fields of an error's violations.
pub fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().map(|b| b.field_violations.iter().map(|v| v.field.clone()).collect()).unwrap_or_default()
}

/// What a refused caller is told, without what differs by nature.
pub fn told(status: &Status) -> (Code, String, String) {
    (status.code(), status.message().to_owned(), reason(status))
}
