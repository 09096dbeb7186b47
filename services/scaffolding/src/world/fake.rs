//! The world in memory, with counters of what was done and switches for what goes wrong; for tests of this and other crates.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use slipway_kit::{
    caller::Caller,
    error::{DEPENDENCY_UNAVAILABLE, Error, Result},
    scm::{NewRepository, REPOSITORY_TAKEN},
    serve::Call,
};
use tokio::sync::Notify;

use super::{Forge, Found, Initiator, Registered, Registration, Served, Siblings};

/// A world in memory.
#[derive(Default)]
pub struct Fake {
    state: Mutex<State>,
    killed: Notify,
}

/// What the fake world holds.
#[derive(Default)]
pub struct State {
    /// Repositories by name: marker, and how often each was made.
    pub repositories: BTreeMap<String, (String, usize)>,
    /// Files of the last repository that was made.
    pub files: Vec<String>,
    /// Message of its first commit.
    pub message: String,
    /// Registrations by request id, and how often each arrived.
    pub registrations: BTreeMap<String, (Registration, usize)>,
    /// Entities that another location declared first, with its target.
    pub taken: BTreeMap<String, String>,
    /// Groups that exist.
    pub groups: BTreeSet<String>,
    /// Callers by principal, with their present rights.
    pub callers: BTreeMap<String, Caller>,
    /// Calls that fail with an outage before any works.
    pub outages: usize,
    /// The call, counted over all, at which the process is killed: before its effect for even numbers, after it for odd ones.
    pub kill_at: Option<usize>,
    /// Calls so far, two for each: one before its effect, one after.
    pub calls: usize,
}

impl Fake {
    /// What the world holds.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the process is to be killed.
    pub async fn killed(&self) {
        self.killed.notified().await;
    }

    /// A moment at which the process can be killed: then the call never returns.
    async fn moment(&self) {
        let dead = {
            let mut state = self.state();
            let now = state.calls;
            state.calls += 1;
            state.kill_at == Some(now)
        };
        if dead {
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
    }

    async fn before(&self) -> Result<()> {
        self.moment().await;
        let mut state = self.state();
        if state.outages > 0 {
            state.outages -= 1;
            return Err(Error::new(&DEPENDENCY_UNAVAILABLE, "the world is away"));
        }
        Ok(())
    }
}

#[async_trait]
impl Forge for Fake {
    fn connection(&self) -> &str {
        "local"
    }

    fn url(&self, name: &str) -> String {
        format!("scm://local/{name}")
    }

    async fn find(&self, name: &str) -> Result<Option<Found>> {
        self.before().await?;
        let found = self.state().repositories.get(name).cloned();
        Ok(found.map(|(marker, _)| Found { first_commit: Some(format!("{name}@{marker}")), marker }))
    }

    async fn create(&self, new: &NewRepository) -> Result<()> {
        self.before().await?;
        {
            let mut state = self.state();
            match state.repositories.get(&new.name) {
                Some((marker, _)) if *marker != new.marker => {
                    return Err(Error::new(&REPOSITORY_TAKEN, format!("repository {} exists", new.name)));
                }
                Some(_) => {}
                None => {
                    state.repositories.insert(new.name.clone(), (new.marker.clone(), 1));
                    state.files = new.files.iter().map(|f| format!("{f:?}").chars().take(60).collect()).collect();
                    state.message.clone_from(&new.message);
                }
            }
        }
        self.moment().await;
        Ok(())
    }
}

#[async_trait]
impl Siblings for Fake {
    async fn knows_group(&self, _: &Call, group: &str) -> Result<bool> {
        Ok(self.state().groups.contains(group))
    }

    async fn rights(&self, who: &Initiator) -> Result<Caller> {
        self.before().await?;
        let caller = self.state().callers.get(&who.principal).cloned();
        caller.ok_or_else(|| Error::new(&slipway_kit::error::PERMISSION_DENIED, "the initiator has no rights any more"))
    }

    async fn register(&self, _: &Initiator, registration: &Registration) -> Result<Registered> {
        self.before().await?;
        {
            let mut state = self.state();
            let known =
                state.registrations.entry(registration.request_id.clone()).or_insert_with(|| (registration.clone(), 0));
            known.1 += 1;
        }
        self.moment().await;
        Ok(Registered { location: "locations/1".to_owned(), problems: Vec::new() })
    }

    async fn serves(&self, _: &Initiator, entity_ref: &str, target: &str) -> Result<Served> {
        self.before().await?;
        let state = self.state();
        if let Some(taken) = state.taken.get(entity_ref) {
            return Ok(Served::Elsewhere(taken.clone()));
        }
        let here = state.registrations.values().any(|(r, _)| r.target == target);
        Ok(if here { Served::Here } else { Served::No })
    }
}
