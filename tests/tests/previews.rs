//! Previews on a real Kubernetes: a pull request opens and its address answers; it closes and nothing is left.
//!
//! `SLIPWAY_TEST_CLUSTER_KILLS` sets the number of kills on the cluster (12 if unset, 300 with `SLIPWAY_TEST_FULL`), `SLIPWAY_TEST_SEED`
//! repeats their moments.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use slipway_proto::environment::v1::{self as environment, EnvironmentState as State};
use slipway_proto::secrets::v1 as secrets;
use slipway_tests::cluster::Cluster;
use slipway_tests::main_job::{answered, eventually};
use slipway_tests::platform::{Engine, Handle, Platform};
use slipway_tests::preview_job::PreviewJob;
use slipway_tests::program;

const TOOLS: &[&str] = &["git", "helm", "go", "kubectl"];
/// Kills of a run, and of a run in full.
const KILLS: (u64, u64) = (12, 300);
/// Most kills of one walk, so that both engines have their share.
const KILLS_A_WALK: usize = 6;
/// Bounds of the time between the platform being ready and the next kill, in milliseconds: short ones fall into the steps of bringing up
/// and tearing down, long ones into what waits for pods and for the namespace.
const LIFE_MS: [std::ops::Range<u64>; 2] = [50..900, 300..2_800];
/// A value that must be nowhere but in the cluster's Secret.
const CANARY: &str = "canary-7c1f9e3b";

fn ready(story: &str) -> Option<Cluster> {
    if !program::have(story, TOOLS) {
        return None;
    }
    Cluster::with_images(story)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_opens_and_its_address_answers_it_closes_and_nothing_is_left() {
    let Some(cluster) = ready("previews on Kubernetes") else { return };
    for engine in Engine::all() {
        let platform = Platform::start(engine).unwrap();
        let told = the_story(&platform.handle(), cluster.clone(), &format!("{engine:?}").to_lowercase()).await;
        told.unwrap_or_else(|e| panic!("on {engine:?}: {e:?}\n{}", platform.log()));
    }
}

async fn the_story(handle: &Handle, cluster: Cluster, name: &str) -> Result<()> {
    let this = PreviewJob::begin(handle, cluster, &format!("pay-{name}")).await?;
    bind_a_secret(&this).await?;
    let (number, first) = this.open("faster", "docs/faster.md=faster")?;
    let image = this.build(&first)?;
    let asked = this.ensure(number, &first, &image).await?;
    let env = this.ready(&asked.name, &first).await?;
    ensure!(this.commit(&env, &this.token()).await? == first, "another commit answers");
    strangers_are_kept_out(&this, &env).await?;
    the_secret_is_there_and_nowhere_else(&this, &env)?;
    let env = a_push_fails_no_request(&this, &env, number).await?;
    let env = it_sleeps_and_the_next_request_wakes_it(&this, &env).await?;
    this.close(number)?;
    let gone = this.job.deleted(&env.name).await?;
    nothing_is_left(&this, &gone).await
}

async fn bind_a_secret(this: &PreviewJob) -> Result<()> {
    let put = secrets::PutSecretRequest {
        secret: Some(secrets::Secret {
            service: this.job.service(),
            tier: environment::EnvironmentTier::Development.into(),
            ..Default::default()
        }),
        values: [("API_KEY".to_owned(), CANARY.to_owned())].into_iter().collect(),
        request_id: this.job.id("secret"),
        ..Default::default()
    };
    this.job.ann.secrets().put_secret(put).await?;
    let bind = secrets::CreateSecretBindingRequest {
        secret_binding_id: "app".to_owned(),
        secret_binding: Some(secrets::SecretBinding {
            service: this.job.service(),
            tier: environment::EnvironmentTier::Development.into(),
            items: vec![secrets::SecretBindingItem { key: "API_KEY".to_owned(), ..Default::default() }],
            ..Default::default()
        }),
        request_id: this.job.id("binding"),
        ..Default::default()
    };
    this.job.ann.bindings().create_secret_binding(bind).await?;
    Ok(())
}

async fn strangers_are_kept_out(this: &PreviewJob, env: &environment::Environment) -> Result<()> {
    let refused = this.get(env, "/version", "").await?;
    ensure!(refused.status == 401, "without a token: {} {}", refused.status, refused.body);
    let refused = this.get(env, "/version", "slw_nobody_nothing").await?;
    ensure!(refused.status == 401, "with a wrong token: {} {}", refused.status, refused.body);
    Ok(())
}

fn the_secret_is_there_and_nowhere_else(this: &PreviewJob, env: &environment::Environment) -> Result<()> {
    let all = this.cluster.kubectl(&["get", "secrets", "--namespace", &env.namespace, "--output", "json"])?;
    let all: serde_json::Value = serde_json::from_str(&all)?;
    let values: Vec<&str> =
        all["items"].as_array().into_iter().flatten().filter_map(|s| s["data"]["API_KEY"].as_str()).collect();
    ensure!(values.len() == 1, "{} Secrets carry the key", values.len());
    ensure!(!format!("{env:?}").contains(CANARY), "the environment carries the value");
    ensure!(!this.job.handle.log().contains(CANARY), "the log carries the value");
    let dir = this.job.handle.data();
    let found = program::run("sh", &["-c", &format!("grep -rlaF {CANARY} . || true")], &dir)?;
    ensure!(found.trim().is_empty(), "the value stands in {found}");
    Ok(())
}

/// While requests come one after another, a push rolls forward: each is answered, in the end by the new commit.
async fn a_push_fails_no_request(
    this: &PreviewJob,
    env: &environment::Environment,
    number: i64,
) -> Result<environment::Environment> {
    let second = this.push(number, "docs/faster.md=fastest")?;
    let image = this.build(&second)?;
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let asking = async {
        while !is_over.load(Ordering::SeqCst) {
            let answer = this.get(env, "/version", &this.token()).await?;
            ensure!(answer.status == 200, "during the rollout: {} {}", answer.status, answer.body);
            answered.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    let rolling = async {
        this.ensure(number, &second, &image).await?;
        let env = this.ready(&env.name, &second).await?;
        let shown = || async { this.commit(&env, &this.token()).await };
        eventually("the new commit", shown, |commit| *commit == second).await?;
        // The old pods go after the new ones are ready; requests must not notice.
        tokio::time::sleep(Duration::from_secs(12)).await;
        is_over.store(true, Ordering::SeqCst);
        Ok(env)
    };
    let ((), env) = tokio::try_join!(asking, rolling)?;
    println!("{} requests during the rollout, none failed", answered.load(Ordering::SeqCst));
    Ok(env)
}

async fn it_sleeps_and_the_next_request_wakes_it(
    this: &PreviewJob,
    env: &environment::Environment,
) -> Result<environment::Environment> {
    let request = environment::SleepEnvironmentRequest { name: env.name.clone(), ..Default::default() };
    this.job.ann.environments().sleep_environment(request).await?;
    this.state(&env.name, State::Asleep).await?;
    let pods = || async { this.cluster.kubectl(&["get", "pods", "--namespace", &env.namespace, "--output", "name"]) };
    eventually("no pod", pods, |names| names.trim().is_empty()).await?;
    let again = || async { this.get(env, "/version", &this.token()).await };
    let woken = eventually("an answer after sleep", again, |answer| answer.status == 200).await?;
    ensure!(woken.body.contains("commit"), "{}", woken.body);
    this.state(&env.name, State::Ready).await
}

async fn nothing_is_left(this: &PreviewJob, gone: &environment::Environment) -> Result<()> {
    let left = this.cluster.kubectl(&["get", "namespaces", "--output", "name", "--selector", &of(gone)])?;
    ensure!(left.trim().is_empty(), "namespaces are left: {left}");
    let receipt = this.job.receipt(&gone.uid).await?;
    let has = |kind: &str| receipt.objects.iter().any(|object| object.kind == kind);
    for kind in ["Namespace", "ResourceQuota", "NetworkPolicy", "Deployment", "Service", "Secret"] {
        ensure!(has(kind), "the receipt names no {kind}: {:#?}", receipt.objects);
    }
    // Whatever is not gone was kept on purpose, and says why: the host stays with its pull request.
    let kept: Vec<&str> =
        receipt.objects.iter().filter(|o| o.delete_time.is_none()).map(|object| object.kind.as_str()).collect();
    ensure!(kept == ["HostReservation"], "{:#?}", receipt.objects);
    Ok(())
}

fn of(env: &environment::Environment) -> String {
    format!("slipway.dev/env-uid={}", env.uid)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_refuses_is_told_in_words() {
    let Some(cluster) = ready("refusals on Kubernetes") else { return };
    let platform = Platform::start(Engine::Sqlite).unwrap();
    let told = refusals(&platform.handle(), cluster).await;
    told.unwrap_or_else(|e| panic!("{e:?}\n{}", platform.log()));
}

async fn refusals(handle: &Handle, cluster: Cluster) -> Result<()> {
    let this = PreviewJob::begin(handle, cluster, "refused").await?;
    let values = "environment: preview\nreplicas: 3\nresources: {cpu: 900m, memory: 64Mi, memoryLimitMi: 128}\n";
    let (number, sha) = this.open("greedy", &format!("chart/values-preview.yaml={values}"))?;
    let image = this.build(&sha)?;
    let asked = this.ensure(number, &sha, &image).await?;
    let env = this.state(&asked.name, State::Failed).await?;
    let said = condition(&env, "PolicyPassed").context("no condition")?;
    ensure!(said.reason == "QUOTA_TOO_SMALL" && said.message.contains("needs 2700m, has 2000m"), "{said:?}");
    let none = this.cluster.kubectl(&["get", "namespaces", "--output", "name", "--selector", &of(&env)])?;
    ensure!(none.trim().is_empty(), "a refused generation made {none}");
    // The chart itself asks for what Pod Security refuses.
    let deployment = program::run("git", &["show", "main:chart/templates/deployment.yaml"], &bare(&this))?;
    let root =
        deployment.replace("runAsNonRoot: true", "runAsNonRoot: false").replace("runAsUser: 65532", "runAsUser: 0");
    ensure!(root != deployment, "the chart changed; the story must too");
    let (number, sha) = this.open("rooted", &format!("chart/templates/deployment.yaml={root}"))?;
    let image = this.build(&sha)?;
    let asked = this.ensure(number, &sha, &image).await?;
    let env = this.state(&asked.name, State::Failed).await?;
    let said = env.conditions.iter().find(|c| c.message.contains("runAsNonRoot")).map(|c| c.reason.clone());
    ensure!(said.is_some(), "nothing tells of Pod Security: {:#?}", env.conditions);
    for number in [1, 2] {
        this.close(number)?;
    }
    this.job.deleted(&asked.name).await?;
    Ok(())
}

fn bare(this: &PreviewJob) -> std::path::PathBuf {
    this.job.handle.data().join("scm").join(format!("{}.git", this.job.repository()))
}

fn condition<'a>(env: &'a environment::Environment, kind: &str) -> Option<&'a slipway_proto::resource::v1::Condition> {
    env.conditions.iter().find(|condition| condition.r#type == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_a_real_cluster_nothing_is_orphaned_and_nothing_doubled() {
    let Some(cluster) = ready("kills on Kubernetes") else { return };
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|t| t.parse().ok()).unwrap_or(default);
    let seed = number("SLIPWAY_TEST_SEED", u64::from(std::process::id()));
    let default = if std::env::var_os("SLIPWAY_TEST_FULL").is_some() { KILLS.1 } else { KILLS.0 };
    let wanted = usize::try_from(number("SLIPWAY_TEST_CLUSTER_KILLS", default)).unwrap();
    println!("SLIPWAY_TEST_SEED={seed}");
    let engines = Engine::all();
    let (mut kills, mut walks) = (0, 0);
    while kills < wanted {
        let engine = engines[walks % engines.len()];
        let walk = killed_walk(engine, cluster.clone(), seed + walks as u64, (wanted - kills).min(KILLS_A_WALK)).await;
        kills += walk.unwrap_or_else(|e| panic!("walk {walks} on {engine:?}, seed {seed}: {e:?}"));
        walks += 1;
        println!("{kills} of {wanted} kills after {walks} walks");
    }
    println!("{kills} kills in {walks} walks on Kubernetes and {engines:?}: always the same end");
}

/// A preview's whole life under kills; how many there were.
async fn killed_walk(engine: Engine, cluster: Cluster, seed: u64, wanted: usize) -> Result<usize> {
    let platform = Platform::start(engine)?;
    let this = PreviewJob::begin(&platform.handle(), cluster, &format!("kill-{seed}")).await?;
    let (number, sha) = this.open("faster", "docs/faster.md=faster")?;
    let image = this.build(&sha)?;
    let (is_over, kills) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let killer = {
        let (is_over, kills) = (is_over.clone(), kills.clone());
        std::thread::spawn(move || -> Result<Platform> {
            let (mut platform, mut moment) = (platform, seed | 1);
            while !is_over.load(Ordering::SeqCst) && kills.load(Ordering::SeqCst) < wanted {
                moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let life = &LIFE_MS[kills.load(Ordering::SeqCst) % LIFE_MS.len()];
                std::thread::sleep(Duration::from_millis(life.start + (moment >> 33) % (life.end - life.start)));
                platform.restart()?;
                kills.fetch_add(1, Ordering::SeqCst);
            }
            Ok(platform)
        })
    };
    let walked = walk(&this, number, &sha, &image).await;
    is_over.store(true, Ordering::SeqCst);
    let platform = tokio::task::spawn_blocking(move || killer.join().unwrap()).await??;
    let gone = walked.map_err(|e| e.context(platform.log()))?;
    nothing_is_left_of(&this, &gone).await.map_err(|e| e.context(platform.log()))?;
    Ok(kills.load(Ordering::SeqCst))
}

async fn walk(this: &PreviewJob, number: i64, sha: &str, image: &str) -> Result<environment::Environment> {
    let asked = this.ensure(number, sha, image).await?;
    let env = this.ready(&asked.name, sha).await?;
    let found = this.cluster.kubectl(&["get", "namespaces", "--output", "name", "--selector", &of(&env)])?;
    ensure!(found.trim().lines().count() == 1, "not one namespace: {found}");
    let found = this.cluster.kubectl(&["get", "deployments", "--output", "name", "--namespace", &env.namespace])?;
    ensure!(found.trim().lines().count() == 1, "not one deployment: {found}");
    this.close(number)?;
    this.job.deleted(&env.name).await
}

async fn nothing_is_left_of(this: &PreviewJob, gone: &environment::Environment) -> Result<()> {
    let service = format!("slipway.dev/service={}", this.job.name);
    let left = this.cluster.kubectl(&["get", "namespaces", "--output", "name", "--selector", &service])?;
    ensure!(left.trim().is_empty(), "namespaces are orphaned: {left}");
    let all = environment::ListEnvironmentsRequest { show_deleted: true, ..Default::default() };
    let all = answered(|| async { this.job.ann.environments().list_environments(all.clone()).await }).await?;
    ensure!(all.environments.len() == 1, "{} lives, not 1", all.environments.len());
    let receipt = this.job.receipt(&gone.uid).await?;
    ensure!(receipt.objects.iter().any(|object| object.kind == "Namespace"), "{:#?}", receipt.objects);
    Ok(())
}
