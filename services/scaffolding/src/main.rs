//! `slipway-scaffolding`: the scaffolding service as a program of its own.

use std::process::ExitCode;

use slipway_kit::program::{Built, Program};
use slipway_scaffolding::{Config, build, store::MIGRATIONS};

fn main() -> ExitCode {
    let program = Program {
        name: "scaffolding",
        about: "Golden paths and their runs",
        version: env!("CARGO_PKG_VERSION"),
        migrations: || &MIGRATIONS,
        build: |config: Config, context, _| Box::pin(async { build(config, context).await.map(Built::from) }),
        extra: &[],
    };
    program.main()
}
