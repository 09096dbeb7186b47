//! `slipway-secrets`: the secrets service as a program of its own.

use std::process::ExitCode;

use slipway_kit::program::{Built, Program};
use slipway_secrets::{Config, build, store::MIGRATIONS};

fn main() -> ExitCode {
    let program = Program {
        name: "secrets",
        about: "Secrets, their versions, bindings and delivery",
        version: env!("CARGO_PKG_VERSION"),
        migrations: || &MIGRATIONS,
        build: |config: Config, context, _| Box::pin(async { build(config, context).await.map(Built::from) }),
        extra: &[],
    };
    program.main()
}
