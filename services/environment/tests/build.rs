//! The service as a process builds it: real sources, helm and git, and the catalog as a neighbour; the secrets service is away.
#![allow(clippy::unwrap_used)]
mod support;

use std::{collections::BTreeMap, time::Duration};

use slipway_environment::{config::Config, model::config};
use slipway_kit::{
    caller::Signer,
    clock::Clock,
    db::scratch,
    files::{FilePath, WorkDir},
    git::{Author, FileChange},
    scm::{Action, Hook, NewRepository, OpenPullRequest, Scm, ScmConfig, pull_request_hook},
    serve::{Context, Hub, Outgoing, Service, Shutdown},
};
use slipway_proto::{
    access::v1::{
        self as access,
        directory_service_server::{DirectoryService, DirectoryServiceServer},
    },
    environment::v1::{
        self as pb, environment_service_client::EnvironmentServiceClient, preview_service_client::PreviewServiceClient,
    },
    journal::v1::{ReceiveWebhookRequest, webhook_service_client::WebhookServiceClient},
};
use tonic::{Request, Response, Status};

/// A catalog that knows one service.
struct Directory;

#[tonic::async_trait]
impl DirectoryService for Directory {
    async fn resolve_owner(
        &self,
        request: Request<access::ResolveOwnerRequest>,
    ) -> Result<Response<access::Ownership>, Status> {
        assert_eq!(request.into_inner().r#ref, support::SERVICE);
        Ok(Response::new(access::Ownership {
            r#ref: support::SERVICE.to_owned(),
            uid: slipway_kit::id::uuid4(),
            owner: support::OWNER.to_owned(),
            service_tier: "standard".to_owned(),
            scm: "local".to_owned(),
            repository: "acme/payments".to_owned(),
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

fn write(path: &str, text: &str) -> FileChange {
    FileChange::write(FilePath::parse(path).unwrap(), text)
}

/// A repository with an open pull request, and the delivery that tells of it.
async fn pull_request(root: &ScmConfig) -> (Hook, String) {
    let scm = Scm::open("local", root).await.unwrap();
    let author = Author::new("ann", "ann@example.com", 1_700_000_000);
    let new = NewRepository {
        name: "acme/payments".to_owned(),
        description: String::new(),
        default_branch: "main".to_owned(),
        marker: "test".to_owned(),
        files: vec![
            write(config::PATH, "apiVersion: slipway.dev/v1\nkind: Environments\n"),
            write("catalog-info.yaml", "kind: Component\nmetadata: {name: payments}\n"),
        ],
        message: "Begin\n".to_owned(),
        author: author.clone(),
    };
    let repository = scm.create_repository(&new).await.unwrap();
    let pull = OpenPullRequest {
        title: "Change".to_owned(),
        branch: "feature".to_owned(),
        head_repository: None,
        base: None,
        files: vec![write("a", "1")],
        draft: false,
        labels: Vec::new(),
        author,
    };
    let opened = scm.open_pull_request("acme/payments", &pull).await.unwrap();
    (pull_request_hook(&repository, &opened, Action::Opened), opened.head_sha)
}

#[tokio::test]
async fn without_the_secrets_service_nothing_is_rendered_and_the_condition_says_so() {
    let (dir, own, catalog) = (
        WorkDir::temporary().unwrap(),
        scratch::sqlite(slipway_environment::store::migrations()).await,
        scratch::sqlite(&slipway_kit::db::Migrations::none()).await,
    );
    let scm = ScmConfig::local(dir.path().join("scm"));
    let (hook, head_sha) = pull_request(&scm).await;
    let (hub, signer, shutdown) = (Hub::new(), Signer::generate(), Shutdown::new());
    let config =
        Config::new(own.config.clone(), BTreeMap::from([("local".to_owned(), scm)]), dir.path().join("gitops"));
    let context = Context { clock: Clock::system(), peers: hub.peers("environment"), verifier: signer.verifier() };
    let service = slipway_environment::build(config, context).await.unwrap();
    let served = hub.serve(service, signer.verifier(), shutdown.clone());
    let neighbour = Service::new("catalog", catalog.db.clone()).add(DirectoryServiceServer::new(Directory));
    hub.serve(neighbour, signer.verifier(), shutdown.clone());
    let gateway = hub.peers("gateway");
    let mut inbox = WebhookServiceClient::new(gateway.as_service("environment", Duration::from_secs(5)));
    let delivery = ReceiveWebhookRequest {
        source: "local".to_owned(),
        delivery_id: "1".to_owned(),
        event: hook.event.to_owned(),
        body: hook.body,
    };
    inbox.receive_webhook(delivery).await.unwrap();
    let client = |method: &str| {
        let assertion = signer.assert(&support::ann(), &["environment"], support::method(method), None).unwrap();
        let outgoing = Outgoing { assertion: Some(assertion), ..Outgoing::default() };
        gateway.forwarding("environment", outgoing, tokio::time::Instant::now() + Duration::from_secs(30))
    };
    let wanted = pb::EnsurePreviewRequest {
        service: support::SERVICE.to_owned(),
        pull_request: 1,
        head_sha,
        images: support::images(),
        ..Default::default()
    };
    let made = PreviewServiceClient::new(client("EnsurePreview")).ensure_preview(wanted).await.unwrap().into_inner();
    assert_eq!((made.name.as_str(), made.owner.as_str()), ("environments/pr-1-payments", support::OWNER));
    let mut seen = made;
    for _ in 0..400 {
        if seen.conditions.iter().any(|c| c.r#type == "SecretsReady") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        let get = pb::GetEnvironmentRequest { name: seen.name };
        seen = EnvironmentServiceClient::new(client("GetEnvironment")).get_environment(get).await.unwrap().into_inner();
    }
    let condition = seen.conditions.iter().find(|c| c.r#type == "SecretsReady").unwrap();
    assert_eq!(condition.reason, "DEPENDENCY_UNAVAILABLE");
    assert_eq!(seen.state(), pb::EnvironmentState::Provisioning);
    shutdown.begin();
    tokio::time::timeout(Duration::from_secs(20), served).await.expect("it drains").unwrap();
}
