//! The generated clients walk the main job: Go over grpc-go, TypeScript over gRPC and over gRPC-web.
//!
//! Owns the conversation with a client program: it asks for a pull request, the test opens one. Refuses a client that is not built.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use slipway_tests::main_job::Job;
use slipway_tests::platform::{Engine, Handle, Platform};
use slipway_tests::program;

fn clients() -> Option<PathBuf> {
    let dir = std::env::var_os("SLIPWAY_TEST_CLIENTS").map(PathBuf::from).filter(|dir| dir.join("go/walk").is_file());
    if dir.is_none() {
        println!("skipped: the clients are not built; `cargo xtask proto` does it");
    }
    dir
}

/// Runs one client to its end, opening the pull request it asks for.
fn walk(mut command: Command, handle: &Handle, service: &str) {
    command.env("SLIPWAY_ADDRESS", handle.address.to_string()).env("SLIPWAY_SERVICE", service);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if let Some(repository) = line.strip_prefix("PULL REQUEST ") {
            let opened = handle
                .dev_pr("open", repository, &["--branch", "client", "--change", "docs/client.md=client"])
                .unwrap();
            writeln!(input, "{} {}", opened["number"], opened["headSha"].as_str().unwrap()).unwrap();
        }
        said.push(line);
    }
    assert!(
        child.wait().unwrap().success() && said.last().is_some_and(|line| line == "OK"),
        "{service}: {}",
        said.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_clients_walk_the_main_job() {
    let Some(dir) = clients() else { return };
    if !program::have("the clients", &["git", "helm", "node"]) {
        return;
    }
    let platform = Platform::start(Engine::Sqlite).unwrap();
    let handle = platform.handle();
    Job::begin(&handle, "clients").await.unwrap();
    tokio::task::spawn_blocking(move || {
        let mut go = Command::new(dir.join("go/walk"));
        go.env("SLIPWAY_TOKEN", &handle.token);
        walk(go, &handle, "from-go");
        for protocol in ["grpc", "grpc-web"] {
            let mut node = Command::new("node");
            node.arg(dir.join("ts/dist/walk.js")).env("SLIPWAY_TOKEN", &handle.token).env("SLIPWAY_PROTOCOL", protocol);
            walk(node, &handle, &format!("from-ts-{protocol}"));
        }
    })
    .await
    .unwrap();
}
