//! Processes of the cluster: started away from the shell, remembered by pid and start time, found again, ended.
//!
//! Owns what is ours: a process that was recorded and whose start time still agrees, or one whose command line names the cluster's
//! directory. Refuses to signal any other.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal};

/// A process at one time: a pid is given out again, but not with the same start time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    started: u64,
}

/// Starts `command` in a session of its own, its output in `<dir>/logs/<name>.log`, and records it.
pub fn spawn(dir: &Path, name: &str, command: &Command) -> Result<()> {
    let log = File::options().create(true).append(true).open(log(dir, name))?;
    // setsid becomes the program: the pid stays. A terminal that closes and an interrupt in it do not reach the new session.
    let mut detached = Command::new("setsid");
    detached.arg(command.get_program()).args(command.get_args()).current_dir(dir);
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => detached.env(key, value),
            None => detached.env_remove(key),
        };
    }
    let child = detached.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    let child = child.with_context(|| format!("cannot start {name}"))?;
    let pid = i32::try_from(child.id()).context("a pid beyond 31 bits")?;
    let started = started(pid).unwrap_or_default();
    fs::write(pids(dir).join(name), format!("{pid} {started}"))?;
    Ok(())
}

/// Where a component writes.
pub fn log(dir: &Path, name: &str) -> PathBuf {
    dir.join("logs").join(format!("{name}.log"))
}

/// The last lines that a component wrote.
pub fn tail(dir: &Path, name: &str) -> String {
    let text = fs::read(log(dir, name)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Whether the recorded process of that name runs.
pub fn runs(dir: &Path, name: &str) -> bool {
    recorded(dir, name).is_some_and(lives)
}

/// Whether any recorded process runs.
pub fn any(dir: &Path) -> bool {
    names(dir).iter().any(|name| runs(dir, name))
}

/// Asks the named process to end, and insists after a while.
pub fn end(dir: &Path, name: &str, patience: Duration) {
    if let Some(process) = recorded(dir, name) {
        end_all(&[process], patience);
    }
    let _ = fs::remove_file(pids(dir).join(name));
}

/// Ends every recorded process but those named.
pub fn end_recorded(dir: &Path, but: &[&str], patience: Duration) {
    let names: Vec<String> = names(dir).into_iter().filter(|name| !but.contains(&name.as_str())).collect();
    let processes: Vec<Process> = names.iter().filter_map(|name| recorded(dir, name)).collect();
    end_all(&processes, patience);
    for name in names {
        let _ = fs::remove_file(pids(dir).join(name));
    }
}

/// Ends every process whose command line names the directory: shims, and what a killed start did not record.
pub fn end_strays(dir: &Path) {
    let strays: Vec<Process> = strays(dir).into_iter().filter_map(process).collect();
    end_all(&strays, Duration::ZERO);
}

/// Parts of a cluster that run and whose command line names the directory.
pub fn strays(dir: &Path) -> Vec<i32> {
    let needle = format!("{}/", dir.display());
    let ours = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let named = String::from_utf8_lossy(&words).contains(&needle);
        named && super::PROGRAMS.iter().any(|ours| program.starts_with(ours)) && started(*pid).is_some()
    };
    all().into_iter().filter(ours).collect()
}

/// Ends every process of the cgroups below `root`, in whatever hierarchy: the containers.
pub fn end_cgroup(root: &Path) {
    for entry in walkdir::WalkDir::new(root).into_iter().flatten().filter(|e| e.file_name() == "cgroup.procs") {
        let pids = fs::read_to_string(entry.path()).unwrap_or_default();
        let members: Vec<Process> = pids.lines().filter_map(|line| process(line.parse().ok()?)).collect();
        end_all(&members, Duration::ZERO);
    }
}

fn end_all(processes: &[Process], patience: Duration) {
    if !patience.is_zero() {
        signal(processes, Signal::TERM);
        gone(processes, patience);
    }
    signal(processes, Signal::KILL);
    gone(processes, Duration::from_secs(5));
}

fn signal(processes: &[Process], signal: Signal) {
    for process in processes.iter().filter(|process| lives(**process)) {
        if let Some(pid) = Pid::from_raw(process.pid) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

fn gone(processes: &[Process], patience: Duration) {
    let until = Instant::now() + patience;
    while processes.iter().any(|process| lives(*process)) && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
}

fn lives(process: Process) -> bool {
    started(process.pid) == Some(process.started)
}

fn process(pid: i32) -> Option<Process> {
    Some(Process { pid, started: started(pid)? })
}

/// Start time in clock ticks since boot; `None` if there is no such process or it is a corpse.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows it is regular: state is field 3, start time field 22.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn pids(dir: &Path) -> PathBuf {
    dir.join("pids")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(pids(dir)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn recorded(dir: &Path, name: &str) -> Option<Process> {
    let text = fs::read_to_string(pids(dir).join(name)).ok()?;
    let (pid, started) = text.split_once(' ')?;
    Some(Process { pid: pid.parse().ok()?, started: started.trim().parse().ok()? })
}
