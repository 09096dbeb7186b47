//! `slipway-metrics`: the metrics service as a program of its own.

use std::process::ExitCode;

use slipway_kit::program::{Built, Program};
use slipway_metrics::{Config, build, store::MIGRATIONS};

fn main() -> ExitCode {
    let program = Program {
        name: "metrics",
        about: "Facts of delivery and what follows from them",
        version: env!("CARGO_PKG_VERSION"),
        migrations: || &MIGRATIONS,
        build: |config: Config, context, _| Box::pin(async { build(config, context).await.map(Built::from) }),
        extra: &[],
    };
    program.main()
}
