//! The cluster of one test run.
//!
//! Owns that it is fresh, and that it is gone after the run, whatever ends the run. Refuses to touch a cluster that the caller names:
//! that one is used as it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::home::Home;
use super::parts::Programs;
use crate::tools;

/// Names the kubeconfig of the cluster for tests.
const KUBECONFIG: &str = "SLIPWAY_TEST_KUBECONFIG";
/// Names the socket of that cluster's containerd, where images are imported.
const CONTAINERD: &str = "SLIPWAY_TEST_CONTAINERD";

/// The cluster that the tests of a run use.
pub enum ForTests {
    /// Named by the caller.
    Given(PathBuf),
    /// Started for this run.
    Started(Running),
}

/// A cluster in a fresh directory: stopped when dropped, and by a guard if this process is killed.
pub struct Running {
    home: Home,
    guard: Child,
}

/// The cluster named by the caller, else a fresh one; with it the installed parts.
pub fn for_tests() -> Result<(ForTests, tools::Installed)> {
    let given = std::env::var_os(KUBECONFIG).map(PathBuf::from);
    if let (None, Some(reason)) = (&given, super::impossible()) {
        bail!("{reason}");
    }
    let installed = tools::ensure(&tools::cluster())?;
    if let Some(file) = given {
        return Ok((ForTests::Given(file), installed));
    }
    if let Some((name, reason)) = installed.missing.first() {
        bail!("{name} is missing: {reason}");
    }
    let running = Running::start(&installed)?;
    Ok((ForTests::Started(running), installed))
}

impl ForTests {
    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Given(file) => file.clone(),
            Self::Started(running) => running.home.kubeconfig(),
        }
    }

    /// Has pods go to this many fake nodes, where they are ready without running; a cluster that was given stays as it is.
    pub fn fake_nodes(&self, installed: &tools::Installed, count: u32) -> Result<()> {
        match self {
            Self::Given(_) => Ok(()),
            Self::Started(running) => super::kwok::scale(&running.home, &Programs::of(installed)?, count),
        }
    }

    /// Stops what was started for the run; an error says what is left of it.
    pub fn stop(self) -> Result<()> {
        match self {
            Self::Given(_) => Ok(()),
            Self::Started(mut running) => finish(&mut running.guard),
        }
    }

    /// What tells the tests where the cluster is.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        match self {
            Self::Given(file) => vec![(KUBECONFIG, file.into())],
            Self::Started(running) => {
                vec![(KUBECONFIG, running.home.kubeconfig().into()), (CONTAINERD, running.home.containerd().into())]
            }
        }
    }
}

impl Running {
    fn start(installed: &tools::Installed) -> Result<Self> {
        let programs = Programs::of(installed)?;
        let dir = tempfile::Builder::new().prefix("slipway-cluster-").tempdir()?;
        let dir = super::plain(dir.path().to_path_buf()).map(|_| dir.keep())?;
        // The guard first: whatever happens to this process from here on, it stops what runs.
        let mut guard = guard(&dir)?;
        match super::up(&dir, &programs).and_then(|()| super::running(&dir)) {
            Ok(home) => Ok(Self { home, guard }),
            Err(error) => {
                finish(&mut guard)?;
                Err(error)
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = finish(&mut self.guard) {
            eprintln!("cluster: {error}");
        }
    }
}

/// A process that stops the cluster of `dir` as soon as this one lets go of its standard input.
fn guard(dir: &Path) -> Result<Child> {
    let mut guard = Command::new("setsid");
    guard.arg(std::env::current_exe()?).args(["cluster", "guard", "--dir"]).arg(dir);
    guard.stdin(Stdio::piped()).spawn().context("cannot start the cluster's guard")
}

fn finish(guard: &mut Child) -> Result<()> {
    drop(guard.stdin.take());
    match guard.wait()? {
        status if status.success() => Ok(()),
        status => bail!("the cluster was not stopped cleanly: {status}"),
    }
}
