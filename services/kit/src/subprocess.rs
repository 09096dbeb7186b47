//! The one launcher of child processes (SAFE-58).
//!
//! Owns what every child gets: an absolute binary, an argument vector, an empty environment plus a list, a private HOME and TMP,
//! its own process group that dies as a whole at the time limit or when the caller gives up, resource limits, a network namespace
//! without interfaces where the machine permits one, bounded output. Refuses shells, inherited environments, and secrets in
//! arguments, environment or on disk: they go in by standard input.
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    sync::Semaphore,
};

use crate::{
    error::{DEPENDENCY_UNAVAILABLE, Error, INVALID_FIELD, Result},
    files::WorkDir,
};

crate::reasons! {
    TOOL_MISSING: Unavailable, "A program this service needs is not installed.", "Install the program, or name its path in the variable given in the message.";
    TOOL_FAILED: Unavailable, "A program this service runs failed; the log has its output.", "Repeat later; if it stays, look for the request id in the log.";
    TOOL_TIMEOUT: DeadlineExceeded, "A program this service runs took longer than its limit and was ended.", "Make the input smaller or simpler and repeat.";
    TOOL_OUTPUT_TOO_LARGE: FailedPrecondition, "A program this service runs printed more than its limit.", "Make the input smaller.";
}

/// Most children of this process at one time.
const CHILDREN_MAX: usize = 16;
/// Most bytes of standard output any tool may have.
pub const STDOUT_BYTES_MAX: usize = 64 << 20;
const STDERR_BYTES_MAX: usize = 64 << 10;
/// Most bytes of the tool's message that are kept for the log.
const MESSAGE_BYTES_MAX: usize = 4096;

static CHILDREN: Semaphore = Semaphore::const_new(CHILDREN_MAX);

/// A program by its absolute path.
#[derive(Clone, Debug)]
pub struct Tool {
    name: String,
    binary: PathBuf,
}

impl Tool {
    /// The program at an absolute path.
    ///
    /// # Errors
    /// TOOL_MISSING if the path is relative or no file.
    pub fn at(name: &str, binary: &Path) -> Result<Self> {
        if !binary.is_absolute() || !binary.is_file() {
            return Err(Error::new(&TOOL_MISSING, format!("{name} is not at {}", binary.display())));
        }
        Ok(Self { name: name.to_owned(), binary: binary.to_owned() })
    }

    /// Looks in `SLIPWAY_<NAME>`, then in the absolute folders of PATH. For wiring and tests, once at start.
    ///
    /// # Errors
    /// TOOL_MISSING naming the variable to set.
    pub fn find(name: &str) -> Result<Self> {
        let variable = format!("SLIPWAY_{}", name.to_uppercase().replace('-', "_"));
        if let Some(path) = std::env::var_os(&variable).filter(|p| !p.is_empty()) {
            return Self::at(name, Path::new(&path));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .find_map(|folder| Self::at(name, &folder.join(name)).ok())
            .ok_or_else(|| Error::new(&TOOL_MISSING, format!("{name} was not found; install it or set {variable}")))
    }

    /// The program's path.
    pub fn path(&self) -> &Path {
        &self.binary
    }
}

/// Resource limits of one child.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time until the whole process group is killed.
    pub wall: Duration,
    /// Processor time in seconds.
    pub cpu_seconds: u64,
    /// Address space in bytes; `None` for programs that reserve more than they use.
    pub address_space_bytes: Option<u64>,
    /// Private writable memory in bytes, the limit that fits programs which reserve more than they use.
    pub data_bytes: Option<u64>,
    /// Largest file it may write, in bytes.
    pub file_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Processes of this user; `None` where the user is shared with other work.
    pub processes: Option<u64>,
    /// Standard output in bytes; never above [`STDOUT_BYTES_MAX`].
    pub stdout_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(30),
            cpu_seconds: 30,
            address_space_bytes: None,
            data_bytes: None,
            file_bytes: 256 << 20,
            open_files: 512,
            processes: None,
            stdout_bytes: STDOUT_BYTES_MAX,
        }
    }
}

/// What the child may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A namespace without interfaces, where the machine permits one.
    None,
    /// The machine's network.
    Host,
}

enum Input {
    Nothing,
    Bytes(Vec<u8>),
    Secret(SecretSlice<u8>),
}

/// What a child did.
pub struct Output {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output, complete.
    pub stdout: Vec<u8>,
    /// Standard error, cut at 64 KiB; for the log, never for a caller.
    pub stderr: String,
}

/// One run of a tool.
pub struct Run<'a> {
    tool: &'a Tool,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    cwd: Option<PathBuf>,
    input: Input,
    limits: Limits,
    network: Network,
    invalid: Option<Error>,
}

impl<'a> Run<'a> {
    /// A run without arguments, with default limits and no network.
    pub fn new(tool: &'a Tool) -> Self {
        Self {
            tool,
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            input: Input::Nothing,
            limits: Limits::default(),
            network: Network::None,
            invalid: None,
        }
    }

    /// Adds an option or verb that our own code chose.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several as [`Run::arg`].
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a word that came from outside; one that begins with `-` is refused when the child would start.
    #[must_use]
    pub fn operand(mut self, operand: &str) -> Self {
        if operand.starts_with('-') || operand.contains('\0') {
            self.invalid = Some(Error::new(&INVALID_FIELD, format!("{operand:?} is no valid operand")));
        }
        self.args.push(operand.into());
        self
    }

    /// Adds one variable to the otherwise empty environment; never a secret.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Runs in this directory instead of the private HOME.
    #[must_use]
    pub fn cwd(mut self, dir: &Path) -> Self {
        self.cwd = Some(dir.to_owned());
        self
    }

    /// Feeds bytes to standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Feeds a secret to standard input, the only way one reaches a child.
    #[must_use]
    pub fn stdin_secret(mut self, secret: SecretSlice<u8>) -> Self {
        self.input = Input::Secret(secret);
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what it may reach.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Runs to the end. Dropping the future kills the whole process group.
    ///
    /// # Errors
    /// TOOL_TIMEOUT, TOOL_OUTPUT_TOO_LARGE, TOOL_MISSING; an exit code other than 0 is no error here.
    pub async fn output(mut self) -> Result<Output> {
        if let Some(error) = self.invalid.take() {
            return Err(error);
        }
        let _place = CHILDREN.acquire().await.map_err(Error::internal)?;
        let home = WorkDir::temporary()?;
        let mut child = self
            .command(&home)?
            .spawn()
            .map_err(|e| Error::new(&TOOL_MISSING, format!("{} could not be started", self.tool.name)).source(e))?;
        let group = Group::of(&child)?;
        let wall = self.limits.wall;
        let ended =
            tokio::time::timeout(wall, converse(&mut child, &group, self.input, self.limits.stdout_bytes)).await;
        group.kill();
        match ended {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("{} took longer than {} s", self.tool.name, wall.as_secs());
                Err(Error::new(&TOOL_TIMEOUT, text))
            }
        }
    }

    /// Runs to the end and demands exit code 0; answers standard output.
    ///
    /// # Errors
    /// TOOL_FAILED with the tool's message as inner cause, and those of [`Run::output`].
    pub async fn success(self) -> Result<Vec<u8>> {
        let name = self.tool.name.clone();
        let output = self.output().await?;
        if output.code != 0 { Err(failed(&name, &output)) } else { Ok(output.stdout) }
    }

    fn command(&self, home: &WorkDir) -> Result<Command> {
        let mut words: Vec<OsString> = vec![wrappers()?.prlimit.clone().into()];
        words.extend(limit_args(&self.limits).into_iter().map(Into::into));
        if self.network == Network::None {
            words.extend(wrappers()?.no_network.iter().map(Into::into));
        }
        words.push(self.tool.binary.clone().into());
        words.extend(self.args.iter().cloned());

        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().process_group(0).kill_on_drop(true);
        command.env("HOME", home.path()).env("TMPDIR", home.path()).env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.cwd.as_deref().unwrap_or(home.path()));
        let stdin = if matches!(self.input, Input::Nothing) { Stdio::null() } else { Stdio::piped() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }
}

/// The error for a tool that ended with another code than 0.
pub fn failed(name: &str, output: &Output) -> Error {
    let tail = output.stderr.chars().take(MESSAGE_BYTES_MAX).collect::<String>();
    Error::new(&TOOL_FAILED, format!("{name} failed with code {}", output.code)).source(tail)
}

fn limit_args(limits: &Limits) -> Vec<String> {
    let mut args = vec![
        "--core=0".to_owned(),
        format!("--cpu={}", limits.cpu_seconds),
        format!("--fsize={}", limits.file_bytes),
        format!("--nofile={}", limits.open_files),
    ];
    args.extend(limits.address_space_bytes.map(|n| format!("--as={n}")));
    args.extend(limits.data_bytes.map(|n| format!("--data={n}")));
    args.extend(limits.processes.map(|n| format!("--nproc={n}")));
    args
}

/// The programs of util-linux that stand between us and the child; each ends in `exec`, so the child keeps the process id.
struct Wrappers {
    prlimit: PathBuf,
    no_network: Vec<String>,
}

fn wrappers() -> Result<&'static Wrappers> {
    static FOUND: OnceLock<std::result::Result<Wrappers, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let prlimit = Tool::find("prlimit").map_err(|e| e.message().to_owned())?.binary;
            Ok(Wrappers { prlimit, no_network: no_network() })
        })
        .as_ref()
        .map_err(|text| Error::new(&TOOL_MISSING, text.clone()))
}

/// The way this machine permits a network namespace; empty if none.
fn no_network() -> Vec<String> {
    let Ok(unshare) = Tool::find("unshare") else { return Vec::new() };
    let binary = unshare.binary.display().to_string();
    for flags in [&["--net", "--"][..], &["--user", "--map-current-user", "--net", "--"]] {
        let probe = std::process::Command::new(&binary)
            .args(flags)
            .arg(&binary)
            .arg("--version")
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if probe.is_ok_and(|status| status.success()) {
            return [binary].into_iter().chain(flags.iter().map(|f| (*f).to_owned())).collect();
        }
    }
    tracing::warn!("this machine permits no network namespace; children run without that wall");
    Vec::new()
}

/// Whether children with [`Network::None`] really have no network here.
pub fn network_is_isolated() -> bool {
    wrappers().is_ok_and(|w| !w.no_network.is_empty())
}

/// The process group of a child; killed when dropped.
struct Group(rustix::process::Pid);

impl Group {
    fn of(child: &Child) -> Result<Self> {
        child
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(id as i32))
            .map(Self)
            .ok_or_else(|| Error::new(&DEPENDENCY_UNAVAILABLE, "the child ended before it was seen"))
    }

    fn kill(&self) {
        let _ = rustix::process::kill_process_group(self.0, rustix::process::Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn converse(child: &mut Child, group: &Group, input: Input, stdout_max: usize) -> Result<Output> {
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut pipe) = stdin {
            let bytes = match &input {
                Input::Nothing => &[][..],
                Input::Bytes(bytes) => bytes,
                Input::Secret(secret) => secret.expose_secret(),
            };
            // A child may end without reading everything.
            let _ = pipe.write_all(bytes).await;
        }
        Ok(())
    };
    let wait = async {
        let status = child.wait().await.map_err(Error::internal)?;
        // Grandchildren must not keep the pipes open.
        group.kill();
        Ok(status)
    };
    let out = read_limited(stdout, stdout_max.min(STDOUT_BYTES_MAX), true);
    let err = read_limited(stderr, STDERR_BYTES_MAX, false);
    let ((), status, stdout, stderr) = tokio::try_join!(feed, wait, out, err)?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Output { code: status.code().unwrap_or(-1), stdout, stderr })
}

/// Reads to the end; beyond `max` it is an error if `strict`, else thrown away.
async fn read_limited(pipe: Option<impl AsyncRead + Unpin>, max: usize, strict: bool) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(kept) };
    let mut chunk = vec![0; 64 << 10];
    loop {
        let n = pipe.read(&mut chunk).await.map_err(Error::internal)?;
        if n == 0 {
            return Ok(kept);
        }
        let room = max - kept.len();
        if n > room && strict {
            return Err(Error::new(&TOOL_OUTPUT_TOO_LARGE, format!("more than {max} bytes of output")));
        }
        kept.extend_from_slice(&chunk[..n.min(room)]);
    }
}

#[cfg(test)]
#[path = "subprocess_tests.rs"]
mod tests;
