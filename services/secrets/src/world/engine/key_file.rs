//! The file of the master key (SEC-71): 32 bytes that only the service's own user may read.
//!
//! Owns its making and the checks before it is read. Refuses a file that others may read or change, without reading it.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use slipway_kit::id;
use zeroize::Zeroizing;

use super::{
    Seal,
    envelope::{KEY_BYTES, Key},
    ring::{Identity, Ring},
};

/// The master key as read; only keys derived from it are used.
#[derive(Debug)]
pub struct Master(Key);

/// Makes a key file of mode 0600 with a random key. A file that exists is never touched: `AlreadyExists`.
pub fn create(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = folder.join(format!(".{}.new", id::uuid4()));
    let made = write(&draft).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    made?;
    File::open(folder)?.sync_all()
}

fn write(draft: &Path) -> io::Result<()> {
    let key = Zeroizing::new(rand::random::<[u8; KEY_BYTES]>());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(key.as_slice())?;
    file.sync_all()
}

impl Master {
    /// Reads the key, if the file is as it must be.
    pub fn read(path: &Path) -> Result<Self, Seal> {
        let away =
            |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Seal::KeyMissing } else { Seal::KeyUnreadable };
        // Before it is opened: a pipe would block.
        if !fs::metadata(path).map_err(away)?.is_file() {
            return Err(Seal::KeyMalformed);
        }
        let mut file = File::open(path).map_err(away)?;
        let about = file.metadata().map_err(away)?;
        if !matches!(about.mode() & 0o7777, 0o400 | 0o600) {
            return Err(Seal::KeyTooOpen);
        }
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(Seal::KeyForeign);
        }
        if about.len() != KEY_BYTES as u64 {
            return Err(Seal::KeyMalformed);
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        file.read_exact(bytes.as_mut_slice()).map_err(|_| Seal::KeyUnreadable)?;
        Key::from_bytes(bytes.as_slice()).map(Self).ok_or(Seal::KeyMalformed)
    }

    /// What a new database keeps, to know this key again.
    pub fn identity(&self, engine_id: &str) -> Identity {
        Identity::of(&self.0, engine_id)
    }

    /// The ring of the database with this identity; tells a wrong key from damage.
    pub fn ring(&self, identity: &Identity) -> Result<Ring, Seal> {
        if !identity.is_whole() {
            return Err(Seal::EngineDamaged);
        }
        if !identity.is_of(&self.0) {
            return Err(Seal::KeyWrong);
        }
        Ok(Ring::new(&self.0, &identity.engine_id))
    }
}

#[cfg(test)]
impl Master {
    /// A key whose bytes are all the same.
    pub(super) fn of_test(byte: u8) -> Self {
        Self(Key::from_bytes(&[byte; KEY_BYTES]).unwrap())
    }
}
