//! Many environments: what a platform needs to bring them up, to keep them and to end some.
//!
//! Owns the sizes, each with a platform of its own, on nodes whose pods are ready without running. Refuses to time people: what is
//! counted are memory, processor time and calls to Kubernetes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use slipway_proto::environment::v1::{self as environment, EnvironmentState as State};
use slipway_tests::cluster::Cluster;
use slipway_tests::main_job::answered;
use slipway_tests::platform::{Engine, Platform};
use slipway_tests::preview_job::PreviewJob;

use crate::api::{Api, Requests};
use crate::figures::{self, Spans};
use crate::identity::Identity;

/// Longest time until all are ready, or those that were closed are gone.
const PATIENCE: Duration = Duration::from_secs(420);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// How many are closed together; the brake on mass endings begins above.
const CLOSED: usize = 10;
/// A platform whose processor time stays below this share for as long is at rest.
const QUIET: (f64, Duration) = (0.10, Duration::from_secs(5));

/// One size, and what it cost.
struct Crowd {
    platform: Platform,
    identity: Identity,
    this: PreviewJob,
    size: usize,
    figures: BTreeMap<&'static str, String>,
}

/// Measures each size and prints one table.
pub async fn measure(cluster: &Cluster, sizes: &[usize], rest: Duration) -> Result<()> {
    let api = Api::open(cluster)?;
    let mut crowds = Vec::new();
    for size in sizes {
        crowds.push(Crowd::begin(cluster, *size).await?);
    }
    for crowd in &mut crowds {
        let filled = crowd.fill(&api).await;
        filled.map_err(|error| error.context(crowd.platform.log()))?;
    }
    keep(&mut crowds, &api, rest).await?;
    for crowd in &mut crowds {
        crowd.sweep(&api).await?;
        crowd.end_some(&api).await?;
    }
    report(&crowds, rest);
    Ok(())
}

impl Crowd {
    async fn begin(cluster: &Cluster, size: usize) -> Result<Self> {
        let platform = Platform::start(Engine::Sqlite)?;
        let identity = Identity::make(cluster, &format!("crowd-{size}"))?;
        let this = PreviewJob::unregistered(&platform.handle(), cluster.clone(), &format!("crowd-{size}")).await?;
        identity.register(&this).await?;
        // A team's budget would end long before.
        let limits =
            environment::BudgetLimits { previews: Some(1_000), cpu: "1000".to_owned(), memory: "4Ti".to_owned() };
        let budget = environment::Budget {
            name: "budgets/default.payments".to_owned(),
            limits: Some(limits.clone()),
            service_limits: Some(limits),
            ..Default::default()
        };
        let wanted = environment::UpdateBudgetRequest { budget: Some(budget), ..Default::default() };
        this.job.admin.budgets().update_budget(wanted).await?;
        Ok(Self { platform, identity, this, size, figures: BTreeMap::new() })
    }

    fn say(&mut self, what: &'static str, figure: String) {
        self.figures.insert(what, figure);
    }

    /// Opens the pull requests, asks for a preview of each, and waits until all are ready.
    async fn fill(&mut self, api: &Api) -> Result<()> {
        self.quiet().await?;
        let (empty, _) = figures::memory_mib(&self.platform)?;
        let (calls, cpu, start) =
            (api.requests(self.identity.name())?, figures::cpu_seconds(&self.platform)?, Instant::now());
        for at in 0..self.size {
            if at % 25 == 0 {
                eprintln!("{at} of {} environments …", self.size);
            }
            let branch = format!("change-{at}");
            let (number, sha) = self.this.open(&branch, &format!("docs/{branch}.md=change"))?;
            self.this.ensure(number, &sha, &self.this.job.image(&sha)).await?;
        }
        let all = |states: &BTreeMap<State, usize>| states.get(&State::Ready).is_some_and(|n| *n == self.size);
        self.until(all, start).await?;
        let took = start.elapsed().as_secs_f64();
        // What was begun is finished; then the picture is taken.
        self.quiet().await?;
        let (calls, cpu) = (api.requests(self.identity.name())? - calls, figures::cpu_seconds(&self.platform)? - cpu);
        let size = self.size as f64;
        self.say("empty", format!("{empty:.0}"));
        self.say("up", format!("{took:.0} s"));
        self.say("up calls", per(calls, size));
        self.say("up cpu", format!("{:.2} s", cpu / size));
        Ok(())
    }

    /// Asks for all environments until their states are as wanted.
    async fn until(&self, wanted: impl Fn(&BTreeMap<State, usize>) -> bool, start: Instant) -> Result<()> {
        loop {
            let states = self.states().await?;
            if wanted(&states) {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "after {} s: {states:?}", start.elapsed().as_secs());
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn states(&self) -> Result<BTreeMap<State, usize>> {
        let request = environment::ListEnvironmentsRequest { page_size: 1000, ..Default::default() };
        let list = || async { self.this.job.ann.environments().list_environments(request.clone()).await };
        let mut states = BTreeMap::new();
        for env in answered(list).await?.environments {
            *states.entry(env.state()).or_default() += 1;
        }
        Ok(states)
    }

    /// Until the platform is at rest; when it came to rest.
    async fn quiet(&self) -> Result<Instant> {
        let (share, span) = QUIET;
        let begin = Instant::now();
        let (mut since, mut at) = (Instant::now(), figures::cpu_seconds(&self.platform)?);
        while begin.elapsed() < Duration::from_secs(90) {
            tokio::time::sleep(PAUSE).await;
            let used = figures::cpu_seconds(&self.platform)? - at;
            if used > share * span.as_secs_f64() {
                (since, at) = (Instant::now(), figures::cpu_seconds(&self.platform)?);
            } else if since.elapsed() >= span {
                return Ok(since);
            }
        }
        // Not quieter than this: the figures tell.
        Ok(since)
    }

    /// Starts the platform anew: everything is looked at once.
    async fn sweep(&mut self, api: &Api) -> Result<()> {
        let before = api.requests(self.identity.name())?;
        let start = Instant::now();
        self.platform.restart()?;
        let at_rest = self.quiet().await?;
        let calls = api.requests(self.identity.name())? - before;
        let (now, _) = figures::memory_mib(&self.platform)?;
        self.say("sweep", format!("{:.1} s", at_rest.duration_since(start).as_secs_f64()));
        self.say("sweep calls", per(calls, self.size as f64));
        self.say("sweep memory", format!("{now:.0}"));
        Ok(())
    }

    /// Closes some pull requests together.
    async fn end_some(&mut self, api: &Api) -> Result<()> {
        let count = CLOSED.min(self.size);
        let (before, start) = (api.requests(self.identity.name())?, Instant::now());
        for number in 1..=count {
            self.this.close(i64::try_from(number)?)?;
        }
        let mut spans = Spans::default();
        while spans.len() < count {
            let left: usize = self.states().await?.values().sum();
            for _ in spans.len()..self.size - left {
                spans.push(start.elapsed());
            }
            ensure!(start.elapsed() < PATIENCE, "{} of {count} are gone", spans.len());
            tokio::time::sleep(PAUSE).await;
        }
        let calls = api.requests(self.identity.name())? - before;
        self.say("down", format!("{:.1} s", spans.at(1.0)));
        self.say("down calls", per(calls, count as f64));
        Ok(())
    }
}

/// All of them at rest at the same time.
async fn keep(crowds: &mut [Crowd], api: &Api, rest: Duration) -> Result<()> {
    let mut before = Vec::new();
    for crowd in &*crowds {
        crowd.quiet().await?;
        before.push((api.requests(crowd.identity.name())?, figures::cpu_seconds(&crowd.platform)?, Instant::now()));
    }
    eprintln!("all environments at rest for {} s …", rest.as_secs());
    tokio::time::sleep(rest).await;
    for (crowd, (calls, cpu, start)) in crowds.iter_mut().zip(before) {
        let calls = api.requests(crowd.identity.name())? - calls;
        let cpu = figures::cpu_seconds(&crowd.platform)? - cpu;
        let seconds = start.elapsed().as_secs_f64();
        let (now, most) = figures::memory_mib(&crowd.platform)?;
        crowd.say("rest memory", format!("{now:.0}, at most {most:.0}"));
        crowd.say("rest cpu", format!("{:.1} %", cpu / seconds * 100.0));
        crowd.say("rest calls", per(calls, seconds / 60.0));
    }
    Ok(())
}

/// Calls per one of `count`, by kind.
fn per(calls: Requests, count: f64) -> String {
    let of = |n: u64| n as f64 / count;
    format!("{:.1} ({:.1} + {:.1} + {:.1})", of(calls.all()), of(calls.reads), of(calls.watches), of(calls.writes))
}

const ROWS: [(&str, &str, &str); 12] = [
    ("empty", "memory without any, MiB", ""),
    ("up", "all asked for, one after the other → all READY", ""),
    ("up cpu", "processor time of the platform for each", ""),
    ("up calls", "calls to Kubernetes for each, until READY and quiet", ""),
    ("rest memory", "memory at rest, MiB", "≤ 150 at 500 (ENV-175)"),
    ("rest cpu", "processor at rest, of one core", "≤ 10 % at 500 (ENV-175)"),
    ("rest calls", "calls to Kubernetes at rest, per minute in all", ""),
    ("sweep", "restart → everything looked at", "≤ 60 s at 500 (ENV-175)"),
    ("sweep calls", "calls to Kubernetes for each of that", ""),
    ("sweep memory", "memory after it, MiB", ""),
    ("down", "ten closed together → all DELETED", ""),
    ("down calls", "calls to Kubernetes for each of them", ""),
];

fn report(crowds: &[Crowd], rest: Duration) {
    println!("### What environments cost, at rest watched for {} s\n", rest.as_secs());
    println!("Calls are told as all (reads + watches begun + writes).\n");
    let mut head = vec![String::new()];
    head.extend(crowds.iter().map(|crowd| format!("{} environments", crowd.size)));
    head.push("goal".to_owned());
    let rows: Vec<Vec<String>> = ROWS
        .iter()
        .map(|(key, what, goal)| {
            let mut row = vec![(*what).to_owned()];
            row.extend(crowds.iter().map(|crowd| crowd.figures.get(key).cloned().unwrap_or_default()));
            row.push((*goal).to_owned());
            row
        })
        .collect();
    figures::table(&head, &rows);
}
