//! docs/ci.md typed as it stands: every `sh` block, in order, by an administrator and then by a job.
//!
//! Owns what stands in for GitHub. Refuses a block that fails.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

use serde_json::json;
use slipway_tests::github::{Github, REQUEST_TOKEN, pull_request_claims};
use slipway_tests::main_job::Job;
use slipway_tests::platform::{Engine, Platform};
use slipway_tests::program;

const AUDIENCE: &str = "https://slipway.example.com";

fn text() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ci.md")).unwrap()
}

fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    text.split(&format!("```{language}\n")).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_ci_chapter_works() {
    if !program::have("the CI chapter", &["git", "helm", "grpcurl", "curl", "bash"]) {
        return;
    }
    let (github, home) = (Github::start().unwrap(), tempfile::tempdir().unwrap());
    let text = text();
    let config = home.path().join("slipway.toml");
    let issuer = blocks(&text, "toml")[0].replace("https://token.actions.githubusercontent.com", &github.issuer());
    std::fs::write(&config, format!("issuer_hosts = [{:?}]\n{issuer}", github.issuer())).unwrap();
    let options = ["--config".to_owned(), config.to_str().unwrap().to_owned()];
    let start = move || Platform::start_with(Engine::Sqlite, &options.each_ref().map(String::as_str));
    let platform = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    let job = Job::begin(&platform.handle(), "payments").await.unwrap();
    job.create_service().await.unwrap();
    let args = ["--branch", "feature", "--change", "docs/faster.md=faster"];
    let opened = platform.dev_pr("open", &job.repository(), &args).unwrap();
    let (repository_id, head_sha) = (opened["repositoryId"].as_str().unwrap(), opened["headSha"].as_str().unwrap());
    github
        .say(pull_request_claims("local/payments", repository_id, "65", opened["number"].as_i64().unwrap()), json!({}));
    let script = blocks(&text, "sh");
    assert!(script.len() >= 5, "the chapter has {} blocks", script.len());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script.join("\n")]).current_dir(home.path());
    for (name, value) in [
        ("SLIPWAY_URL", format!("http://{}", platform.address)),
        ("SLIPWAY_HOST", platform.address.to_string()),
        ("SLIPWAY_TOKEN", platform.token.clone()),
        ("SLIPWAY_AUDIENCE", AUDIENCE.to_owned()),
        ("REPOSITORY_ID", repository_id.to_owned()),
        ("OWNER_ID", "65".to_owned()),
        ("SERVICE", "component:default/payments".to_owned()),
        ("PULL_REQUEST", opened["number"].to_string()),
        ("HEAD_SHA", head_sha.to_owned()),
        ("IMAGE", job.image(head_sha)),
        ("ENVIRONMENT", format!("pr-{}-payments", opened["number"])),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", github.request_url()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN.to_owned()),
    ] {
        bash.env(name, value);
    }
    let output = tokio::task::spawn_blocking(move || bash.output()).await.unwrap().unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{}", platform.log());
    for word in ["trustEntries/", "ENVIRONMENT_STATE_PUBLISHED", "preview.localhost"] {
        assert!(said.contains(word), "{word} did not show:\n{said}");
    }
}

#[test]
fn every_reason_of_the_chapter_exists() {
    let errors = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md")).unwrap();
    let text = text();
    let (_, table) = text.split_once("## The errors a job meets").unwrap();
    let words = table.split('`').filter(|w| w.len() > 6 && w.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    let reasons: Vec<&str> = words.collect();
    assert!(reasons.len() >= 7, "{reasons:?}");
    for reason in reasons {
        assert!(errors.contains(&format!("### {reason}\n")), "{reason} is no reason");
    }
}
