//! `cargo xtask proto`: lints the contracts and renders the Go and TypeScript clients from them.
//!
//! Owns where generated code goes (`target/clients`, never committed) and what is linted; refuses hand-made clients.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{process, tools};

/// Programs that linting and rendering need.
pub const PROGRAMS: &[&str] = &["buf", "protoc-gen-go", "protoc-gen-go-grpc", "protoc-gen-es", "node", "npm", "go"];

/// Options of `cargo xtask proto`.
#[derive(Args)]
pub struct Options {
    /// Also compares the contracts with those of this git reference and refuses a breaking change.
    #[arg(long)]
    against: Option<String>,
}

/// Lints, compares and renders.
pub fn run(options: &Options) -> Result<()> {
    let installed = tools::ensure(PROGRAMS)?;
    if let Some((name, reason)) = installed.missing.first() {
        bail!("{name} is missing: {reason}");
    }
    lint(&installed)?;
    if let Some(reference) = &options.against {
        let against = format!(".git#ref={reference}");
        let mut buf = buf(&installed)?;
        process::run(buf.args(["breaking", "--against", &against]))?;
    }
    let out = clients_dir();
    render(&installed, &out)?;
    println!("clients: {}", out.display());
    Ok(())
}

/// Where rendered clients go; outside the sources.
pub fn clients_dir() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| process::root().join("target"), PathBuf::from);
    target.join("clients")
}

/// Runs the linter over the contracts.
pub fn lint(installed: &tools::Installed) -> Result<()> {
    process::run(buf(installed)?.arg("lint"))
}

/// Renders the Go and TypeScript clients into `out`.
pub fn render(installed: &tools::Installed, out: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(out);
    std::fs::create_dir_all(out)?;
    let template = out.join("buf.gen.yaml");
    std::fs::write(&template, GENERATE)?;
    let mut buf = buf(installed)?;
    buf.args(["generate", "--template"]).arg(&template).arg("--output").arg(out).args(["--path", "proto/slipway"]);
    buf.args(["--path", "proto/third_party/buf"]);
    process::run(&mut buf)
}

fn buf(installed: &tools::Installed) -> Result<Command> {
    let program = installed.found.iter().find(|(name, _)| *name == "buf").map(|(_, path)| path);
    let mut command = Command::new(program.context("buf is missing")?);
    command.current_dir(process::root()).env("PATH", installed.path()?);
    Ok(command)
}

/// Local plugins only, so that rendering works offline. `google/*` types come from the languages' own runtime packages.
const GENERATE: &str = "\
version: v2
plugins:
  - local: protoc-gen-go
    out: go
    opt:
      - module=github.com/slipway-dev/slipway/gen/go
      - Mbuf/validate/validate.proto=github.com/slipway-dev/slipway/gen/go/buf/validate
  - local: protoc-gen-go-grpc
    out: go
    opt:
      - module=github.com/slipway-dev/slipway/gen/go
      - Mbuf/validate/validate.proto=github.com/slipway-dev/slipway/gen/go/buf/validate
  - local: protoc-gen-es
    out: ts
    include_imports: true
    opt: target=ts,import_extension=js
";
