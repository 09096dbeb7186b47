//! Every verb a contributor needs: `cargo xtask test | up | tools | proto`.
//!
//! Owns the way from a fresh clone to a running or tested platform; refuses anything the product itself should do.

mod postgres;
mod process;
mod test;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every verb a contributor needs")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs every check: all tests and names the real components used.
    Test(test::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::Test(options) => test::run(&options),
    }
}
