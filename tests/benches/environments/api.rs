//! The API server as its administrator sees it, through `kubectl proxy`: objects, and who made how many requests.
//!
//! Owns the counting: the platform calls by an account of its own, and a FlowSchema per kind of request has the server itself count
//! them. Requests of this program, the controllers and the nodes are in none of the counts.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::ops::Sub;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use slipway_tests::cluster::{self, Cluster};

/// Counted apart: what asks once, what listens, what changes.
pub const KINDS: [(&str, &[&str]); 3] = [
    ("reads", &["get", "list"]),
    ("watches", &["watch"]),
    ("writes", &["create", "update", "patch", "delete", "deletecollection"]),
];

/// An open way to the API server; closed when dropped.
pub struct Api {
    proxy: Child,
    address: SocketAddr,
}

/// Requests of one account so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requests {
    /// Gets and lists, discovery among them.
    pub reads: u64,
    /// Watches that were begun.
    pub watches: u64,
    /// Everything else; a dry run is a write too.
    pub writes: u64,
}

impl Requests {
    /// All of them.
    pub fn all(self) -> u64 {
        self.reads + self.watches + self.writes
    }
}

impl Sub for Requests {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            watches: self.watches - earlier.watches,
            writes: self.writes - earlier.writes,
        }
    }
}

impl Api {
    /// Opens it.
    pub fn open(cluster: &Cluster) -> Result<Self> {
        let mut proxy = Command::new("kubectl");
        proxy.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["proxy", "--port=0", "--address=127.0.0.1"]);
        let mut proxy = proxy.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start kubectl")?;
        let mut line = String::new();
        BufReader::new(proxy.stdout.take().context("no standard output")?).read_line(&mut line)?;
        let address = line.trim().rsplit(' ').next().and_then(|word| word.parse().ok());
        let address = address.with_context(|| format!("kubectl proxy said {line:?}"))?;
        Ok(Self { proxy, address })
    }

    /// Objects below a path; none where there is nothing.
    pub fn items(&self, path: &str) -> Result<Vec<Value>> {
        let (status, body) = cluster::get(self.address, path)?;
        if status == 404 {
            return Ok(Vec::new());
        }
        ensure!(status == 200, "{path}: {status} {body}");
        let mut list: Value = serde_json::from_str(&body).with_context(|| format!("{path} is not JSON"))?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Whether the environment's namespace stands with all its guard rails.
    pub fn is_guarded(&self, namespace: &str, uid: &str) -> Result<bool> {
        let ours = format!("?labelSelector=slipway.dev%2Fenv-uid%3D{uid}");
        for (group, kind, least) in [
            ("api/v1", "resourcequotas", 1),
            ("api/v1", "limitranges", 1),
            ("api/v1", "serviceaccounts", 1),
            ("apis/networking.k8s.io/v1", "networkpolicies", 4),
        ] {
            if self.items(&format!("/{group}/namespaces/{namespace}/{kind}{ours}"))?.len() < least {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether there is a namespace of this name, ending or not.
    pub fn has_namespace(&self, name: &str) -> Result<bool> {
        let (status, body) = cluster::get(self.address, &format!("/api/v1/namespaces/{name}"))?;
        ensure!(matches!(status, 200 | 404), "namespace {name}: {status} {body}");
        Ok(status == 200)
    }

    /// Requests that the server took from the account, as the flow schemas of this prefix count them; none may have been turned away.
    pub fn requests(&self, account: &str) -> Result<Requests> {
        let (status, text) = cluster::get(self.address, "/metrics")?;
        ensure!(status == 200, "the API server shows no metrics: {status}");
        let sum = |metric: &str, kind: &str| -> u64 {
            let schema = format!("flow_schema=\"{account}-{kind}\"");
            let lines = text.lines().filter(|line| line.starts_with(metric) && line.contains(&schema));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
        };
        for (kind, _) in KINDS {
            let rejected = sum("apiserver_flowcontrol_rejected_requests_total{", kind);
            ensure!(rejected == 0, "the API server turned {rejected} {kind} of {account} away");
        }
        let taken = |kind: &str| sum("apiserver_flowcontrol_dispatched_requests_total{", kind);
        Ok(Requests { reads: taken("reads"), watches: taken("watches"), writes: taken("writes") })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}
