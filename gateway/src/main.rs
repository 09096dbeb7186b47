//! `slipway-gateway`: the gateway as a program of its own.

use std::process::ExitCode;

use slipway_gateway::{Config, first_token, start, store::MIGRATIONS};
use slipway_kit::program::{Extra, Program};

fn main() -> ExitCode {
    let program = Program {
        name: "gateway",
        about: "Who calls, whether they may, and where the call goes",
        version: env!("CARGO_PKG_VERSION"),
        migrations: || &MIGRATIONS,
        build: |config: Config, context, shutdown| Box::pin(start(config, context, shutdown)),
        extra: &[Extra {
            verb: "first-token",
            about: "Prints the first administrator's token; void once another was printed, and none after it was used",
            run: |config| {
                Box::pin(async move {
                    match first_token(&config).await? {
                        Some(token) => println!("{token}"),
                        None => eprintln!("the first token is in use already; `TokenService/CreateToken` makes more"),
                    }
                    Ok(())
                })
            },
        }],
    };
    program.main()
}
