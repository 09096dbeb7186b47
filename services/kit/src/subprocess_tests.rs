//! Tests of the launcher, with the machine's own small programs.
#![allow(clippy::unwrap_used)]
use std::time::Instant;

use super::*;

fn sh() -> Tool {
    Tool::find("sh").unwrap()
}

/// Waits until the process is gone or a zombie, at most 20 s.
fn is_gone(pid_file: &Path) -> bool {
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

async fn run(text: &str, limits: Limits) -> Result<Output> {
    let tool = sh();
    Run::new(&tool).arg("-c").arg(text).limits(limits).output().await
}

#[tokio::test]
async fn the_environment_is_ours_alone() {
    let out = run("env | sed 's/=.*//' | sort | tr '\\n' ' '; pwd; echo $HOME", Limits::default()).await.unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let mut lines = text.lines();
    // PWD and the like are made by the shell itself.
    let names: Vec<_> =
        lines.next().unwrap().split(' ').filter(|n| n.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
    for name in names {
        assert!(
            ["HOME", "TMPDIR", "PATH", "LC_ALL", "TZ", "PWD", "OLDPWD", "SHLVL", "_", ""].contains(&name),
            "{name}"
        );
    }
    assert!(!text.contains("CARGO"));
}

#[tokio::test]
async fn input_and_output_pass_whole() {
    let tool = Tool::find("cat").unwrap();
    let bytes = vec![7u8; 1 << 20];
    let out = Run::new(&tool).stdin(bytes.clone()).success().await.unwrap();
    assert_eq!(out, bytes);
    let secret = SecretSlice::from(b"hush".to_vec());
    assert_eq!(Run::new(&tool).stdin_secret(secret).success().await.unwrap(), b"hush");
}

#[tokio::test]
async fn the_whole_group_dies_at_the_limit() {
    let limits = Limits { wall: Duration::from_millis(500), ..Limits::default() };
    let marker = WorkDir::temporary().unwrap();
    let pid = marker.path().join("pid");
    let text = format!("sleep 600 & echo $! > {}; sleep 600", pid.display());
    let error = run(&text, limits).await.err().unwrap();
    assert!(error.is(&TOOL_TIMEOUT), "{error}");
    assert!(is_gone(&pid), "the grandchild outlived its group");
}

#[tokio::test]
async fn a_background_grandchild_does_not_hold_the_answer() {
    let begun = Instant::now();
    let out = run("sleep 500 & echo done", Limits::default()).await.unwrap();
    assert_eq!(out.stdout, b"done\n");
    assert!(begun.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn output_is_bounded() {
    let limits = Limits { stdout_bytes: 1000, ..Limits::default() };
    let error = run("yes", limits.clone()).await.err().unwrap();
    assert!(error.is(&TOOL_OUTPUT_TOO_LARGE), "{error}");
    let out = run("yes oops | head -c 300000 >&2; exit 3", limits).await.unwrap();
    assert_eq!((out.code, out.stderr.len()), (3, STDERR_BYTES_MAX));
}

#[tokio::test]
async fn limits_hold() {
    let limits = Limits { file_bytes: 4096, cpu_seconds: 1, wall: Duration::from_secs(60), ..Limits::default() };
    let out = run("ulimit -c; head -c 100000 /dev/zero > big; wc -c < big", limits.clone()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).split_whitespace().collect::<Vec<_>>(), ["0", "4096"]);
    let out = run("while :; do :; done", limits).await.unwrap();
    assert_eq!(out.code, -1, "the processor limit ends it");
}

#[tokio::test]
async fn there_is_no_network_where_the_machine_permits() {
    let out = run("cat /proc/net/dev | grep -c : ", Limits::default()).await.unwrap();
    let interfaces: u32 = String::from_utf8_lossy(&out.stdout).trim().parse().unwrap();
    if network_is_isolated() {
        assert_eq!(interfaces, 1, "loopback alone, and that is down");
    }
}

#[tokio::test]
async fn operands_are_never_options() {
    let tool = Tool::find("cat").unwrap();
    let error = Run::new(&tool).operand("--version").output().await.err().unwrap();
    assert!(error.is(&INVALID_FIELD));
    assert!(Tool::at("x", Path::new("bin/x")).unwrap_err().is(&TOOL_MISSING));
}

#[tokio::test]
async fn dropping_the_run_kills_the_group() {
    let marker = WorkDir::temporary().unwrap();
    let (pid, written) = (marker.path().join("pid"), marker.path().join("written"));
    let text = format!("echo $$ > {}; touch {}; sleep 600; true", pid.display(), written.display());
    let task = tokio::spawn(async move { run(&text, Limits::default()).await });
    let deadline = Instant::now() + Duration::from_secs(20);
    while !written.exists() && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.is_err_and(|e| e.is_cancelled()));
    assert!(is_gone(&pid));
}
