//! The key under which platform tokens are hashed, in a file of its own outside the database (SAFE-21).
//!
//! Refuses a file that others may read, and one of another length.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use slipway_kit::error::{Error, INVALID_CONFIG, Result};

/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// Reads the key; a missing file is made first, whole or not at all.
///
/// # Errors
/// INVALID_CONFIG when the file cannot be made, is open to others or is no key.
pub fn load_or_create(path: &Path) -> Result<[u8; KEY_BYTES]> {
    if !path.exists() {
        create(path).map_err(|e| unusable(path, "cannot be made").source(e))?;
    }
    let mode = fs::metadata(path).map_err(|e| unusable(path, "cannot be read").source(e))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(unusable(path, "must not be open to others"));
    }
    let bytes = fs::read(path).map_err(|e| unusable(path, "cannot be read").source(e))?;
    bytes.try_into().map_err(|_| unusable(path, "is no key of 32 bytes"))
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::new(&INVALID_CONFIG, format!("{} {why}", path.display()))
}

/// Writes beside and links into place, so that a kill leaves no half key and two starts agree on one.
fn create(path: &Path) -> std::io::Result<()> {
    let key: [u8; KEY_BYTES] = rand::random();
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Reads a webhook's secret, without the line break an editor leaves behind it.
///
/// # Errors
/// INVALID_CONFIG when the file cannot be read.
pub fn secret(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|e| unusable(path, "cannot be read").source(e))?;
    let end = bytes.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |at| at + 1);
    Ok(bytes[..end].to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token.key");
        let first = load_or_create(&path).unwrap();
        assert_eq!(first, load_or_create(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_or_create(&path).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, [1; 31]).unwrap();
        assert!(load_or_create(&path).is_err());
    }

    #[test]
    fn a_secret_loses_only_its_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, " a b \r\n\n").unwrap();
        assert_eq!(secret(&path).unwrap(), b" a b ");
        assert!(secret(&folder.path().join("none")).is_err());
    }
}
