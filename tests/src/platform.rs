//! The platform as its own process: started, killed, restarted; its SCM tool and its webhooks.
//!
//! Owns the process and its data directory for one test. Refuses to outlive the test.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tempfile::TempDir;

use slipway_standalone::certificates::SERVICES;

use crate::apart::Apart;
use crate::calls::Calls;

/// Longest time until the platform says that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Which store the platform runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite files in the data directory.
    Sqlite,
    /// A database per service on the server of the tests.
    Postgres,
    /// Six processes over mutual TLS, with a database per service on the server of the tests.
    Apart,
}

impl Engine {
    /// The engines of this run; Postgres only if the tests were given a server.
    pub fn all() -> Vec<Engine> {
        if std::env::var_os("SLIPWAY_TEST_POSTGRES").is_some() {
            return vec![Engine::Sqlite, Engine::Postgres];
        }
        println!("skipped: Postgres is not there");
        vec![Engine::Sqlite]
    }
}

impl Engine {
    /// The engines of this run, and the six processes where there is Postgres.
    pub fn shapes() -> Vec<Engine> {
        let mut all = Self::all();
        if all.contains(&Engine::Postgres) {
            all.push(Engine::Apart);
        }
        all
    }
}

/// How to reach a platform, alive or not; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Where it listens; kept over restarts.
    pub address: SocketAddr,
    /// The first administrator token.
    pub token: String,
    home: PathBuf,
}

/// A running platform.
pub struct Platform {
    children: Vec<Child>,
    _home: TempDir,
    database_url: Option<String>,
    apart: Option<Apart>,
    handle: Handle,
}

impl std::ops::Deref for Platform {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// The program under test, built beside the tests.
pub fn slipway() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let dir = test.parent().and_then(Path::parent).context("the test has no directory")?;
    let program = dir.join("slipway");
    if !program.is_file() {
        bail!("{} is missing: build it with `cargo build --package slipway-standalone`", program.display());
    }
    Ok(program)
}

impl Platform {
    /// Starts one on fresh data.
    pub fn start(engine: Engine) -> Result<Self> {
        Self::start_with(engine, &[])
    }

    /// Starts one on fresh data with further options.
    pub fn start_with(engine: Engine, options: &[&str]) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("slipway-story-").tempdir()?;
        let database_url = match engine {
            Engine::Sqlite => None,
            Engine::Postgres | Engine::Apart => Some(fresh_database()?),
        };
        let unknown: SocketAddr = "127.0.0.1:0".parse()?;
        let handle = Handle { address: unknown, token: String::new(), home: home.path().to_path_buf() };
        let mut platform = Self { children: Vec::new(), _home: home, database_url, apart: None, handle };
        if engine == Engine::Apart {
            let url = platform.database_url.as_deref().context("six processes need Postgres")?;
            let apart = Apart::lay_out(&platform.handle.home, url)?;
            platform.handle.address = apart.address();
            platform.handle.token = apart.first_token()?;
            platform.apart = Some(apart);
        }
        platform.run(options)?;
        if platform.token.is_empty() {
            bail!("the first start printed no token");
        }
        Ok(platform)
    }

    /// How to reach it, also while it is down.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Its process id; `None` while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.children.first().map(Child::id)
    }

    /// Ends the process at once, as the kernel does.
    pub fn kill(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
        }
        for mut child in self.children.drain(..) {
            let _ = child.wait();
        }
    }

    /// Starts it again on the same data and address.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.run(&[])
    }

    fn run(&mut self, options: &[&str]) -> Result<()> {
        let mut started = match &self.apart {
            Some(apart) => SERVICES.iter().map(|service| apart.start(service)).collect::<Result<Vec<_>>>()?,
            None => vec![self.embedded(options)?],
        };
        let said: Vec<_> = started.iter_mut().map(lines_of).collect::<Result<_>>()?;
        self.children = started;
        let deadline = std::time::Instant::now() + READY_TIMEOUT;
        for lines in said {
            self.await_ready(&lines, deadline)?;
        }
        Ok(())
    }

    fn embedded(&self, options: &[&str]) -> Result<Child> {
        let mut command = Command::new(slipway()?);
        command.arg("up").arg("--data").arg(self.data()).args(["--listen", &self.address.to_string()]).args(options);
        if let Some(url) = &self.database_url {
            command.env("SLIPWAY_DATABASE_URL", url);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.home.join("log"))?;
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?)
    }

    /// Reads what a process says until it is ready.
    fn await_ready(&mut self, said: &mpsc::Receiver<String>, deadline: std::time::Instant) -> Result<()> {
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let Ok(line) = said.recv_timeout(left) else {
                self.kill();
                bail!("the platform did not become ready:\n{}", self.log());
            };
            let line = line.trim();
            if let Some(token) = line.strip_prefix("token:") {
                if token.trim().starts_with("slw_") {
                    self.handle.token = token.trim().to_owned();
                }
            } else if let Some(address) = line.strip_prefix("address:") {
                self.handle.address = address.trim().parse().context("the address that was printed")?;
            } else if line == "ready" {
                return Ok(());
            }
        }
    }
}

/// What a process says, line by line.
fn lines_of(child: &mut Child) -> Result<mpsc::Receiver<String>> {
    let stdout = child.stdout.take().context("no standard output")?;
    let (lines, said) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    Ok(said)
}

impl Handle {
    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// A directory for the test's own files, gone with the platform.
    pub fn scratch(&self) -> &Path {
        &self.home
    }

    /// What the process logged.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.home.join("log")).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(40).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Calls with a token.
    pub fn calls(&self, token: &str) -> Result<Calls> {
        Calls::new(self.address, token)
    }

    /// `slipway dev pr …` on this platform's repositories; what it printed.
    pub fn dev_pr(&self, verb: &str, repository: &str, args: &[&str]) -> Result<serde_json::Value> {
        let data = self.data();
        let data = data.to_str().context("the data directory is not UTF-8")?;
        let all = [&["dev", "pr", verb, "--data", data, "--repository", repository][..], args].concat();
        let said = crate::program::run(slipway()?, &all, &self.home)?;
        serde_json::from_str(said.trim()).with_context(|| format!("{said:?} is not JSON"))
    }

    /// Posts one delivery as the local provider, signed; the HTTP status.
    pub async fn webhook(&self, event: &str, delivery: &str, body: &serde_json::Value) -> Result<u16> {
        let secret = std::fs::read(self.data().join("keys/webhook-local"))?;
        let body = body.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret)?;
        mac.update(body.as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        self.post(
            &[("x-github-event", event), ("x-github-delivery", delivery), ("x-hub-signature-256", &signature)],
            &body,
        )
        .await
    }

    /// Posts a body to the webhook endpoint with these headers; the HTTP status.
    pub async fn post(&self, headers: &[(&str, &str)], body: &str) -> Result<u16> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut socket = tokio::net::TcpStream::connect(self.address).await?;
        let mut head = format!("POST /webhooks/local HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len()));
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).context("no HTTP status came")?;
        Ok(status.parse()?)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A database URL of its own on the server of the tests.
fn fresh_database() -> Result<String> {
    let server = std::env::var("SLIPWAY_TEST_POSTGRES").context("no Postgres was given to the tests")?;
    let (base, _) = server.rsplit_once('/').context("the Postgres URL names no database")?;
    let name: String = slipway_kit::id::uuid4().chars().filter(|c| *c != '-').take(12).collect();
    Ok(format!("{base}/story_{name}"))
}
