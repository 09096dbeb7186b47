//! `slipway-catalog`: the catalog as a program of its own.

use std::process::ExitCode;

use slipway_catalog::{Config, build, store::MIGRATIONS};
use slipway_kit::program::{Built, Program};

fn main() -> ExitCode {
    let program = Program {
        name: "catalog",
        about: "Entities, their locations and relations",
        version: env!("CARGO_PKG_VERSION"),
        migrations: || &MIGRATIONS,
        build: |config: Config, context, _| Box::pin(async { build(config, context).await.map(Built::from) }),
        extra: &[],
    };
    program.main()
}
