//! The data directory: where everything of one embedded platform lies, and that only one process uses it.
//!
//! Owns the names below the directory, the secret of the local webhook endpoint and the note that says where the platform listens.
//! Refuses a directory that another process uses or that is somebody else's, and files that others may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Id of the embedded SCM connection and of its webhook endpoint.
pub const SCM: &str = "local";
/// Bytes of the webhook secret (SAFE-27 asks for 32 at least).
const SECRET_BYTES: usize = 32;

/// Longest wait for the directory: a platform that was killed while it started a program of its own (git, helm) holds it, through that
/// child, until the child runs.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Time between two looks at it.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Directories of a data directory.
const PARTS: [&str; 6] = ["databases", "keys", "scm", "gitops", "files", "credentials"];

/// One data directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// Held while a process uses the directory.
pub struct Lock {
    _file: File,
}

impl Layout {
    /// The directory, made if missing and open to its owner alone.
    pub fn open(root: &Path) -> Result<Self> {
        if is_foreign(root) {
            bail!("{} holds other things: name an empty directory, or one of slipway's, with --data", root.display());
        }
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(root).with_context(|| format!("cannot create the data directory {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("cannot open {}", root.display()))?;
        for part in PARTS {
            builder.create(root.join(part))?;
        }
        Ok(Self { root })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the directory for this process; waits up to 5 s for one that is just ending.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.root.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        let until = Instant::now() + LOCK_WAIT;
        while let Err(refused) = file.try_lock() {
            match refused {
                fs::TryLockError::Error(e) => return Err(e).context(format!("cannot lock {}", path.display())),
                fs::TryLockError::WouldBlock if Instant::now() < until => std::thread::sleep(LOCK_POLL),
                fs::TryLockError::WouldBlock => {
                    let root = self.root.display();
                    bail!("another slipway uses {root}: stop it, or name another directory with --data");
                }
            }
        }
        Ok(Lock { _file: file })
    }

    /// SQLite file of a service.
    pub fn database(&self, service: &str) -> PathBuf {
        self.root.join("databases").join(format!("{service}.sqlite"))
    }

    /// Root of the local SCM's repositories.
    pub fn scm(&self) -> PathBuf {
        self.root.join("scm")
    }

    /// Root of the GitOps repositories.
    pub fn gitops(&self) -> PathBuf {
        self.root.join("gitops")
    }

    /// Root of file locations.
    pub fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// Root of files that hold credentials: kubeconfig files of clusters, keys and tokens of SCM connections.
    pub fn credentials(&self) -> PathBuf {
        self.root.join("credentials")
    }

    /// Mirrors of a source provider's repositories; may be removed while the platform is down.
    pub fn mirrors(&self, connection: &str) -> PathBuf {
        self.root.join("mirrors").join(connection)
    }

    /// A key file.
    pub fn key(&self, name: &str) -> PathBuf {
        self.root.join("keys").join(name)
    }

    /// File with the secret that signs local webhooks; made on first use.
    pub fn webhook_secret_file(&self) -> Result<PathBuf> {
        let path = self.key("webhook-local");
        if !path.exists() {
            let secret: [u8; SECRET_BYTES] = rand::random();
            write_private(&path, hex::encode(secret).as_bytes())?;
        }
        Ok(path)
    }

    /// The secret that signs local webhooks.
    pub fn webhook_secret(&self) -> Result<Vec<u8>> {
        let path = self.webhook_secret_file()?;
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Notes where the platform listens.
    pub fn write_address(&self, address: SocketAddr) -> Result<()> {
        write_private(&self.root.join("address"), address.to_string().as_bytes())
    }

    /// Where the platform listens or last listened; `None` if it never ran here.
    pub fn address(&self) -> Option<SocketAddr> {
        fs::read_to_string(self.root.join("address")).ok()?.trim().parse().ok()
    }
}

/// Whether a directory has entries and none of ours: then it is somebody's home or sources, and no place for keys.
fn is_foreign(root: &Path) -> bool {
    let is_empty = fs::read_dir(root).map_or(true, |mut entries| entries.next().is_none());
    !is_empty && !PARTS.iter().any(|part| root.join(part).is_dir())
}

/// Writes the whole file or nothing, readable by its owner alone.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension("draft");
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_process_at_a_time_and_private_files() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::open(&home.path().join("data")).unwrap();
        let held = layout.lock().unwrap();
        assert!(layout.lock().err().unwrap().to_string().contains("another slipway"));
        let leaves = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(held);
        });
        layout.lock().unwrap();
        leaves.join().unwrap();
        let secret = layout.webhook_secret().unwrap();
        assert_eq!(secret, layout.webhook_secret().unwrap());
        assert!(secret.len() >= SECRET_BYTES);
        let mode = layout.webhook_secret_file().unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(layout.address(), None);
        layout.write_address("127.0.0.1:7070".parse().unwrap()).unwrap();
        assert_eq!(layout.address(), Some("127.0.0.1:7070".parse().unwrap()));
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("Cargo.toml"), "").unwrap();
        assert!(Layout::open(home.path()).unwrap_err().to_string().contains("holds other things"));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing was made in it");
        Layout::open(&home.path().join("data")).unwrap();
        Layout::open(&home.path().join("data")).unwrap();
    }
}
