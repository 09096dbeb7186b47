//! The README's five-minute tour, typed line by line against a running platform.
//!
//! Owns how the tour's lines are found and run: every `sh` block below the heading "Five minutes". Refuses a line that fails.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

use slipway_tests::platform::{Engine, Platform, slipway};
use slipway_tests::program;

/// The commands of the tour, in order.
fn tour() -> String {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let (_, tour) = readme.split_once("\n## Five minutes\n").expect("the README has a tour");
    let tour = tour.split("\n## ").next().unwrap();
    let blocks: Vec<&str> = tour.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5, "the tour has {} blocks", blocks.len());
    blocks.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_five_minute_tour_works_line_by_line() {
    if !program::have("the tour", &["git", "helm", "grpcurl", "curl", "bash"]) {
        return;
    }
    let platform =
        tokio::task::spawn_blocking(|| Platform::start_with(Engine::Sqlite, &["--example"])).await.unwrap().unwrap();
    let script = tour()
        .replace("127.0.0.1:7070", &platform.address.to_string())
        .replace("SLIPWAY_TOKEN=slw_…", &format!("SLIPWAY_TOKEN={}", platform.token))
        .replace("cargo xtask slipway", slipway().unwrap().to_str().unwrap())
        .replace(" .slipway", &format!(" {}", platform.data().display()))
        .replace("--data .slipway", &format!("--data {}", platform.data().display()));
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-x", "-c", &script]).current_dir(platform.scratch());
    let output = tokio::task::spawn_blocking(move || bash.output()).await.unwrap().unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{}", platform.log());
    for word in ["PUBLISHED", "\"deploymentsAll\"", "teardownReceipts/", "group:default/payments"] {
        assert!(said.contains(word), "the tour did not show {word}:\n{said}");
    }
}
