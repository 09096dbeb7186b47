//! `cargo xtask bench`: the figures of docs/benchmarks.md, from the release build.
//!
//! Owns what each area needs around it, a cluster among it. Refuses to judge: the goals stand beside the figures.

use std::process::Command;
use std::thread;

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};

use crate::{cluster, process, test, tools};

/// Fake nodes that many environments are put on.
const FAKE_NODES: u32 = 4;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// What is measured.
    #[arg(value_enum, default_value_t = Area::Platform)]
    area: Area,
    /// Options of the benchmark itself, for example `--rounds 4 --environments 20 --rest-seconds 60`.
    #[arg(last = true)]
    options: Vec<String>,
}

/// What is measured at one time.
#[derive(Clone, Copy, ValueEnum)]
enum Area {
    /// Catalog and gateway: ingest, reads, memory.
    Platform,
    /// Previews on a real Kubernetes of this run: how long each step takes, and what many of them cost.
    Environments,
}

/// Measures the release build: interleaved runs in one session.
pub fn run(options: &Options) -> Result<()> {
    match options.area {
        Area::Platform => {
            let installed = tools::ensure(&["helm"])?;
            process::run(&mut program())?;
            process::run(bench("platform", &options.options).env("PATH", installed.path()?))
        }
        Area::Environments => environments(&options.options),
    }
}

fn environments(options: &[String]) -> Result<()> {
    let mut installed = tools::ensure(&["helm"])?;
    if process::find("go").is_none() {
        bail!("go is not on PATH: the service whose previews are measured is written in it");
    }
    // Made ready beside the build.
    let cluster = thread::spawn(cluster::for_tests);
    process::run(&mut program())?;
    let mut build = test::cargo();
    process::run(build.args([
        "bench",
        "--locked",
        "--package",
        "slipway-tests",
        "--bench",
        "environments",
        "--no-run",
    ]))?;
    let (cluster, parts) = cluster.join().map_err(|_| anyhow!("the start of the cluster panicked"))??;
    installed.join(parts);
    let path = installed.path()?;
    let part = |part: &str| {
        let options: Vec<String> = ["--part", part].map(str::to_owned).into_iter().chain(options.to_vec()).collect();
        process::run(bench("environments", &options).env("PATH", &path).envs(cluster.environment()))
    };
    part("life")?;
    cluster.fake_nodes(&installed, FAKE_NODES)?;
    part("crowd")?;
    cluster.stop()
}

/// The released program.
fn program() -> Command {
    let mut build = test::cargo();
    build.args(["build", "--locked", "--release", "--package", "slipway-standalone"]);
    build
}

fn bench(name: &str, options: &[String]) -> Command {
    let mut bench = test::cargo();
    bench.args(["bench", "--locked", "--quiet", "--package", "slipway-tests", "--bench", name, "--"]).args(options);
    bench
}
