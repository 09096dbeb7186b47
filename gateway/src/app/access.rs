//! The facts that decisions on callers rest on, never older than a second (SAFE-40).
//!
//! Refuses stale facts: what cannot be read anew in time makes the call UNAVAILABLE, not allowed (SAFE-1). Only who is
//! administrator by name needs no directory, so that a platform without its catalog can be repaired.

use std::{sync::Arc, time::Duration};

use slipway_kit::{
    error::{DEPENDENCY_UNAVAILABLE, Error, Result},
    serve::Shutdown,
};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use crate::{
    model::rights::{Facts, Grant, Rights},
    store::Store,
    world::directory::{Directory, Memberships},
};

/// Oldest facts that decide.
pub const AGE_MAX: Duration = Duration::from_secs(1);
/// How often the facts are read anew without being asked for.
const PERIOD: Duration = Duration::from_millis(400);
/// How long a directory that did not answer is left alone by calls.
const DIRECTORY_PAUSE: Duration = Duration::from_millis(300);

/// What is known at one moment; cheap to clone.
#[derive(Clone)]
pub struct Known {
    /// Raised whenever anything below changed: what was derived under another number is void.
    pub generation: u64,
    facts: Arc<Facts>,
    version: i64,
    grants: Arc<Vec<Grant>>,
    members: Arc<Memberships>,
    read: Option<Instant>,
    members_read: Option<Instant>,
    /// Whether the memberships may decide on the call they were handed to.
    members_hold: bool,
}

impl Known {
    /// The rights of a principal.
    ///
    /// # Errors
    /// UNAVAILABLE when the directory is away and the principal is no administrator by name.
    pub fn rights(&self, principal: &str) -> Result<Rights> {
        if !self.members_hold && !self.facts.is_administrator_by_name(principal) {
            return Err(Error::new(&DEPENDENCY_UNAVAILABLE, "the catalog does not answer who belongs to which team"));
        }
        Ok(self.facts.of(principal))
    }

    fn is_young(&self) -> bool {
        is_young(self.read) && is_young(self.members_read)
    }

    /// As handed to a call: memberships hold if they are young, or were read while the call waited for them.
    fn handed(mut self, just_read: bool) -> Self {
        self.members_hold = just_read || is_young(self.members_read);
        self
    }
}

fn is_young(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at.elapsed() < AGE_MAX)
}

/// The facts and what keeps them young; cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    store: Store,
    directory: Box<dyn Directory>,
    known: watch::Sender<Known>,
    /// Held while reading; remembers when the directory last failed.
    reading: Mutex<Option<Instant>>,
}

impl Access {
    /// Facts of this store and directory, none read yet.
    #[must_use]
    pub fn new(store: Store, directory: Box<dyn Directory>) -> Self {
        let empty = Known {
            generation: 0,
            facts: Arc::default(),
            version: 0,
            grants: Arc::default(),
            members: Arc::default(),
            read: None,
            members_read: None,
            members_hold: false,
        };
        Self(Arc::new(Inner { store, directory, known: watch::Sender::new(empty), reading: Mutex::default() }))
    }

    /// What is known, at most a second old.
    ///
    /// # Errors
    /// UNAVAILABLE when the database does not answer.
    pub async fn known(&self) -> Result<Known> {
        let arrived = Instant::now();
        let known = self.0.known.borrow().clone();
        if known.is_young() {
            return Ok(known.handed(false));
        }
        let mut failed = self.0.reading.lock().await;
        let known = self.0.known.borrow().clone();
        let pausing = failed.is_some_and(|at| at.elapsed() < DIRECTORY_PAUSE);
        // What another call began to read while this one waited is as good as a reading of its own.
        let for_me = known.read.min(known.members_read).is_some_and(|at| at >= arrived);
        if for_me || known.is_young() || (is_young(known.read) && pausing) {
            return Ok(known.handed(for_me));
        }
        let known = self.read(&mut failed, pausing).await?;
        let just_read = !pausing && failed.is_none();
        Ok(known.handed(just_read))
    }

    /// A change has just been committed: it holds from here on, or at the latest when the facts are a second old.
    pub async fn changed(&self) {
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "access facts could not be read after a change");
        }
    }

    /// Reads everything anew.
    ///
    /// # Errors
    /// UNAVAILABLE when the database does not answer.
    pub async fn refresh(&self) -> Result<()> {
        let mut failed = self.0.reading.lock().await;
        self.read(&mut failed, false).await.map(|_| ())
    }

    /// Tells when the facts change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Known> {
        self.0.known.subscribe()
    }

    /// Keeps the facts young until shutdown.
    pub async fn keep(self, shutdown: Shutdown) {
        loop {
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "access facts could not be read");
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn read(&self, failed: &mut Option<Instant>, pausing: bool) -> Result<Known> {
        let inner = &*self.0;
        let started = Instant::now();
        let old = inner.known.borrow().clone();
        let (version, grants) = self.read_store(&old).await?;
        let members = if pausing { None } else { Some(inner.directory.memberships().await) };
        let mut new = Known { version, grants, read: Some(started), ..old.clone() };
        match members {
            Some(Ok(members)) => {
                *failed = None;
                new.members_read = Some(started);
                // The revision rises with every change of the catalog; only other memberships make other facts.
                if members.pairs != new.members.pairs {
                    new.members = Arc::new(members);
                }
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the directory does not answer");
                *failed = Some(Instant::now());
            }
            None => {}
        }
        let same = new.version == old.version && Arc::ptr_eq(&new.members, &old.members);
        if !same || old.generation == 0 {
            new.generation = old.generation + 1;
            new.facts = Arc::new(Facts::new(&new.grants, &new.members.pairs));
        }
        inner.known.send_if_modified(|known| {
            *known = new.clone();
            new.generation != old.generation
        });
        Ok(new)
    }

    async fn read_store(&self, old: &Known) -> Result<(i64, Arc<Vec<Grant>>)> {
        if old.read.is_some() && self.0.store.version().await? == old.version {
            return Ok((old.version, old.grants.clone()));
        }
        let access = self.0.store.access().await?;
        Ok((access.version, Arc::new(access.grants)))
    }
}
