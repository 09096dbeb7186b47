//! `slipway dev pr`: plays a source provider over the local repositories, signed webhooks included.
//!
//! Owns the order "repository first, delivery after". Refuses to tell the platform anything that the repository does not say.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use slipway_kit::files::FilePath;
use slipway_kit::git::{Author, CommitRange, FileChange, Sha};
use slipway_kit::id;
use slipway_kit::scm::{
    Action, ClosePullRequest, Hook, OpenPullRequest, PullRequest, PushTo, Repository, Scm, ScmConfig,
    pull_request_hook, push_hook,
};

use crate::cli::{Close, Open, Pr, Push, Target};
use crate::layout::{Layout, SCM};

/// Longest wait for the platform to take a delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Most commits that a delivery lists.
const COMMITS_MAX: usize = 100;

/// Does it, delivers the webhooks and prints the pull request.
pub async fn pr(verb: Pr) -> Result<()> {
    match verb {
        Pr::Open(open) => print(&open.target.clone(), &self::open(open).await?).await,
        Pr::Push(push) => print(&push.target.clone(), &self::push(push).await?).await,
        Pr::Close(close) => print(&close.target.clone(), &self::close(close).await?).await,
    }
}

async fn print(target: &Target, pull: &PullRequest) -> Result<()> {
    let repository = Desk::at(target).await?.repository;
    let answer = serde_json::json!({
        "repository": repository.name, "repositoryId": repository.id, "number": pull.number, "open": pull.open, "headSha": pull.head_sha,
        "headRef": pull.head_ref, "baseRef": pull.base_ref, "mergeSha": pull.merge_sha,
    });
    println!("{answer}");
    Ok(())
}

/// The repository and whoever acts on it.
struct Desk {
    layout: Layout,
    scm: Scm,
    repository: Repository,
    author: Author,
}

impl Desk {
    async fn at(target: &Target) -> Result<Self> {
        let layout = Layout::open(&target.data)?;
        let scm = Scm::open(SCM, &ScmConfig::local(layout.scm())).await?;
        let repository = scm.repository(&target.repository).await?;
        let repository = repository.with_context(|| format!("there is no repository {}", target.repository))?;
        let now_seconds = slipway_kit::clock::Clock::system().now_us() / 1_000_000;
        let author = Author::new(&target.author, &format!("{}@localhost", target.author), now_seconds);
        Ok(Self { layout, scm, repository, author })
    }

    /// The head of a branch, empty if there is none.
    async fn head(&self, branch: &str) -> Result<String> {
        let head = self.scm.git(&self.repository.name).await?.branch_head(branch).await?;
        Ok(head.map(|sha| sha.as_str().to_owned()).unwrap_or_default())
    }

    async fn pushed(&self, branch: &str, before: &str, forced: bool) -> Result<()> {
        let after = self.head(branch).await?;
        if after == before {
            return Ok(());
        }
        let git = self.scm.git(&self.repository.name).await?;
        let commits = match Sha::parse(&after) {
            Ok(until) => {
                let from = Sha::parse(before).ok();
                git.commits(&CommitRange { from, to: until, path: None, limit: COMMITS_MAX }).await?
            }
            Err(_) => Vec::new(),
        };
        self.deliver(push_hook(&self.repository, branch, before, &after, &commits, forced)).await
    }

    async fn told(&self, pull: &PullRequest, action: Action) -> Result<()> {
        self.deliver(pull_request_hook(&self.repository, pull, action)).await
    }

    /// Signs and posts; a platform that is away finds the change by looking, so that is a warning only.
    async fn deliver(&self, hook: Hook) -> Result<()> {
        let Some(address) = self.layout.address() else {
            eprintln!("no platform has run on this directory yet: nothing was delivered");
            return Ok(());
        };
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.layout.webhook_secret()?).context("the webhook secret is empty")?;
        mac.update(&hook.body);
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        let sent = reqwest::Client::builder()
            .timeout(DELIVERY_TIMEOUT)
            .no_proxy()
            .build()?
            .post(format!("http://{address}/webhooks/{SCM}"))
            .header("content-type", "application/json")
            .header("x-github-event", hook.event)
            .header("x-github-delivery", id::uuid4())
            .header("x-hub-signature-256", signature)
            .body(hook.body)
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => bail!("the platform refused the {} delivery: {}", hook.event, answer.status()),
            Err(_) => {
                eprintln!("the platform at {address} does not answer: it will find the change when it looks");
                Ok(())
            }
        }
    }
}

/// Opens a pull request and delivers what a provider would.
pub async fn open(open: Open) -> Result<PullRequest> {
    let desk = Desk::at(&open.target).await?;
    let before = desk.head(&open.branch).await?;
    let new = OpenPullRequest {
        title: open.title.unwrap_or_else(|| open.branch.clone()),
        branch: open.branch.clone(),
        head_repository: None,
        base: open.base,
        files: changes(&open.changes)?,
        draft: open.draft,
        labels: open.labels,
        author: desk.author.clone(),
    };
    let pull = desk.scm.open_pull_request(&desk.repository.name, &new).await?;
    desk.pushed(&open.branch, &before, false).await?;
    desk.told(&pull, Action::Opened).await?;
    Ok(pull)
}

async fn push(push: Push) -> Result<PullRequest> {
    let desk = Desk::at(&push.target).await?;
    let name = &desk.repository.name;
    let pull = desk.scm.pull_request(name, push.number).await?;
    let pull = pull.with_context(|| format!("there is no pull request {} in {name}", push.number))?;
    let before = pull.head_sha.clone();
    let new = PushTo {
        branch: pull.head_ref.clone(),
        files: changes(&push.changes)?,
        message: push.message,
        force: push.force,
        author: desk.author.clone(),
    };
    desk.scm.push_to(name, &new).await?;
    let pull = desk.scm.refresh_pull_request(name, push.number).await?;
    desk.pushed(&pull.head_ref, &before, push.force).await?;
    desk.told(&pull, Action::Synchronize).await?;
    Ok(pull)
}

async fn close(close: Close) -> Result<PullRequest> {
    let desk = Desk::at(&close.target).await?;
    let name = &desk.repository.name;
    let pull = desk.scm.pull_request(name, close.number).await?;
    let pull = pull.with_context(|| format!("there is no pull request {} in {name}", close.number))?;
    let before = desk.head(&pull.base_ref).await?;
    let closing = ClosePullRequest { number: close.number, merge: close.merge, author: desk.author.clone() };
    let closed = desk.scm.close_pull_request(name, &closing).await?;
    if close.merge {
        desk.pushed(&closed.base_ref, &before, false).await?;
    }
    desk.told(&closed, Action::Closed).await?;
    Ok(closed)
}

/// `path=content` as changes of files.
fn changes(words: &[String]) -> Result<Vec<FileChange>> {
    let change = |word: &String| {
        let (path, content) = word.split_once('=').with_context(|| format!("{word:?} is not PATH=CONTENT"))?;
        Ok(FileChange::write(FilePath::parse(path)?, content.as_bytes()))
    };
    words.iter().map(change).collect()
}
