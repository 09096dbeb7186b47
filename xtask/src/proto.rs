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

/// Renders the clients into `out` and lays the client stories of the tests beside them: `gen/go`, `go`, `ts` with `ts/gen`.
pub fn render(installed: &tools::Installed, out: &Path) -> Result<()> {
    for part in ["gen", "go", "ts/gen"] {
        let _ = std::fs::remove_dir_all(out.join(part));
    }
    std::fs::create_dir_all(out)?;
    let slipway = ["proto/slipway", "proto/third_party/buf"];
    generate(installed, out, "go", GO, &slipway)?;
    generate(installed, out, "ts", TYPESCRIPT, &[slipway[0], slipway[1], "proto/third_party/google/rpc"])?;
    std::fs::write(out.join("gen/go/go.mod"), GO_MODULE)?;
    for story in ["go", "ts"] {
        let to = out.join(story);
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(process::root().join("tests/clients").join(story))?.flatten() {
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--silent", "--ignore-scripts"]).current_dir(out.join("ts"));
    process::run(&mut npm)?;
    process::run(Command::new("go").args(["build", "-o", "walk", "."]).current_dir(out.join("go")))?;
    process::run(Command::new("node").arg("node_modules/typescript/bin/tsc").current_dir(out.join("ts")))
}

fn generate(installed: &tools::Installed, out: &Path, language: &str, plugins: &str, paths: &[&str]) -> Result<()> {
    let template = out.join(format!("buf.gen.{language}.yaml"));
    std::fs::write(&template, plugins)?;
    let mut buf = buf(installed)?;
    buf.args(["generate", "--template"]).arg(&template).arg("--output").arg(out);
    for path in paths {
        buf.args(["--path", path]);
    }
    process::run(&mut buf)
}

fn buf(installed: &tools::Installed) -> Result<Command> {
    let program = installed.found.iter().find(|(name, _)| *name == "buf").map(|(_, path)| path);
    let mut command = Command::new(program.context("buf is missing")?);
    command.current_dir(process::root()).env("PATH", installed.path()?);
    Ok(command)
}

/// Local plugins only, so that rendering works offline. `google/*` types come from Go's own runtime packages.
const GO: &str = "\
version: v2
plugins:
  - local: protoc-gen-go
    out: gen/go
    opt:
      - module=github.com/slipway-dev/slipway/gen/go
      - Mbuf/validate/validate.proto=github.com/slipway-dev/slipway/gen/go/buf/validate
  - local: protoc-gen-go-grpc
    out: gen/go
    opt: module=github.com/slipway-dev/slipway/gen/go
";

/// As [`GO`], with everything the contracts import.
const TYPESCRIPT: &str = "\
version: v2
plugins:
  - local: protoc-gen-es
    out: ts/gen
    include_imports: true
    opt: target=ts,import_extension=js
";

/// Module of the rendered Go client; the versions it is known to fit.
const GO_MODULE: &str = "\
module github.com/slipway-dev/slipway/gen/go

go 1.26.0

require (
\tgoogle.golang.org/genproto/googleapis/api v0.0.0-20260817212433-ac3dfec99bb1
\tgoogle.golang.org/grpc v1.85.0
\tgoogle.golang.org/protobuf v1.36.12
)
";
