//! The command line of `slipway`.
//!
//! Owns the words a person types; refuses to do anything itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::certificates::Certificates;

/// An internal developer platform in one process.
#[derive(Parser)]
#[command(name = "slipway", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    /// Runs the whole platform: the gateway and all services, with everything below one directory.
    Up(Up),
    /// Makes an authority and a certificate for each service, for services that run apart.
    Certificates(Certificates),
    /// Plays the part of a source provider and of its users.
    #[command(subcommand)]
    Dev(Dev),
}

/// Options of `slipway up`.
#[derive(Args, Clone, Debug)]
pub struct Up {
    /// Directory of all data.
    #[arg(long, default_value = ".slipway")]
    pub data: PathBuf,
    /// Address to listen at; only loopback addresses are taken.
    #[arg(long, default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Keeps the data in this Postgres instead of SQLite files; the name of the database becomes the prefix of one per service.
    #[arg(long, env = "SLIPWAY_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Helm's program; found on PATH if left out.
    #[arg(long)]
    pub helm: Option<PathBuf>,
    /// Domain below which previews get their hosts.
    #[arg(long, default_value = "preview.localhost")]
    pub preview_domain: String,
    /// File with identity providers and issuers of CI jobs, as TOML: `[issuers.<id>]` and `issuer_hosts` as the gateway has them.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Loads a small organisation, makes a service from the golden path and opens a pull request.
    #[arg(long)]
    pub example: bool,
}

/// The part of a source provider.
#[derive(Subcommand)]
pub enum Dev {
    /// Pull requests of the local repositories.
    #[command(subcommand)]
    Pr(Pr),
}

/// What to do with a pull request; each sends the webhooks that a provider would send, and prints the pull request as JSON.
#[derive(Subcommand)]
pub enum Pr {
    /// Opens one, from a branch that exists or that the changes make.
    Open(Open),
    /// Brings new commits to its branch.
    Push(Push),
    /// Closes it.
    Close(Close),
}

/// Where the repositories are, and which one is meant.
#[derive(Args, Clone)]
pub struct Target {
    /// Directory of all data, as given to `slipway up`.
    #[arg(long, default_value = ".slipway")]
    pub data: PathBuf,
    /// Repository as `owner/name`.
    #[arg(long)]
    pub repository: String,
    /// Who does it.
    #[arg(long, default_value = "developer")]
    pub author: String,
}

/// Options of `slipway dev pr open`.
#[derive(Args)]
pub struct Open {
    /// Where.
    #[command(flatten)]
    pub target: Target,
    /// Branch it comes from.
    #[arg(long)]
    pub branch: String,
    /// Branch it aims at; the default branch if left out.
    #[arg(long)]
    pub base: Option<String>,
    /// Title; the branch if left out.
    #[arg(long)]
    pub title: Option<String>,
    /// File to commit to the branch first, as `path=content`; may be repeated.
    #[arg(long = "change", value_name = "PATH=CONTENT")]
    pub changes: Vec<String>,
    /// Label; may be repeated.
    #[arg(long = "label")]
    pub labels: Vec<String>,
    /// Opens it as a draft.
    #[arg(long)]
    pub draft: bool,
}

/// Options of `slipway dev pr push`.
#[derive(Args)]
pub struct Push {
    /// Where.
    #[command(flatten)]
    pub target: Target,
    /// Number of the pull request.
    #[arg(long)]
    pub number: i64,
    /// File to commit to its branch, as `path=content`; may be repeated. Without one, commits that git pushed are announced.
    #[arg(long = "change", value_name = "PATH=CONTENT")]
    pub changes: Vec<String>,
    /// Message of the commit.
    #[arg(long, default_value = "Change")]
    pub message: String,
    /// Replaces the branch by one commit on its base.
    #[arg(long)]
    pub force: bool,
}

/// Options of `slipway dev pr close`.
#[derive(Args)]
pub struct Close {
    /// Where.
    #[command(flatten)]
    pub target: Target,
    /// Number of the pull request.
    #[arg(long)]
    pub number: i64,
    /// Merges it first.
    #[arg(long)]
    pub merge: bool,
}
