//! `cargo xtask test`: every check and every test, against the real components that are installed.
//!
//! Owns the order of the checks and the list of components used; refuses to pass silently when one is missing and
//! `--require-all` was asked for.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::postgres::{self, Postgres};
use crate::{process, proto, tools};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Fails if a real component (Postgres, Helm, Go …) is missing, instead of skipping what needs it.
    #[arg(long)]
    require_all: bool,
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
    let installed = tools::ensure(&tools::all())?;
    let mut missing: Vec<(&str, String)> = installed.missing.clone();
    let server = match postgres::find().or_else(postgres::install) {
        Some(bin) => Some(Postgres::start(&bin)?),
        None => {
            missing.push(("Postgres", "initdb and pg_ctl are not installed".to_owned()));
            None
        }
    };
    report(&installed, server.as_ref(), &missing);
    if options.require_all && !missing.is_empty() {
        bail!("missing: {}", missing.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "));
    }
    if !options.only_tests {
        checks(&installed)?;
    }
    tests(options, &installed, server.as_ref())?;
    for (name, reason) in &missing {
        println!("skipped: what needs {name} ({reason})");
    }
    report(&installed, server.as_ref(), &missing);
    println!("all checks passed in {} s", start.elapsed().as_secs());
    Ok(())
}

/// Measures the release build: interleaved runs in one session.
pub fn bench() -> Result<()> {
    let installed = tools::ensure(&["helm"])?;
    process::run(cargo().args(["build", "--locked", "--release", "--package", "slipway-standalone"]))?;
    let mut bench = cargo();
    bench.args(["bench", "--locked", "--quiet", "--package", "slipway-tests", "--bench", "platform"]);
    process::run(bench.env("PATH", installed.path()?))
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

fn tests(options: &Options, installed: &tools::Installed, server: Option<&Postgres>) -> Result<()> {
    // The stories start the platform as users do: as its own process.
    process::run(cargo().args(["build", "--locked", "--package", "slipway-standalone"]))?;
    if proto::PROGRAMS.iter().all(|name| has(installed, name)) {
        proto::render(installed, &proto::clients_dir())?;
    }
    let mut tests = cargo();
    tests.args(["test", "--locked"]);
    match options.cargo.is_empty() {
        true => tests.arg("--workspace"),
        false => tests.args(&options.cargo),
    };
    tests.env("PATH", installed.path()?).env("SLIPWAY_TEST_CLIENTS", proto::clients_dir());
    if let Some(server) = server {
        tests.env("SLIPWAY_TEST_POSTGRES", server.dsn());
    }
    process::run(&mut tests)
}

fn has(installed: &tools::Installed, name: &str) -> bool {
    installed.found.iter().any(|(found, _)| *found == name)
}

fn report(installed: &tools::Installed, server: Option<&Postgres>, missing: &[(&str, String)]) {
    println!("real components:");
    for (name, path) in &installed.found {
        println!("  {name}: {}", path.display());
    }
    if let Some(server) = server {
        println!("  Postgres: {}", server.version());
    }
    for (name, reason) in missing {
        println!("  {name}: MISSING ({reason})");
    }
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(process::root());
    command
}
