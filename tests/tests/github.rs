//! A platform whose sources are at GitHub: from a registered repository to a preview, its comment, and its end.
#![allow(clippy::unwrap_used, missing_docs)]

use slipway_kit::{
    files::FilePath,
    git::{Author, FileChange},
    scm::{ClosePullRequest, NewRepository, OpenPullRequest},
};
use slipway_proto::catalog::v1 as catalog;
use slipway_proto::environment::v1 as environment;
use slipway_test_github::{Github, TOKEN};
use slipway_tests::calls::reason;
use slipway_tests::main_job::{Job, eventually};
use slipway_tests::platform::{Engine, Platform};

const NAME: &str = "acme/payments";

fn write(path: &str, text: &str) -> FileChange {
    FileChange::write(FilePath::parse(path).unwrap(), text)
}

fn author() -> Author {
    Author::new("ann", "ann@example.com", 1_700_000_000)
}

async fn provider() -> Github {
    let server = Github::start().await;
    let info = "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: payments}\n\
                spec: {type: service, lifecycle: production, owner: payments}\n";
    let config = "apiVersion: slipway.dev/v1\nkind: Environments\n";
    let new = NewRepository {
        name: NAME.to_owned(),
        description: String::new(),
        default_branch: "main".to_owned(),
        marker: String::from("x"),
        files: vec![write("catalog-info.yaml", info), write(".slipway/environments.yaml", config)],
        message: "Begin\n".to_owned(),
        author: author(),
    };
    server.scm().create_repository(&new).await.unwrap();
    server
}

async fn open(server: &Github) {
    let new = OpenPullRequest {
        title: "Change".to_owned(),
        branch: "feature".to_owned(),
        head_repository: None,
        base: None,
        files: vec![write("a", "1")],
        draft: false,
        labels: Vec::new(),
        author: author(),
    };
    server.scm().open_pull_request(NAME, &new).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_at_github_gets_its_preview_and_its_comment() {
    let server = provider().await;
    let app = server.with_app("platform");
    let config = server.dir().join("slipway.toml");
    let text = format!(
        "scm_hosts = [\"{url}\"]\n[scm.github]\nkind = \"github\"\napi_url = \"{url}\"\napp_id = {}\ninstallation_id = {}\n\
         private_key_file = \"{}\"\npoll_interval_seconds = 2\n",
        app.app_id.unwrap(),
        app.installation_id.unwrap(),
        app.private_key_file.unwrap().display(),
        url = server.url(),
    );
    std::fs::write(&config, text).unwrap();
    let platform = Platform::start_with(Engine::Sqlite, &["--config", config.to_str().unwrap()]).unwrap();
    // The organisation, for its groups.
    Job::begin(&platform.handle(), "payments").await.unwrap();
    let calls = platform.calls(&platform.token).unwrap();
    let location = catalog::Location {
        r#type: catalog::LocationType::Git.into(),
        target: format!("scm://github/{NAME}"),
        owner: "group:default/payments".to_owned(),
        ..Default::default()
    };
    let request = catalog::RegisterLocationRequest { location: Some(location), ..Default::default() };
    calls.locations().register_location(request).await.unwrap();
    open(&server).await;
    // No webhook came: looking finds it.
    let comments = || async { Ok(server.comments(1)) };
    let told = eventually("the comment", comments, |all| all.iter().any(|(_, text)| text.contains("PENDING"))).await;
    assert_eq!(told.unwrap().len(), 1, "{}", platform.log());
    let get = environment::GetEnvironmentRequest { name: "environments/pr-1-payments".to_owned() };
    let env = calls.environments().get_environment(get).await.unwrap().into_inner();
    assert_eq!(env.state(), environment::EnvironmentState::Pending);
    let close = ClosePullRequest { number: 1, merge: false, author: author() };
    server.scm().close_pull_request(NAME, &close).await.unwrap();
    eventually("its end", comments, |all| all.iter().any(|(_, text)| text.contains("Is gone."))).await.unwrap();
    assert_eq!(server.comments(1).len(), 1);
    connections(&platform, &server).await;
    assert!(!platform.log().contains(TOKEN) && !platform.log().contains("ghs_canary"));
}

/// Connections over the wire: the configured one is shown and tried, another is made while running.
async fn connections(platform: &Platform, server: &Github) {
    let mut client = platform.calls(&platform.token).unwrap().scm_connections();
    let list =
        client.list_scm_connections(environment::ListScmConnectionsRequest::default()).await.unwrap().into_inner();
    let shown: Vec<(&str, bool)> = list.scm_connections.iter().map(|c| (c.name.as_str(), c.is_configured)).collect();
    assert_eq!(shown, [("scmConnections/github", true), ("scmConnections/local", true)]);
    let test = |name: &str| environment::TestConnectionRequest { name: name.to_owned() };
    let tried = client.test_connection(test("scmConnections/github")).await.unwrap().into_inner();
    assert!(tried.is_usable, "{tried:?}");
    std::fs::write(platform.data().join("credentials/second.token"), TOKEN).unwrap();
    let connection = environment::ScmConnection {
        kind: environment::ScmKind::Github.into(),
        api_url: server.url(),
        token_file: "second.token".to_owned(),
        ..Default::default()
    };
    let create = environment::CreateScmConnectionRequest {
        scm_connection: Some(connection),
        scm_connection_id: "second".to_owned(),
        ..Default::default()
    };
    let made = client.create_scm_connection(create.clone()).await.unwrap().into_inner();
    assert!(!made.is_configured && made.name == "scmConnections/second");
    server.set_permission("deployments", "none");
    let tried = client.test_connection(test("scmConnections/second")).await.unwrap().into_inner();
    let failed: Vec<&str> = tried
        .checks
        .iter()
        .filter(|c| c.verdict() == environment::ScmVerdict::Failed)
        .map(|c| c.check.as_str())
        .collect();
    assert_eq!(failed, ["permission.deployments.read", "permission.deployments.write"], "{tried:?}");
    let mut elsewhere = create;
    elsewhere.scm_connection_id = "third".to_owned();
    elsewhere.scm_connection.as_mut().unwrap().api_url = "http://169.254.169.254".to_owned();
    assert_eq!(reason(&client.create_scm_connection(elsewhere).await.unwrap_err()), "INVALID_FIELD");
    let delete = environment::DeleteScmConnectionRequest { name: made.name, ..Default::default() };
    client.delete_scm_connection(delete).await.unwrap();
}
