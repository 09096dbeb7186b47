//! `cargo xtask cluster`: a real single-node Kubernetes on this machine, for the tests and by hand.
//!
//! Owns its verbs and the promise that `down` leaves nothing. It is test equipment: its pods run as root's, its etcd forgets at a
//! power cut. Refuses to be two at once on a machine.

mod home;
mod kwok;
mod parts;
mod procs;
mod run;
mod start;
mod stop;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use home::{Home, Place};
use parts::Programs;
pub use run::{ForTests, for_tests};

use crate::{process, tools};

/// What the cluster is called among the components of a test run.
pub const NAME: &str = "Kubernetes 1.34.4 with pods";

/// Programs that may run in the cluster's name.
const PROGRAMS: &[&str] = &["etcd", "kube", "containerd", "coredns", "kwok", "runc", "ctr"];

/// Kernel settings that the parts change.
const KERNEL: &[&str] = &[
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Directories that the parts make wherever they are told to work, outer ones first.
const SYSTEM_DIRS: &[&str] = &[
    "/var/lib/cni",
    "/var/lib/cni/results",
    "/var/lib/kubelet",
    "/var/lib/kubelet/device-plugins",
    "/var/log/containers",
    "/usr/libexec/kubernetes",
    "/run/containerd",
    "/run/mount",
];

/// Options of `cargo xtask cluster`.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Starts the cluster and prints the path of its kubeconfig; one that runs already is left alone.
    Up {
        #[command(flatten)]
        place: Directory,
        /// Makes this many fake nodes, as `kwok` does.
        #[arg(long)]
        kwok: Option<u32>,
    },
    /// Stops the cluster and removes everything that is left of it.
    Down(Directory),
    /// Packs a static program into an image, imports it, and prints its reference by digest.
    Image {
        #[command(flatten)]
        place: Directory,
        /// `host/repository` or `host/repository:tag`, for example `registry.test/shop/app`.
        name: String,
        /// The program.
        program: PathBuf,
    },
    /// Makes this many fake nodes, whose pods become ready without running; 0 returns to the real node.
    Kwok {
        #[command(flatten)]
        place: Directory,
        /// Number of fake nodes.
        nodes: u32,
    },
    /// Runs kubectl against the cluster.
    Kubectl {
        #[command(flatten)]
        place: Directory,
        /// Arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Stops the cluster as soon as standard input ends: what a test run leaves behind when it is killed.
    #[command(hide = true)]
    Guard(Directory),
}

/// Where the cluster is.
#[derive(Args)]
struct Directory {
    /// Directory of the cluster; by default `slipway/cluster` below the user's cache folder.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Directory {
    fn path(&self) -> Result<PathBuf> {
        let dir = self.dir.clone().unwrap_or_else(|| tools::user_cache().join("cluster"));
        plain(std::path::absolute(&dir)?)
    }
}

/// The directory, if sockets may live in it and every part's configuration may name it as it is.
fn plain(dir: PathBuf) -> Result<PathBuf> {
    let text = dir.to_str().context("the cluster's directory is not UTF-8")?;
    if text.len() > 70 || text.contains(['"', ' ', '\\', '\n', ':']) {
        bail!("{text} cannot be the cluster's directory: choose one of at most 70 plain characters");
    }
    Ok(dir)
}

/// Runs the verb.
pub fn run(options: &Options) -> Result<()> {
    match &options.verb {
        Verb::Up { place, kwok } => {
            let dir = place.path()?;
            let programs = install()?;
            up(&dir, &programs)?;
            let home = running(&dir)?;
            if let Some(nodes) = kwok {
                kwok::scale(&home, &programs, *nodes)?;
            }
            println!("{}", home.kubeconfig().display());
            Ok(())
        }
        Verb::Down(place) => down(&place.path()?),
        Verb::Image { place, name, program } => {
            let home = running(&place.path()?)?;
            println!("{}", start::import(&home, &install()?, name, program)?);
            Ok(())
        }
        Verb::Kwok { place, nodes } => kwok::scale(&running(&place.path()?)?, &install()?, *nodes),
        Verb::Kubectl { place, words } => {
            use std::os::unix::process::CommandExt as _;
            let home = running(&place.path()?)?;
            let mut kubectl = install()?.kube("kubectl");
            kubectl.env("KUBECONFIG", home.kubeconfig()).env("KUBECACHEDIR", home.path("kubectl"));
            let error = kubectl.args(words).exec();
            Err(error).context("cannot start kubectl")
        }
        Verb::Guard(place) => {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            down(&place.path()?)
        }
    }
}

/// Why this machine cannot run a cluster, if so.
pub fn impossible() -> Option<String> {
    if !process::is_root() {
        return Some("it needs root".to_owned());
    }
    for program in ["ip", "mount", "umount", "setsid"] {
        if process::find(program).is_none() {
            return Some(format!("{program} is not on PATH"));
        }
    }
    let kernel = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !kernel.contains("overlay") && process::output(Command::new("modprobe").arg("overlay")).is_err() {
        return Some("the kernel has no overlay file system".to_owned());
    }
    if !Path::new("/sys/fs/cgroup").read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Some("no cgroups are mounted".to_owned());
    }
    None
}

fn install() -> Result<Programs> {
    if let Some(reason) = impossible() {
        bail!("this machine cannot run the cluster: {reason}");
    }
    let installed = tools::ensure(&tools::cluster())?;
    if let Some((name, reason)) = installed.missing.first() {
        bail!("{name} is missing: {reason}");
    }
    Programs::of(&installed)
}

fn running(dir: &Path) -> Result<Home> {
    let home = Home::read(dir).filter(|_| start::PARTS.iter().all(|part| procs::runs(dir, part)));
    home.with_context(|| format!("no cluster runs in {}: `cargo xtask cluster up`", dir.display()))
}

fn up(dir: &Path, programs: &Programs) -> Result<()> {
    let place = Place::hold()?;
    let before = place.taken();
    place.free_for(dir)?;
    if before.is_some() && running(dir).is_ok() {
        eprintln!("cluster: runs already");
        return Ok(());
    }
    // What an earlier start left: where the machine's last cluster was, and here.
    if let Some(stale) = &before {
        stop::stop(stale, Some(programs), true)?;
    }
    stop::stop(dir, Some(programs), false)?;
    start::another(programs)?;
    place.take(dir)?;
    let home = Home::make(dir)?;
    if let Err(error) = start::start(&home, programs) {
        eprintln!("cluster: stopping what was started …");
        stop::stop(dir, Some(programs), true)?;
        place.leave(dir);
        return Err(error);
    }
    Ok(())
}

fn down(dir: &Path) -> Result<()> {
    let place = Place::hold()?;
    let machine = place.taken().is_some_and(|taken| taken == dir);
    if !machine && !dir.exists() {
        return Ok(());
    }
    eprintln!("cluster: stopping …");
    let programs = Programs::of(&tools::present(&tools::cluster())).ok();
    stop::stop(dir, programs.as_ref(), machine)?;
    place.leave(dir);
    match stop::leftovers(dir, programs.as_ref()) {
        left if left.is_empty() || !machine => Ok(()),
        left => bail!("left behind: {}", left.join(", ")),
    }
}
