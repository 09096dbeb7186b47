//! `slipway up`: runs the platform for a person and says how to reach it.
//!
//! Owns the lines printed at the start and the order of the end. Refuses to print a token that was used already.

use std::time::Instant;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Up;
use crate::example;
use crate::platform::{Options, Platform};
use crate::settings::Settings;

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn run(up: Up) -> Result<()> {
    slipway_kit::telemetry::init("slipway", None)?;
    let start = Instant::now();
    let options = Options {
        data: up.data,
        listen: up.listen,
        database_url: up.database_url,
        helm: up.helm,
        preview_domain: up.preview_domain,
        settings: Settings::read(up.config.as_deref())?,
        limits: Default::default(),
    };
    // Listening for the signals first, so that one that comes early ends the platform in order too.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let platform = Platform::start(options).await?;
    println!("slipway {} started in {} ms", env!("CARGO_PKG_VERSION"), start.elapsed().as_millis());
    println!("  address: {}", platform.address);
    println!("  data:    {}", platform.layout.root().display());
    match &platform.first_token {
        Some(token) => println!("  token:   {token}"),
        None => println!("  token:   the first token is in use already; `TokenService/CreateToken` makes more"),
    }
    let serve = async {
        if up.example {
            example::load(&platform).await?;
        }
        print_calls(&platform);
        println!("ready");
        std::future::pending::<Result<()>>().await
    };
    // The example takes seconds, and longer where something is missing; a signal ends the platform in order all the same.
    tokio::select! {
        failed = serve => return failed,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("draining …");
    tokio::select! {
        done = platform.stop() => done,
        _ = terminate.recv() => std::process::exit(1),
        _ = interrupt.recv() => std::process::exit(1),
    }
}

fn print_calls(platform: &Platform) {
    let token = platform.first_token.as_deref().unwrap_or("slw_…");
    let call = |rest: &str| println!("  grpcurl -plaintext -H \"authorization: Bearer $SLIPWAY_TOKEN\" {rest}");
    println!("\nTry it:");
    println!("  export SLIPWAY_TOKEN={token}");
    call(&format!("{} slipway.access.v1.TokenService/WhoAmI", platform.address));
    call(&format!("{} slipway.scaffolding.v1.TemplateService/ListTemplates", platform.address));
    call(&format!(
        "-d '{{\"filter\": \"kind = \\\"component\\\"\"}}' {} slipway.catalog.v1.EntityService/ListEntities",
        platform.address
    ));
    println!();
}
