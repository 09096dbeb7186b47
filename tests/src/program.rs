//! Real programs: found on PATH, run with their output captured.
//!
//! Owns how a missing program is reported: by name, once, as skipped. Refuses to pretend.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The absolute path of a program on PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Whether all programs are there; prints what is skipped if not.
pub fn have(story: &str, names: &[&str]) -> bool {
    let missing: Vec<_> = names.iter().filter(|name| find(name).is_none()).collect();
    if !missing.is_empty() {
        println!("skipped: {story} needs {missing:?}");
    }
    missing.is_empty()
}

/// Runs the program in a directory; its standard output, or an error with all it said.
pub fn run(program: impl AsRef<Path>, args: &[&str], dir: &Path) -> Result<String> {
    let program = program.as_ref();
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} {args:?} in {}: {}\n{stdout}{stderr}", program.display(), dir.display(), output.status);
    }
    Ok(stdout)
}
