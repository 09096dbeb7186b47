//! `cargo xtask test`: every check and every test, against the real components that are installed.
//!
//! Owns the order of the checks and the list of components used; refuses to pass silently when one is missing and
//! `--require-all` was asked for.

use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use clap::Args;

use crate::cluster::{self, ForTests};
use crate::postgres::{self, Postgres};
use crate::{process, proto, tools};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Fails if a real component (Postgres, Helm, Go, Kubernetes …) is missing, instead of skipping what needs it.
    #[arg(long)]
    require_all: bool,
    /// Runs the long ones in full too: hundreds of kills on the real cluster, about an hour more.
    #[arg(long)]
    full: bool,
    /// Runs the tests alone, without formatting, lints and dependency rules.
    #[arg(long)]
    only_tests: bool,
    /// Arguments for `cargo test`, for example `-p slipway-catalog`; the whole workspace if none is given.
    #[arg(last = true)]
    cargo: Vec<String>,
}

/// Runs every check.
pub fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let mut installed = tools::ensure(&tools::all())?;
    let mut missing: Vec<(&'static str, String)> = installed.missing.clone();
    let server = match postgres::find().or_else(postgres::install) {
        Some(bin) => Some(Postgres::start(&bin)?),
        None => {
            missing.push(("Postgres", "initdb and pg_ctl are not installed".to_owned()));
            None
        }
    };
    refuse(options, &missing)?;
    // Made ready beside the checks and the build.
    let cluster = thread::spawn(cluster::for_tests);
    if !options.only_tests {
        checks(&installed)?;
    }
    build(options, &installed)?;
    let cluster = match cluster.join().map_err(|_| anyhow!("the start of the cluster panicked"))? {
        Ok((cluster, parts)) => {
            installed.join(parts);
            Some(cluster)
        }
        Err(error) => {
            missing.push((cluster::NAME, format!("{error:#}")));
            None
        }
    };
    let used = Used { installed, server, cluster, missing };
    used.report();
    refuse(options, &used.missing)?;
    tests(options, &used)?;
    for (name, reason) in &used.missing {
        println!("skipped: what needs {name} ({reason})");
    }
    used.report();
    if let Some(cluster) = used.cluster {
        cluster.stop()?;
    }
    println!("all checks passed in {} s", start.elapsed().as_secs());
    Ok(())
}

/// The components of a run.
struct Used {
    installed: tools::Installed,
    server: Option<Postgres>,
    cluster: Option<ForTests>,
    missing: Vec<(&'static str, String)>,
}

impl Used {
    fn report(&self) {
        println!("real components:");
        for (name, path) in &self.installed.found {
            println!("  {name}: {}", path.display());
        }
        if let Some(server) = &self.server {
            println!("  Postgres: {}", server.version());
        }
        if let Some(cluster) = &self.cluster {
            println!("  {}: {}", cluster::NAME, cluster.kubeconfig().display());
        }
        for (name, reason) in &self.missing {
            println!("  {name}: MISSING ({reason})");
        }
    }
}

fn refuse(options: &Options, missing: &[(&str, String)]) -> Result<()> {
    if options.require_all && !missing.is_empty() {
        let missing: Vec<String> = missing.iter().map(|(name, reason)| format!("{name} ({reason})")).collect();
        bail!("missing: {}", missing.join(", "));
    }
    Ok(())
}

/// Writes the documents that are generated from the sources.
pub fn docs() -> Result<()> {
    let mut tests = cargo();
    tests.args(["test", "--locked", "--package", "slipway-tests", "--test", "errors"]).env("SLIPWAY_WRITE_DOCS", "1");
    process::run(&mut tests)
}

fn checks(installed: &tools::Installed) -> Result<()> {
    process::run(cargo().args(["fmt", "--all", "--check"]))?;
    if has(installed, "buf") {
        proto::lint(installed)?;
    }
    if has(installed, "cargo-deny") {
        // Advisories need a database from outside; the floors of deny.toml stand in for it.
        let checks = ["deny", "--locked", "check", "bans", "licenses", "sources"];
        process::run(cargo().args(checks).env("PATH", installed.path()?))?;
    }
    process::run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn build(options: &Options, installed: &tools::Installed) -> Result<()> {
    // The stories start the platform as users do: as its own process.
    process::run(cargo().args(["build", "--locked", "--package", "slipway-standalone"]))?;
    if proto::PROGRAMS.iter().all(|name| has(installed, name)) {
        proto::render(installed, &proto::clients_dir())?;
    }
    process::run(&mut cargo_test(options, &["--no-run"]))
}

fn tests(options: &Options, used: &Used) -> Result<()> {
    let mut tests = cargo_test(options, &[]);
    tests.env("PATH", used.installed.path()?).env("SLIPWAY_TEST_CLIENTS", proto::clients_dir());
    if options.full {
        tests.env("SLIPWAY_TEST_FULL", "1");
    }
    if let Some(server) = &used.server {
        tests.env("SLIPWAY_TEST_POSTGRES", server.dsn());
    }
    if let Some(cluster) = &used.cluster {
        tests.envs(cluster.environment());
    }
    process::run(&mut tests)
}

fn has(installed: &tools::Installed, name: &str) -> bool {
    installed.found.iter().any(|(found, _)| *found == name)
}

/// cargo at the root of the clone.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(process::root());
    command
}

fn cargo_test(options: &Options, first: &[&str]) -> Command {
    let mut tests = cargo();
    tests.args(["test", "--locked"]).args(first);
    match options.cargo.is_empty() {
        true => tests.arg("--workspace"),
        // A second `--` parts what is cargo's from what is the tests' own.
        false => tests.args(&options.cargo),
    };
    tests
}
