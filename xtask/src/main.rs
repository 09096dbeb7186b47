//! Every verb a contributor needs: `cargo xtask up | test | bench | tools | proto | docs`.
//!
//! Owns the way from a fresh clone to a running or tested platform; refuses anything the product itself should do.

mod postgres;
mod process;
mod proto;
mod test;
mod tools;
mod up;

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};

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
    Bench,
    /// Writes the generated documents anew.
    Docs,
    /// Runs the built `slipway` with the arguments given.
    Slipway(up::Rest),
    /// Installs the pinned outside programs into the cache.
    Tools(ToolsOptions),
    /// Lints the contracts and renders the Go and TypeScript clients.
    Proto(proto::Options),
}

#[derive(Args)]
struct ToolsOptions {
    /// Programs to install; all if none is named.
    names: Vec<String>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Up(options) => up::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Bench => test::bench(),
        Verb::Docs => test::docs(),
        Verb::Slipway(rest) => up::slipway(&rest),
        Verb::Tools(options) => install(&options),
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

fn install(options: &ToolsOptions) -> anyhow::Result<()> {
    let all = tools::all();
    if let Some(unknown) = options.names.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("{unknown} is not one of {}", all.join(", "));
    }
    let names: Vec<&str> = match options.names.is_empty() {
        true => all,
        false => options.names.iter().map(String::as_str).collect(),
    };
    let installed = tools::ensure(&names)?;
    for (name, path) in &installed.found {
        println!("{name}: {}", path.display());
    }
    for (name, reason) in &installed.missing {
        println!("{name}: missing ({reason})");
    }
    Ok(())
}
