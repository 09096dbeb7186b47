//! `cargo xtask up`: from a fresh clone to a running platform.
//!
//! Owns fetching what the platform needs besides Rust; refuses to know the platform's options: they are passed on.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{process, tools};

/// Options of `cargo xtask up`.
#[derive(Args)]
pub struct Options {
    /// Builds without optimisation, which is quicker to build.
    #[arg(long)]
    debug: bool,
    /// Options of `slipway up`, for example `--example`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    up: Vec<String>,
}

/// Arguments that are passed on.
#[derive(Args)]
pub struct Rest {
    /// Arguments of `slipway`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Builds, fetches Helm if none is on PATH, and becomes `slipway up`.
pub fn run(options: &Options) -> Result<()> {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if process::find("helm").is_none() {
        let installed = tools::ensure(&["helm"])?;
        match installed.missing.first() {
            None => path = installed.path()?,
            Some((name, reason)) => eprintln!("{name} could not be fetched, so previews will wait for it: {reason}"),
        }
    }
    let profile = if options.debug { "dev" } else { "release" };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(process::root()).args([
        "build",
        "--locked",
        "--package",
        "slipway-standalone",
        "--profile",
        profile,
    ]);
    process::run(&mut build)?;
    let program = program(if options.debug { "debug" } else { "release" });
    let error = Command::new(&program).arg("up").args(&options.up).env("PATH", path).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

/// Becomes the program that `up` built.
pub fn slipway(rest: &Rest) -> Result<()> {
    let built = ["release", "debug"].into_iter().map(program).find(|program| process::is_executable(program));
    let program = built.context("slipway is not built yet: `cargo xtask up` does it")?;
    let error = Command::new(&program).args(&rest.words).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

fn program(profile: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| process::root().join("target"), PathBuf::from);
    target.join(profile).join("slipway")
}
