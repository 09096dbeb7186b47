//! Starting a cluster: one part after the other, each waited for.
//!
//! Owns the order and what "ready" means. Refuses to leave a half-started cluster behind: a failure stops what runs and says what the
//! failing part wrote last.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use slipway_images::{Containerd, Image};

use super::home::{self, Home, NODE, NODE_ADDRESS};
use super::parts::{self, Programs};
use super::procs;
use crate::process;

/// Parts that a running cluster consists of, in the order of their start.
pub const PARTS: &[&str] =
    &["etcd", "containerd", "apiserver", "controller-manager", "scheduler", "kubelet", "proxy", "coredns"];

const GATEWAY_KINDS: &[&str] = &["gatewayclasses", "gateways", "grpcroutes", "httproutes", "referencegrants"];

/// Refuses a machine where another Kubernetes is at work.
pub fn another(programs: &Programs) -> Result<()> {
    let tables =
        process::output(programs.debian("nft").args(["list", "tables"])).context("nftables does not answer")?;
    if tables.lines().any(|line| line.ends_with(" kube-proxy")) {
        bail!("another Kubernetes' kube-proxy has its rules on this machine");
    }
    Ok(())
}

/// Starts all parts in the fresh home.
pub fn start(home: &Home, programs: &Programs) -> Result<()> {
    let begin = Instant::now();
    bridge()?;
    cgroups()?;
    parts::write(home, programs)?;
    run(home, programs, "etcd")?;
    run(home, programs, "containerd")?;
    run(home, programs, "apiserver")?;
    until(home, "apiserver", 120, || kubectl(home, programs, &["get", "--raw", "/readyz"]).is_ok())?;
    for part in ["controller-manager", "scheduler", "coredns"] {
        run(home, programs, part)?;
    }
    until(home, "containerd", 60, || process::output(&mut ctr(home, programs, &["version"])).is_ok())?;
    pause(home, programs)?;
    run(home, programs, "kubelet")?;
    until(home, "kubelet", 60, || kubectl(home, programs, &["get", "node", NODE]).is_ok())?;
    // Only now: without a node's address it would wait for half a minute.
    run(home, programs, "proxy")?;
    gateway(home, programs)?;
    ready(home, programs)?;
    eprintln!("cluster: ready after {} s", begin.elapsed().as_secs());
    Ok(())
}

/// Waits until pods can be made and are reached: the node, its accounts, services, cluster DNS.
pub fn ready(home: &Home, programs: &Programs) -> Result<()> {
    let says = |args: &[&str], word: &str| kubectl(home, programs, args).is_ok_and(|text| text.contains(word));
    let condition = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    until(home, "kubelet", 120, || says(&["get", "node", NODE, "-o", condition], "True"))?;
    until(home, "controller-manager", 60, || says(&["get", "serviceaccount", "default", "-o", "name"], "default"))?;
    until(home, "proxy", 90, || {
        process::output(programs.debian("nft").args(["list", "map", "ip", "kube-proxy", "service-ips"]))
            .is_ok_and(|text| text.contains(home::API_SERVICE))
    })?;
    until(home, "coredns", 60, || std::net::TcpStream::connect((NODE_ADDRESS, 53)).is_ok())
}

/// Runs kubectl against the cluster as its administrator.
pub fn kubectl(home: &Home, programs: &Programs, args: &[&str]) -> Result<String> {
    let mut command = programs.kube("kubectl");
    command.arg("--kubeconfig").arg(home.kubeconfig()).arg("--request-timeout=20s").args(args);
    // A proxy of the surroundings is no way to this machine.
    command.env("NO_PROXY", NODE_ADDRESS).env("no_proxy", NODE_ADDRESS).env("KUBECACHEDIR", home.path("kubectl"));
    process::output(&mut command)
}

/// Applies the objects as the server would see them from a file.
pub fn apply(home: &Home, programs: &Programs, objects: &serde_json::Value) -> Result<()> {
    let file = home.path("objects.json");
    fs::write(&file, objects.to_string())?;
    kubectl(home, programs, &["apply", "--server-side", "-f", &file.to_string_lossy()]).map(drop)
}

/// Starts one part.
pub fn run(home: &Home, programs: &Programs, name: &str) -> Result<()> {
    eprintln!("cluster: starting {name} …");
    procs::spawn(&home.dir, name, &parts::command(name, home, programs))
}

/// Waits until `done`; fails when the part has ended or the time is over.
pub fn until(home: &Home, part: &str, seconds: u64, done: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        if !procs::runs(&home.dir, part) {
            bail!("{part} has ended; it wrote last:\n{}", procs::tail(&home.dir, part));
        }
        if Instant::now() > end {
            bail!("{part} is not ready after {seconds} s; it wrote last:\n{}", procs::tail(&home.dir, part));
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// The bridge, before any pod: parts of the cluster listen on its address.
fn bridge() -> Result<()> {
    let ip = |words: &str| process::output(Command::new("ip").args(words.split(' '))).map(drop);
    ip(&format!("link add {} type bridge", home::BRIDGE)).context("the kernel makes no bridge")?;
    ip(&format!("addr add {NODE_ADDRESS}/24 dev {}", home::BRIDGE))?;
    ip(&format!("link set {} up", home::BRIDGE))?;
    // From the machine itself, services are reached with the bridge's address as source, whatever its other routes are.
    ip(&format!("route add {} dev {}", home::SERVICES, home::BRIDGE))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("the kernel forwards no packets")
}

/// The control group of all pods: of the cluster's own, so that `down` ends none of another Kubernetes.
fn cgroups() -> Result<()> {
    for group in home::cgroups() {
        fs::create_dir_all(&group).with_context(|| format!("cannot make the control group {}", group.display()))?;
        let above = group.parent().unwrap_or(&group);
        // cgroup v1: a new group of cpuset has neither processors nor memory.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let (true, Ok(all)) = (group.ends_with(format!("cpuset/{}", home::CGROUP)), fs::read(above.join(file))) {
                fs::write(group.join(file), all)?;
            }
        }
        // cgroup v2: controllers are handed down.
        if let Ok(controllers) = fs::read_to_string(above.join("cgroup.controllers")) {
            for controller in controllers.split_whitespace() {
                let _ = fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
    }
    Ok(())
}

fn ctr(home: &Home, programs: &Programs, args: &[&str]) -> Command {
    let mut command = Command::new(programs.ctr());
    command.arg("--address").arg(home.containerd()).args(args);
    command
}

fn pause(home: &Home, programs: &Programs) -> Result<()> {
    let containerd = Containerd { socket: home.containerd(), ctr: programs.ctr() };
    containerd.import(&slipway_images::pack(parts::PAUSE, &programs.pause)?)
}

/// Imports a program as an image; its reference by digest.
pub fn import(home: &Home, programs: &Programs, name: &str, program: &Path) -> Result<String> {
    let image: Image = slipway_images::pack(name, program)?;
    Containerd { socket: home.containerd(), ctr: programs.ctr() }.import(&image)?;
    Ok(image.reference())
}

fn gateway(home: &Home, programs: &Programs) -> Result<()> {
    let mut args = vec!["apply".to_owned(), "--server-side".to_owned()];
    let mut names = Vec::new();
    for kind in GATEWAY_KINDS {
        let file = programs.gateway.join(format!("gateway.networking.k8s.io_{kind}.yaml"));
        args.push("--filename".to_owned());
        args.push(file.to_string_lossy().into_owned());
        names.push(format!("crd/{kind}.gateway.networking.k8s.io"));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    kubectl(home, programs, &args).context("the Gateway API's definitions were not taken")?;
    let mut wait = vec!["wait", "--for=condition=Established", "--timeout=20s"];
    wait.extend(names.iter().map(String::as_str));
    kubectl(home, programs, &wait).map(drop)
}

/// Objects of `count` nodes that KWOK keeps alive.
pub fn fake_nodes(count: u32) -> serde_json::Value {
    let size = json!({"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "1000"});
    let nodes: Vec<serde_json::Value> = (0..count)
        .map(|number| {
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": format!("fake-{number}"), "labels": {
                    super::kwok::LABEL: "fake", "kubernetes.io/hostname": format!("fake-{number}"),
                    "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                }},
                "status": {"capacity": size, "allocatable": size},
            })
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "List", "items": nodes})
}
