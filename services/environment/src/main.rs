//! `slipway-environment`: the environment service as a program of its own.

use std::process::ExitCode;

use slipway_environment::{build, config::Config, store::migrations};
use slipway_kit::program::{Built, Program};

fn main() -> ExitCode {
    let program = Program {
        name: "environment",
        about: "Environments of all tiers, previews, clusters, routes",
        version: env!("CARGO_PKG_VERSION"),
        migrations,
        build: |config: Config, context, _| Box::pin(async { build(config, context).await.map(Built::from) }),
        extra: &[],
    };
    program.main()
}
