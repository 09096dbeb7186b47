//! docs/environments.md typed as it stands, against a real cluster: every `sh` block, in order.
//!
//! Owns what the reader is supposed to have: a platform, a cluster, a pull request with its image. Refuses a block that fails.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

use slipway_tests::cluster::Cluster;
use slipway_tests::platform::{Engine, Platform};
use slipway_tests::preview_job::PreviewJob;
use slipway_tests::program;

fn text() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/environments.md")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_chapter_on_environments_works() {
    let story = "the chapter on environments";
    if !program::have(story, &["git", "helm", "go", "kubectl", "grpcurl", "curl", "bash"]) {
        return;
    }
    let Some(cluster) = Cluster::with_images(story) else { return };
    let platform = Platform::start(Engine::Sqlite).unwrap();
    let this = PreviewJob::unregistered(&platform.handle(), cluster.clone(), "chapter").await.unwrap();
    let text = text();
    let (engineer, developer) = text.split_once("\n## A preview that answers\n").unwrap();
    let mut given = vec![
        ("SLIPWAY_HOST", platform.address.to_string()),
        ("ADMIN_TOKEN", platform.token.clone()),
        ("SLIPWAY_TOKEN", this.token()),
        ("KUBECONFIG_FILE", cluster.kubeconfig().to_str().unwrap().to_owned()),
        ("CREDENTIALS", platform.data().join("credentials").to_str().unwrap().to_owned()),
    ];
    let mut said = typed(engineer, &given, &platform).await;
    let (number, sha) = this.open("faster", "docs/faster.md=faster").unwrap();
    given.extend([
        ("SERVICE", this.job.service()),
        ("PULL_REQUEST", number.to_string()),
        ("HEAD_SHA", sha.clone()),
        ("IMAGE", this.build(&sha).unwrap()),
    ]);
    said += &typed(developer, &given, &platform).await;
    for word in
        ["POD_SECURITY", "kind: ClusterRole", "clusters/preview", "ENVIRONMENT_STATE_READY", &sha, "teardownReceipts/"]
    {
        assert!(said.contains(word), "{word} did not show:\n{said}");
    }
}

/// Types every `sh` block of a part; what was said.
async fn typed(part: &str, given: &[(&'static str, String)], platform: &Platform) -> String {
    let blocks: Vec<&str> = part.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 3, "this part has {} blocks", blocks.len());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &blocks.join("\n")]).current_dir(platform.scratch());
    bash.envs(given.iter().map(|(name, value)| (*name, value.as_str())));
    let output = tokio::task::spawn_blocking(move || bash.output()).await.unwrap().unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{}", platform.log());
    said
}

#[test]
fn every_reason_of_the_chapter_exists() {
    let errors = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md")).unwrap();
    let text = text();
    let (_, table) = text.split_once("## The errors you will meet").unwrap();
    let rows: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(rows.len() >= 5, "{rows:?}");
    for reason in rows {
        assert!(errors.contains(&format!("### {reason}\n")), "{reason} is no reason");
    }
}
