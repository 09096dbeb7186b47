//! `slipway`: the platform in one process.

use std::process::ExitCode;

use clap::Parser as _;
use slipway_standalone::cli::{Cli, Dev, Verb};
use slipway_standalone::{certificates, dev, up};

#[tokio::main]
async fn main() -> ExitCode {
    // Once for the whole process, before anything opens a connection; a second installation would be refused, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match Cli::parse().verb {
        Verb::Up(options) => up::run(options).await,
        Verb::Certificates(options) => certificates::make(&options),
        Verb::Dev(Dev::Pr(verb)) => dev::pr(verb).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
