//! `cargo xtask tools`: the outside programs that tests and the platform use, pinned, in a cache outside the clone.
//!
//! Owns which program comes in which version from where, and its place in the cache. Refuses to touch what is there already: a
//! version is a folder of its own, and two installs at once take turns.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process;

/// How a program is had.
#[derive(Clone, Copy)]
enum Source {
    /// `go install` of a package at the pinned version.
    Go(&'static str),
    /// A program inside an npm package of the pinned version.
    Npm(&'static str),
    /// `cargo install` of a crate at the pinned version.
    Cargo,
    /// Unpacked from a Debian package, without installing the package; the distribution decides the version.
    Debian { package: &'static str, file: &'static str },
    /// Comes with the base toolchain; never installed here.
    Base,
}

/// One outside program.
pub struct Tool {
    /// Name of the program.
    pub name: &'static str,
    version: &'static str,
    source: Source,
}

const fn tool(name: &'static str, version: &'static str, source: Source) -> Tool {
    Tool { name, version, source }
}

/// Everything the tests use, in the order of installation.
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
    tool("promtool", "debian", Source::Debian { package: "prometheus", file: "usr/bin/promtool" }),
    tool("cargo-deny", "0.20.2", Source::Cargo),
];

/// The cache and what of it can be used.
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
}

/// Where the programs are kept: `$SLIPWAY_TOOLS`, else `slipway/tools` below the user's cache folder.
pub fn cache() -> PathBuf {
    if let Some(dir) = std::env::var_os("SLIPWAY_TOOLS") {
        return dir.into();
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("slipway/tools")
}

/// Installs what is missing of the named programs, with a line of progress for each.
pub fn ensure(names: &[&str]) -> Result<Installed> {
    let root = cache();
    fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    let lock = File::create(root.join("lock"))?;
    lock.lock().context("cannot lock the cache of tools")?;
    let mut installed = Installed { dirs: Vec::new(), found: Vec::new(), missing: Vec::new() };
    for tool in TOOLS.iter().filter(|tool| names.contains(&tool.name)) {
        match place(tool, &root) {
            Ok(program) => {
                if !matches!(tool.source, Source::Base)
                    && let Some(dir) = program.parent()
                {
                    installed.dirs.push(dir.to_path_buf());
                }
                installed.found.push((tool.name, program));
            }
            Err(error) => installed.missing.push((tool.name, format!("{error:#}"))),
        }
    }
    Ok(installed)
}

/// Every program of the list.
pub fn all() -> Vec<&'static str> {
    TOOLS.iter().map(|tool| tool.name).collect()
}

fn place(tool: &Tool, root: &Path) -> Result<PathBuf> {
    if matches!(tool.source, Source::Base) {
        return process::find(tool.name).with_context(|| format!("{} is not on PATH", tool.name));
    }
    let dir = root.join(format!("{}-{}", tool.name, tool.version));
    let program = program(tool, &dir);
    if process::is_executable(&program) {
        return Ok(program);
    }
    eprintln!("tools: installing {} {} …", tool.name, tool.version);
    let start = Instant::now();
    let draft = root.join(format!(".draft-{}-{}", tool.name, std::process::id()));
    let _ = fs::remove_dir_all(&draft);
    fs::create_dir_all(&draft)?;
    let done = install(tool, &draft).and_then(|()| {
        if !process::is_executable(&self::program(tool, &draft)) {
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

fn program(tool: &Tool, dir: &Path) -> PathBuf {
    match tool.source {
        Source::Npm(_) => dir.join("node_modules/.bin").join(tool.name),
        Source::Debian { file, .. } => dir.join(file),
        Source::Go(_) | Source::Cargo | Source::Base => dir.join("bin").join(tool.name),
    }
}

fn install(tool: &Tool, dir: &Path) -> Result<()> {
    match tool.source {
        Source::Base => Ok(()),
        Source::Go(package) => {
            let mut go = Command::new("go");
            go.args(["install", &format!("{package}@{}", tool.version)])
                .env("GOBIN", dir.join("bin"))
                .env("GOFLAGS", "");
            process::output(&mut go).map(drop)
        }
        Source::Npm(package) => {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(dir);
            npm.arg(format!("{package}@{}", tool.version));
            process::output(&mut npm).map(drop)
        }
        Source::Cargo => {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["install", "--locked", "--quiet", tool.name, "--version", tool.version, "--root"]).arg(dir);
            cargo.env("CARGO_TARGET_DIR", dir.join("target"));
            process::output(&mut cargo)?;
            let _ = fs::remove_dir_all(dir.join("target"));
            Ok(())
        }
        Source::Debian { package, .. } => {
            let download = || process::output(Command::new("apt-get").args(["download", package]).current_dir(dir));
            if download().is_err() {
                process::output(Command::new("apt-get").arg("update"))?;
                download()?;
            }
            let archive = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
            let archive = archive.into_iter().find(|path| path.extension().is_some_and(|e| e == "deb"));
            let archive = archive.with_context(|| format!("no archive of the package {package} came"))?;
            process::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(dir))?;
            Ok(fs::remove_file(&archive)?)
        }
    }
}
