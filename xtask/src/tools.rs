//! `cargo xtask tools`: the outside programs that tests and the platform use, pinned, in a cache outside the clone.
//!
//! Owns the place of each program in the cache. Refuses to touch what is there already: a version is a folder of its own, and two
//! installs at once take turns.

mod install;
mod list;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use list::{Source, Tool};

use crate::process;

/// A long install says every so often that it is still at work.
const STILL: Duration = Duration::from_secs(30);

/// Options of `cargo xtask tools`.
#[derive(Args)]
pub struct Options {
    /// Programs to install; all if none is named. `cluster` stands for the parts of the Kubernetes cluster.
    names: Vec<String>,
    /// Fails if one could not be installed.
    #[arg(long)]
    require_all: bool,
}

/// The cache and what of it can be used.
#[derive(Default)]
pub struct Installed {
    /// Folders to put before PATH.
    dirs: Vec<PathBuf>,
    /// Programs that are there: name and where.
    pub found: Vec<(&'static str, PathBuf)>,
    /// Programs that are not there, with the reason.
    pub missing: Vec<(&'static str, String)>,
}

impl Installed {
    /// PATH with the installed programs first.
    pub fn path(&self) -> Result<std::ffi::OsString> {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let all = self.dirs.iter().cloned().chain(std::env::split_paths(&old));
        std::env::join_paths(all).context("a folder of PATH has a colon in its name")
    }

    /// Where the named tool is, if it is there.
    pub fn place(&self, name: &str) -> Option<&Path> {
        self.found.iter().find(|(found, _)| *found == name).map(|(_, path)| path.as_path())
    }

    /// Programs of `other` are found too.
    pub fn join(&mut self, other: Self) {
        self.dirs.extend(other.dirs);
        self.found.extend(other.found);
        self.missing.extend(other.missing);
    }
}

/// Installs what was asked for and prints where it is.
pub fn run(options: &Options) -> Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for name in &options.names {
        match name.as_str() {
            "cluster" => names.extend(cluster()),
            name => names.push(name),
        }
    }
    if let Some(unknown) = names.iter().find(|name| !every().any(|tool| tool.name == **name)) {
        bail!("{unknown} is not one of cluster, {}", every().map(|tool| tool.name).collect::<Vec<_>>().join(", "));
    }
    if options.names.is_empty() {
        names = every().map(|tool| tool.name).collect();
    }
    let installed = ensure(&names)?;
    for (name, path) in &installed.found {
        println!("{name}: {}", path.display());
    }
    for (name, reason) in &installed.missing {
        println!("{name}: missing ({reason})");
    }
    if options.require_all && !installed.missing.is_empty() {
        bail!("{} of the programs could not be installed", installed.missing.len());
    }
    Ok(())
}

/// Where the programs are kept: `$SLIPWAY_TOOLS`, else `slipway/tools` below the user's cache folder.
pub fn cache() -> PathBuf {
    std::env::var_os("SLIPWAY_TOOLS").map_or_else(|| user_cache().join("tools"), PathBuf::from)
}

/// The folder `slipway` below the user's cache folder.
pub fn user_cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("slipway")
}

/// Installs what is missing of the named programs, with a line of progress for each.
pub fn ensure(names: &[&str]) -> Result<Installed> {
    let root = cache();
    fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    let lock = File::create(root.join("lock"))?;
    lock.lock().context("cannot lock the cache of tools")?;
    sweep(&root);
    Ok(gather(names, |tool| place(tool, &root)))
}

/// What of the named programs is there; installs nothing and waits for nobody.
pub fn present(names: &[&str]) -> Installed {
    let root = cache();
    gather(names, |tool| {
        let program = program(tool, &root.join(install::key(tool)?));
        if is_there(tool, &program) { Ok(program) } else { bail!("it is not installed") }
    })
}

fn gather(names: &[&str], place: impl Fn(&Tool) -> Result<PathBuf>) -> Installed {
    let mut installed = Installed::default();
    for tool in every().filter(|tool| names.contains(&tool.name)) {
        match place(tool) {
            Ok(program) => {
                if !matches!(tool.source, Source::Base | Source::Files { .. })
                    && let Some(dir) = program.parent()
                {
                    installed.dirs.push(dir.to_path_buf());
                }
                installed.found.push((tool.name, program));
            }
            Err(error) => installed.missing.push((tool.name, format!("{error:#}"))),
        }
    }
    installed
}

/// Removes what an interrupted install left; whoever holds the lock is alone.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".draft-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Every program of the list but the parts of the cluster.
pub fn all() -> Vec<&'static str> {
    list::TOOLS.iter().map(|tool| tool.name).collect()
}

/// The parts of the cluster.
pub fn cluster() -> Vec<&'static str> {
    list::CLUSTER.iter().map(|tool| tool.name).collect()
}

fn every() -> impl Iterator<Item = &'static Tool> {
    list::TOOLS.iter().chain(list::CLUSTER)
}

fn place(tool: &Tool, root: &Path) -> Result<PathBuf> {
    if matches!(tool.source, Source::Base) {
        return process::find(tool.name).with_context(|| format!("{} is not on PATH", tool.name));
    }
    let dir = root.join(install::key(tool)?);
    let program = program(tool, &dir);
    if is_there(tool, &program) {
        return Ok(program);
    }
    eprintln!("tools: installing {} {} …", tool.name, tool.version);
    let start = Instant::now();
    let draft = root.join(format!(".draft-{}-{}", tool.name, std::process::id()));
    let _ = fs::remove_dir_all(&draft);
    fs::create_dir_all(&draft)?;
    let done = watched(tool, || install::install(tool, &draft)).and_then(|()| {
        if !is_there(tool, &self::program(tool, &draft)) {
            bail!("the install left no program {}", tool.name);
        }
        let _ = fs::remove_dir_all(&dir);
        fs::rename(&draft, &dir).context("cannot move the finished install into place")
    });
    let _ = fs::remove_dir_all(&draft);
    done?;
    eprintln!("tools: {} {} is ready after {} s", tool.name, tool.version, start.elapsed().as_secs());
    Ok(program)
}

/// Runs `work`, and says every half minute that it is still at it.
fn watched<T>(tool: &Tool, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let (done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while wait.recv_timeout(STILL) == Err(RecvTimeoutError::Timeout) {
                eprintln!(
                    "tools: still installing {} {} after {} s",
                    tool.name,
                    tool.version,
                    start.elapsed().as_secs()
                );
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn is_there(tool: &Tool, program: &Path) -> bool {
    match tool.source {
        Source::Files { .. } => program.is_dir(),
        _ => process::is_executable(program),
    }
}

fn program(tool: &Tool, dir: &Path) -> PathBuf {
    match tool.source {
        Source::Npm(_) => dir.join("node_modules/.bin").join(tool.name),
        Source::Debian { file, .. } => dir.join(file),
        Source::Files { .. } => dir.join("files"),
        Source::Module { program, .. } => dir.join("bin").join(program),
        Source::Go(_) | Source::Cargo | Source::Base => dir.join("bin").join(tool.name),
    }
}
