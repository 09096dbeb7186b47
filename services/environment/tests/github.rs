//! GitHub as a source, through a server of ours: what pull requests bring about, what wrong answers do not, what is reported, and
//! connections that are made while running.
#![allow(clippy::unwrap_used)]
#[path = "github/connections.rs"]
mod connections;
mod support;

use std::{collections::BTreeMap, sync::Arc};

use slipway_environment::{
    app::{App, WORK_ENVIRONMENT, WORK_PULL_REQUEST, WORK_REPORT, WantedPreview, pull_request_id},
    model::{
        config,
        environment::{Environment, RetireReason},
        state::State,
    },
    store::Store,
    worker,
    world::{World, fake::Fake, sources::ScmSources},
};
use slipway_kit::{
    db::scratch::{self, Scratch},
    files::FilePath,
    git::{Author, FileChange, RefName},
    scm::{ClosePullRequest, NewRepository, OpenPullRequest, PushTo, Scm},
    worker::enqueue,
};
use slipway_test_github::{Fault, Github};
use support::{OWNER, SERVICE, ann, app_over, call, images};

const NAME: &str = "acme/payments";
const FOLDER: &str = "environments/development/payments/pr-1-payments";

/// A provider with one repository, and the verbs over it.
struct Desk {
    server: Github,
    fake: Fake,
    app: App,
    scratch: Scratch,
    repository_id: String,
}

fn author() -> Author {
    Author::new("ann", "ann@example.com", 1_700_000_000)
}

fn write(path: &str, text: &str) -> FileChange {
    FileChange::write(FilePath::parse(path).unwrap(), text)
}

fn files(preview: &str) -> Vec<FileChange> {
    let config = format!("apiVersion: slipway.dev/v1\nkind: Environments\n{preview}");
    let info = "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: payments}\n";
    vec![write(config::PATH, &config), write("catalog-info.yaml", info)]
}

impl Desk {
    async fn new(preview: &str) -> Self {
        let scratch = scratch::sqlite(slipway_environment::store::migrations()).await;
        let (server, fake) = (Github::start().await, Fake::default());
        let new = NewRepository {
            name: NAME.to_owned(),
            description: String::new(),
            default_branch: "main".to_owned(),
            marker: "test".to_owned(),
            files: files(preview),
            message: "Begin\n".to_owned(),
            author: author(),
        };
        let repository_id = server.scm().create_repository(&new).await.unwrap().id;
        fake.add_entity(SERVICE, NAME, OWNER);
        let scm = Scm::open("local", &server.with_app("environment")).await.unwrap();
        let sources = Arc::new(ScmSources::new(BTreeMap::from([("local".to_owned(), scm)])));
        let app = app_over(&scratch, World { sources, ..fake.world() }, server.clock().clone()).await;
        Self { server, fake, app, scratch, repository_id }
    }

    async fn open(&self, branch: &str, labels: &[&str]) -> i64 {
        let new = OpenPullRequest {
            title: "Change".to_owned(),
            branch: branch.to_owned(),
            head_repository: None,
            base: None,
            files: vec![write("a", branch)],
            draft: false,
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            author: author(),
        };
        self.server.scm().open_pull_request(NAME, &new).await.unwrap().number
    }

    async fn push(&self, branch: &str, text: &str) -> String {
        let push = PushTo {
            branch: branch.to_owned(),
            files: vec![write("a", text)],
            message: "More\n".to_owned(),
            force: false,
            author: author(),
        };
        self.server.scm().push_to(NAME, &push).await.unwrap().to_string()
    }

    async fn close(&self, number: i64) {
        let close = ClosePullRequest { number, merge: false, author: author() };
        self.server.scm().close_pull_request(NAME, &close).await.unwrap();
    }

    /// What happens within a minute: a hint, a poll, and every look that is due.
    async fn look(&self, number: i64) {
        self.server.clock().advance_us(60_000_000);
        let hook =
            format!(r#"{{"action":"synchronize","number":{number},"repository":{{"id":{}}}}}"#, self.repository_id);
        for _ in 0..2 {
            self.app.hint("local", "pull_request", hook.as_bytes()).await.unwrap();
            let _ = self.app.poll("local").await;
            let mut tx = self.scratch.db.begin().await.unwrap();
            for uid in Store::new(self.scratch.db.clone()).all_living().await.unwrap() {
                enqueue(&mut tx, WORK_ENVIRONMENT, &uid, 0).await.unwrap();
            }
            let id = pull_request_id("local", &self.repository_id, number);
            enqueue(&mut tx, WORK_PULL_REQUEST, &id, 0).await.unwrap();
            tx.commit().await.unwrap();
            worker(&self.app, 2).run_due().await.unwrap();
        }
    }

    async fn living(&self, number: i64) -> Option<Environment> {
        let key = format!("pr:local/{}:{number}:{SERVICE}", self.repository_id);
        Store::new(self.scratch.db.clone()).living(&self.scratch.db, &key).await.unwrap()
    }

    async fn ensure(&self, number: i64) -> Environment {
        let head_sha = self.server.scm().pull_request(NAME, number).await.unwrap().unwrap().head_sha;
        let wanted = WantedPreview {
            service: SERVICE.to_owned(),
            pull_request: number,
            head_sha,
            images: images(),
            idle_us: None,
            validate_only: false,
        };
        self.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted).await.unwrap()
    }

    /// A preview that is published.
    async fn published(&self) -> Environment {
        let number = self.open("feature", &[]).await;
        self.look(number).await;
        self.ensure(number).await;
        self.look(number).await;
        let env = self.living(number).await.unwrap();
        assert_eq!(env.state(), State::Published, "{:?}", env.status.conditions);
        env
    }

    /// Tells what is to be told, as time would.
    async fn tell(&self) {
        let mut tx = self.scratch.db.begin().await.unwrap();
        for env in self.uids().await {
            enqueue(&mut tx, WORK_REPORT, &env, 0).await.unwrap();
        }
        tx.commit().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        worker(&self.app, 2).run_due().await.unwrap();
    }

    async fn uids(&self) -> Vec<String> {
        let rows = self.scratch.db.fetch_all("SELECT uid FROM environments", Vec::new()).await.unwrap();
        rows.iter().map(|row| row.text("uid").unwrap()).collect()
    }
}

#[tokio::test]
async fn no_wrong_answer_deletes_anything() {
    let desk = Desk::new("").await;
    let before = desk.published().await;
    let faults = [
        ("pulls", Fault::Empty),
        ("repositories", Fault::Empty),
        ("*", Fault::Empty),
        ("pull", Fault::NotFound),
        ("repo", Fault::NotFound),
        ("repo_by_id", Fault::NotFound),
        ("ref", Fault::NotFound),
        ("git", Fault::NotFound),
        ("*", Fault::NotFound),
        ("*", Fault::NotFoundPage),
        ("*", Fault::Unauthorized),
        ("token", Fault::Unauthorized),
        ("*", Fault::Forbidden),
        ("*", Fault::RateLimited(1)),
        ("*", Fault::RetryAfter(1)),
        ("*", Fault::Status(500)),
        ("*", Fault::Status(502)),
        ("*", Fault::Html),
        ("pull", Fault::Html),
        ("pull", Fault::HalfJson),
        ("pulls", Fault::HalfJson),
        ("*", Fault::CutBody),
        ("*", Fault::WrongShape),
        ("*", Fault::RedirectAway),
    ];
    for (route, fault) in faults {
        desk.server.fail(route, fault);
        desk.look(1).await;
        desk.look(1).await;
        let env = desk.living(1).await.unwrap_or_else(|| panic!("{route} {fault:?} deleted"));
        assert!(env.retire.is_none() && env.uid == before.uid, "{route} {fault:?}");
        assert_eq!(env.generation, before.generation, "{route} {fault:?} deployed something");
        assert!(!desk.fake.state().folders[FOLDER].files.is_empty(), "{route} {fault:?}");
        desk.server.heal();
        if matches!(fault, Fault::RateLimited(_) | Fault::RetryAfter(_)) {
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        }
    }
    // A repository that the installation no longer sees, or that is archived, holds too, even for a closed pull request.
    desk.close(1).await;
    desk.server.hide(NAME);
    desk.look(1).await;
    assert!(desk.living(1).await.unwrap().retire.is_none(), "hidden");
}

#[tokio::test]
async fn an_archived_repository_holds_and_a_renamed_one_goes_on() {
    let desk = Desk::new("").await;
    let before = desk.published().await;
    desk.server.rename(NAME, "other/payments2").await;
    desk.look(1).await;
    let env = desk.living(1).await.unwrap();
    assert_eq!((env.uid.as_str(), env.retire.is_some()), (before.uid.as_str(), false));
    desk.server.archive("other/payments2");
    desk.look(1).await;
    assert!(desk.living(1).await.unwrap().retire.is_none());
}

#[tokio::test]
async fn pull_requests_bring_about_what_their_events_say() {
    let desk = Desk::new("preview: {label: preview, drafts: false, retireOn: [closed, merged, unlabeled]}\n").await;
    let number = desk.open("feature", &[]).await;
    desk.look(number).await;
    assert!(desk.living(number).await.is_none(), "no label, no preview");
    let label = async |labels: &[&str], draft| {
        let labels: Vec<String> = labels.iter().map(|l| (*l).to_owned()).collect();
        desk.server.scm().label_pull_request(NAME, number, &labels, draft).await.unwrap();
        desk.look(number).await;
    };
    label(&["preview"], false).await;
    desk.ensure(number).await;
    desk.look(number).await;
    let first = desk.living(number).await.unwrap();
    assert_eq!(first.state(), State::Published);
    // A push is a new generation; looking again at the same commit is nothing.
    let sha = desk.push("feature", "2").await;
    desk.look(number).await;
    let pushed = desk.living(number).await.unwrap();
    assert!(pushed.generation > first.generation && pushed.spec.source.head_sha == sha);
    desk.look(number).await;
    assert_eq!(desk.living(number).await.unwrap().generation, pushed.generation);
    // A draft has none, and being ready again brings it back.
    label(&["preview"], true).await;
    assert!(desk.living(number).await.is_none(), "a draft");
    label(&["preview"], false).await;
    let second = desk.living(number).await.unwrap();
    assert!(second.uid != first.uid && second.label_id == first.label_id);
    // Without its label it goes.
    label(&[], false).await;
    assert!(desk.living(number).await.is_none(), "unlabeled");
    label(&["preview"], false).await;
    assert!(desk.living(number).await.is_some());
    // Closed and reopened: a new life.
    desk.close(number).await;
    desk.look(number).await;
    assert!(desk.living(number).await.is_none(), "closed");
    desk.look(number).await;
    assert!(desk.living(number).await.is_none(), "closing is sticky");
    desk.server.scm().reopen_pull_request(NAME, number).await.unwrap();
    desk.look(number).await;
    assert!(desk.living(number).await.is_some(), "reopened");
}

#[tokio::test]
async fn a_lost_branch_ends_only_when_the_provider_shows_the_others() {
    let desk = Desk::new("").await;
    desk.published().await;
    let git = desk.server.scm().git(NAME).await.unwrap();
    let sha = git.branch_head("feature").await.unwrap();
    git.update_ref(&RefName::branch("feature").unwrap(), None, sha.as_ref()).await.unwrap();
    desk.server.fail("git", Fault::Status(500));
    desk.look(1).await;
    assert!(desk.living(1).await.unwrap().retire.is_none());
    desk.server.heal();
    // Seen twice, a minute apart.
    desk.look(1).await;
    assert!(desk.living(1).await.unwrap().retire.is_none());
    desk.look(1).await;
    let still = desk.living(1).await;
    assert!(still.is_none(), "{:?}", still.map(|env| (env.retire, env.status.conditions)));
    let last = desk.uids().await.pop().unwrap();
    let receipt = Store::new(desk.scratch.db.clone()).receipt(&desk.scratch.db, &last).await.unwrap().unwrap();
    assert_eq!(receipt.reason, RetireReason::BranchDeleted.word());
}

#[tokio::test]
async fn a_poll_of_what_did_not_change_costs_nothing() {
    let desk = Desk::new("").await;
    desk.published().await;
    desk.app.poll("local").await.unwrap();
    let (asked, free) = (desk.server.asked("pulls") + desk.server.asked("repositories"), desk.server.not_modified());
    for _ in 0..5 {
        desk.app.poll("local").await.unwrap();
    }
    let now = desk.server.asked("pulls") + desk.server.asked("repositories");
    assert!(desk.server.not_modified() - free >= now - asked, "every repeated listing was a 304");
    assert_eq!(now - asked, 10);
}

#[tokio::test]
async fn one_comment_and_one_deployment_follow_the_environment() {
    let desk = Desk::new("").await;
    // The provider takes no comment for a while: the rollout does not wait.
    desk.server.fail("comment", Fault::Status(500));
    desk.server.fail("comments", Fault::Status(500));
    let env = desk.published().await;
    desk.tell().await;
    assert_eq!(desk.server.comments(1), []);
    desk.server.heal();
    desk.tell().await;
    let comments = desk.server.comments(1);
    assert_eq!(comments.len(), 1);
    for text in ["pr-1-payments.preview.localhost", "PUBLISHED", &env.spec.source.head_sha, "Expires"] {
        assert!(comments[0].1.contains(text), "{text} in {}", comments[0].1);
    }
    assert_eq!(desk.server.deployments("pr-1-payments"), [(env.spec.source.head_sha.clone(), "success".to_owned())]);
    let sha = desk.push("feature", "2").await;
    desk.look(1).await;
    desk.ensure(1).await;
    desk.look(1).await;
    desk.tell().await;
    let (comments, deployments) = (desk.server.comments(1), desk.server.deployments("pr-1-payments"));
    assert!(comments.len() == 1 && comments[0].1.contains(&sha), "{comments:?}");
    assert_eq!(deployments[0].1, "inactive");
    assert_eq!(deployments.last().unwrap(), &(sha, "success".to_owned()));
    desk.close(1).await;
    desk.look(1).await;
    desk.tell().await;
    let (comments, deployments) = (desk.server.comments(1), desk.server.deployments("pr-1-payments"));
    assert!(comments.len() == 1 && comments[0].1.contains("Is gone."), "{comments:?}");
    assert!(deployments.iter().all(|(_, state)| state == "inactive"), "{deployments:?}");
}
