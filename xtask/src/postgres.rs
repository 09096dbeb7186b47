//! A private Postgres for one test run: fresh data directory, free port, stopped and removed at the end.
//!
//! Owns that server alone; refuses to touch any other.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process;

/// A running private server; dropping it stops it and removes its files.
pub struct Postgres {
    bin: PathBuf,
    home: TempDir,
    port: u16,
}

/// The directory with `initdb` and `pg_ctl`, if Postgres is installed.
pub fn find() -> Option<PathBuf> {
    if let Some(dir) = process::find("pg_ctl").and_then(|file| file.parent().map(Path::to_path_buf)) {
        return Some(dir);
    }
    let mut versions: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    versions.into_iter().rev().find(|dir| process::is_executable(&dir.join("pg_ctl")))
}

/// Installs the distribution's server if this is a Debian system run by root; the directory with its programs.
pub fn install() -> Option<PathBuf> {
    if !process::is_root() {
        return None;
    }
    eprintln!("tools: installing postgresql …");
    process::output(Command::new("apt-get").arg("update")).ok()?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--no-install-recommends", "postgresql"]).env("DEBIAN_FRONTEND", "noninteractive");
    process::output(&mut apt).ok()?;
    find()
}

impl Postgres {
    /// Starts a server from the programs in `bin`.
    pub fn start(bin: &Path) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("slipway-pg-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if process::is_root() {
            // initdb refuses to run as root: the packaged system user owns the private files.
            process::output(Command::new("chown").arg("postgres").arg(home.path()))?;
        }
        let server = Self { bin: bin.to_path_buf(), home, port };
        let data = server.data();
        let data = data.to_str().context("temporary directory is not UTF-8")?;
        server.program("initdb", &["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])?;
        let socket = server.home.path().display();
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={socket} -c fsync=off \
             -c max_connections=400"
        );
        let log = server.home.path().join("log");
        let log = log.to_str().context("temporary directory is not UTF-8")?;
        server.program("pg_ctl", &["-D", data, "-l", log, "-o", &options, "-w", "-t", "60", "start"])?;
        Ok(server)
    }

    /// Connection string of the administrator.
    pub fn dsn(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Version line of the server's programs.
    pub fn version(&self) -> String {
        process::output(Command::new(self.bin.join("pg_ctl")).arg("--version")).unwrap_or_default().trim().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn program(&self, name: &str, args: &[&str]) -> Result<()> {
        let file = self.bin.join(name);
        let mut command = if process::is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(&file);
            command
        } else {
            Command::new(&file)
        };
        // pg_ctl's child keeps the standard streams open, so they must not be pipes.
        let status = command
            .args(args)
            .current_dir(self.home.path())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .with_context(|| format!("cannot start {}", file.display()))?;
        if !status.success() {
            let log = std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            bail!("{} failed: {status}\n{log}", file.display());
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        if let Some(data) = data.to_str()
            && let Err(error) = self.program("pg_ctl", &["-D", data, "-m", "immediate", "-w", "stop"])
        {
            eprintln!("private Postgres was not stopped: {error}");
        }
    }
}
