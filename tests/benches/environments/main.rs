//! The figures of environments in `docs/benchmarks.md`: how long a preview's steps take on a real Kubernetes, what environments cost at
//! rest and on their way, in memory, processor time and calls to Kubernetes.
//!
//! Owns what is measured and how it is said. Refuses to look inside: it is a developer, a CI job and a cluster administrator with a
//! clock, around the released program as its own process. `cargo xtask bench environments` gives it a cluster.
#![allow(clippy::unwrap_used, missing_docs)]

mod api;
mod crowd;
mod figures;
mod identity;
mod life;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use slipway_tests::cluster::Cluster;

/// What to measure.
#[derive(Parser)]
struct Options {
    /// The part that is run.
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Lives of previews that are timed.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// How many of them go on at one time.
    #[arg(long, default_value_t = 2)]
    lanes: usize,
    /// Numbers of environments that are kept, each by a platform of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 200])]
    environments: Vec<usize>,
    /// How long the environments at rest are watched; shorter than 300 misses part of what is done every five minutes.
    #[arg(long, default_value_t = 300)]
    rest_seconds: u64,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// Given by `cargo test --benches`, which only checks that it builds.
    #[arg(long, hide = true)]
    test: bool,
}

/// One run of this program.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Lives of previews whose pods run.
    Life,
    /// Many environments, on fake nodes.
    Crowd,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let Some(part) = options.part.filter(|_| !options.test) else { return Ok(()) };
    let cluster = Cluster::with_images("the benchmark of environments").context("no cluster was given")?;
    match part {
        Part::Life => life::measure(&cluster, options.rounds, options.lanes.max(1)).await,
        Part::Crowd => crowd::measure(&cluster, &options.environments, Duration::from_secs(options.rest_seconds)).await,
    }
}
