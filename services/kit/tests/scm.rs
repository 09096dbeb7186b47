//! The contract of the SCM port on both adapters (ENV-181), and what only a provider over the network can get wrong.
#![allow(clippy::unwrap_used, missing_docs)]
#[path = "scm/contract.rs"]
mod contract;
#[path = "scm/provider.rs"]
mod provider;
#[path = "scm/wrong_answers.rs"]
mod wrong_answers;

use slipway_kit::{
    clock::Clock,
    files::{FilePath, WorkDir},
    git::{Author, FileChange},
    scm::{NewRepository, OpenPullRequest, PushTo, Scm, ScmConfig},
};
use slipway_test_github::Github;

/// A connection under test and the model behind it, in which a test does what people do.
pub struct Desk {
    pub name: &'static str,
    pub model: Scm,
    pub scm: Scm,
    pub clock: Clock,
    pub server: Option<Github>,
    _dir: Option<WorkDir>,
}

impl Desk {
    pub async fn local() -> Self {
        let (dir, clock) = (WorkDir::temporary().unwrap(), Clock::manual(1_800_000_000_000_000));
        let config = ScmConfig::local(dir.path().join("scm"));
        let scm = Scm::open_with("local", &config, clock.clone()).await.unwrap();
        Self { name: "local", model: scm.clone(), scm, clock, server: None, _dir: Some(dir) }.with_app().await
    }

    pub async fn github() -> Self {
        let server = Github::start().await;
        let scm = Scm::open("github", &server.with_token("one")).await.unwrap();
        let (model, clock) = (server.scm().clone(), server.clock().clone());
        Self { name: "github", model, scm, clock, server: Some(server), _dir: None }.with_app().await
    }

    pub async fn installed() -> Self {
        let desk = Self::github().await;
        let config = desk.server().with_app("app");
        Self { scm: Scm::open("github", &config).await.unwrap(), name: "github app", ..desk }
    }

    pub async fn all() -> Vec<Self> {
        vec![Self::local().await, Self::github().await, Self::installed().await]
    }

    pub fn server(&self) -> &Github {
        self.server.as_ref().unwrap()
    }

    /// Time passes: the provider's instants have whole seconds.
    pub fn later(&self) {
        self.clock.advance_us(10_000_000);
    }

    async fn with_app(self) -> Self {
        self.model.create_repository(&new_repository("acme/app", "run-1")).await.unwrap();
        self
    }
}

pub fn author() -> Author {
    Author::new("ann", "ann@example.com", 1_700_000_000)
}

pub fn write(path: &str, text: &str) -> FileChange {
    FileChange::write(FilePath::parse(path).unwrap(), text)
}

pub fn new_repository(name: &str, marker: &str) -> NewRepository {
    NewRepository {
        name: name.to_owned(),
        description: "A test".to_owned(),
        default_branch: "main".to_owned(),
        marker: marker.to_owned(),
        files: vec![write("README.md", "hello\n")],
        message: "Begin\n".to_owned(),
        author: author(),
    }
}

pub fn new_pull(branch: &str, text: &str) -> OpenPullRequest {
    OpenPullRequest {
        title: format!("Change {branch}"),
        branch: branch.to_owned(),
        head_repository: None,
        base: None,
        files: vec![write("a", text)],
        draft: false,
        labels: vec!["preview".to_owned()],
        author: author(),
    }
}

pub fn push(branch: &str, text: &str, force: bool) -> PushTo {
    PushTo {
        branch: branch.to_owned(),
        files: vec![write("a", text)],
        message: "More\n".to_owned(),
        force,
        author: author(),
    }
}
