//! `cargo xtask test`: every test, against the real components that are installed.
//!
//! Owns the order of the checks and the list of components used; refuses to pass silently when one is missing and
//! `--require-all` was asked for.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::postgres::{self, Postgres};
use crate::process;

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Fails if a real component (Postgres, Helm, Go …) is missing, instead of skipping what needs it.
    #[arg(long)]
    require_all: bool,
}

/// Runs every check.
pub fn run(options: &Options) -> Result<()> {
    let mut missing = Vec::new();
    let server = match postgres::find() {
        Some(bin) => Some(Postgres::start(&bin)?),
        None => {
            missing.push("Postgres");
            None
        }
    };
    if options.require_all && !missing.is_empty() {
        bail!("missing: {}", missing.join(", "));
    }
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--locked"]);
    if let Some(server) = &server {
        tests.env("SLIPWAY_TEST_POSTGRES", server.dsn());
    }
    process::run(&mut tests)?;
    for name in missing {
        println!("skipped: {name}");
    }
    Ok(())
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(process::root());
    command
}
