//! Lives of previews whose pods run: created, pushed to, asleep and awake again, closed; each step by the clock of who waits for it.
//!
//! Owns what each span begins and ends with. Refuses to time the build of an image: each is on the node before the span begins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use slipway_proto::environment::v1::{self as environment, EnvironmentState as State};
use slipway_tests::cluster::Cluster;
use slipway_tests::platform::{Engine, Platform};
use slipway_tests::preview_job::PreviewJob;
use slipway_tests::program;

use crate::api::Api;
use crate::figures::{self, Spans};
use crate::identity::Identity;

/// Longest time of one step.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pause between two looks; what is measured is not finer.
const PAUSE: Duration = Duration::from_millis(50);

/// Spans of one life.
struct Life {
    guarded: Duration,
    created: Duration,
    pushed: Duration,
    woken: Duration,
    ending: Duration,
    ended: Duration,
}

/// Images of the service, on the node already.
struct Images {
    old: String,
    new: String,
}

/// Everything that lives share.
struct Bench {
    this: PreviewJob,
    api: Api,
    images: Images,
}

/// Times `rounds` lives, `lanes` at one time, and prints the table.
pub async fn measure(cluster: &Cluster, rounds: usize, lanes: usize) -> Result<()> {
    let platform = Platform::start(Engine::Sqlite)?;
    let measured = lives(&platform, cluster, rounds, lanes).await;
    measured.map_err(|error| error.context(platform.log()))
}

async fn lives(platform: &Platform, cluster: &Cluster, rounds: usize, lanes: usize) -> Result<()> {
    let identity = Identity::make(cluster, "life")?;
    let this = PreviewJob::unregistered(&platform.handle(), cluster.clone(), "payments").await?;
    identity.register(&this).await?;
    let images = images(&this)?;
    let bench = Arc::new(Bench { this, api: Api::open(cluster)?, images });
    let before = bench.api.requests(identity.name())?;
    let mut running = tokio::task::JoinSet::new();
    for lane in 0..lanes {
        let bench = bench.clone();
        running.spawn(async move {
            let mut lives = Vec::new();
            for round in (lane..rounds).step_by(lanes) {
                eprintln!("life {} of {rounds} …", round + 1);
                lives.push(bench.life(round).await.with_context(|| format!("life {}", round + 1))?);
            }
            anyhow::Ok(lives)
        });
    }
    let mut all = Vec::new();
    while let Some(lane) = running.join_next().await {
        all.extend(lane??);
    }
    let calls = bench.api.requests(identity.name())? - before;
    report(&all, lanes);
    println!(
        "Calls to Kubernetes per life, whatever the platform does beside it included: {} ({} reads, {} writes).\n",
        calls.all() / all.len() as u64,
        (calls.reads + calls.watches) / all.len() as u64,
        calls.writes / all.len() as u64
    );
    Ok(())
}

fn images(this: &PreviewJob) -> Result<Images> {
    let scratch = this.job.handle.scratch();
    let sources = scratch.join("sources");
    let (bare, dir) = (this.bare(), sources.to_str().context("not UTF-8")?);
    program::run("git", &["clone", "--quiet", bare.to_str().context("not UTF-8")?, dir], scratch)?;
    let image = |commit: &str| this.cluster.import_go(&this.image_name(), &sources, "bench", commit);
    Ok(Images { old: image("old")?, new: image("new")? })
}

fn report(lives: &[Life], lanes: usize) {
    let mut rows = Vec::new();
    let mut row = |step: &str, goal: &str, of: fn(&Life) -> Duration| {
        let mut spans = Spans::default();
        lives.iter().for_each(|life| spans.push(of(life)));
        let [median, most, longest] = spans.columns();
        rows.push(vec![step.to_owned(), median, most, longest, goal.to_owned()]);
    };
    row("`EnsurePreview` → namespace with all guard rails", "≤ 2 s (ENV-172)", |l| l.guarded);
    row("`EnsurePreview` → the address answers", "", |l| l.created);
    row("push → the new version answers", "≤ 15 s (ENV-179)", |l| l.pushed);
    row("first request to a sleeping one → it answers", "≤ 10 s (ENV-180)", |l| l.woken);
    row("close → DELETING", "≤ 5 s (ENV-173)", |l| l.ending);
    row("close → DELETED, namespace gone", "", |l| l.ended);
    println!("### Steps of a preview, {} lives, {lanes} at a time\n", lives.len());
    let head = ["step", "p50 s", "p95 s", "max s", "goal for p95"].map(str::to_owned);
    figures::table(&head, &rows);
}

impl Bench {
    async fn life(self: &Arc<Self>, round: usize) -> Result<Life> {
        let branch = format!("change-{round}");
        let (number, sha) = self.blocking(move |b| b.this.open(&branch, &format!("docs/{branch}.md=old"))).await?;
        let start = Instant::now();
        let asked = self.this.ensure(number, &sha, &self.images.old).await?;
        let guarded = self.guarded(&asked, start).await?;
        let created = self.answers(&asked, "old", start).await?;
        let env = self.this.ready(&asked.name, &sha).await?;
        let pushed = self.push(&env, number).await?;
        let woken = self.sleep_and_wake(&env).await?;
        let (ending, ended) = self.close(&env, number).await?;
        Ok(Life { guarded, created, pushed, woken, ending, ended })
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let bench = self.clone();
        tokio::task::spawn_blocking(move || work(&bench)).await?
    }

    async fn guarded(self: &Arc<Self>, env: &environment::Environment, start: Instant) -> Result<Duration> {
        let (namespace, uid) = (env.namespace.clone(), env.uid.clone());
        let look = move |bench: &Self| loop {
            if bench.api.is_guarded(&namespace, &uid)? {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < PATIENCE, "{namespace} has no guard rails");
            std::thread::sleep(PAUSE);
        };
        self.blocking(look).await
    }

    /// Until this commit's answer comes through the gateway.
    async fn answers(&self, env: &environment::Environment, commit: &str, start: Instant) -> Result<Duration> {
        loop {
            let said = self.this.commit(env, &self.this.token()).await;
            if said.as_ref().is_ok_and(|said| said == commit) {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < PATIENCE, "{} does not answer: {said:?}", env.name);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn push(self: &Arc<Self>, env: &environment::Environment, number: i64) -> Result<Duration> {
        let start = Instant::now();
        let sha = self.blocking(move |b| b.this.push(number, &format!("docs/pushed-{number}.md=new"))).await?;
        self.this.ensure(number, &sha, &self.images.new).await?;
        let pushed = self.answers(env, "new", start).await?;
        self.this.ready(&env.name, &sha).await?;
        Ok(pushed)
    }

    async fn sleep_and_wake(&self, env: &environment::Environment) -> Result<Duration> {
        let request = environment::SleepEnvironmentRequest { name: env.name.clone(), ..Default::default() };
        self.this.job.ann.environments().sleep_environment(request).await?;
        self.this.state(&env.name, State::Asleep).await?;
        let start = Instant::now();
        let woken = self.answers(env, "new", start).await?;
        self.this.state(&env.name, State::Ready).await?;
        Ok(woken)
    }

    async fn close(self: &Arc<Self>, env: &environment::Environment, number: i64) -> Result<(Duration, Duration)> {
        let start = Instant::now();
        let closing = self.blocking(move |b| b.this.close(number));
        let watching = async {
            let mut ending = None;
            loop {
                let state = self.this.job.environment(&env.name).await?.state();
                if ending.is_none() && matches!(state, State::Deleting | State::Deleted) {
                    ending = Some(start.elapsed());
                }
                if let (State::Deleted, Some(ending)) = (state, ending) {
                    return Ok((ending, start.elapsed()));
                }
                ensure!(start.elapsed() < PATIENCE, "{} is still {state:?}", env.name);
                tokio::time::sleep(PAUSE).await;
            }
        };
        let ((), spans) = tokio::try_join!(closing, watching)?;
        ensure!(!self.api.has_namespace(&env.namespace)?, "{} is still there", env.namespace);
        Ok(spans)
    }
}
