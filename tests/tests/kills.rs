//! SIGKILL at random moments of the main job, restart, and always the same end: nothing acknowledged is lost, nothing is doubled.
//!
//! `SLIPWAY_TEST_KILLS` sets the number of kills (200 if unset), `SLIPWAY_TEST_SEED` repeats a run.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use slipway_proto::access::v1 as access;
use slipway_proto::catalog::v1 as catalog;
use slipway_proto::environment::v1 as environment;
use slipway_proto::scaffolding::v1 as scaffolding;
use slipway_tests::main_job::{Job, answered, eventually};
use slipway_tests::platform::{Engine, Platform};
use slipway_tests::program;

const KILLS: usize = 200;
/// Bounds of the time between the platform being ready and the next kill, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 20..1_200;

/// A small generator, so that a seed repeats the moments of a run.
struct Moments(u64);

impl Moments {
    fn next(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        range.start + (self.0 >> 33) % (range.end - range.start)
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_the_main_job_ends_the_same() {
    if !program::have("the kills", &["git", "helm"]) {
        return;
    }
    let seed = number("SLIPWAY_TEST_SEED", u64::from(std::process::id()));
    let wanted = usize::try_from(number("SLIPWAY_TEST_KILLS", KILLS as u64)).unwrap();
    println!("SLIPWAY_TEST_SEED={seed}");
    let kills = Arc::new(AtomicUsize::new(0));
    let engines = Engine::all();
    let mut walks = 0;
    while kills.load(Ordering::SeqCst) < wanted {
        let engine = engines[walks % engines.len()];
        one_walk(engine, seed + walks as u64, &kills, wanted)
            .await
            .unwrap_or_else(|e| panic!("walk {walks} on {engine:?}, seed {seed}: {e:?}"));
        walks += 1;
    }
    println!(
        "{} kills in {walks} walks through the main job on {engines:?}: always the same end",
        kills.load(Ordering::SeqCst)
    );
}

async fn one_walk(engine: Engine, seed: u64, kills: &Arc<AtomicUsize>, wanted: usize) -> Result<()> {
    let platform = Platform::start(engine)?;
    let handle = platform.handle();
    // Used once before the first kill: until then each start prints a new first token, and the one held here would be void.
    let admin = handle.calls(&handle.token)?;
    answered(|| async { admin.tokens().who_am_i(access::WhoAmIRequest::default()).await }).await?;
    let done = Arc::new(AtomicBool::new(false));
    let killer = {
        let (done, kills) = (done.clone(), kills.clone());
        std::thread::spawn(move || -> Result<Platform> {
            let mut platform = platform;
            let mut moments = Moments(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            while !done.load(Ordering::SeqCst) && kills.load(Ordering::SeqCst) < wanted {
                std::thread::sleep(Duration::from_millis(moments.next(LIFE_MS)));
                platform.kill();
                kills.fetch_add(1, Ordering::SeqCst);
                platform.restart()?;
            }
            Ok(platform)
        })
    };
    let walked = walk(&handle, &format!("walk-{seed}")).await;
    done.store(true, Ordering::SeqCst);
    let platform = tokio::task::spawn_blocking(move || killer.join().unwrap()).await??;
    let job = walked.map_err(|e| e.context(platform.log()))?;
    the_end_is_the_same(&job).await.map_err(|e| e.context(platform.log()))
}

/// The main job, each step repeated until it is acknowledged.
async fn walk(handle: &slipway_tests::platform::Handle, name: &str) -> Result<Job> {
    let job = Job::begin(handle, name).await?;
    job.create_service().await?;
    let entity = job.entity().await?;
    ensure!(entity.owner == "group:default/payments", "owner {}", entity.owner);
    let opened =
        handle.dev_pr("open", &job.repository(), &["--branch", "faster", "--change", "docs/faster.md=faster"])?;
    let (number, first) = (opened["number"].as_i64().unwrap(), opened["headSha"].as_str().unwrap().to_owned());
    let asked = job.ensure_preview(number, &first).await?;
    job.published(&asked.name, &first).await?;
    let pushed = handle.dev_pr(
        "push",
        &job.repository(),
        &["--number", &number.to_string(), "--change", "docs/faster.md=fastest"],
    )?;
    let second = pushed["headSha"].as_str().unwrap().to_owned();
    job.ensure_preview(number, &second).await?;
    job.published(&asked.name, &second).await?;
    handle.dev_pr("close", &job.repository(), &["--number", &number.to_string()])?;
    job.deleted(&asked.name).await?;
    Ok(job)
}

async fn the_end_is_the_same(job: &Job) -> Result<()> {
    let runs = answered(|| async { job.ann.runs().list_runs(scaffolding::ListRunsRequest::default()).await }).await?;
    ensure!(runs.runs.len() == 1, "{} runs, not 1", runs.runs.len());
    let entities = catalog::ListEntitiesRequest { filter: format!("name = {:?}", job.name), ..Default::default() };
    let entities = answered(|| async { job.ann.entities().list_entities(entities.clone()).await }).await?;
    ensure!(entities.entities.len() == 2, "a component and its API, not {}", entities.entities.len());
    let all = environment::ListEnvironmentsRequest { show_deleted: true, ..Default::default() };
    let all = answered(|| async { job.ann.environments().list_environments(all.clone()).await }).await?;
    ensure!(all.environments.len() == 1, "{} lives, not 1: {:#?}", all.environments.len(), all.environments);
    let life = &all.environments[0];
    let receipt = eventually("the receipt", || job.receipt(&life.uid), |r| !r.objects.is_empty()).await?;
    ensure!(receipt.environment == life.name, "the receipt is of {}", receipt.environment);
    repositories_are_single(job)?;
    let publication = life.publication.clone().unwrap_or_default();
    let dir = job.handle.data().join("gitops").join(format!("{}.git", publication.repository));
    let left = program::run("git", &["ls-tree", "-r", "--name-only", &publication.branch], &dir)?;
    ensure!(!left.contains(&job.name), "manifests are left: {left}");
    // One commit per act and generation, whatever was interrupted in between.
    let format = "--format=%(trailers:valueonly,separator=%x20)";
    let log = program::run("git", &["log", format, &publication.branch], &dir)?;
    let acts: Vec<&str> = log.lines().filter(|line| line.contains(&life.uid)).collect();
    let single: BTreeSet<&str> = acts.iter().copied().collect();
    ensure!(!acts.is_empty() && single.len() == acts.len(), "an act was committed twice:\n{log}");
    Ok(())
}

fn repositories_are_single(job: &Job) -> Result<()> {
    let owner = job.handle.data().join("scm/services");
    let names: Vec<_> = std::fs::read_dir(owner)?.flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    ensure!(names == [format!("{}.git", job.name)], "repositories: {names:?}");
    let bare = job.handle.data().join("scm").join(format!("{}.git", job.repository()));
    let commits = program::run("git", &["rev-list", "--count", "main"], &bare)?;
    ensure!(commits.trim() == "1", "{} commits on main, not 1", commits.trim());
    Ok(())
}
