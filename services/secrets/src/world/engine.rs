//! The embedded engine (SEC-70 to SEC-75): the keys that seal values, and whether they can be had.
//!
//! Owns the ring of keys while it is open and why it is not. Refuses plaintext at rest, and to say more of a failure than its kind.
//!
//! Keys: the master (32 bytes, only in the key file) yields by HMAC-SHA256 one key each for wrapping, chaining and hashing of
//! requests. Wrapping seals a key-encryption key per service; that seals a random data key per version; that seals the document.
//! All sealing is AES-256-GCM-SIV (RFC 8452) with random nonces; associated data names engine, path, version and key, so that a
//! row that was moved does not open.
use std::{
    path::{Path as FilePath, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use slipway_kit::error::{Error, Result};
use tokio::sync::watch;

use crate::error::{ROLLED_BACK, SEALED};

pub mod envelope;
mod key_file;
mod ring;
mod witness;

pub use key_file::{Master, create as create_key_file};
pub use ring::{Identity, Ring, Sealed, ServiceKey, WrappedKey};
pub use witness::Witness;

/// Why no value can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Nothing was looked at yet.
    Starting,
    /// There is no key file.
    KeyMissing,
    /// The key file cannot be read.
    KeyUnreadable,
    /// Others than its owner may read or change the key file.
    KeyTooOpen,
    /// The key file belongs to another user.
    KeyForeign,
    /// The key file is not 32 bytes.
    KeyMalformed,
    /// The key is not the one this database was sealed with.
    KeyWrong,
    /// The engine's own row was changed.
    EngineDamaged,
    /// The database is older than the last write that was witnessed.
    RolledBack {
        /// Writes the database knows of.
        known: i64,
        /// Writes that were witnessed.
        witnessed: i64,
    },
}

impl Seal {
    /// Stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Seal::Starting => "starting",
            Seal::KeyMissing => "key_missing",
            Seal::KeyUnreadable => "key_unreadable",
            Seal::KeyTooOpen => "key_too_open",
            Seal::KeyForeign => "key_foreign",
            Seal::KeyMalformed => "key_malformed",
            Seal::KeyWrong => "key_wrong",
            Seal::EngineDamaged => "engine_damaged",
            Seal::RolledBack { .. } => "rolled_back",
        }
    }

    /// The error of a call that needs a value.
    pub fn error(self) -> Error {
        match self {
            Seal::RolledBack { known, witnessed } => Error::new(&ROLLED_BACK, "the engine's database was set back")
                .meta("known_writes", known.to_string())
                .meta("witnessed_writes", witnessed.to_string()),
            other => Error::new(&SEALED, "the engine is sealed").meta("cause", other.word()),
        }
    }
}

enum State {
    Sealed(Seal),
    Open(Arc<Ring>),
}

/// The engine of this process; cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    key_file: PathBuf,
    witness: Option<Witness>,
    state: RwLock<State>,
    open: watch::Sender<bool>,
}

impl Engine {
    /// An engine that is sealed until somebody opens it.
    pub fn new(key_file: &FilePath, witness_file: Option<&FilePath>) -> Self {
        let witness = witness_file.map(Witness::at);
        let state = RwLock::new(State::Sealed(Seal::Starting));
        Self(Arc::new(Inner { key_file: key_file.to_owned(), witness, state, open: watch::Sender::new(false) }))
    }

    /// Reads the master key.
    pub fn master(&self) -> std::result::Result<Master, Seal> {
        Master::read(&self.0.key_file)
    }

    /// Opens or seals it; answers whether that changed anything.
    pub fn set(&self, found: std::result::Result<Ring, Seal>) -> bool {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        let changed = match (&*state, &found) {
            (State::Sealed(before), Err(seal)) => before != seal,
            (State::Open(_), Ok(_)) => false,
            _ => true,
        };
        self.0.open.send_replace(found.is_ok());
        *state = match found {
            Ok(ring) => State::Open(Arc::new(ring)),
            Err(seal) => State::Sealed(seal),
        };
        changed
    }

    /// The keys; `SEALED` or `ROLLED_BACK` while there are none.
    pub fn ring(&self) -> Result<Arc<Ring>> {
        match &*self.0.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(ring) => Ok(ring.clone()),
            State::Sealed(seal) => Err(seal.error()),
        }
    }

    /// Why it is sealed; `None` while it is open.
    pub fn seal(&self) -> Option<Seal> {
        match &*self.0.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(_) => None,
            State::Sealed(seal) => Some(*seal),
        }
    }

    /// Whether it is open, for health.
    pub fn opened(&self) -> watch::Receiver<bool> {
        self.0.open.subscribe()
    }

    /// The witness of writes outside the database, if one is kept.
    pub fn witness(&self) -> Option<&Witness> {
        self.0.witness.as_ref()
    }
}
