//! The real Kubernetes of a test run, whichever it is: named by a kubeconfig, spoken to with kubectl.
//!
//! Owns how a test gets an image and a namespace of its own. Refuses to start or stop a cluster: `cargo xtask` does that, and any
//! other cluster will do; only images need the run's own containerd.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use slipway_images::Containerd;

use crate::program;

/// Longest time of one exchange with a pod.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// The cluster of this test run.
#[derive(Clone, Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    containerd: Option<Containerd>,
}

/// A namespace of one test; deleted when dropped, without waiting for its end.
pub struct Namespace {
    cluster: Cluster,
    name: String,
}

impl Cluster {
    /// The cluster that `SLIPWAY_TEST_KUBECONFIG` names; without one, `story` is reported as skipped.
    pub fn of_the_run(story: &str) -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os("SLIPWAY_TEST_KUBECONFIG") else {
            println!("skipped: {story} needs a Kubernetes, and SLIPWAY_TEST_KUBECONFIG names none");
            return None;
        };
        if !program::have(story, &["kubectl"]) {
            return None;
        }
        let socket = std::env::var_os("SLIPWAY_TEST_CONTAINERD").map(PathBuf::from);
        let containerd = socket.and_then(|socket| Some(Containerd { socket, ctr: program::find("ctr")? }));
        Some(Self { kubeconfig: kubeconfig.into(), containerd })
    }

    /// The same, if images can be imported into it too.
    pub fn with_images(story: &str) -> Option<Self> {
        let cluster = Self::of_the_run(story)?;
        if cluster.containerd.is_none() {
            println!("skipped: {story} needs images in the cluster, and SLIPWAY_TEST_CONTAINERD or ctr is missing");
            return None;
        }
        Some(cluster)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Packs a static program into an image `registry.test/…`, imports it, and returns its reference by digest.
    pub fn import(&self, name: &str, program: &Path) -> Result<String> {
        let image = slipway_images::pack(name, program)?;
        self.containerd.as_ref().context("the run has no containerd")?.import(&image)?;
        Ok(image.reference())
    }

    /// Builds the Go program in `source`, as the golden path's Dockerfile does, and imports it.
    pub fn import_go(&self, name: &str, source: &Path, version: &str, commit: &str) -> Result<String> {
        let out = tempfile::tempdir()?;
        let program = out.path().join("service");
        let linker = format!("-s -w -X main.version={version} -X main.commit={commit}");
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &linker, "-o"]).arg(&program).arg(".");
        go.current_dir(source).env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off");
        let built = go.stdin(Stdio::null()).output().context("cannot start go")?;
        if !built.status.success() {
            bail!("{} was not built: {}", source.display(), String::from_utf8_lossy(&built.stderr));
        }
        self.import(name, &program)
    }

    /// Runs kubectl; its standard output, or an error with what the server said.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.run(args, None)
    }

    /// Applies one object, or a List of them.
    pub fn apply(&self, object: &Value) -> Result<()> {
        self.run(&["apply", "--server-side", "--filename", "-"], Some(&object.to_string())).map(drop)
    }

    /// Reads one object; an error if it is not there.
    pub fn get(&self, namespace: &str, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", "--namespace", namespace, name, "--output", "json"])?)?)
    }

    /// Waits until the condition holds for the object, for example `Ready` for `pod/web`.
    pub fn wait(&self, namespace: &str, name: &str, condition: &str, timeout: Duration) -> Result<()> {
        let (condition, timeout) =
            (format!("--for=condition={condition}"), format!("--timeout={}s", timeout.as_secs()));
        self.kubectl(&["wait", "--namespace", namespace, name, &condition, &timeout]).map(drop)
    }

    /// A fresh namespace whose name begins with `prefix`, with the labels given.
    pub fn namespace(&self, prefix: &str, labels: &[(&str, &str)]) -> Result<Namespace> {
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let name = format!("{prefix}-{:x}{:x}", std::process::id(), stamp & 0xff_ffff);
        let labels: Value = labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))?;
        let namespace = Namespace { cluster: self.clone(), name };
        // Pods are refused until the controller manager has made the account.
        until(Duration::from_secs(30), "the namespace has its default account", || {
            Ok(self.get(&namespace.name, "serviceaccount/default").is_ok().then_some(()))
        })?;
        Ok(namespace)
    }

    fn run(&self, args: &[&str], input: Option<&str>) -> Result<String> {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        if let Some(dir) = self.kubeconfig.parent() {
            kubectl.env("KUBECACHEDIR", dir.join("kubectl"));
        }
        let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Namespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"]);
    }
}

/// Asks until there is an answer; an error names what was waited for.
pub fn until<T>(timeout: Duration, what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("not within {} s: {what}", timeout.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `GET path` over plain HTTP; status and body.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, HTTP_TIMEOUT)?;
    stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no HTTP status")?;
    Ok((status, body.to_owned()))
}
