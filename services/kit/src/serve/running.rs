//! A service that runs: its loops, its recorder, its health and the guarded door to its RPCs.
//!
//! Owns the order of start and end. Refuses knowledge of how callers come in: over pipes or sockets.
use tokio::task::{JoinHandle, JoinSet};

use super::{Guard, Service, Shutdown, health, routes::Routes};
use crate::caller::Verifier;

/// A started service.
pub(super) struct Running {
    name: &'static str,
    door: Guard<Routes>,
    parts: JoinHandle<()>,
    recording: JoinHandle<()>,
    last: Shutdown,
}

impl Running {
    /// Starts everything but the way in.
    pub(super) async fn start(service: Service, verifier: Verifier, shutdown: Shutdown) -> Self {
        let Service { name, db, routes, served, tasks, recorder, ailing, ready } = service;
        let mut parts = JoinSet::new();
        for task in tasks {
            let end = shutdown.clone();
            parts.spawn(async move {
                (task.start)(end).await;
                tracing::debug!(task = task.name, "background loop ended");
            });
        }
        // Calls that end while the service drains are recorded too, so the recorder stops last.
        let last = Shutdown::new();
        let recording = tokio::spawn(recorder.clone().run(last.clone()));
        let (routes, health) = health::add(routes, &served).await;
        parts.spawn(health.readiness(db, ready, shutdown.clone()));
        for (grpc_service, serving) in ailing {
            parts.spawn(health.follow(grpc_service, serving, shutdown.clone()));
        }
        parts.spawn(health.stopping(shutdown.clone()));
        let door = Guard::new(routes, name, verifier, recorder, shutdown);
        let parts = tokio::spawn(async move {
            while let Some(ended) = parts.join_next().await {
                report(name, ended);
            }
        });
        Self { name, door, parts, recording, last }
    }

    /// What answers the calls.
    pub(super) fn door(&self) -> Guard<Routes> {
        self.door.clone()
    }

    /// Waits for the loops, then for the recorder; the signal was given, and the calls have ended.
    pub(super) async fn finish(self) {
        report(self.name, self.parts.await);
        self.last.begin();
        report(self.name, self.recording.await);
    }
}

/// Tells of a part that panicked.
pub(super) fn report(service: &'static str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(service, panicked = error.is_panic(), "a background part of the service ended early");
    }
}
