//! A count of writes kept outside the database, so that a database that was set back is noticed (SEC-74).
//!
//! Owns one small file beside the key file. Refuses to lower the count by itself: that is AcceptRollback's.
use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use slipway_kit::id;
use subtle::ConstantTimeEq as _;

use super::{Ring, Seal};

const HEAD: &str = "slipway-secrets-witness-v1";

/// The file, and the highest count this process wrote to it.
#[derive(Debug)]
pub struct Witness {
    file: PathBuf,
    highest: Mutex<i64>,
}

impl Witness {
    /// A witness in this file.
    pub fn at(file: &Path) -> Self {
        Self { file: file.to_owned(), highest: Mutex::new(-1) }
    }

    /// `RolledBack` if more writes were witnessed than the database knows of, or the file speaks of another database.
    pub fn check(&self, ring: &Ring, known: i64) -> Result<(), Seal> {
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => return Err(Seal::RolledBack { known, witnessed: -1 }),
        };
        match read(&text, ring) {
            Some(witnessed) if witnessed <= known => Ok(()),
            found => Err(Seal::RolledBack { known, witnessed: found.unwrap_or(-1) }),
        }
    }

    /// Writes the count down, unless a higher one stands there. The file is replaced whole.
    pub fn saw(&self, ring: &Ring, writes: i64) -> io::Result<()> {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        if writes <= *highest {
            return Ok(());
        }
        self.replace(ring, writes)?;
        *highest = writes;
        Ok(())
    }

    /// Writes the count down whatever stands there.
    pub fn reset(&self, ring: &Ring, writes: i64) -> io::Result<()> {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(ring, writes)?;
        *highest = writes;
        Ok(())
    }

    fn replace(&self, ring: &Ring, writes: i64) -> io::Result<()> {
        let folder = self.file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let draft = folder.join(format!(".{}.new", id::uuid4()));
        let line = format!("{HEAD} {} {writes} {}\n", ring.engine_id(), hex::encode(ring.attest(writes)));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(line.as_bytes())?;
        fs::rename(&draft, &self.file)
    }
}

fn read(text: &str, ring: &Ring) -> Option<i64> {
    let parts = text.split_whitespace().collect::<Vec<_>>();
    let [HEAD, engine_id, writes, mac] = parts[..] else { return None };
    let writes = writes.parse().ok()?;
    let sound = bool::from(ring.attest(writes).ct_eq(&hex::decode(mac).ok()?));
    (engine_id == ring.engine_id() && sound).then_some(writes)
}
