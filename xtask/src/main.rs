//! Every verb a contributor needs: `cargo xtask up | test | bench | tools | cluster | proto | docs`.
//!
//! Owns the way from a fresh clone to a running or tested platform; refuses anything the product itself should do.

mod bench;
mod cluster;
mod postgres;
mod process;
mod proto;
mod test;
mod tools;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every verb a contributor needs")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Builds and runs the platform.
    Up(up::Options),
    /// Runs every check and all tests, and names the real components used.
    Test(test::Options),
    /// Measures the platform; the figures of docs/benchmarks.md.
    Bench(bench::Options),
    /// Writes the generated documents anew.
    Docs,
    /// Runs the built `slipway` with the arguments given.
    Slipway(up::Rest),
    /// Installs the pinned outside programs into the cache.
    Tools(tools::Options),
    /// Runs a real Kubernetes on this machine, for the tests and by hand.
    Cluster(cluster::Options),
    /// Lints the contracts and renders the Go and TypeScript clients.
    Proto(proto::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Up(options) => up::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Docs => test::docs(),
        Verb::Slipway(rest) => up::slipway(&rest),
        Verb::Tools(options) => tools::run(&options),
        Verb::Cluster(options) => cluster::run(&options),
        Verb::Proto(options) => proto::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
