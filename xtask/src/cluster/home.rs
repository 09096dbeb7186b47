//! Where a cluster lives: its directory, its ports and addresses, and the machine's one place for a cluster.
//!
//! Owns the layout and the lock. Refuses a second cluster on the machine: both would claim the same pod addresses, the same
//! nftables table and the same cgroups.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::procs;

/// Names the directory of the machine's cluster; also the lock between two starts.
const PLACE: &str = "/run/slipway-cluster";

/// The bridge that pods hang on.
pub const BRIDGE: &str = "slipway0";
/// Address of the machine on the bridge: the node's address, the API server's, cluster DNS.
pub const NODE_ADDRESS: &str = "198.18.0.1";
/// Addresses of pods.
pub const PODS: &str = "198.18.0.0/24";
/// Addresses of the pods on fake nodes; nothing answers there.
pub const FAKE_PODS: &str = "198.18.64.1/18";
/// Addresses of services, and the first of them, which is the API server's.
pub const SERVICES: &str = "198.18.128.0/17";
/// The service `kubernetes`.
pub const API_SERVICE: &str = "198.18.128.1";
/// The control group that pods are made in.
pub const CGROUP: &str = "slipway-cluster";
/// The real node's name.
pub const NODE: &str = "node1";

/// Ports of one cluster.
#[derive(Serialize, Deserialize)]
pub struct Ports {
    /// etcd's clients and peers.
    pub etcd: [u16; 2],
    /// The API server.
    pub api: u16,
    /// Controller manager, scheduler.
    pub control: [u16; 2],
    /// kubelet and its health.
    pub kubelet: [u16; 2],
    /// kube-proxy's health and metrics.
    pub proxy: [u16; 2],
    /// KWOK's health and metrics.
    pub kwok: u16,
}

/// A cluster's directory and what was chosen for it.
#[derive(Serialize, Deserialize)]
pub struct Home {
    /// The directory.
    pub dir: PathBuf,
    /// Free ports.
    pub ports: Ports,
    /// Kernel settings as they were: path below /proc/sys, value.
    pub kernel: Vec<(String, String)>,
    /// Directories of the system that were not there before.
    pub new_dirs: Vec<PathBuf>,
}

/// The machine's place for a cluster, held against other starts and stops of the moment.
pub struct Place {
    _lock: File,
}

impl Home {
    /// A new home in `dir`, which is made.
    pub fn make(dir: &Path) -> Result<Self> {
        for part in ["pids", "logs", "pki", "auth", "cni", "containerd", "kubelet"] {
            fs::create_dir_all(dir.join(part)).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let [etcd, peer, api, manager, scheduler, kubelet, health, proxy, metrics, kwok] = free_ports()?;
        let ports = Ports {
            etcd: [etcd, peer],
            api,
            control: [manager, scheduler],
            kubelet: [kubelet, health],
            proxy: [proxy, metrics],
            kwok,
        };
        let kernel = super::KERNEL.iter().filter_map(|path| Some(((*path).to_owned(), kernel(path)?))).collect();
        let new_dirs = super::SYSTEM_DIRS.iter().map(PathBuf::from).filter(|path| !path.exists()).collect();
        let home = Self { dir: dir.to_path_buf(), ports, kernel, new_dirs };
        fs::write(dir.join("cluster.json"), serde_json::to_vec_pretty(&home)?)?;
        Ok(home)
    }

    /// The home that was made in `dir` earlier.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join("cluster.json")).ok()?).ok()
    }

    /// A path below the directory.
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.join(below)
    }

    /// The same as text; the directory was checked to be UTF-8.
    pub fn text(&self, below: &str) -> String {
        self.path(below).to_string_lossy().into_owned()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// containerd's socket.
    pub fn containerd(&self) -> PathBuf {
        self.path("containerd/c.sock")
    }

    /// The API server's address.
    pub fn api(&self) -> String {
        format!("https://{NODE_ADDRESS}:{}", self.ports.api)
    }
}

impl Place {
    /// Waits for a start or stop in progress, and holds the place until dropped.
    pub fn hold() -> Result<Self> {
        let lock = File::options().create(true).append(true).open(PLACE);
        let lock = lock.with_context(|| format!("cannot write {PLACE}"))?;
        lock.lock().context("cannot lock the machine's place for a cluster")?;
        Ok(Self { _lock: lock })
    }

    /// The directory of the machine's cluster, if one was started and not stopped.
    pub fn taken(&self) -> Option<PathBuf> {
        let dir = PathBuf::from(fs::read_to_string(PLACE).ok()?.trim());
        (!dir.as_os_str().is_empty()).then_some(dir)
    }

    /// Refuses while another cluster than `dir`'s runs.
    pub fn free_for(&self, dir: &Path) -> Result<()> {
        match self.taken().filter(|other| other != dir && procs::any(other)) {
            None => Ok(()),
            Some(other) => bail!(
                "a cluster runs in {0} already, and this machine has room for one: `cargo xtask cluster down --dir {0}` ends \
                 it; tests use it with SLIPWAY_TEST_KUBECONFIG={0}/kubeconfig SLIPWAY_TEST_CONTAINERD={0}/containerd/c.sock",
                other.display()
            ),
        }
    }

    /// Takes the place for `dir`.
    pub fn take(&self, dir: &Path) -> Result<()> {
        fs::write(PLACE, dir.as_os_str().as_encoded_bytes()).with_context(|| format!("cannot write {PLACE}"))
    }

    /// Gives the place free if it is `dir`'s.
    pub fn leave(&self, dir: &Path) {
        if self.taken().is_some_and(|taken| taken == dir) {
            // The empty file stays: another start may wait for its lock.
            let _ = fs::write(PLACE, "");
        }
    }
}

/// The cluster's control group in each hierarchy; every container is below.
pub fn cgroups() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.join(CGROUP)];
    }
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies.filter(|path| path.is_dir() && !path.is_symlink()).map(|path| path.join(CGROUP)).collect()
}

/// Present value of a kernel setting.
pub fn kernel(path: &str) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().to_owned())
}

/// Free ports below those that the kernel gives to outgoing connections and below node ports, so that they stay free.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    let mut next = 20_000 + (std::process::id() % 9_000) as u16;
    for port in &mut ports {
        loop {
            next = if next >= 29_900 { 20_000 } else { next + 1 };
            if held.len() > 5_000 {
                bail!("no free ports");
            }
            if let Ok(listener) = TcpListener::bind(("0.0.0.0", next)) {
                held.push(listener);
                *port = next;
                break;
            }
        }
    }
    Ok(ports)
}
