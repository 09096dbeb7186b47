//! The cluster's parts: the files that configure them and their command lines.
//!
//! Owns every flag, with the reason where it is not plain. Refuses to start anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::home::{self, Home, NODE, NODE_ADDRESS};
use crate::process;
use crate::tools::Installed;

/// Name of the image that holds a pod's namespaces.
pub const PAUSE: &str = "slipway.test/pause:1";

/// Who calls the API server: name of the kubeconfig, user, group.
const USERS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
    ("node", "system:node:node1", "system:nodes"),
];

/// Where the installed programs are.
pub struct Programs {
    kubernetes: PathBuf,
    /// `usr` of the unpacked Debian packages.
    node: PathBuf,
    etcd: PathBuf,
    coredns: PathBuf,
    kwok: PathBuf,
    stages: PathBuf,
    /// The static program of the pause image.
    pub pause: PathBuf,
    /// Folder with the Gateway API's definitions.
    pub gateway: PathBuf,
}

impl Programs {
    /// Finds the parts among the installed tools.
    pub fn of(installed: &Installed) -> Result<Self> {
        let place = |name: &str| installed.place(name).map(Path::to_path_buf).with_context(|| format!("no {name}"));
        let above = |path: PathBuf, levels: usize| path.ancestors().nth(levels).map(Path::to_path_buf).unwrap_or(path);
        Ok(Self {
            kubernetes: above(place("kubernetes")?, 1),
            node: above(place("containerd")?, 2),
            etcd: place("etcd")?,
            coredns: place("coredns")?,
            kwok: place("kwok")?,
            stages: place("kwok-stages")?,
            pause: place("pause")?,
            gateway: place("gateway-api")?,
        })
    }

    /// A program of Kubernetes.
    pub fn kube(&self, name: &str) -> Command {
        Command::new(self.kubernetes.join(name))
    }

    /// The client of containerd.
    pub fn ctr(&self) -> PathBuf {
        self.node.join("bin/ctr")
    }

    /// A program of the Debian packages, with their libraries.
    pub fn debian(&self, name: &str) -> Command {
        let folder = ["sbin", "bin"].map(|folder| self.node.join(folder).join(name));
        let program = folder.iter().find(|file| process::is_executable(file));
        let mut command = Command::new(program.map_or_else(|| PathBuf::from(name), Clone::clone));
        self.surround(&mut command);
        command
    }

    /// The command, and what it starts, find the programs of the Debian packages and their libraries.
    fn surround(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let ours = [self.node.join("sbin"), self.node.join("bin")];
        if let Ok(path) = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&path))) {
            command.env("PATH", path);
        }
        let root = self.node.parent().unwrap_or(&self.node);
        let folders: Vec<PathBuf> = [root.join("lib"), self.node.join("lib")]
            .iter()
            .flat_map(|lib| fs::read_dir(lib).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"))
            .collect();
        if let Ok(folders) = std::env::join_paths(folders) {
            command.env("LD_LIBRARY_PATH", folders);
        }
    }
}

/// Writes keys, tokens, kubeconfigs and every part's configuration.
pub fn write(home: &Home, programs: &Programs) -> Result<()> {
    let pki = programs.pause.with_file_name("pki");
    process::output(Command::new(pki).arg(home.path("pki")).args([NODE_ADDRESS, home::API_SERVICE, NODE]))?;
    let authority = STANDARD.encode(fs::read(home.path("pki/ca.crt"))?);
    let mut tokens = String::new();
    for (name, user, group) in USERS {
        let token = token(home, name)?;
        tokens.push_str(&format!("{token},{user},{user},\"{group}\"\n"));
        let config = kubeconfig(&home.api(), &authority, &token);
        let file = if *name == "admin" { home.kubeconfig() } else { home.path(&format!("auth/{name}.kubeconfig")) };
        private(&file, &serde_json::to_string_pretty(&config)?)?;
    }
    private(&home.path("auth/tokens.csv"), &tokens)?;
    fs::write(home.path("containerd.toml"), containerd_config(home, programs))?;
    fs::write(home.path("cni/10-slipway.conflist"), network(home).to_string())?;
    fs::write(home.path("kubelet.json"), kubelet_config(home).to_string())?;
    fs::write(home.path("resolv.conf"), format!("nameserver {NODE_ADDRESS}\n"))?;
    fs::write(home.path("Corefile"), corefile(home))?;
    Ok(())
}

/// The command line of each part, by its name in the logs.
pub fn command(name: &str, home: &Home, programs: &Programs) -> Command {
    match name {
        "etcd" => etcd(home, programs),
        "apiserver" => apiserver(home, programs),
        "controller-manager" => controller_manager(home, programs),
        "scheduler" => scheduler(home, programs),
        "proxy" => proxy(home, programs),
        "kubelet" => kubelet(home, programs),
        "coredns" => with(Command::new(&programs.coredns), &["-conf", &home.text("Corefile")]),
        "kwok" => kwok(home, programs),
        _ => with(programs.debian("containerd"), &["--config", &home.text("containerd.toml")]),
    }
}

fn etcd(home: &Home, programs: &Programs) -> Command {
    let [client, peer] = home.ports.etcd.map(|port| format!("http://127.0.0.1:{port}"));
    with(
        Command::new(&programs.etcd),
        &[
            "--data-dir",
            &home.text("etcd"),
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("default={peer}"),
            // Test equipment: a power cut may lose it.
            "--unsafe-no-fsync",
            "--log-level",
            "warn",
        ],
    )
}

fn apiserver(home: &Home, programs: &Programs) -> Command {
    with(
        programs.kube("kube-apiserver"),
        &[
            "--etcd-servers",
            &format!("http://127.0.0.1:{}", home.ports.etcd[0]),
            // On the bridge rather than on loopback, so that pods reach it by the service `kubernetes` too.
            "--bind-address",
            NODE_ADDRESS,
            "--advertise-address",
            NODE_ADDRESS,
            "--secure-port",
            &home.ports.api.to_string(),
            "--tls-cert-file",
            &home.text("pki/apiserver.crt"),
            "--tls-private-key-file",
            &home.text("pki/apiserver.key"),
            "--client-ca-file",
            &home.text("pki/ca.crt"),
            "--kubelet-client-certificate",
            &home.text("pki/kubelet-client.crt"),
            "--kubelet-client-key",
            &home.text("pki/kubelet-client.key"),
            "--kubelet-certificate-authority",
            &home.text("pki/ca.crt"),
            "--kubelet-preferred-address-types",
            "InternalIP",
            "--token-auth-file",
            &home.text("auth/tokens.csv"),
            "--authorization-mode",
            "Node,RBAC",
            "--allow-privileged",
            "--service-account-issuer",
            "https://kubernetes.default.svc.cluster.local",
            "--service-account-key-file",
            &home.text("pki/sa.pub"),
            "--service-account-signing-key-file",
            &home.text("pki/sa.key"),
            "--service-cluster-ip-range",
            home::SERVICES,
            "--endpoint-reconciler-type",
            "lease",
        ],
    )
}

fn controller_manager(home: &Home, programs: &Programs) -> Command {
    with(
        programs.kube("kube-controller-manager"),
        &[
            "--kubeconfig",
            &home.text("auth/controller-manager.kubeconfig"),
            "--service-account-private-key-file",
            &home.text("pki/sa.key"),
            "--root-ca-file",
            &home.text("pki/ca.crt"),
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--allocate-node-cidrs=false",
            "--bind-address",
            "127.0.0.1",
            "--secure-port",
            &home.ports.control[0].to_string(),
            "--cert-dir",
            &home.text("pki/controller-manager"),
        ],
    )
}

fn scheduler(home: &Home, programs: &Programs) -> Command {
    with(
        programs.kube("kube-scheduler"),
        &[
            "--kubeconfig",
            &home.text("auth/scheduler.kubeconfig"),
            "--leader-elect=false",
            "--bind-address",
            "127.0.0.1",
            "--secure-port",
            &home.ports.control[1].to_string(),
            "--cert-dir",
            &home.text("pki/scheduler"),
        ],
    )
}

fn proxy(home: &Home, programs: &Programs) -> Command {
    let mut command = with(
        programs.kube("kube-proxy"),
        &[
            "--kubeconfig",
            &home.text("auth/proxy.kubeconfig"),
            "--proxy-mode",
            "nftables",
            "--cluster-cidr",
            home::PODS,
            "--hostname-override",
            NODE,
            // Zero leaves the kernel's settings of connection tracking alone.
            "--conntrack-max-per-core",
            "0",
            "--conntrack-tcp-timeout-established",
            "0s",
            "--conntrack-tcp-timeout-close-wait",
            "0s",
            "--oom-score-adj",
            "0",
            "--healthz-bind-address",
            &format!("127.0.0.1:{}", home.ports.proxy[0]),
            "--metrics-bind-address",
            &format!("127.0.0.1:{}", home.ports.proxy[1]),
        ],
    );
    programs.surround(&mut command);
    command
}

fn kubelet(home: &Home, programs: &Programs) -> Command {
    let mut command = with(
        programs.kube("kubelet"),
        &[
            "--kubeconfig",
            &home.text("auth/node.kubeconfig"),
            "--config",
            &home.text("kubelet.json"),
            "--root-dir",
            &home.text("kubelet"),
            "--hostname-override",
            NODE,
            "--node-ip",
            NODE_ADDRESS,
            "--cert-dir",
            &home.text("pki/kubelet"),
        ],
    );
    programs.surround(&mut command);
    command
}

fn kwok(home: &Home, programs: &Programs) -> Command {
    let mut command = with(
        Command::new(&programs.kwok),
        &[
            "--kubeconfig",
            &home.kubeconfig().to_string_lossy(),
            "--manage-nodes-with-label-selector",
            &format!("{}=fake", super::kwok::LABEL),
            "--cidr",
            home::FAKE_PODS,
            // Nobody asks a fake node for logs.
            "--node-ip",
            "127.0.0.1",
            "--node-lease-duration-seconds",
            "40",
            "--server-address",
            &format!("127.0.0.1:{}", home.ports.kwok),
        ],
    );
    let stages = fs::read_dir(&programs.stages).into_iter().flatten().flatten().map(|entry| entry.path());
    for stage in stages {
        command.arg("--config").arg(stage);
    }
    command
}

fn containerd_config(home: &Home, programs: &Programs) -> String {
    let dir = home.dir.display();
    let node = programs.node.display();
    let socket = home.containerd();
    let socket = socket.display();
    // restrict_oom_score_adj: without CAP_SYS_RESOURCE no score may be lowered, and every sandbox would fail.
    format!(
        r#"version = 2
root = "{dir}/containerd/root"
state = "{dir}/containerd/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{node}/lib/cni"
    conf_dir = "{dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{node}/sbin/runc"
"#
    )
}

fn network(home: &Home) -> Value {
    json!({"cniVersion": "1.0.0", "name": home::BRIDGE, "plugins": [{
        "type": "bridge", "bridge": home::BRIDGE, "isGateway": true, "ipMasq": false, "hairpinMode": true,
        "ipam": {
            "type": "host-local", "dataDir": home.path("cni-addresses"),
            "ranges": [[{"subnet": home::PODS}]], "routes": [{"dst": "0.0.0.0/0"}],
        },
    }]})
}

fn kubelet_config(home: &Home) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS, "port": home.ports.kubelet[0], "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1", "healthzPort": home.ports.kubelet[1],
        "tlsCertFile": home.path("pki/kubelet.crt"), "tlsPrivateKeyFile": home.path("pki/kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": home.path("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [NODE_ADDRESS], "clusterDomain": "cluster.local", "resolvConf": home.path("resolv.conf"),
        "containerRuntimeEndpoint": format!("unix://{}", home.containerd().display()),
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", home::CGROUP), "failCgroupV1": false, "failSwapOn": false, "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false, "imageGCHighThresholdPercent": 100,
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
        "podLogsDir": home.path("pod-logs"), "volumePluginDir": home.path("kubelet/plugins-exec"),
        "maxPods": 200, "oomScoreAdj": 0,
    })
}

fn corefile(home: &Home) -> String {
    let kubeconfig = home.kubeconfig();
    let kubeconfig = kubeconfig.display();
    // Two blocks: within one, `template` would answer before `kubernetes` is asked.
    format!(
        "cluster.local:53 in-addr.arpa:53 {{
    bind {NODE_ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
}}
.:53 {{
    bind {NODE_ADDRESS}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"
    )
}

fn kubeconfig(server: &str, authority: &str, token: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "slipway",
        "clusters": [{"name": "slipway", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": "slipway", "user": {"token": token}}],
        "contexts": [{"name": "slipway", "context": {"cluster": "slipway", "user": "slipway"}}],
    })
}

/// A token that follows from the cluster's own fresh signing key and the user's name.
fn token(home: &Home, name: &str) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(fs::read(home.path("pki/sa.key"))?);
    hash.update(name);
    Ok(hex::encode(hash.finalize()))
}

fn private(file: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut open = fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(file)?;
    Ok(open.write_all(text.as_bytes())?)
}

fn with(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    command
}
