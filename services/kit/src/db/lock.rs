//! One process per SQLite file (REL-57): a lock file beside it, held as long as the database is open.
//!
//! Owns the lock and its sharing inside one process. Refuses a second process.
use std::{
    collections::HashMap,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use crate::error::{DATABASE_UNAVAILABLE, Error, Result};

/// Locks held by this process, by canonical path.
static HELD: LazyLock<Mutex<HashMap<PathBuf, Weak<Lock>>>> = LazyLock::new(Mutex::default);

/// The lock on one database file; given back when the last clone of the database is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the lock, or shares the one this process has.
    pub(super) fn take(database: &Path) -> Result<Arc<Self>> {
        let path = PathBuf::from(format!("{}.lock", database.display()));
        let failed = |e: std::io::Error| {
            Error::new(&DATABASE_UNAVAILABLE, "the database's directory cannot be written").source(e)
        };
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = held.get(&path).and_then(Weak::upgrade) {
            return Ok(lock);
        }
        file.try_lock().map_err(|e| {
            Error::new(&DATABASE_UNAVAILABLE, format!("{} is open in another process", database.display())).source(e)
        })?;
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        let lock = Arc::new(Self(file));
        held.insert(path, Arc::downgrade(&lock));
        Ok(lock)
    }
}
