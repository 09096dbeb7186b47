//! Previews as a developer has them: pull requests of a golden path's service, built into images, running on a real cluster.
//!
//! Owns the steps that the story on the cluster and its benchmark share. Refuses to fake the build: each image is the program of
//! that commit, compiled and packed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use slipway_proto::environment::v1 as environment;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;

use crate::cluster::Cluster;
use crate::main_job::{Job, answered, eventually};
use crate::platform::Handle;
use crate::program;

/// Id that the cluster is registered under.
pub const CLUSTER: &str = "real";
/// Longest time one request to a preview may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A service whose pull requests get previews on a cluster.
pub struct PreviewJob {
    /// The main job's people and calls.
    pub job: Job,
    /// The cluster.
    pub cluster: Cluster,
}

/// What a preview answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Head of the answer, in lower case.
    pub head: String,
    /// Body.
    pub body: String,
}

impl PreviewJob {
    /// Registers the cluster with the platform and makes the service from the golden path.
    pub async fn begin(handle: &Handle, cluster: Cluster, name: &str) -> Result<Self> {
        Self::begin_routed(handle, cluster, name, environment::Routing::Unspecified).await
    }

    /// The same on a cluster where this answers at the hosts.
    pub async fn begin_routed(
        handle: &Handle,
        cluster: Cluster,
        name: &str,
        routing: environment::Routing,
    ) -> Result<Self> {
        let this = Self::unregistered(handle, cluster, name).await?;
        let kubeconfig = std::fs::read(this.cluster.kubeconfig())?;
        this.register(&kubeconfig, routing, false).await?;
        Ok(this)
    }

    /// Makes the service; the cluster is left to be registered.
    pub async fn unregistered(handle: &Handle, cluster: Cluster, name: &str) -> Result<Self> {
        let job = Job::begin(handle, name).await?;
        std::fs::create_dir_all(handle.data().join("credentials"))?;
        job.create_service().await?;
        Ok(Self { job, cluster })
    }

    /// Registers the cluster by this kubeconfig; or only has it checked, and says what its identity needs.
    pub async fn register(
        &self,
        kubeconfig: &[u8],
        routing: environment::Routing,
        only_check: bool,
    ) -> Result<environment::Cluster> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.job.handle.data().join("credentials/real.kubeconfig");
        std::fs::write(&file, kubeconfig)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        let request = environment::CreateClusterRequest {
            cluster_id: CLUSTER.to_owned(),
            cluster: Some(environment::Cluster {
                kubeconfig_file: "real.kubeconfig".to_owned(),
                default: true,
                routing: routing.into(),
                ..Default::default()
            }),
            request_id: self.job.id(if only_check { "check" } else { "cluster" }),
            validate_only: only_check,
        };
        Ok(answered(|| async { self.job.admin.clusters().create_cluster(request.clone()).await }).await?)
    }

    /// Ann's token, as her browser or script holds it.
    pub fn token(&self) -> String {
        self.job.ann.token().to_owned()
    }

    /// Opens a pull request that adds a file; its number and head.
    pub fn open(&self, branch: &str, change: &str) -> Result<(i64, String)> {
        self.pull_request("open", &["--branch", branch, "--change", change])
    }

    /// Pushes a change to a pull request; its head.
    pub fn push(&self, number: i64, change: &str) -> Result<String> {
        Ok(self.pull_request("push", &["--number", &number.to_string(), "--change", change])?.1)
    }

    /// Closes a pull request.
    pub fn close(&self, number: i64) -> Result<()> {
        self.job.handle.dev_pr("close", &self.job.repository(), &["--number", &number.to_string()]).map(drop)
    }

    fn pull_request(&self, verb: &str, args: &[&str]) -> Result<(i64, String)> {
        let said = self.job.handle.dev_pr(verb, &self.job.repository(), args)?;
        let number = said["number"].as_i64().context("no number was said")?;
        Ok((number, said["headSha"].as_str().context("no head was said")?.to_owned()))
    }

    /// Compiles the service at a commit, packs it and puts it on the node, as CI and a registry would; its reference.
    pub fn build(&self, sha: &str) -> Result<String> {
        let scratch = self.job.handle.scratch();
        let sources = scratch.join(format!("build-{sha}"));
        let bare = self.bare();
        let (bare, dir) = (bare.to_str().context("not UTF-8")?, sources.to_str().context("not UTF-8")?);
        program::run("git", &["clone", "--quiet", bare, dir], scratch)?;
        program::run("git", &["checkout", "--quiet", sha], &sources)?;
        let image = self.cluster.import_go(&self.image_name(), &sources, &sha[..7], sha)?;
        std::fs::remove_dir_all(&sources)?;
        Ok(image)
    }

    /// Name of the service's images.
    pub fn image_name(&self) -> String {
        format!("registry.test/shop/{}", self.job.name)
    }

    /// The service's repository.
    pub fn bare(&self) -> PathBuf {
        self.job.handle.data().join("scm").join(format!("{}.git", self.job.repository()))
    }

    /// CI asks for the preview of a commit with its image.
    pub async fn ensure(&self, number: i64, sha: &str, image: &str) -> Result<environment::Environment, Status> {
        let request = environment::EnsurePreviewRequest {
            service: self.job.service(),
            pull_request: number,
            head_sha: sha.to_owned(),
            images: [("app".to_owned(), image.to_owned())].into_iter().collect(),
            request_id: self.job.id(&format!("preview {number} {sha}")),
            ..Default::default()
        };
        answered(|| async { self.job.ann.previews().ensure_preview(request.clone()).await }).await
    }

    /// Waits until the environment runs this commit.
    pub async fn ready(&self, name: &str, sha: &str) -> Result<environment::Environment> {
        let wanted = |e: &environment::Environment| {
            e.state() == environment::EnvironmentState::Ready
                && e.observed_generation == e.generation
                && e.source.as_ref().is_some_and(|s| s.head_sha == sha)
        };
        eventually("the preview that runs", || self.job.environment(name), wanted).await
    }

    /// Waits until the environment is in this state.
    pub async fn state(&self, name: &str, state: environment::EnvironmentState) -> Result<environment::Environment> {
        eventually(state.as_str_name(), || self.job.environment(name), |e| e.state() == state).await
    }

    /// Asks the preview, through the gateway, as a browser or a script with this token (none if empty) would.
    pub async fn get(&self, environment: &environment::Environment, path: &str, token: &str) -> Result<Answer> {
        let host = host(environment)?;
        let asked = ask(self.job.handle.address, &host, path, token);
        tokio::time::timeout(REQUEST_TIMEOUT, asked).await.context("the preview took too long")?
    }

    /// The commit that answers at the preview's address.
    pub async fn commit(&self, environment: &environment::Environment, token: &str) -> Result<String> {
        let answer = self.get(environment, "/version", token).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        let said: serde_json::Value = serde_json::from_str(&answer.body).with_context(|| answer.body.clone())?;
        Ok(said["commit"].as_str().unwrap_or_default().to_owned())
    }
}

/// The host of an environment's address, with its port.
pub fn host(environment: &environment::Environment) -> Result<String> {
    let (_, host) = environment.url.split_once("://").with_context(|| format!("no address: {:?}", environment.url))?;
    Ok(host.trim_end_matches('/').to_owned())
}

async fn ask(gateway: std::net::SocketAddr, host: &str, path: &str, token: &str) -> Result<Answer> {
    let mut socket = TcpStream::connect(gateway).await?;
    let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n{bearer}connection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer came")?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no HTTP status came")?;
    let head = head.to_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Ok(Answer { status, head, body })
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
