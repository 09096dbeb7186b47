//! The list of outside programs: name, pinned version, source.
//!
//! Owns what is pinned; refuses ranges and "latest".

/// How a program is had.
#[derive(Clone, Copy)]
pub enum Source {
    /// `go install` of a package at the pinned version.
    Go(&'static str),
    /// A program inside an npm package of the pinned version.
    Npm(&'static str),
    /// `cargo install` of a crate at the pinned version.
    Cargo,
    /// Commands built from a Go module of ours below `xtask/cluster`; its sources are part of the key.
    Module { dir: &'static str, packages: &'static [&'static str], linker: &'static str, program: &'static str },
    /// Files, or all files of a folder, out of a published Go module.
    Files { module: &'static str, paths: &'static [&'static str] },
    /// Unpacked from Debian packages, without installing them; the distribution decides the version.
    Debian { packages: &'static [&'static str], file: &'static str },
    /// Comes with the base toolchain; never installed here.
    Base,
}

/// One outside program.
pub struct Tool {
    /// Name of the program.
    pub name: &'static str,
    /// Pinned version.
    pub version: &'static str,
    /// How it is had.
    pub source: Source,
}

const fn tool(name: &'static str, version: &'static str, source: Source) -> Tool {
    Tool { name, version, source }
}

/// Programs without which no pod runs: the container runtime, its network plugins, and nftables with its libraries.
const NODE: &[&str] = &[
    "containerd",
    "runc",
    "containernetworking-plugins",
    "nftables",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libgmp10",
    "libjansson4",
    "libmnl0",
    "libnftables1",
    "libnftnl11",
    "libseccomp2",
    "libtinfo6",
    "libxtables12",
];

const KUBERNETES: &[&str] = &[
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-proxy",
    "k8s.io/kubernetes/cmd/kube-scheduler",
    "k8s.io/kubernetes/cmd/kubectl",
    "k8s.io/kubernetes/cmd/kubelet",
];

const KUBERNETES_VERSION: &str = "-X k8s.io/component-base/version.gitVersion=v1.34.4 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34";

/// What becomes of fake nodes and of the pods on them.
const STAGES: &[&str] = &[
    "kustomize/stage/node/fast/node-initialize.yaml",
    "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "kustomize/stage/pod/fast/pod-complete.yaml",
    "kustomize/stage/pod/fast/pod-delete.yaml",
    "kustomize/stage/pod/fast/pod-ready.yaml",
];

/// The parts of a real Kubernetes with pods that run.
pub static CLUSTER: &[Tool] = &[
    tool("kubernetes", "v1.34.4", module("kubernetes", KUBERNETES, KUBERNETES_VERSION, "kube-apiserver")),
    tool("etcd", "v3.6.6", module("etcd", &["go.etcd.io/etcd/server/v3"], "", "etcd")),
    tool("pause", "1", module("pause", &["./pause", "./pki"], "", "pause")),
    tool("coredns", "v1.15.0", Source::Go("github.com/coredns/coredns")),
    tool("kwok", "v0.8.0", Source::Go("sigs.k8s.io/kwok/cmd/kwok")),
    tool("kwok-stages", "v0.8.0", Source::Files { module: "sigs.k8s.io/kwok", paths: STAGES }),
    tool("gateway-api", "v1.6.3", Source::Files { module: "sigs.k8s.io/gateway-api", paths: &["config/crd/standard"] }),
    tool("containerd", "debian", Source::Debian { packages: NODE, file: "usr/bin/containerd" }),
    tool("busybox", "debian", Source::Debian { packages: &["busybox-static"], file: "bin/busybox" }),
];

const fn module(
    dir: &'static str,
    packages: &'static [&'static str],
    linker: &'static str,
    program: &'static str,
) -> Source {
    Source::Module { dir, packages, linker, program }
}

/// Everything the tests use besides the cluster, in the order of installation.
pub static TOOLS: &[Tool] = &[
    tool("git", "", Source::Base),
    tool("go", "", Source::Base),
    tool("node", "", Source::Base),
    tool("npm", "", Source::Base),
    tool("helm", "v4.3.1", Source::Go("helm.sh/helm/v4/cmd/helm")),
    tool("grpcurl", "v1.9.4", Source::Go("github.com/fullstorydev/grpcurl/cmd/grpcurl")),
    tool("actionlint", "v1.7.12", Source::Go("github.com/rhysd/actionlint/cmd/actionlint")),
    tool("protoc-gen-go", "v1.36.12", Source::Go("google.golang.org/protobuf/cmd/protoc-gen-go")),
    tool("protoc-gen-go-grpc", "v1.6.2", Source::Go("google.golang.org/grpc/cmd/protoc-gen-go-grpc")),
    tool("buf", "1.75.0", Source::Npm("@bufbuild/buf")),
    tool("protoc-gen-es", "2.17.0", Source::Npm("@bufbuild/protoc-gen-es")),
    tool("promtool", "debian", Source::Debian { packages: &["prometheus"], file: "usr/bin/promtool" }),
    tool("cargo-deny", "0.20.2", Source::Cargo),
];
