//! Stopping a cluster: processes, pods, mounts, network, cgroups, kernel settings, directory.
//!
//! Owns that nothing is left, from whatever state: running, half started, killed before, stopped before. Refuses to need the cluster's
//! help for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::home::{self, Home};
use super::parts::Programs;
use super::procs;
use crate::process;

/// Stops the cluster of `dir` and removes it; with `machine`, also what it has outside its directory.
pub fn stop(dir: &Path, programs: Option<&Programs>, machine: bool) -> Result<()> {
    let home = Home::read(dir);
    // kubelet first, so that nobody starts pods anew; containerd last, as it is the shims' parent in spirit.
    procs::end(dir, "kubelet", Duration::from_secs(2));
    procs::end_recorded(dir, &["containerd"], Duration::from_secs(2));
    if machine {
        pods();
    }
    procs::end(dir, "containerd", Duration::from_secs(2));
    procs::end_strays(dir);
    unmount(dir);
    if machine {
        network(programs);
        cgroups();
    }
    if let Some(home) = &home {
        restore(home);
    }
    traces(dir);
    if dir.exists() {
        remove(dir)?;
    }
    Ok(())
}

/// What of a cluster is still there, in words; empty after a stop.
pub fn leftovers(dir: &Path, programs: Option<&Programs>) -> Vec<String> {
    let mut left: Vec<String> = procs::strays(dir).into_iter().map(|pid| format!("process {pid}")).collect();
    if dir.exists() {
        left.push(format!("directory {}", dir.display()));
    }
    left.extend(mounts(dir).into_iter().map(|mount| format!("mount {}", mount.display())));
    left.extend(linked(dir).into_iter().map(|link| format!("link {}", link.display())));
    left.extend(
        home::cgroups().into_iter().filter(|group| group.exists()).map(|group| format!("cgroup {}", group.display())),
    );
    if Path::new("/sys/class/net").join(home::BRIDGE).exists() {
        left.push(format!("bridge {}", home::BRIDGE));
    }
    let tables = programs.and_then(|programs| process::output(programs.debian("nft").args(["list", "tables"])).ok());
    left.extend(tables.unwrap_or_default().lines().filter(|line| line.ends_with(" kube-proxy")).map(str::to_owned));
    left
}

/// Ends every container: their shims cannot be asked any more.
fn pods() {
    for group in home::cgroups().into_iter().filter(|group| group.exists()) {
        procs::end_cgroup(&group);
    }
}

fn cgroups() {
    for _ in 0..50 {
        for group in home::cgroups() {
            let inner_first = walkdir::WalkDir::new(&group).contents_first(true).into_iter().flatten();
            for entry in inner_first.filter(|entry| entry.file_type().is_dir()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
        if !home::cgroups().iter().any(|group| group.exists()) {
            return;
        }
        // A group is busy for a moment after its last process.
        thread::sleep(Duration::from_millis(50));
    }
}

fn mounts(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| point.replace("\\040", " "));
    points.map(PathBuf::from).filter(|point| point.starts_with(dir)).collect()
}

fn unmount(dir: &Path) {
    for _ in 0..3 {
        for point in mounts(dir).iter().rev() {
            let _ = process::output(Command::new("umount").arg("--lazy").arg(point));
        }
    }
}

fn network(programs: Option<&Programs>) {
    if Path::new("/sys/class/net").join(home::BRIDGE).exists() {
        let _ = process::output(Command::new("ip").args(["link", "delete", home::BRIDGE]));
    }
    for family in ["ip", "ip6"] {
        let mut nft = programs.map_or_else(|| Command::new("nft"), |programs| programs.debian("nft"));
        let _ = process::output(nft.args(["delete", "table", family, "kube-proxy"]));
    }
}

fn restore(home: &Home) {
    for (path, value) in &home.kernel {
        if home::kernel(path).is_some_and(|now| now != *value) {
            let _ = fs::write(format!("/proc/sys/{path}"), value);
        }
    }
    for dir in home.new_dirs.iter().rev() {
        let _ = fs::remove_dir_all(dir);
    }
}

/// What the parts write outside the cluster's directory, wherever they are told to write.
fn traces(dir: &Path) {
    for link in linked(dir) {
        let _ = fs::remove_file(link);
    }
    let results = fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = format!("{}-", home::BRIDGE);
    for file in results.filter(|p| p.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&ours))) {
        let _ = fs::remove_file(file);
    }
}

/// Links that lead into the cluster's directory, where kubelet always puts them.
fn linked(dir: &Path) -> Vec<PathBuf> {
    let links = fs::read_dir("/var/log/containers").into_iter().flatten().flatten().map(|entry| entry.path());
    links.filter(|path| fs::read_link(path).is_ok_and(|target| target.starts_with(dir))).collect()
}

fn remove(dir: &Path) -> Result<()> {
    let mut last = None;
    for _ in 0..20 {
        match fs::remove_dir_all(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => last = Some(error),
        }
        thread::sleep(Duration::from_millis(100));
        unmount(dir);
    }
    match last {
        Some(error) => bail!("cannot remove {}: {error}", dir.display()),
        None => Ok(()),
    }
}
