//! The ways to install a program: Go, npm, cargo, Debian packages.
//!
//! Owns the commands of each, and the key of a tool's folder in the cache; refuses to install anything outside the folder it is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::list::{Source, Tool};
use crate::process;

/// Name of the tool's folder in the cache: another version or another source is another folder.
pub fn key(tool: &Tool) -> Result<String> {
    let mut hash = Sha256::new();
    match tool.source {
        Source::Module { dir, packages, linker, .. } => {
            let mut files: Vec<PathBuf> = walkdir::WalkDir::new(module_dir(dir))
                .into_iter()
                .filter_map(|entry| entry.ok().filter(|entry| entry.file_type().is_file()))
                .map(walkdir::DirEntry::into_path)
                .collect();
            files.sort();
            for file in files {
                hash.update(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
            }
            hash.update(packages.join(" "));
            hash.update(linker);
        }
        Source::Debian { packages: parts, .. } | Source::Files { paths: parts, .. } if parts.len() > 1 => {
            hash.update(parts.join(" "));
        }
        _ => return Ok(format!("{}-{}", tool.name, tool.version)),
    }
    Ok(format!("{}-{}-{}", tool.name, tool.version, &hex::encode(hash.finalize())[..8]))
}

/// Installs the tool into the empty folder `dir`.
pub fn install(tool: &Tool, dir: &Path) -> Result<()> {
    match tool.source {
        Source::Base => Ok(()),
        Source::Go(package) => {
            let mut go = Command::new("go");
            go.args(["install", "-trimpath", &format!("{package}@{}", tool.version)])
                .env("GOBIN", dir.join("bin"))
                .env("CGO_ENABLED", "0")
                .env("GOFLAGS", "");
            process::output(&mut go).map(drop)
        }
        Source::Module { dir: module, packages, linker, program } => build(module, packages, linker, program, dir),
        Source::Files { module, paths } => files(&format!("{module}@{}", tool.version), paths, dir),
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
        Source::Debian { packages, .. } => debian(packages, dir),
    }
}

fn module_dir(name: &str) -> PathBuf {
    process::root().join("xtask/cluster").join(name)
}

fn build(module: &str, packages: &[&str], linker: &str, program: &str, dir: &Path) -> Result<()> {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin)?;
    // One package is named by us: the last part of its path need not be a good name.
    let out = if packages.len() == 1 { bin.join(program) } else { bin };
    let mut go = Command::new("go");
    go.current_dir(module_dir(module)).env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off");
    go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &format!("-s -w {linker}"), "-o"]).arg(out);
    process::output(go.args(packages)).map(drop)
}

fn files(module: &str, paths: &[&str], dir: &Path) -> Result<()> {
    let mut go = Command::new("go");
    // Outside any module, so that none of ours is asked.
    go.args(["mod", "download", "-json", module]).current_dir(dir).env("GOFLAGS", "").env("GOWORK", "off");
    let answer: Value = serde_json::from_str(&process::output(&mut go)?).context("go mod download answered no JSON")?;
    let source = answer["Dir"].as_str().context("go mod download names no folder")?;
    let target = dir.join("files");
    fs::create_dir_all(&target)?;
    let depth = |path: &PathBuf| walkdir::WalkDir::new(path).max_depth(1);
    for entry in paths.iter().map(|path| Path::new(source).join(path)).flat_map(|path| depth(&path)) {
        let entry = entry.with_context(|| format!("{module} has other files"))?;
        if entry.file_type().is_file() {
            // Read and write: a copy would take over that the module's files are read-only.
            fs::write(target.join(entry.file_name()), fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

fn debian(packages: &[&str], dir: &Path) -> Result<()> {
    let download = || process::output(Command::new("apt-get").arg("download").args(packages).current_dir(dir));
    if download().is_err() {
        process::output(Command::new("apt-get").arg("update"))?;
        download()?;
    }
    let archives = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    let archives: Vec<PathBuf> = archives.filter(|path| path.extension().is_some_and(|e| e == "deb")).collect();
    if archives.len() < packages.len() {
        bail!("not every package of {} came", packages.join(", "));
    }
    for archive in archives {
        process::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(dir))?;
        fs::remove_file(&archive)?;
    }
    Ok(())
}
