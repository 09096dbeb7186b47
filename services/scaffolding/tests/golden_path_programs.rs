//! The Go golden path under the real programs (SCF-102): every parameter set compiles, passes its tests, lints and renders.
//!
//! Owns the matrix; refuses a set that any program complains about. A program that is missing is named and skipped.
#![allow(clippy::unwrap_used, missing_docs)]

mod rendering;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use slipway_scaffolding::model::files::Files;
use slipway_scaffolding::model::template::Template;

fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn have(names: &[&str]) -> bool {
    let missing: Vec<_> = names.iter().filter(|name| find(name).is_none()).collect();
    if !missing.is_empty() {
        println!("skipped: {missing:?} are not on PATH");
    }
    missing.is_empty()
}

fn run(program: &str, args: &[&str], dir: &Path) -> String {
    let output = Command::new(program).args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {}\n{stdout}{stderr}", output.status);
    stdout
}

/// Every parameter set as a directory, with its name.
fn repositories() -> Vec<(String, tempfile::TempDir, Files)> {
    let files = rendering::golden_path();
    let template = Template::parse(&files).unwrap();
    let written = template.tests.iter().map(|(name, given)| {
        let dir = tempfile::tempdir().unwrap();
        let repository = rendering::rendered(&template, &files, given);
        for (path, file) in &repository {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &file.content).unwrap();
        }
        run("git", &["init", "--quiet"], dir.path());
        (name.clone(), dir, repository)
    });
    written.collect()
}

#[test]
fn every_set_compiles_and_passes_its_tests() {
    if !have(&["go", "git"]) {
        return;
    }
    for (name, dir, _) in repositories() {
        println!("{name}");
        assert_eq!(run("gofmt", &["-l", "."], dir.path()), "", "{name}: formatting");
        run("go", &["vet", "-mod=readonly", "./..."], dir.path());
        run("go", &["test", "-mod=readonly", "./..."], dir.path());
    }
}

#[test]
fn every_chart_lints_and_renders_twice_to_equal_bytes() {
    if !have(&["helm", "git"]) {
        return;
    }
    let digest = format!("image.digest=sha256:{}", "a".repeat(64));
    for (name, dir, files) in repositories() {
        run("helm", &["lint", "--strict", "chart", "--set", &digest], dir.path());
        let values = files.keys().filter(|p| p.starts_with("chart/values-"));
        let values: Vec<_> = values.chain([&"chart/values.yaml".to_owned()]).cloned().collect();
        assert!(values.len() >= 5, "{name}: {values:?}");
        for file in &values {
            let template = || run("helm", &["template", "r", "chart", "--values", file, "--set", &digest], dir.path());
            let first = template();
            assert_eq!(first, template(), "{name}: {file}");
            assert!(
                first.contains("runAsNonRoot: true") && first.contains("readOnlyRootFilesystem: true"),
                "{name}: {file}"
            );
            assert!(!first.contains("kind: ClusterRole"), "{name}: {file}");
        }
        let without = Command::new("helm").args(["template", "r", "chart"]).current_dir(dir.path()).output().unwrap();
        assert!(!without.status.success(), "{name}: the chart renders without a digest");
    }
}

#[test]
fn every_workflow_is_clean_and_the_same_bytes() {
    if !have(&["actionlint", "git"]) {
        return;
    }
    let mut seen = BTreeSet::new();
    for (_, dir, files) in repositories() {
        run("actionlint", &[], dir.path());
        let workflow = String::from_utf8(files[".github/workflows/ci.yaml"].content.to_vec()).unwrap();
        assert!(!workflow.contains("pull_request_target") && workflow.contains("permissions:\n  contents: read\n"));
        seen.insert(workflow);
    }
    assert_eq!(seen.len(), 1, "drift of workflows must be one hash");
}

#[test]
fn every_alert_fires_and_stays_silent_as_its_test_says() {
    if !have(&["promtool", "git"]) {
        return;
    }
    for (name, dir, _) in repositories() {
        let alerts = dir.path().join("deploy/alerts");
        let all = std::fs::read_dir(&alerts).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
        let (tests, rules): (Vec<String>, Vec<String>) = all.partition(|file| file.ends_with("_test.yaml"));
        assert!(!tests.is_empty() && !rules.is_empty(), "{name}");
        for (verb, files) in [("check", rules), ("test", tests)] {
            let args: Vec<&str> = [verb, "rules"].into_iter().chain(files.iter().map(String::as_str)).collect();
            run("promtool", &args, &alerts);
        }
    }
}

#[test]
fn every_dashboard_uses_only_what_the_service_exports() {
    let exported = [
        "http_requests_total",
        "http_request_duration_seconds_bucket",
        "http_requests_in_flight",
        "build_info",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "go_gc_gomemlimit_bytes",
        "go_sched_gomaxprocs_threads",
    ];
    for (name, _dir, files) in repositories() {
        let dashboard: Json = serde_json::from_slice(&files["deploy/dashboards/service.json"].content).unwrap();
        assert_eq!(dashboard["editable"], Json::Bool(false));
        assert!(dashboard["uid"].as_str().unwrap().len() <= 40, "{name}");
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = &panel["title"];
            assert!(
                panel["description"].is_string() && panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{name}: {title}"
            );
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let metrics: Vec<_> = words.zip(expression.match_indices('{')).map(|_| ()).collect();
                assert!(!metrics.is_empty(), "{name}: {title} reads nothing");
                let selected = expression
                    .split('{')
                    .rev()
                    .skip(1)
                    .map(|before| before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap());
                for metric in selected.filter(|word| !word.is_empty()) {
                    assert!(exported.contains(&metric), "{name}: {title} reads {metric}");
                }
            }
        }
    }
}

#[test]
fn pins_are_verified_or_named_unverified() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden-paths");
    let pins = std::fs::read_to_string(root.join("pins.yaml")).unwrap();
    let files = rendering::golden_path();
    let text = |path: &str| String::from_utf8(files[path].content.to_vec()).unwrap();
    let (docker, workflow) = (text("skeleton/Dockerfile"), text("skeleton/.github/workflows/ci.yaml"));
    for entry in pins.split("  - use: ").skip(1) {
        let name = entry.lines().next().unwrap();
        let short = name.trim_start_matches("docker.io/library/");
        assert!(docker.contains(short) || workflow.contains(short), "{name} is pinned and not used");
        let verified = entry.contains("verified: true");
        println!("{name}: {}", if verified { "verified" } else { "UNVERIFIED" });
        assert!(verified || entry.contains("reason: "), "{name} is unverified without a reason");
    }
    for line in workflow.lines().filter(|line| line.contains("uses: ")) {
        let pinned =
            line.split('@').nth(1).is_some_and(|at| at.len() >= 40 && at[..40].chars().all(|c| c.is_ascii_hexdigit()));
        assert!(pinned || line.contains("# unverified"), "{line}");
    }
    for line in docker.lines().filter(|line| line.starts_with("FROM ")) {
        assert!(line.contains("@sha256:") || docker.contains("# unverified"), "{line}");
    }
    assert!(docker.contains("\nUSER 65532:65532\n") && docker.contains("ENTRYPOINT [") && !docker.contains(":latest"));
}
