//! What happens to pull requests, and what that does to their previews (ENV-27), through both adapters of the source provider. What
//! each wrong answer does not bring about stands in `github.rs`.
#![allow(clippy::unwrap_used)]
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use cluster::Tapped;
use slipway_environment::{
    app::{App, WORK_ENVIRONMENT, WORK_PULL_REQUEST, WantedPreview, pull_request_id},
    model::{
        config::{self, RetireOn},
        environment::{Environment, RetireReason, Source},
        preview::Reading,
        state::State,
    },
    store::Store,
    worker,
    world::{Repository, Sources, World, fake::Fake, fake_cluster::FakeCluster, sources::ScmSources},
};
use slipway_kit::{
    clock::Clock,
    db::scratch::{self, Scratch},
    error::Result,
    files::FilePath,
    git::{Author, FileChange, RefName},
    scm::{ClosePullRequest, NewRepository, OpenPullRequest, PushTo, Scm},
    worker::enqueue,
};
use slipway_test_github::Github;
use support::{OWNER, REPOSITORY, SERVICE, ann, app_over, call, images, open, shop, wanted};

const NAME: &str = "acme/payments";

/// A provider with one repository behind one of the adapters, and the verbs over it.
struct Desk {
    adapter: &'static str,
    server: Github,
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

fn config(preview: &str) -> FileChange {
    write(config::PATH, &format!("apiVersion: slipway.dev/v1\nkind: Environments\n{preview}"))
}

impl Desk {
    async fn new(adapter: &'static str, preview: &str) -> Self {
        let scratch = scratch::sqlite(slipway_environment::store::migrations()).await;
        let (server, fake) = (Github::start().await, Fake::default());
        let info = "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: payments}\n";
        let new = NewRepository {
            name: NAME.to_owned(),
            description: String::new(),
            default_branch: "main".to_owned(),
            marker: "test".to_owned(),
            files: vec![config(preview), write("catalog-info.yaml", info)],
            message: "Begin\n".to_owned(),
            author: author(),
        };
        let repository_id = server.scm().create_repository(&new).await.unwrap().id;
        fake.add_entity(SERVICE, NAME, OWNER);
        let scm = match adapter {
            "github" => Scm::open("local", &server.with_app("environment")).await.unwrap(),
            _ => server.scm().clone(),
        };
        let sources = Arc::new(ScmSources::new(BTreeMap::from([("local".to_owned(), scm)])));
        let app = app_over(&scratch, World { sources, ..fake.world() }, server.clock().clone()).await;
        Self { adapter, server, app, scratch, repository_id }
    }

    async fn each(preview: &str) -> Vec<Self> {
        vec![Self::new("github", preview).await, Self::new("local", preview).await]
    }

    async fn open(&self, branch: &str, base: Option<&str>) -> i64 {
        let new = OpenPullRequest {
            title: "Change".to_owned(),
            branch: branch.to_owned(),
            head_repository: None,
            base: base.map(str::to_owned),
            files: vec![write(branch, branch)],
            draft: false,
            labels: vec!["preview".to_owned()],
            author: author(),
        };
        self.server.scm().open_pull_request(NAME, &new).await.unwrap().number
    }

    async fn push(&self, name: &str, branch: &str, files: Vec<FileChange>) -> String {
        let push =
            PushTo { branch: branch.to_owned(), files, message: "More\n".to_owned(), force: false, author: author() };
        self.server.scm().push_to(name, &push).await.unwrap().to_string()
    }

    async fn point(&self, branch: &str, to: Option<&str>) {
        let git = self.server.scm().git(NAME).await.unwrap();
        let now = git.branch_head(branch).await.unwrap();
        let to = to.map(|sha| slipway_kit::git::Sha::parse(sha).unwrap());
        git.update_ref(&RefName::branch(branch).unwrap(), to.as_ref(), now.as_ref()).await.unwrap();
    }

    async fn head_of(&self, branch: &str) -> String {
        self.server.scm().git(NAME).await.unwrap().branch_head(branch).await.unwrap().unwrap().to_string()
    }

    /// What happens within a minute: a hint, a poll, and every look that is due.
    async fn look(&self, number: i64) {
        self.server.clock().advance_us(60_000_000);
        let hook = format!(r#"{{"number":{number},"repository":{{"id":{}}}}}"#, self.repository_id);
        for _ in 0..2 {
            self.app.hint("local", "pull_request", hook.as_bytes()).await.unwrap();
            let _ = self.app.poll("local").await;
            wake(&self.scratch, &self.repository_id, number).await;
            worker(&self.app, 2).run_due().await.unwrap();
        }
    }

    async fn living(&self, number: i64) -> Option<Environment> {
        let key = format!("pr:local/{}:{number}:{SERVICE}", self.repository_id);
        Store::new(self.scratch.db.clone()).living(&self.scratch.db, &key).await.unwrap()
    }

    /// CI names the head of a pull request and its image.
    async fn built(&self, name: &str, number: i64) -> Result<Environment> {
        let head_sha = self.server.scm().pull_request(name, number).await.unwrap().unwrap().head_sha;
        let wanted = WantedPreview {
            service: SERVICE.to_owned(),
            pull_request: number,
            head_sha,
            images: images(),
            idle_us: None,
            validate_only: false,
        };
        self.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted).await
    }

    /// The preview of a pull request, published.
    async fn published(&self, branch: &str, base: Option<&str>) -> Environment {
        let number = self.open(branch, base).await;
        self.look(number).await;
        self.built(NAME, number).await.unwrap();
        self.look(number).await;
        let env = self.living(number).await.unwrap();
        assert_eq!(env.state(), State::Published, "{}: {:?}", self.adapter, env.status.conditions);
        env
    }
}

/// Makes every item of work due now, as time would.
async fn wake(scratch: &Scratch, repository_id: &str, number: i64) {
    let mut tx = scratch.db.begin().await.unwrap();
    for uid in Store::new(scratch.db.clone()).all_living().await.unwrap_or_default() {
        enqueue(&mut tx, WORK_ENVIRONMENT, &uid, 0).await.unwrap();
    }
    enqueue(&mut tx, WORK_PULL_REQUEST, &pull_request_id("local", repository_id, number), 0).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn another_base_branch_is_read_anew_and_brings_a_generation() {
    for desk in Desk::each("").await {
        let before = desk.published("feature", None).await;
        desk.point("release", Some(&desk.head_of("main").await)).await;
        let base = desk.push(NAME, "release", vec![config("preview: {retireOn: [closed]}\n")]).await;
        desk.server.clock().advance_us(1_000_000);
        desk.server.scm().retarget_pull_request(NAME, 1, "release").await.unwrap();
        desk.look(1).await;
        let env = desk.living(1).await.unwrap();
        assert_eq!((env.uid.as_str(), env.label_id.as_str()), (before.uid.as_str(), before.label_id.as_str()));
        assert_eq!((env.spec.source.base_sha.as_str(), env.generation), (base.as_str(), before.generation + 1));
        assert_eq!((env.state(), &env.spec.images), (State::Published, &before.spec.images), "{}", desk.adapter);
        // What ends it is said by the new base, whatever the branch itself says.
        let retire_on = env.spec.config.as_ref().unwrap().preview.retire_on.clone();
        assert_eq!(retire_on, [RetireOn::Closed], "{}", desk.adapter);
    }
}

#[tokio::test]
async fn a_child_lives_on_when_its_parent_is_merged() {
    for desk in Desk::each("").await {
        let parent = desk.published("parent", None).await;
        let number = desk.open("child", Some("parent")).await;
        desk.look(number).await;
        desk.built(NAME, number).await.unwrap();
        desk.look(number).await;
        let child = desk.living(number).await.unwrap();
        assert_eq!(child.spec.source.base_sha, parent.spec.source.head_sha);
        desk.server.clock().advance_us(1_000_000);
        let close = ClosePullRequest { number: 1, merge: true, author: author() };
        desk.server.scm().close_pull_request(NAME, &close).await.unwrap();
        desk.server.scm().retarget_pull_request(NAME, number, "main").await.unwrap();
        desk.point("parent", None).await;
        desk.look(number).await;
        desk.look(1).await;
        assert_eq!(desk.living(1).await, None, "{}", desk.adapter);
        let env = desk.living(number).await.unwrap();
        assert_eq!((env.uid.as_str(), env.state()), (child.uid.as_str(), State::Published), "{}", desk.adapter);
        assert_eq!((env.spec.source.base_sha.clone(), env.retire), (desk.head_of("main").await, None));
    }
}

#[tokio::test]
async fn a_force_push_to_the_same_commit_is_nothing() {
    for desk in Desk::each("").await {
        let before = desk.published("feature", None).await;
        let sha = before.spec.source.head_sha.clone();
        // Away and back before anybody looks, and once more as if it were news.
        desk.push(NAME, "feature", vec![write("a", "2")]).await;
        desk.point("feature", Some(&sha)).await;
        desk.server.scm().refresh_pull_request(NAME, 1).await.unwrap();
        for _ in 0..2 {
            desk.look(1).await;
        }
        let env = desk.living(1).await.unwrap();
        assert_eq!((env.generation, &env.spec, env.version), (before.generation, &before.spec, before.version));
    }
}

#[tokio::test]
async fn a_label_that_is_lost_or_a_draft_that_is_made_ends_only_what_shall_end() {
    for desk in Desk::each("preview: {label: preview}\n").await {
        let before = desk.published("feature", None).await;
        // Neither `unlabeled` nor `drafts: false` is configured: it lives, and follows its commits.
        desk.server.clock().advance_us(1_000_000);
        desk.server.scm().label_pull_request(NAME, 1, &[], true).await.unwrap();
        desk.look(1).await;
        assert_eq!(desk.living(1).await.unwrap().uid, before.uid, "{}", desk.adapter);
        let sha = desk.push(NAME, "feature", vec![write("a", "2")]).await;
        desk.built(NAME, 1).await.unwrap();
        desk.look(1).await;
        let env = desk.living(1).await.unwrap();
        assert_eq!((env.uid.as_str(), env.state()), (before.uid.as_str(), State::Published), "{}", desk.adapter);
        assert_eq!(env.spec.source.head_sha, sha);
        // One that never had the label still gets none.
        let number = desk.open("other", None).await;
        desk.server.scm().label_pull_request(NAME, number, &[], false).await.unwrap();
        desk.look(number).await;
        assert_eq!(desk.living(number).await, None);
        assert_eq!(desk.built(NAME, number).await.unwrap_err().reason().name, "PREVIEW_DISABLED");
    }
}

#[tokio::test]
async fn a_deleted_branch_ends_its_preview_only_if_that_is_configured() {
    for desk in Desk::each("preview: {retireOn: [closed, merged]}\n").await {
        let before = desk.published("feature", None).await;
        desk.point("feature", None).await;
        for _ in 0..3 {
            desk.look(1).await;
        }
        let env = desk.living(1).await.unwrap();
        assert_eq!((env.uid, env.retire, env.generation), (before.uid, None, before.generation), "{}", desk.adapter);
    }
}

#[tokio::test]
async fn a_change_cannot_make_its_own_preview_outlive_it() {
    for desk in Desk::each("").await {
        let before = desk.published("feature", None).await;
        desk.push(NAME, "feature", vec![config("preview: {retireOn: []}\n")]).await;
        desk.look(1).await;
        assert_eq!(desk.living(1).await.unwrap().uid, before.uid);
        let close = ClosePullRequest { number: 1, merge: false, author: author() };
        desk.server.scm().close_pull_request(NAME, &close).await.unwrap();
        desk.look(1).await;
        desk.look(1).await;
        assert_eq!(desk.living(1).await, None, "{}", desk.adapter);
    }
}

#[tokio::test]
async fn a_transferred_repository_keeps_its_previews_and_their_names() {
    let desk = Desk::new("github", "").await;
    let before = desk.published("feature", None).await;
    desk.server.rename(NAME, "other/payments2").await;
    let sha = desk.push("other/payments2", "feature", vec![write("a", "2")]).await;
    desk.look(1).await;
    let env = desk.living(1).await.unwrap();
    let source = &env.spec.source;
    assert_eq!((source.repository.as_str(), source.head_sha.as_str()), ("other/payments2", sha.as_str()));
    assert_eq!((env.uid, env.key, env.label_id), (before.uid, before.key, before.label_id));
}

#[tokio::test]
async fn a_reopened_pull_request_lives_again_at_once_although_its_last_life_cannot_end() {
    for scratch in support::databases().await {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, OWNER);
        let kube = FakeCluster::new(clock.clone());
        let world = Tapped::new(&fake, Arc::new(kube.clone()));
        let app = app_over(&scratch, world.world(), clock.clone()).await;
        let store = Store::new(scratch.db.clone());
        let until = async |uid: Option<&str>, state: State| {
            for _ in 0..200 {
                let found = match uid {
                    Some(uid) => store.by_uid(&scratch.db, uid).await.unwrap().unwrap(),
                    None => store.by_label(&scratch.db, "pr-7-payments").await.unwrap().unwrap(),
                };
                if found.state() == state {
                    return found;
                }
                wake(&scratch, REPOSITORY, 7).await;
                worker(&app, 1).run_due().await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                clock.advance_us(200_000);
            }
            panic!("never {}", state.word());
        };
        let set = |reading| fake.set(REPOSITORY, "7", reading);
        let ended = |at_us| Reading::Ended { reason: RetireReason::Closed, at_us };
        set(open(1));
        app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        let first = until(None, State::Ready).await;
        // Something in its namespace cannot go, and the pull request is closed and opened again.
        let held = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "held", "namespace": first.namespace, "finalizers": ["acme.io/hold"]}});
        let held = slipway_environment::model::manifest::object(&kube.apply_as("other", &held, false).unwrap());
        set(ended(clock.now_us()));
        until(Some(&first.uid), State::Deleting).await;
        clock.advance_us(6 * 60_000_000);
        until(Some(&first.uid), State::DeleteBlocked).await;
        set(Reading::Open(support::head(2, clock.now_us())));
        app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 2)).await.unwrap();
        let second = until(None, State::Ready).await;
        assert!(second.uid != first.uid && second.namespace != first.namespace, "{}", scratch.engine);
        assert_eq!((&second.label_id, &second.key), (&first.label_id, &first.key));
        assert_eq!(store.by_uid(&scratch.db, &first.uid).await.unwrap().unwrap().state(), State::DeleteBlocked);
        // What held the first goes: it ends, and takes nothing of the second with it.
        kube.edit(&held, |doc| doc["metadata"]["finalizers"] = serde_json::json!([]));
        until(Some(&first.uid), State::Deleted).await;
        assert_eq!(until(None, State::Ready).await.uid, second.uid);
        assert!(kube.everything(&first.namespace).is_empty() && !kube.everything(&second.namespace).is_empty());
        set(ended(clock.now_us()));
        until(Some(&second.uid), State::Deleted).await;
        assert_eq!(store.all_living().await.unwrap(), Vec::<String>::new());
    }
}

/// The provider; between a reading and what is done with it the pull request is closed and its preview torn down.
struct Closing {
    fake: Fake,
    app: App,
    scratch_db: slipway_kit::db::Db,
    /// The reading after which it happens.
    at: usize,
    read: AtomicUsize,
}

#[async_trait]
impl Sources for Closing {
    fn connections(&self) -> Vec<String> {
        self.fake.connections()
    }

    fn poll_us(&self, scm: &str) -> i64 {
        self.fake.poll_us(scm)
    }

    async fn read(&self, source: &Source) -> Reading {
        let reading = self.fake.read(source).await;
        if self.read.fetch_add(1, Ordering::SeqCst) == self.at {
            self.fake.set(REPOSITORY, "7", Reading::Ended { reason: RetireReason::Closed, at_us: 2 });
            let mut tx = self.scratch_db.begin().await.unwrap();
            for uid in Store::new(self.scratch_db.clone()).all_living().await.unwrap() {
                enqueue(&mut tx, WORK_ENVIRONMENT, &uid, 0).await.unwrap();
            }
            tx.commit().await.unwrap();
            worker(&self.app, 1).run_due().await.unwrap();
        }
        reading
    }

    async fn repository(&self, scm: &str, name: &str) -> Result<Option<Repository>> {
        self.fake.repository(scm, name).await
    }

    async fn repository_by_id(&self, scm: &str, id: &str) -> Result<Option<Repository>> {
        self.fake.repository_by_id(scm, id).await
    }

    async fn repositories(&self, scm: &str) -> Result<Vec<Repository>> {
        self.fake.repositories(scm).await
    }

    async fn open_pull_requests(&self, scm: &str, name: &str) -> Result<Vec<i64>> {
        self.fake.open_pull_requests(scm, name).await
    }

    async fn components(&self, scm: &str, repository: &Repository) -> Result<Vec<String>> {
        self.fake.components(scm, repository).await
    }
}

#[tokio::test]
async fn closed_and_deployed_at_one_time_is_closed() {
    for scratch in support::databases().await {
        for lives in [true, false] {
            let (fake, app, clock): (Fake, App, Clock) = shop(&scratch).await;
            fake.set(REPOSITORY, "7", open(1));
            if lives {
                app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
                worker(&app, 1).run_due().await.unwrap();
            }
            let closing = Closing {
                fake: fake.clone(),
                app: app.clone(),
                scratch_db: scratch.db.clone(),
                at: 0,
                read: AtomicUsize::new(0),
            };
            let world = World { sources: Arc::new(closing), ..fake.world() };
            let racing = app_over(&scratch, world, clock).await;
            fake.set(REPOSITORY, "7", if lives { open(2) } else { Reading::Open(support::head(2, 1)) });
            let answer = racing.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 2)).await;
            if lives {
                // What was read is not what is any more: it is read again, and is over.
                assert_eq!(answer.unwrap_err().reason().name, "PULL_REQUEST_ENDED", "{}", scratch.engine);
            }
            for _ in 0..2 {
                wake(&scratch, REPOSITORY, 7).await;
                worker(&app, 1).run_due().await.unwrap();
            }
            let store = Store::new(scratch.db.clone());
            assert_eq!(store.all_living().await.unwrap(), Vec::<String>::new(), "{}", scratch.engine);
            let folders = fake.state().folders.clone();
            assert!(folders.values().all(|folder| folder.files.is_empty()));
        }
    }
}
